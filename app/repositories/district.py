"""Districts: the cells of five characters that callers who may not know exact places are told of.

Who is not to learn where somebody is must not find it out by asking, either: a small radius, box or
zone around a house would tell. So for such callers a customer is in the middle of the district, and
conditions about places look at that middle. A district in which fewer customers are known than
`SMALL_CELL`, or in which fewer than these are left by the other conditions, is not told of at all.
"""

from dataclasses import dataclass, replace
from typing import Any, Protocol

from geoalchemy2 import Geography
from sqlalchemy import (
    ARRAY,
    Boolean,
    ColumnElement,
    Double,
    TableValuedAlias,
    Text,
    and_,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.cover import ranges_over
from app.domain.geometry import AFTER_GEOHASH, cell_centre
from app.domain.privacy import ROUGH_GEOHASH, SMALL_CELL
from app.repositories.customer import CustomerFilter, area_of, conditions
from app.repositories.tables import customers


@dataclass(frozen=True, slots=True)
class District:
    """A district that may be told of: who of it is wanted; metres from the point asked about."""

    geohash: str
    customers: int
    distance: float = 0.0


class Point(Protocol):
    """A place on WGS 84, in degrees."""

    @property
    def latitude(self) -> float: ...
    @property
    def longitude(self) -> float: ...


def without_places(wanted: CustomerFilter) -> CustomerFilter:
    """What is wanted of customers besides where they are."""
    return replace(wanted, box=None, zone_sk=None, geohash=None)


def point_on_globe(point: Point) -> ColumnElement[Any]:
    """A point for distances in metres."""
    return cast(
        func.ST_SetSRID(func.ST_MakePoint(point.longitude, point.latitude), 4326),
        Geography(srid=4326),
    )


def centre_on_map(cell: ColumnElement[str]) -> ColumnElement[Any]:
    """The middle of a cell, as longitude and latitude."""
    return func.ST_SetSRID(func.ST_PointFromGeoHash(cell), 4326)


#: From the middle of a district to its edge it is 0.022 degrees, and to a corner 3.5 km.
_HALF_DISTRICT_DEGREES: ColumnElement[float] = literal_column("0.03")
_HALF_DISTRICT_METRES = 5_000.0
_CELL: ColumnElement[str] = func.left(
    customers.c.last_known_geohash, literal_column(f"{ROUGH_GEOHASH}")
)


async def list_told(
    connection: AsyncConnection,
    tenant_id: int,
    wanted: CustomerFilter,
    *,
    point: Point | None = None,
    radius: float | None = None,
) -> list[District]:
    """The districts that may be told of whose middle is where it is wanted, by geohash.

    With a `point`, their distance from it; with a `radius` in metres, those within it.
    """
    ranges = _ranges(wanted)
    around = _around(tenant_id, wanted)
    if point is not None and radius is not None:
        reach = func._ST_Expand(point_on_globe(point), radius + _HALF_DISTRICT_METRES)
        around.append(customers.c.last_known_geography.op("&&", is_comparison=True)(reach))
    # All of each district, and a little around. Nothing but the geohash is read where nothing else
    # is asked for, and that is in the index.
    found = (
        select(_CELL.label("cell"), and_(True, *_others(tenant_id, wanted)).label("matches"))
        .where(
            customers.c.tenant_id == tenant_id,
            customers.c.last_known_geohash >= ranges.c.first,
            customers.c.last_known_geohash < ranges.c.beyond,
            *around,
        )
        .lateral("found")
    )
    cell, count = found.c.cell, func.count()
    matching = count.filter(found.c.matches)
    centre = centre_on_map(cell)
    distance: ColumnElement[float] = literal_column("0.0", Double)
    inside: ColumnElement[bool] = true()
    if wanted.zone_sk is not None:
        inside = func.ST_Covers(area_of(tenant_id, wanted.zone_sk), centre, type_=Boolean)
    if point is not None:
        distance = func.ST_Distance(
            cast(centre, Geography(srid=4326)), point_on_globe(point), type_=Double
        )
    # What is asked of a middle is selected, not made a condition: that would be put to each row.
    statement = (
        select(cell, matching, distance, inside)
        .select_from(ranges.join(found, true()))
        .group_by(cell)
        .having(count >= SMALL_CELL)
        .having(matching >= SMALL_CELL)
        .order_by(cell)
    )
    return [
        District(cell, customers_of_it, metres)
        for cell, customers_of_it, metres, is_inside in await connection.execute(statement)
        if is_inside and _in_box(cell, wanted) and (radius is None or metres <= radius)
    ]


def _others(tenant_id: int, wanted: CustomerFilter) -> list[ColumnElement[bool]]:
    return conditions(tenant_id, without_places(wanted))


def _ranges(wanted: CustomerFilter) -> TableValuedAlias:
    """Ranges of geohashes that hold every district whose middle may be where it is wanted."""
    if wanted.box is not None:
        bounds = ranges_over(wanted.box)
    elif wanted.geohash is not None:
        cell = wanted.geohash[:ROUGH_GEOHASH]
        bounds = [(cell, cell + AFTER_GEOHASH)]
    else:
        bounds = [("", AFTER_GEOHASH)]
    return (
        func.unnest(
            bindparam("firsts", [first for first, _ in bounds], type_=_TEXTS),
            bindparam("beyonds", [beyond for _, beyond in bounds], type_=_TEXTS),
        )
        .table_valued(column("first", Text), column("beyond", Text))
        .render_derived("ranges")
    )


_TEXTS = ARRAY(Text)


def _around(tenant_id: int, wanted: CustomerFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.zone_sk is not None:
        area = func.ST_Expand(area_of(tenant_id, wanted.zone_sk), _HALF_DISTRICT_DEGREES)
        found.append(customers.c.last_known_location.op("&&", is_comparison=True)(area))
    if wanted.box is not None and wanted.geohash is not None:
        cell = wanted.geohash[:ROUGH_GEOHASH]
        found.append(
            and_(
                customers.c.last_known_geohash >= cell,
                customers.c.last_known_geohash < cell + AFTER_GEOHASH,
            )
        )
    return found


def _in_box(cell: str, wanted: CustomerFilter) -> bool:
    if wanted.box is None:
        return True
    latitude, longitude = cell_centre(cell)
    return any(
        part.west <= longitude <= part.east and part.south <= latitude <= part.north
        for part in wanted.box.parts()
    )
