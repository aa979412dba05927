"""Delivery zones: the areas that a tenant delivers to."""

import json
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Double,
    Row,
    Select,
    Text,
    and_,
    delete,
    func,
    or_,
    select,
    text,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.cover import ranges_over
from app.domain.errors import NotFound
from app.domain.geometry import AFTER_GEOHASH, FINEST_PRECISION, Box
from app.repositories import district
from app.repositories.customer import CustomerFilter
from app.repositories.page import limited, page_size
from app.repositories.tables import delivery_zones, stores


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone. `area` is a GeoJSON Polygon, or a MultiPolygon where it has several parts."""

    sk: int
    id: str
    name: str
    description: str | None
    store_id: str | None
    area: dict[str, Any]
    area_square_metres: float
    properties: dict[str, Any]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ZoneCustomer:
    """A customer whose last known place is in a zone."""

    sk: int
    id: str
    name: str
    customer_type: str
    latitude: float
    longitude: float
    geohash: str
    captured_at: datetime | None
    rfm_segment: str | None
    churn_band: str | None


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why an area is not one, and at which place of it, in degrees."""

    reason: str
    longitude: float
    latitude: float


async def get_sk(connection: AsyncConnection, tenant_id: int, zone_id: str) -> int:
    """What refers to the zone called `zone_id`. Raises NotFound."""
    sk = await connection.scalar(
        select(delivery_zones.c.sk).where(
            delivery_zones.c.tenant_id == tenant_id, delivery_zones.c.id == zone_id
        )
    )
    if sk is None:
        raise NotFound("zone", zone_id)
    return int(sk)


_AREA = delivery_zones.c.area
#: On the globe, by a projection that keeps areas (EPSG:6933) and the edges straight as they are on
#: the map of degrees; longer edges than a degree are cut, because slanting ones bend.
_EQUAL_AREA = 6933
_SQUARE_METRES: ColumnElement[float] = func.ST_Area(
    func.ST_Transform(func.ST_Segmentize(_AREA, 1.0, type_=None), _EQUAL_AREA, type_=None),
    type_=Double,
)
#: Nine decimals of a degree are a tenth of a millimetre.
_SELECT: Select[Any] = select(
    delivery_zones.c.sk,
    delivery_zones.c.id,
    delivery_zones.c.name,
    delivery_zones.c.description,
    stores.c.id.label("store_id"),
    func.ST_AsGeoJSON(func.ST_CollectionHomogenize(_AREA, type_=None), 9, type_=Text).label("area"),
    _SQUARE_METRES.label("area_square_metres"),
    delivery_zones.c.properties,
    delivery_zones.c.created_at,
    delivery_zones.c.updated_at,
).select_from(
    delivery_zones.outerjoin(
        stores,
        and_(
            stores.c.tenant_id == delivery_zones.c.tenant_id,
            stores.c.sk == delivery_zones.c.store_sk,
        ),
    )
)


def _read(row: Row[Any]) -> Zone:
    values = row._asdict()
    return Zone(**values | {"area": json.loads(values["area"])})


async def get(connection: AsyncConnection, tenant_id: int, zone_id: str) -> Zone:
    """The zone called `zone_id`. Raises NotFound."""
    row = (
        await connection.execute(
            _SELECT.where(delivery_zones.c.tenant_id == tenant_id, delivery_zones.c.id == zone_id)
        )
    ).first()
    if row is None:
        raise NotFound("zone", zone_id)
    return _read(row)


async def list_page(
    connection: AsyncConnection,
    tenant_id: int,
    *,
    store_id: str | None,
    box: Box | None,
    after: int,
    limit: int,
) -> list[Zone]:
    """Up to `limit` zones with an `sk` beyond `after`, those recorded first in front.

    Those of one store and those that meet a box only, where one is given.
    """
    statement = _SELECT.where(delivery_zones.c.tenant_id == tenant_id, delivery_zones.c.sk > after)
    if store_id is not None:
        statement = statement.where(stores.c.id == store_id)
    if box is not None:
        statement = statement.where(or_(*(_meets(part) for part in box.parts())))
    rows = await connection.execute(statement.order_by(delivery_zones.c.sk).limit(page_size(limit)))
    return [_read(row) for row in rows]


