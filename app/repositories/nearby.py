"""Customers around a point, the nearest first.

The index hands out places by their distance on a sphere. True distances, on the ellipsoid, differ
by up to 0.6 %, so a few places more than wanted are read, and put in order by true distance. Where
that does not settle who comes first, because many are about as far, everybody up to the distance
found is read.

A condition besides the place may hold for few customers, far away. So at most `REACH` places are
tried in order of distance; who is still missing then is found among all who meet the conditions, by
one pass over them, or over those within the radius.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from geoalchemy2 import Geography
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Double,
    FromClause,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    cast,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database import driver_of
from app.domain.geodesy import in_order, is_settled
from app.domain.geometry import AFTER_GEOHASH
from app.repositories.customer import CustomerFilter, conditions
from app.repositories.district import (
    centre_on_map,
    list_told,
    without_places,
)
from app.repositories.page import page_size
from app.repositories.tables import customer_analytics, customers

#: Places that are tried in order of distance where customers have to meet conditions, too.
REACH = 10_000


@dataclass(frozen=True, slots=True)
class Around:
    """A point in degrees, and metres around it; None reaches around the globe."""

    latitude: float
    longitude: float
    radius: float | None = None


class NearCustomer(NamedTuple):
    """A customer near a point. `distance` is in metres on the ellipsoid, `sphere` on a sphere.

    `bearing` is the direction in which the way from the point begins, in degrees clockwise from
    north; None where there is no way to go.
    """

    sk: int
    id: str
    code: str | None
    name: str
    customer_type: str
    membership_tier: str | None
    status: str
    rfm_segment: str | None
    churn_band: str | None
    last_order_at: datetime | None
    last_known_latitude: float
    last_known_longitude: float
    last_known_geohash: str
    last_location_captured_at: datetime | None
    distance: float
    bearing: float | None
    sphere: float


_MEASURES = ("distance", "bearing", "sphere")
# An alias, because the conditions of a filter ask the table by its own name.
_scores = customer_analytics.alias("scores")
_SCORED = ("rfm_segment", "churn_band", "last_order_at")
_DECLARED = [name for name in NearCustomer._fields if name not in {*_MEASURES, *_SCORED}]
_COLUMNS: list[ColumnElement[Any]] = [
    (_scores if name in _SCORED else customers).c[name]
    for name in NearCustomer._fields
    if name not in _MEASURES
]
_OF_CUSTOMER = and_(
    _scores.c.tenant_id == customers.c.tenant_id,
    _scores.c.customer_sk == customers.c.sk,
)
_place = customers.alias("place")


async def list_near(
    connection: AsyncConnection,
    tenant_id: int,
    around: Around,
    wanted: CustomerFilter,
    *,
    after: tuple[float, int] | None,
    limit: int,
) -> list[NearCustomer]:
    """Up to `limit` customers by true distance and sk, beyond that distance and sk `after`."""
    others = [] if wanted == _EVERYBODY else conditions(tenant_id, wanted)
    asked = limit + max(3, limit // 16)
    values = _values(tenant_id, around, after)
    if others:
        statement = _nearest(around, others, after, reach=REACH, limit=asked)
        found = [NearCustomer._make(row) for row in await connection.execute(statement, values)]
    else:
        sql, names = _nearest_of_all(around.radius is not None, after is not None, asked)
        rows = await driver_of(connection).fetch(sql, *(values[name] for name in names))
        found = [NearCustomer._make(row) for row in rows]
    ordered = in_order(found)
    everybody_seen = not others and len(found) < asked
    if everybody_seen or (len(found) >= limit and is_settled(ordered, limit)):
        return ordered[:limit]
    farthest = ordered[limit - 1].distance if len(found) >= limit else around.radius
    within = Around(around.latitude, around.longitude, farthest)
    statement = _all(within, others, after, limit)
    rows_in_order = await connection.execute(statement, _values(tenant_id, within, after))
    return [NearCustomer._make(row) for row in rows_in_order]


_EVERYBODY = CustomerFilter()
_TENANT = bindparam("tenant", type_=Integer)
_POINT: ColumnElement[Any] = cast(
    func.ST_SetSRID(
        func.ST_MakePoint(
            bindparam("longitude", type_=Double), bindparam("latitude", type_=Double)
        ),
        literal_column("4326"),
    ),
    Geography(srid=4326),
)


def _values(
    tenant_id: int, around: Around, after: tuple[float, int] | None
) -> dict[str, float | int | None]:
    """What the parameters of the statements stand for."""
    distance, sk = after or (None, None)
    return {
        "tenant": tenant_id,
        "longitude": around.longitude,
        "latitude": around.latitude,
        "radius": around.radius,
        "after_distance": distance,
        "after_sk": sk,
    }


@cache
def _nearest_of_all(has_radius: bool, has_after: bool, limit: int) -> tuple[str, list[str]]:
    """By distance on the sphere, for the driver, and the names of the parameters.

    To build the statement takes several times as long as to run it.
    """
    around = Around(0.0, 0.0, 0.0 if has_radius else None)
    after = (0.0, 0) if has_after else None
    geography = _place.c.last_known_geography
    sphere: ColumnElement[float] = geography.op("<->", return_type=Double())(_POINT)
    near = (
        select(
            *(_place.c[name] for name in _DECLARED),
            func.ST_Distance(geography, _POINT, type_=Double).label("distance"),
            _bearing(_POINT, geography),
            sphere.label("sphere"),
        )
        .where(_place.c.tenant_id == _TENANT, *_within(geography, _place.c.sk, around, after))
        .order_by(sphere)
        .limit(page_size(limit))
        .subquery("near")
    )
    # By key, one row after the other: OFFSET 0 leaves the planner no other way.
    scores = (
        select(*(_scores.c[name] for name in _SCORED))
        .where(_scores.c.tenant_id == _TENANT, _scores.c.customer_sk == near.c.sk)
        .offset(literal_column("0"))
        .lateral("scored")
    )
    names = NearCustomer._fields
    statement = (
        select(*((scores if name in _SCORED else near).c[name] for name in names))
        .select_from(near.outerjoin(scores, true()))
        .order_by(near.c.sphere)
    )
    compiled = statement.compile(dialect=asyncpg_dialect.dialect())  # type: ignore[no-untyped-call]
    return str(compiled), list(compiled.positiontup or ())


def _nearest(
    around: Around,
    others: Sequence[ColumnElement[bool]],
    after: tuple[float, int] | None,
    *,
    reach: int,
    limit: int,
) -> Select[Any]:
    """By distance on the sphere: of the first `reach` places those that meet the conditions."""
    geography = _place.c.last_known_geography
    sphere: ColumnElement[float] = geography.op("<->", return_type=Double())(_POINT)
    near = (
        select(
            _place.c.sk,
            sphere.label("sphere"),
            func.ST_Distance(geography, _POINT, type_=Double).label("distance"),
        )
        .where(_place.c.tenant_id == _TENANT, *_within(geography, _place.c.sk, around, after))
        .order_by(sphere)
        .limit(page_size(reach))
        .subquery("near")
    )
    # One row after the other, in the order of `near`: OFFSET 0 leaves the planner no other way.
    summary = (
        select(*_COLUMNS, customers.c.last_known_geography)
        .outerjoin(_scores, _OF_CUSTOMER)
        .where(customers.c.tenant_id == _TENANT, customers.c.sk == near.c.sk, *others)
        .offset(literal_column("0"))
        .lateral("summary")
    )
    return (
        select(
            *_summary_columns(summary),
            near.c.distance,
            _bearing(_POINT, summary.c.last_known_geography),
            near.c.sphere,
        )
        .select_from(near.join(summary, true()))
        .order_by(near.c.sphere)
        .limit(page_size(limit))
    )


def _all(
    around: Around,
    others: Sequence[ColumnElement[bool]],
    after: tuple[float, int] | None,
    limit: int,
) -> Select[Any]:
    """By true distance and sk, of everybody who meets the conditions."""
    geography = customers.c.last_known_geography
    distance = func.ST_Distance(geography, _POINT, type_=Double).label("distance")
    return (
        select(*_COLUMNS, distance, _bearing(_POINT, geography), literal_column("0.0"))
        .outerjoin(_scores, _OF_CUSTOMER)
        .where(
            customers.c.tenant_id == _TENANT,
            *_within(geography, customers.c.sk, around, after),
            *others,
        )
        .order_by(distance, customers.c.sk)
        .limit(page_size(limit))
    )


def _within(
    geography: ColumnElement[Any],
    sk: ColumnElement[int],
    around: Around,
    after: tuple[float, int] | None,
) -> list[ColumnElement[bool]]:
    """Places within the radius, beyond those of the pages before."""
    found: list[ColumnElement[bool]] = [geography.is_not(None)]
    distance = func.ST_Distance(geography, _POINT, type_=Double)
    if around.radius is not None:
        radius = bindparam("radius", type_=Double)
        found += [
            geography.op("&&", is_comparison=True)(func._ST_Expand(_POINT, radius)),
            distance <= radius,
        ]
    if after is not None:
        found.append(_beyond(distance, sk))
    return found


def _beyond(distance: ColumnElement[float], sk: ColumnElement[int]) -> ColumnElement[bool]:
    after_distance = bindparam("after_distance", type_=Double)
    return or_(
        distance > after_distance,
        and_(distance == after_distance, sk > bindparam("after_sk", type_=BigInteger)),
    )


def _summary_columns(summary: FromClause) -> list[ColumnElement[Any]]:
    return [summary.c[column.name] for column in _COLUMNS]


def _bearing(point: ColumnElement[Any], geography: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.degrees(func.ST_Azimuth(point, geography), type_=Double).label("bearing")


async def list_near_roughly(
    connection: AsyncConnection,
    tenant_id: int,
    around: Around,
    wanted: CustomerFilter,
    *,
    after: tuple[float, int] | None,
    limit: int,
) -> list[NearCustomer]:
    """`list_near` for those who may not learn places: by the distance of each one's district."""
    told = await list_told(connection, tenant_id, wanted, point=around, radius=around.radius)
    told = sorted(
        (each for each in told if after is None or each.distance >= after[0]),
        key=lambda each: each.distance,
    )
    # The districts that hold the page: one more than `limit` customers, not counting those of the
    # pages before, who are all in districts at the distance where the page begins.
    cells: list[str] = []
    distances: list[float] = []
    beyond = 0
    for district in told:
        if beyond >= limit and district.distance > distances[-1]:
            break
        cells.append(district.geohash)
        distances.append(district.distance)
        if after is None or district.distance > after[0]:
            beyond += district.customers
    if not cells:
        return []
    values = _values(tenant_id, around, after) | {"cells": cells, "distances": distances}
    rows = await connection.execute(_roughly(tenant_id, wanted, after, limit), values)
    return [NearCustomer._make(row) for row in rows]


