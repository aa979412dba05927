"""Vector tiles for maps, and the document that tells a map of them."""

import hashlib
from dataclasses import replace
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends, Path, Query, Request, Response

from app.api.audit import note_shown
from app.api.dependencies import Caller, Connection, requires
from app.api.disclosure import Disclosed
from app.api.errors import bad_parameter
from app.api.place_filter import Attributes
from app.api.route import router as routes
from app.api.schemas.tile import LAYERS, TileJsonView
from app.domain.access import Scope
from app.domain.geometry import cell_centre
from app.domain.tile import (
    FEW_POINTS,
    MAX_ZOOM,
    MOST_POINTS,
    POINTS_FROM_ZOOM,
    Tile,
    units_in,
)
from app.repositories import district
from app.repositories import tile as tiles
from app.repositories.customer import CustomerFilter
from app.repositories.tile import Layer

router = routes("geo", "/api/geo")

Reader = Annotated[Caller, requires(Scope.GEO_READ)]

MEDIA_TYPE = "application/vnd.mapbox-vector-tile"

#: A map that is moved about asks for the same tiles again and again.
_FRESH_SECONDS = 60
_CACHING = {
    "Cache-Control": f"private, max-age={_FRESH_SECONDS}",
    "Vary": "Authorization, X-API-Key",
}


def _layers(
    layers: Annotated[
        str | None,
        Query(
            max_length=100,
            description=f"Which of {', '.join(LAYERS)}, joined by commas; all of them if left out.",
            examples=["customers,stores"],
        ),
    ] = None,
) -> list[str]:
    if layers is None:
        return list(LAYERS)
    wanted = layers.split(",")
    if strange := [each for each in wanted if each not in LAYERS]:
        raise bad_parameter("query", "layers", f"{strange[0]!r} is none of {', '.join(LAYERS)}")
    return [each for each in LAYERS if each in wanted]


Layers = Annotated[list[str], Depends(_layers)]


@router.get("/tiles.json")
async def get_tile_json(
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
    attributes: Attributes,
    layers: Layers,
    request: Request,
) -> TileJsonView:
    """A TileJSON 3.0 document: where the tiles are, how far they reach, what is in their layers.

    The query of this request is passed on to the tiles.
    """
    bounds = await tiles.find_bounds(
        connection, caller.tenant.id, with_customers=not disclosure.anonymous
    )
    note_shown(0)
    query = request.query_params.multi_items()
    template = f"{str(request.base_url).rstrip('/')}/api/geo/tiles/{{z}}/{{x}}/{{y}}.mvt"
    if query:
        template += f"?{urlencode(query)}"
    # A rough place is nobody's, and where the outermost of them are would tell of few.
    world = None if disclosure.anonymous and "customers" in layers else bounds
    return TileJsonView.of(template, world, layers, anonymous=disclosure.anonymous)


@router.get(
    "/tiles/{z}/{x}/{y}.mvt",
    response_class=Response,
    responses={
        200: {
            "description": "The tile, in the Mapbox Vector Tile format 2.1.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        },
        204: {"description": "Nothing is there."},
        304: {"description": "As the caller has it, by If-None-Match."},
    },
)
async def get_tile(
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
    attributes: Attributes,
    layers: Layers,
    request: Request,
    z: Annotated[int, Path(ge=0, le=MAX_ZOOM, description="Zoom.", examples=[12])],
    x: Annotated[int, Path(ge=0, description="Column, from the west.", examples=[3263])],
    y: Annotated[int, Path(ge=0, description="Row, from the north.", examples=[2118])],
) -> Response:
    """A vector tile with the layers `customers`, `zones` and `stores`.

    Customers are points from zoom 14 on, or where there are few; else they are counted by the cells
    of a grid. The filter holds for customers only.
    """
    try:
        tile = Tile(z, x, y)
    except ValueError as error:
        raise bad_parameter("path", "x", str(error)) from error
    tenant_id = caller.tenant.id
    note_shown(0)
    parts = []
    if "customers" in layers:
        if disclosure.anonymous:
            layer = await _districts(connection, tenant_id, tile, attributes)
        else:
            layer = await _customers(connection, tenant_id, tile, attributes)
        parts.append(layer.encoded)
    if "zones" in layers:
        parts.append(await tiles.draw_zones(connection, tenant_id, tile))
    if "stores" in layers:
        parts.append(await tiles.draw_stores(connection, tenant_id, tile))
    return _answer(request, b"".join(parts))


async def _customers(
    connection: Connection, tenant_id: int, tile: Tile, wanted: CustomerFilter
) -> Layer:
    """Points where there are few enough of them, else counts."""
    detailed = tile.zoom >= POINTS_FROM_ZOOM
    most = MOST_POINTS if detailed else FEW_POINTS
    totals = None
    if wanted == CustomerFilter() and not detailed and tile.grid is not None:
        totals = await tiles.count_by_totals(connection, tenant_id, tile, tile.grid)
        if totals.customers > most or not totals.customers:
            return totals
    points = await tiles.list_points(connection, tenant_id, tile, wanted, limit=most)
    if points is not None:
        note_shown(points.customers)
        return points
    return totals or await tiles.count_wanted(connection, tenant_id, tile, wanted)


async def _districts(
    connection: Connection, tenant_id: int, tile: Tile, wanted: CustomerFilter
) -> Layer:
    """Counts at the centres of districts, at whatever zoom."""
    told = await district.list_told(connection, tenant_id, replace(wanted, box=tile.box()))
    placed = [
        (each.customers, *units)
        for each in told
        if (units := units_in(tile, *cell_centre(each.geohash))) is not None
    ]
    return await tiles.draw_counts(connection, placed)


def _answer(request: Request, encoded: bytes) -> Response:
    if not encoded:
        return Response(status_code=204, headers=_CACHING)
    tag = f'"{hashlib.sha256(encoded).hexdigest()[:32]}"'
    headers = _CACHING | {"ETag": tag}
    if _is_known(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=headers)
    return Response(encoded, media_type=MEDIA_TYPE, headers=headers)


def _is_known(if_none_match: str, tag: str) -> bool:
    # Compared weakly, as RFC 9110 says of If-None-Match.
    known = [each.strip().removeprefix("W/") for each in if_none_match.split(",")]
    return tag in known or known == ["*"]