def _meets(box: Box) -> ColumnElement[bool]:
    envelope = func.ST_MakeEnvelope(box.west, box.south, box.east, box.north, 4326)
    return and_(
        _AREA.op("&&", is_comparison=True)(envelope),
        func.ST_Intersects(_AREA, envelope, type_=Boolean),
    )


async def list_at(
    connection: AsyncConnection,
    tenant_id: int,
    *,
    latitude: float,
    longitude: float,
    after: tuple[float, int],
    limit: int,
) -> list[Zone]:
    """Up to `limit` zones that hold the point or have it on their edge, the smallest first.

    `after` is the area and the `sk` of the zone before, in square metres.
    """
    point = func.ST_SetSRID(func.ST_MakePoint(longitude, latitude), 4326)
    rows = await connection.execute(
        _SELECT.where(
            delivery_zones.c.tenant_id == tenant_id,
            _AREA.op("&&", is_comparison=True)(point),
            func.ST_Covers(_AREA, point, type_=Boolean),
            tuple_(_SQUARE_METRES, delivery_zones.c.sk) > tuple_(*after),
        )
        .order_by(_SQUARE_METRES, delivery_zones.c.sk)
        .limit(page_size(limit))
    )
    return [_read(row) for row in rows]


_FLAW = text("""
    SELECT (detail).reason,
           ST_X((detail).location) AS longitude, ST_Y((detail).location) AS latitude
    FROM (
        SELECT ST_IsValidDetail(ST_GeomFromGeoJSON(CAST(:area AS text))) AS detail
    ) AS checked
    WHERE NOT (detail).valid
""")


async def find_flaw(connection: AsyncConnection, area: dict[str, Any]) -> Flaw | None:
    """Where a GeoJSON MultiPolygon crosses itself or overlaps; None where it does not."""
    row = (await connection.execute(_FLAW, {"area": json.dumps(area)})).first()
    return None if row is None else Flaw(row.reason, row.longitude, row.latitude)


_UPSERT = """
INSERT INTO delivery_zones AS z
    (tenant_id, id, name, description, store_sk, area, properties)
VALUES ($1, $2, $3, $4, $5,
        ST_Multi(ST_ForcePolygonCCW(ST_SetSRID(ST_GeomFromGeoJSON($6::text), 4326))), $7::jsonb)
ON CONFLICT (tenant_id, id) DO UPDATE SET
    name = excluded.name,
    description = excluded.description,
    store_sk = excluded.store_sk,
    area = excluded.area,
    properties = excluded.properties,
    updated_at = now()
RETURNING xmax = 0
"""


async def upsert(
    connection: AsyncConnection,
    tenant_id: int,
    *,
    zone_id: str,
    name: str,
    description: str | None,
    store_sk: int | None,
    area: dict[str, Any],
    properties: dict[str, Any],
) -> bool:
    """Write the zone, outer rings counter-clockwise; True where it is new.

    `area` is a GeoJSON Polygon or MultiPolygon without a flaw.
    """
    result = await connection.exec_driver_sql(
        _UPSERT,
        (
            tenant_id,
            zone_id,
            name,
            description,
            store_sk,
            json.dumps(area),
            json.dumps(properties),
        ),
    )
    return bool(result.scalar_one())


async def remove(connection: AsyncConnection, tenant_id: int, zone_id: str) -> None:
    """Delete the zone called `zone_id`. Raises NotFound."""
    result = await connection.execute(
        delete(delivery_zones).where(
            delivery_zones.c.tenant_id == tenant_id, delivery_zones.c.id == zone_id
        )
    )
    if not result.rowcount:
        raise NotFound("zone", zone_id)