def _roughly(
    tenant_id: int,
    wanted: CustomerFilter,
    after: tuple[float, int] | None,
    limit: int,
) -> Select[Any]:
    told = (
        func.unnest(
            bindparam("cells", type_=ARRAY(Text)), bindparam("distances", type_=ARRAY(Double))
        )
        .table_valued("geohash", "distance")
        .render_derived("told")
    )
    cell: ColumnElement[str] = cast(told.c.geohash, Text(collation="C"))
    summary = (
        select(*_COLUMNS)
        .outerjoin(_scores, _OF_CUSTOMER)
        .where(
            customers.c.tenant_id == _TENANT,
            customers.c.last_known_geohash >= cell,
            customers.c.last_known_geohash < cell + AFTER_GEOHASH,
            *conditions(tenant_id, without_places(wanted)),
        )
        .offset(literal_column("0"))
        .lateral("summary")
    )
    middle = cast(centre_on_map(told.c.geohash), Geography(srid=4326))
    statement = (
        select(
            *_summary_columns(summary),
            told.c.distance,
            _bearing(_POINT, middle),
            literal(0.0, Double),
        )
        .select_from(told.join(summary, true()))
        .order_by(told.c.distance, summary.c.sk)
        .limit(page_size(limit))
    )
    if after is not None:
        statement = statement.where(_beyond(told.c.distance, summary.c.sk))
    return statement
