"""Vector tiles: layers of customers, zones and stores, encoded by the database.

A customer is drawn in exactly one tile of each zoom, so that the counts of four tiles are the count
of the one above them. Where that is, `mercator_x` and `mercator_y` say, for the totals and for the
rows alike. Layers of one tile may be joined end to end.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import (
    CTE,
    ColumnElement,
    Integer,
    LargeBinary,
    and_,
    cast,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.geometry import Box
from app.domain.tile import BUFFER, CELLS_A_SIDE, EXTENT, GRIDS, MAX_LATITUDE, Tile, grid_box
from app.repositories.customer import CustomerFilter, conditions
from app.repositories.page import page_size
from app.repositories.tables import customer_analytics, customers


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of a tile and how many customers it shows, each by itself or in a count."""

    encoded: bytes
    customers: int


_COUNTED = text(f"""
    WITH counted AS (
        SELECT CAST(sum(customers) AS bigint) AS customers,
               sum(customers * (2 * (x - :west) + 1)) AS east,
               sum(customers * (2 * (y - :north) + 1)) AS south
        FROM place_totals
        WHERE tenant_id = :tenant_id AND zoom = :grid AND code >= :first AND code < :beyond
        GROUP BY (x - :west) >> :shift, (y - :north) >> :shift
        HAVING sum(customers) > 0
        ORDER BY (y - :north) >> :shift, (x - :west) >> :shift
    ), drawn AS (
        SELECT true AS cluster, customers,
               ST_MakePoint(floor(east * :unit / (2 * customers)),
                            floor(south * :unit / (2 * customers))) AS geom
        FROM counted
    )
    SELECT ST_AsMVT(drawn, 'customers', {EXTENT}, 'geom') AS encoded,
           coalesce(sum(customers), 0) AS customers
    FROM drawn
""")


async def count_by_totals(
    connection: AsyncConnection, tenant_id: int, tile: Tile, grid: int
) -> Layer:
    """Everybody in the tile by the cells of `grid`, or by larger ones where those are too many.

    A count is placed at the centre of the cells that it counts, each weighing what it holds.
    """
    finer = grid - tile.zoom
    first, beyond = tile.codes(grid)
    row = (
        await connection.execute(
            _COUNTED,
            {
                "tenant_id": tenant_id,
                "grid": grid,
                "first": first,
                "beyond": beyond,
                "west": tile.x << finer,
                "north": tile.y << finer,
                "shift": max(finer - (CELLS_A_SIDE.bit_length() - 1), 0),
                "unit": EXTENT >> finer,
            },
        )
    ).one()
    return Layer(bytes(row.encoded), int(row.customers))


def _on_map(tile: Tile) -> tuple[ColumnElement[int], ColumnElement[int], ColumnElement[bool]]:
    """Columns of `customers`: units from the tile's west, from its north, and whether within."""
    size = 1 << tile.zoom
    right = func.mercator_x(customers.c.last_known_longitude) * size - tile.x
    down = func.mercator_y(customers.c.last_known_latitude) * size - tile.y
    box = tile.box(BUFFER)
    within = and_(
        customers.c.last_known_location.op("&&", is_comparison=True)(
            func.ST_MakeEnvelope(box.west, box.south, box.east, box.north, 4326)
        ),
        customers.c.last_known_latitude > -MAX_LATITUDE,
        customers.c.last_known_latitude < MAX_LATITUDE,
        right >= 0,
        right < 1,
        down >= 0,
        down < 1,
    )
    return (
        cast(func.floor(right * EXTENT), Integer),
        cast(func.floor(down * EXTENT), Integer),
        within,
    )


def _encoded(drawn: CTE) -> ColumnElement[bytes]:
    return func.ST_AsMVT(
        literal_column(drawn.name), "customers", EXTENT, "geom", type_=LargeBinary
    ).label("encoded")


# Under a name of its own: a condition on scores looks at the table by itself.
_scores = customer_analytics.alias("scores")