_BOX = text("""
    SELECT ST_XMin(area) AS west, ST_YMin(area) AS south, ST_XMax(area) AS east,
           ST_YMax(area) AS north
    FROM delivery_zones WHERE tenant_id = :tenant_id AND sk = :zone_sk
""")


async def _ranges(
    connection: AsyncConnection, tenant_id: int, zone_sk: int
) -> dict[str, list[str]]:
    """The ranges of geohashes around a zone, as `firsts` and `beyonds`."""
    row = (
        await connection.execute(_BOX, {"tenant_id": tenant_id, "zone_sk": zone_sk})
    ).one_or_none()
    if row is None:  # deleted since it was looked up
        return {"firsts": [], "beyonds": []}
    ranges = ranges_over(Box(row.west, row.south, row.east, row.north), FINEST_PRECISION)
    return {
        "firsts": [first for first, _ in ranges],
        "beyonds": [beyond for _, beyond in ranges],
    }


_AREA_OF = """
    (SELECT area FROM delivery_zones WHERE tenant_id = :tenant_id AND sk = :zone_sk)
"""
_COLUMNS = """
    c.sk, c.id, c.name, c.customer_type, c.last_known_latitude AS latitude,
    c.last_known_longitude AS longitude, c.last_known_geohash AS geohash,
    c.last_location_captured_at AS captured_at, a.rfm_segment, a.churn_band
"""

# In the order of the index, so that a page costs what a page holds: the page of each range begins
# where the last one ended, and the first of them all is taken.
_CUSTOMERS = f"""
    WITH inside AS MATERIALIZED (
        SELECT found.sk, found.last_known_geohash
        FROM unnest(CAST(:firsts AS text[]), CAST(:beyonds AS text[]))
             AS ranges (first, beyond)
        CROSS JOIN LATERAL (
            SELECT sk, last_known_geohash FROM customers
            WHERE tenant_id = :tenant_id
              AND last_known_geohash >= ranges.first AND last_known_geohash < ranges.beyond
              AND (last_known_geohash, sk) > (:after_geohash, :after_sk)
              AND ST_Covers({_AREA_OF}, last_known_location)
            ORDER BY last_known_geohash, sk LIMIT :limit
        ) AS found
        ORDER BY found.last_known_geohash, found.sk LIMIT :limit
    )
    SELECT {_COLUMNS}
    FROM inside
    JOIN customers c ON c.tenant_id = :tenant_id AND c.sk = inside.sk
    LEFT JOIN customer_analytics a ON a.tenant_id = c.tenant_id AND a.customer_sk = c.sk
    ORDER BY inside.last_known_geohash, inside.sk
"""


async def list_customers(
    connection: AsyncConnection,
    tenant_id: int,
    zone_sk: int,
    *,
    after: tuple[str, int],
    limit: int,
) -> list[ZoneCustomer]:
    """Up to `limit` customers last known in the zone or on its edge, neighbours together.

    `after` is the geohash and the `sk` of the customer before.
    """
    rows = await connection.execute(
        limited(_CUSTOMERS, limit),
        {
            "tenant_id": tenant_id,
            "zone_sk": zone_sk,
            "after_geohash": after[0],
            "after_sk": after[1],
            **await _ranges(connection, tenant_id, zone_sk),
        },
    )
    return [ZoneCustomer(*row) for row in rows]


async def stream_customers(
    connection: AsyncConnection, tenant_id: int, zone_sk: int
) -> AsyncIterator[list[ZoneCustomer]]:
    """All customers of the zone in the order of `list_customers`, some at a time."""
    after = ("", 0)
    while found := await list_customers(
        connection, tenant_id, zone_sk, after=after, limit=_STREAMED_ROWS
    ):
        yield found
        after = found[-1].geohash, found[-1].sk


_STREAMED_ROWS = 1000

