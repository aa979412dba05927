"""Customers and addresses with their places, as the texts of a file, however many there are.

PostgreSQL writes the values as they stand in the file and sends them by COPY; what stands between
them is added by whoever makes the file. Building whole lines in the database takes half as long
again, building them from values that the driver has read several times as long.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum
from typing import Any

from sqlalchemy import (
    CTE,
    Boolean,
    ColumnElement,
    FromClause,
    Select,
    Table,
    and_,
    distinct,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database import driver_of
from app.domain.geometry import AFTER_GEOHASH, DEFAULT_PRECISION, Box, cell_box
from app.domain.money import decimals
from app.domain.privacy import ROUGH_GEOHASH, SMALL_CELL
from app.domain.spreadsheet import FORMULA_STARTS
from app.domain.tenant import Tenant
from app.repositories.customer import CustomerFilter, area_of, conditions
from app.repositories.tables import addresses, customer_analytics, customers


class Kind(Enum):
    """What the values of a column are."""

    TEXT = "text"
    #: A text out of a list of the service's own: nothing in it has to be escaped.
    CODE = "code"
    #: A text as it is, for the caller to replace.
    BARE = "bare"
    #: Minor units, to be told as a decimal.
    MONEY = "money"
    NUMBER = "number"
    BOOLEAN = "boolean"
    INSTANT = "instant"


class Values(Enum):
    """How values are written: as JSON, as CSV, or as CSV that a spreadsheet opens unharmed."""

    JSON = "json"
    CSV = "csv"
    SPREADSHEET = "spreadsheet"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an export. Anonymised, an `identity` is a pseudonym and a `personal` is null."""

    name: str
    kind: Kind
    sql: str
    identity: bool = False
    personal: bool = False


@dataclass(frozen=True, slots=True)
class PlaceExport:
    """One kind of thing that has a place. `person` is the customer it belongs to."""

    table: Table
    joined: FromClause
    person: ColumnElement[int]
    location: ColumnElement[Any]
    longitude: str
    latitude: str
    cell: ColumnElement[str]
    columns: tuple[Column, ...]

    @property
    def width(self) -> int:
        """How many values a row has: its longitude, its latitude, and those of the columns."""
        return 2 + len(self.columns)

    @property
    def has_money(self) -> bool:
        """Whether its rows are to say the currency."""
        return any(column.kind is Kind.MONEY for column in self.columns)


# Under a name of its own: filters by score look into the table once more.
_scores = customer_analytics.alias("scores")
_SCORED = customers.outerjoin(
    _scores,
    and_(_scores.c.tenant_id == customers.c.tenant_id, _scores.c.customer_sk == customers.c.sk),
)
_GEOHASH = Column("geohash", Kind.CODE, "")

CUSTOMERS = PlaceExport(
    table=customers,
    joined=_SCORED,
    person=customers.c.sk,
    location=customers.c.last_known_location,
    longitude="customers.last_known_longitude",
    latitude="customers.last_known_latitude",
    cell=func.left(customers.c.last_known_geohash, ROUGH_GEOHASH),
    columns=(
        Column("id", Kind.TEXT, "customers.id", identity=True),
        Column("code", Kind.TEXT, "customers.code", personal=True),
        Column("name", Kind.TEXT, "customers.name", personal=True),
        Column("customerType", Kind.CODE, "customers.customer_type"),
        Column("totalSpent", Kind.MONEY, "scores.revenue"),
        replace(_GEOHASH, sql=f"left(customers.last_known_geohash, {DEFAULT_PRECISION})"),
        Column("rfmSegment", Kind.TEXT, "scores.rfm_segment"),
        Column("churnBand", Kind.CODE, "scores.churn_band"),
        Column("churnScore", Kind.NUMBER, "scores.churn_score"),
        Column("clv", Kind.MONEY, "scores.clv"),
        Column("membershipTier", Kind.CODE, "customers.membership_tier"),
        Column("status", Kind.CODE, "customers.status"),
        Column(
            "lastLocationAccuracy", Kind.NUMBER, "customers.last_location_accuracy", personal=True
        ),
        Column("lastLocationCapturedAt", Kind.INSTANT, "customers.last_location_captured_at"),
        Column("updatedAt", Kind.INSTANT, "customers.updated_at"),
    ),
)