async def list_points(
    connection: AsyncConnection, tenant_id: int, tile: Tile, wanted: CustomerFilter, *, limit: int
) -> Layer | None:
    """The wanted customers in the tile one by one; None where there are more than `limit`."""
    right, down, within = _on_map(tile)
    drawn = (
        select(
            customers.c.id,
            customers.c.name,
            _scores.c.rfm_segment.label("rfmSegment"),
            _scores.c.churn_band.label("churnBand"),
            func.ST_MakePoint(right, down).label("geom"),
        )
        .select_from(
            customers.outerjoin(
                _scores,
                and_(
                    _scores.c.tenant_id == customers.c.tenant_id,
                    _scores.c.customer_sk == customers.c.sk,
                ),
            )
        )
        .where(customers.c.tenant_id == tenant_id, within, *conditions(tenant_id, wanted))
        .limit(page_size(limit + 1))
        .cte("drawn")
    )
    statement = select(_encoded(drawn), func.count().label("customers")).select_from(drawn)
    row = (await connection.execute(statement)).one()
    return Layer(bytes(row.encoded), row.customers) if row.customers <= limit else None


async def count_wanted(
    connection: AsyncConnection, tenant_id: int, tile: Tile, wanted: CustomerFilter
) -> Layer:
    """The wanted customers in the tile, counted by its cells, each count where they are on average.

    Reads every customer in the tile.
    """
    right, down, within = _on_map(tile)
    side = literal_column(f"{EXTENT // CELLS_A_SIDE}", Integer)
    placed = (
        select(right.label("x"), down.label("y"))
        .where(customers.c.tenant_id == tenant_id, within, *conditions(tenant_id, wanted))
        .cte("placed")
    )
    drawn = (
        select(
            literal_column("true").label("cluster"),
            func.count().label("customers"),
            func.ST_MakePoint(
                func.floor(func.avg(placed.c.x)), func.floor(func.avg(placed.c.y))
            ).label("geom"),
        )
        .group_by(placed.c.y // side, placed.c.x // side)
        .order_by(placed.c.y // side, placed.c.x // side)
        .cte("drawn")
    )
    statement = select(
        _encoded(drawn), func.coalesce(func.sum(drawn.c.customers), 0).label("customers")
    ).select_from(drawn)
    row = (await connection.execute(statement)).one()
    return Layer(bytes(row.encoded), int(row.customers))


_DRAW_COUNTS = text(f"""
    WITH drawn AS (
        SELECT true AS cluster, customers, ST_MakePoint(x, y) AS geom
        FROM unnest(CAST(:counts AS bigint[]), CAST(:xs AS integer[]), CAST(:ys AS integer[]))
             AS placed (customers, x, y)
    )
    SELECT ST_AsMVT(drawn, 'customers', {EXTENT}, 'geom') AS encoded FROM drawn
""")


async def draw_counts(connection: AsyncConnection, placed: Sequence[tuple[int, int, int]]) -> Layer:
    """A layer of counts that are known already: how many, units from the west, from the north."""
    counts, xs, ys = zip(*placed, strict=True) if placed else ((), (), ())
    encoded = await connection.scalar(
        _DRAW_COUNTS, {"counts": list(counts), "xs": list(xs), "ys": list(ys)}
    )
    return Layer(bytes(encoded or b""), sum(counts))


# Clipped before it is projected: the poles are beyond the map, and most of a large area is beyond
# the tile.
_ZONES = text(f"""
    WITH drawn AS (
        SELECT z.id, z.name, s.id AS "storeId",
               ST_AsMVTGeom(
                   ST_Transform(ST_ClipByBox2D(z.area, CAST(b.box AS box2d)), 3857),
                   ST_TileEnvelope(:zoom, :x, :y), {EXTENT}, {BUFFER}, true
               ) AS geom
        FROM (SELECT ST_MakeEnvelope(:west, :south, :east, :north, 4326) AS box) b
        CROSS JOIN delivery_zones z
        LEFT JOIN stores s ON s.tenant_id = z.tenant_id AND s.sk = z.store_sk
        WHERE z.tenant_id = :tenant_id
          AND z.area && ST_MakeEnvelope(:west, :south, :east, :north, 4326)
        ORDER BY z.sk
    )
    SELECT ST_AsMVT(drawn, 'zones', {EXTENT}, 'geom') AS encoded FROM drawn
    WHERE geom IS NOT NULL
""")


async def draw_zones(connection: AsyncConnection, tenant_id: int, tile: Tile) -> bytes:
    """The layer of the zones that meet the tile."""
    box = tile.box(BUFFER)
    encoded = await connection.scalar(
        _ZONES,
        {
            "tenant_id": tenant_id,
            "zoom": tile.zoom,
            "x": tile.x,
            "y": tile.y,
            "west": box.west,
            "south": box.south,
            "east": box.east,
            "north": box.north,
        },
    )
    return bytes(encoded or b"")


_STORES = text(f"""
    WITH placed AS (
        SELECT id, name, kind, city,
               mercator_x(ST_X(location)) * :size - :x AS x,
               mercator_y(ST_Y(location)) * :size - :y AS y
        FROM stores
        WHERE tenant_id = :tenant_id
          AND location && ST_MakeEnvelope(:west, :south, :east, :north, 4326)
          AND abs(ST_Y(location)) < {MAX_LATITUDE}
        ORDER BY sk
    ), drawn AS (
        SELECT id, name, kind, city,
               ST_MakePoint(floor(x * {EXTENT}), floor(y * {EXTENT})) AS geom
        FROM placed WHERE x >= 0 AND x < 1 AND y >= 0 AND y < 1
    )
    SELECT ST_AsMVT(drawn, 'stores', {EXTENT}, 'geom') AS encoded FROM drawn
""")


async def draw_stores(connection: AsyncConnection, tenant_id: int, tile: Tile) -> bytes:
    """The layer of the stores in the tile."""
    box = tile.box(BUFFER)
    encoded = await connection.scalar(
        _STORES,
        {
            "tenant_id": tenant_id,
            "size": float(1 << tile.zoom),
            "x": tile.x,
            "y": tile.y,
            "west": box.west,
            "south": box.south,
            "east": box.east,
            "north": box.north,
        },
    )
    return bytes(encoded or b"")


_CUSTOMERS_EXTENT = text("""
    SELECT min(x) AS west, min(y) AS north, max(x) AS east, max(y) AS south
    FROM place_totals WHERE tenant_id = :tenant_id AND zoom = :grid
""")
_DRAWN_EXTENT = text("""
    SELECT ST_XMin(found) AS west, ST_YMin(found) AS south, ST_XMax(found) AS east,
           ST_YMax(found) AS north
    FROM (
        SELECT ST_Extent(area) AS found FROM delivery_zones WHERE tenant_id = :tenant_id
        UNION ALL
        SELECT ST_Extent(location) FROM stores
        WHERE tenant_id = :tenant_id AND location IS NOT NULL
    ) AS extents
    WHERE found IS NOT NULL
""")

_ROUGH_GRID = GRIDS[0]


async def find_bounds(
    connection: AsyncConnection, tenant_id: int, *, with_customers: bool
) -> Box | None:
    """A box that holds what the tenant's tiles show; None where they show nothing.

    Customers count by cells of about 40 km.
    """
    parameters = {"tenant_id": tenant_id}
    boxes = [
        Box(row.west, row.south, row.east, row.north)
        for row in await connection.execute(_DRAWN_EXTENT, parameters)
    ]
    if with_customers:
        cells = (
            await connection.execute(_CUSTOMERS_EXTENT, parameters | {"grid": _ROUGH_GRID})
        ).one()
        if cells.west is not None:
            boxes.append(grid_box(_ROUGH_GRID, cells.west, cells.north, cells.east, cells.south))
    if not boxes:
        return None
    return Box(
        min(box.west for box in boxes),
        max(min(box.south for box in boxes), -MAX_LATITUDE),
        max(box.east for box in boxes),
        min(max(box.north for box in boxes), MAX_LATITUDE),
    )


_COMPACT = text("SELECT compact_place_totals(:tenant_id)")


async def compact(connection: AsyncConnection, tenant_id: int) -> None:
    """Make one row of the rows of each cell that something was appended to."""
    await connection.execute(_COMPACT, {"tenant_id": tenant_id})