_COUNT = text(f"""
    SELECT count(*) FROM customers
    WHERE tenant_id = :tenant_id AND last_known_location && {_AREA_OF}
      AND ST_Covers({_AREA_OF}, last_known_location)
""")


async def count_customers(connection: AsyncConnection, tenant_id: int, zone_sk: int) -> int:
    """How many customers were last known in the zone or on its edge."""
    found = await connection.scalar(_COUNT, {"tenant_id": tenant_id, "zone_sk": zone_sk})
    return int(found or 0)


async def list_districts(
    connection: AsyncConnection, tenant_id: int, zone_sk: int
) -> dict[str, int]:
    """The districts whose centre is in the zone, and how many customers are in each.

    Those only that may be told of; see `repositories.district`.
    """
    told = await district.list_told(connection, tenant_id, CustomerFilter(zone_sk=zone_sk))
    return {each.geohash: each.customers for each in told}


# Not in the order of their places, which would tell where in a district a customer is.
_OF_DISTRICTS = f"""
    WITH inside AS MATERIALIZED (
        SELECT c.sk
        FROM unnest(CAST(:districts AS text[])) AS d (district)
        JOIN customers c ON c.tenant_id = :tenant_id AND c.last_known_geohash >= d.district
            AND c.last_known_geohash < d.district || '{AFTER_GEOHASH}'
        WHERE c.sk > :after
        ORDER BY c.sk LIMIT :limit
    )
    SELECT {_COLUMNS}
    FROM inside
    JOIN customers c ON c.tenant_id = :tenant_id AND c.sk = inside.sk
    LEFT JOIN customer_analytics a ON a.tenant_id = c.tenant_id AND a.customer_sk = c.sk
    ORDER BY inside.sk
"""


async def list_of_districts(
    connection: AsyncConnection,
    tenant_id: int,
    districts: Collection[str],
    *,
    after: int,
    limit: int,
) -> list[ZoneCustomer]:
    """Up to `limit` customers of these districts with an `sk` beyond `after`."""
    rows = await connection.execute(
        limited(_OF_DISTRICTS, limit),
        {"tenant_id": tenant_id, "districts": list(districts), "after": after},
    )
    return [ZoneCustomer(*row) for row in rows]


async def stream_of_districts(
    connection: AsyncConnection, tenant_id: int, districts: Collection[str]
) -> AsyncIterator[list[ZoneCustomer]]:
    """All customers of these districts in the order of `list_of_districts`, some at a time."""
    after = 0
    while found := await list_of_districts(
        connection, tenant_id, districts, after=after, limit=_STREAMED_ROWS
    ):
        yield found
        after = found[-1].sk


@dataclass(frozen=True, slots=True)
class ServiceArea:
    """What is nearer to one site than to any other. `area` is GeoJSON; None for a site without.

    `number` is that of the site in the list that was asked about.
    """

    number: int
    area: dict[str, Any] | None
    area_square_metres: float


_SITES = text("""
    SELECT sk, id, name, ST_Y(location) AS latitude, ST_X(location) AS longitude
    FROM stores
    WHERE tenant_id = :tenant_id
      AND (CAST(:ids AS text[]) IS NULL OR id = ANY (CAST(:ids AS text[])))
    ORDER BY id
""")


async def list_store_places(
    connection: AsyncConnection, tenant_id: int, ids: Sequence[str] | None
) -> list[tuple[int, str, str, float | None, float | None]]:
    """The `sk`, id, name, latitude and longitude of the stores called so; of all without ids."""
    rows = await connection.execute(_SITES, {"tenant_id": tenant_id, "ids": ids and list(ids)})
    return [(row.sk, row.id, row.name, row.latitude, row.longitude) for row in rows]