ADDRESSES = PlaceExport(
    table=addresses,
    joined=addresses.join(
        _SCORED,
        and_(
            customers.c.tenant_id == addresses.c.tenant_id,
            customers.c.sk == addresses.c.customer_sk,
        ),
    ),
    person=addresses.c.customer_sk,
    location=addresses.c.location,
    longitude="ST_X(addresses.location)",
    latitude="ST_Y(addresses.location)",
    cell=func.ST_GeoHash(addresses.c.location, ROUGH_GEOHASH),
    columns=(
        Column("id", Kind.TEXT, "addresses.id", identity=True),
        Column("customerId", Kind.TEXT, "customers.id", identity=True),
        Column("customerCode", Kind.TEXT, "customers.code", personal=True),
        Column("customerName", Kind.TEXT, "customers.name", personal=True),
        Column("customerType", Kind.CODE, "customers.customer_type"),
        Column("label", Kind.TEXT, "addresses.label", personal=True),
        Column("line", Kind.TEXT, "addresses.line", personal=True),
        Column("city", Kind.TEXT, "addresses.city"),
        Column("postalCode", Kind.TEXT, "addresses.postal_code", personal=True),
        Column("isPrimary", Kind.BOOLEAN, "addresses.is_primary"),
        replace(_GEOHASH, sql=f"ST_GeoHash(addresses.location, {DEFAULT_PRECISION})"),
        Column("rfmSegment", Kind.TEXT, "scores.rfm_segment"),
        Column("churnBand", Kind.CODE, "scores.churn_band"),
        Column("updatedAt", Kind.INSTANT, "addresses.updated_at"),
    ),
)

Rows = Select[*tuple[Any, ...]]

#: Takes the values of whole rows, one after the other in one list.
Receive = Callable[[list[bytes]], Awaitable[None]]


async def stream_places(
    connection: AsyncConnection,
    tenant: Tenant,
    export: PlaceExport,
    wanted: CustomerFilter,
    values: Values,
    *,
    receive: Receive,
    anonymous: bool,
) -> None:
    """Hand the wanted rows to `receive`, some at a time, as fast as it takes them.

    A row is its longitude and latitude in degrees and then the values of the columns, each as it
    stands in a file; those first recorded are in front. The place in `wanted` is that of the
    exported thing, and `updated_since` is about it too. What has no place is left out.

    `anonymous` rows stand at the centres of their districts, which are what the place in `wanted`
    chooses. A district in which fewer than five customers live, or fewer than five of the wanted
    ones, is left out. Identities are handed over bare, for the caller to replace them.
    """
    statement, arguments = statement_of(tenant, export, wanted, values, anonymous=anonymous)
    driver = driver_of(connection)
    # The copy is one statement, which lasts as long as the client takes to read it.
    await driver.execute("SELECT set_config('statement_timeout', '0', true)")

    async def split(rows: bytearray) -> None:
        await receive(_split(bytes(rows)))

    await driver.copy_from_query(
        statement,
        *arguments,
        output=split,
        format="text",
        delimiter=_BETWEEN,
        null="null" if values is Values.JSON else "",
        encoding="utf-8",
    )


def statement_of(
    tenant: Tenant,
    export: PlaceExport,
    wanted: CustomerFilter,
    values: Values,
    *,
    anonymous: bool,
) -> tuple[str, list[Any]]:
    """What `stream_places` copies: SQL for the driver, and what its `$1`… stand for."""
    chosen = _anonymous if anonymous else _exact
    statement = chosen(tenant, export, wanted, values)
    compiled = statement.compile(dialect=asyncpg_dialect.dialect())  # type: ignore[no-untyped-call]
    return str(compiled), [compiled.params[name] for name in compiled.positiontup or ()]


def _exact(tenant: Tenant, export: PlaceExport, wanted: CustomerFilter, values: Values) -> Rows:
    place = [export.longitude, export.latitude]
    return (
        _select(place, export.columns, values, tenant)
        .select_from(export.joined)
        .where(
            export.table.c.tenant_id == tenant.id,
            export.location.is_not(None),
            *_conditions(tenant, export, wanted),
            *_in_place(tenant, wanted, export.location),
            *_in_cell(export, wanted.geohash),
        )
        .order_by(export.table.c.sk)
    )


def _anonymous(tenant: Tenant, export: PlaceExport, wanted: CustomerFilter, values: Values) -> Rows:
    cell = export.cell.label("cell")
    living = (
        select(cell)
        .where(export.table.c.tenant_id == tenant.id, export.location.is_not(None))
        .group_by(cell)
        .having(func.count(distinct(export.person)) >= SMALL_CELL)
        .cte("living")
    )
    centre = func.ST_PointFromGeoHash(living.c.cell)
    district = None if wanted.geohash is None else wanted.geohash[:ROUGH_GEOHASH]
    districts = (
        select(living.c.cell, centre.label("centre"))
        .where(*_in_place(tenant, wanted, func.ST_SetSRID(centre, 4326)))
        .where(*([] if district is None else [living.c.cell.startswith(district)]))
        .cte("districts")
    )
    found = (
        select(export.table.c.sk, export.person.label("person"), districts.c.cell)
        .select_from(export.joined.join(districts, districts.c.cell == export.cell))
        .where(export.table.c.tenant_id == tenant.id, export.location.is_not(None))
        .where(*_conditions(tenant, export, wanted))
        .cte("found")
    )
    return _told(tenant, export, values, districts, found)


def _told(tenant: Tenant, export: PlaceExport, values: Values, districts: CTE, found: CTE) -> Rows:
    """The found rows at the centres of the districts in which enough of them live."""
    enough = (
        select(found.c.cell)
        .group_by(found.c.cell)
        .having(func.count(distinct(found.c.person)) >= SMALL_CELL)
        .cte("enough")
    )
    columns = [_blurred(column) for column in export.columns]
    place = ["ST_X(districts.centre)", "ST_Y(districts.centre)"]
    return (
        _select(place, columns, values, tenant)
        .select_from(
            export.joined.join(found, found.c.sk == export.table.c.sk)
            .join(enough, enough.c.cell == found.c.cell)
            .join(districts, districts.c.cell == found.c.cell)
        )
        .where(export.table.c.tenant_id == tenant.id)
        .order_by(export.table.c.sk)
    )


def _blurred(column: Column) -> Column:
    if column.personal:
        return replace(column, sql="NULL", kind=Kind.NUMBER)
    if column.identity:
        return replace(column, kind=Kind.BARE)
    if column.name == _GEOHASH.name:
        return replace(column, sql="districts.cell")
    return column


def _conditions(
    tenant: Tenant, export: PlaceExport, wanted: CustomerFilter
) -> list[ColumnElement[bool]]:
    """What holds for the wanted rows beside their place."""
    apart = replace(wanted, box=None, zone_sk=None, geohash=None, updated_since=None)
    found = conditions(tenant.id, apart)
    if wanted.updated_since is not None:
        found.append(export.table.c.updated_at >= wanted.updated_since)
    return found


def _in_place(
    tenant: Tenant, wanted: CustomerFilter, point: ColumnElement[Any]
) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.box is not None:
        found.append(or_(*(_in_box(point, part) for part in wanted.box.parts())))
    if wanted.zone_sk is not None:
        area = area_of(tenant.id, wanted.zone_sk)
        found.append(
            and_(
                point.op("&&", is_comparison=True)(area), func.ST_Covers(area, point, type_=Boolean)
            )
        )
    return found


def _in_box(point: ColumnElement[Any], box: Box) -> ColumnElement[bool]:
    # The index rounds its boxes to single precision; the coordinates decide.
    return and_(
        point.op("&&", is_comparison=True)(
            func.ST_MakeEnvelope(box.west, box.south, box.east, box.north, 4326)
        ),
        func.ST_X(point).between(box.west, box.east),
        func.ST_Y(point).between(box.south, box.north),
    )


def _in_cell(export: PlaceExport, geohash: str | None) -> list[ColumnElement[bool]]:
    if geohash is None:
        return []
    if export is CUSTOMERS:
        stored = customers.c.last_known_geohash
        return [stored >= geohash, stored < geohash + AFTER_GEOHASH]
    # The box is what an index finds; its edges belong to the next cells.
    return [
        _in_box(export.location, cell_box(geohash)),
        func.ST_GeoHash(export.location, len(geohash)) == geohash,
    ]


def _select(
    place: Sequence[str], columns: Sequence[Column], values: Values, tenant: Tenant
) -> Rows:
    unit = Decimal(1).scaleb(-decimals(tenant.currency))
    texts = [*place, *(_written(column, values, unit) for column in columns)]
    return select(*(literal_column(text) for text in texts))


def _written(column: Column, values: Values, unit: Decimal) -> str:
    """The value of a column as it stands in the file, and NULL where it is null."""
    sql = column.sql
    # The session's zone is UTC: what is cut off an instant is +00:00 and the quote.
    instant = f"left(to_json({sql})::text, -7)"
    json = values is Values.JSON
    return {
        Kind.TEXT: f"to_json({sql})" if json else _quoted(sql, values),
        Kind.CODE: f"""'"' || {sql} || '"'""",
        Kind.BARE: sql,
        Kind.MONEY: f"{sql} * {unit:f}",
        Kind.NUMBER: sql,
        Kind.BOOLEAN: f"CASE WHEN {sql} THEN 'true' WHEN NOT {sql} THEN 'false' END",
        Kind.INSTANT: f"""{instant} || 'Z"'""" if json else f"substr({instant}, 2) || 'Z'",
    }[column.kind]


def _quoted(sql: str, values: Values) -> str:
    text = f"""replace(replace({sql}, '"', '""'), {_literal(_BETWEEN)}, '') || '"'"""
    if values is Values.CSV:
        return f"""'"' || {text}"""
    starts = ", ".join(map(_literal, FORMULA_STARTS))
    return f"""CASE WHEN left({sql}, 1) IN ({starts}) THEN '"''' ELSE '"' END || {text}"""


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


#: Between the values of a row: a control character, which JSON escapes and CSV here leaves out.
_BETWEEN = "\x01"
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_ESCAPES = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def _split(rows: bytes) -> list[bytes]:
    """The values of rows as COPY sends them. The server never cuts a row in two."""
    found = rows[:-1].replace(b"\n", b"\x01").split(b"\x01")
    if b"\\" in rows:
        return [_ESCAPED.sub(_unescape, each) if b"\\" in each else each for each in found]
    return found


def _unescape(escape: re.Match[bytes]) -> bytes:
    return _ESCAPES.get(escape[1], escape[1])