# On a flat map around the middle of the bounds, on which distances from a place grow the same in
# every direction (stereographic). The bounds are cut into pieces before they go there, and the
# areas before they come back, because a straight line there is not one here.
_VORONOI = text(f"""
    WITH sites AS (
        SELECT CAST(number - 1 AS integer) AS number,
               ST_Transform(
                   ST_SetSRID(ST_MakePoint(longitude, latitude), 4326), CAST(:flat AS text)
               ) AS place
        FROM unnest(CAST(:longitudes AS double precision[]), CAST(:latitudes AS double precision[]))
             WITH ORDINALITY AS s (longitude, latitude, number)
    ), bounds AS (
        SELECT box, ST_Transform(ST_Segmentize(box, :piece), CAST(:flat AS text)) AS flat_box
        FROM (SELECT ST_MakeEnvelope(:west, :south, :east, :north, 4326) AS box) AS drawn
    ), cells AS (
        SELECT (ST_Dump(ST_VoronoiPolygons(
            ST_Collect(place), 0.0, (SELECT flat_box FROM bounds)
        ))).geom AS cell
        FROM sites
    ), areas AS (
        SELECT s.number,
               ST_CollectionExtract(ST_Intersection(
                   ST_MakeValid(ST_SetSRID(ST_Transform(
                       ST_Segmentize(ST_Intersection(c.cell, b.flat_box), :edge),
                       CAST(:flat AS text), CAST(:globe AS text)
                   ), 4326)),
                   b.box
               ), 3) AS area
        FROM sites s JOIN cells c ON ST_Covers(c.cell, s.place) CROSS JOIN bounds b
    )
    SELECT number, ST_AsGeoJSON(ST_ForcePolygonCCW(area), 9) AS area,
           ST_Area(ST_Transform(ST_Segmentize(area, 1.0), {_EQUAL_AREA})) AS square_metres,
           ST_IsEmpty(area) AS is_empty
    FROM areas
    ORDER BY number
""")

#: Into so many pieces the sides of the bounds are cut.
_PIECES = 256
_LONGEST_EDGE_METRES = 10_000.0


async def compute_service_areas(
    connection: AsyncConnection, places: Sequence[tuple[float, float]], bounds: Box
) -> list[ServiceArea]:
    """For each of at least two different places the part of `bounds` that it is nearest to.

    A place is latitude and longitude.
    """
    middle = (bounds.south + bounds.north) / 2, (bounds.west + bounds.east) / 2
    rows = await connection.execute(
        _VORONOI,
        {
            "longitudes": [longitude for _, longitude in places],
            "latitudes": [latitude for latitude, _ in places],
            "west": bounds.west,
            "south": bounds.south,
            "east": bounds.east,
            "north": bounds.north,
            "flat": f"+proj=stere +datum=WGS84 +lat_0={middle[0]:.6f} +lon_0={middle[1]:.6f}",
            # Longitudes as they are around the bounds, not beyond the antimeridian.
            "globe": f"+proj=longlat +datum=WGS84 +lon_wrap={middle[1]:.6f}",
            "piece": max(bounds.east - bounds.west, bounds.north - bounds.south) / _PIECES,
            "edge": _LONGEST_EDGE_METRES,
        },
    )
    return [
        ServiceArea(row.number, None if row.is_empty else json.loads(row.area), row.square_metres)
        for row in rows
    ]


_MEASURE = text(f"""
    SELECT ST_AsGeoJSON(ST_ForcePolygonCCW(box), 9) AS area,
           ST_Area(ST_Transform(box, {_EQUAL_AREA})) AS square_metres
    FROM (SELECT ST_MakeEnvelope(:west, :south, :east, :north, 4326) AS box) AS drawn
""")


async def measure_box(connection: AsyncConnection, bounds: Box) -> ServiceArea:
    """The whole of `bounds`, for the only place there is."""
    row = (
        await connection.execute(
            _MEASURE,
            {
                "west": bounds.west,
                "south": bounds.south,
                "east": bounds.east,
                "north": bounds.north,
            },
        )
    ).one()
    return ServiceArea(0, json.loads(row.area), row.square_metres)
