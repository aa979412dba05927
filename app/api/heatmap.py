"""Heat maps: what customers come to, square by square."""

from typing import Annotated

from fastapi import Query

from app.api import audit
from app.api.dependencies import Caller, Connection, UserId, check_user_id, requires
from app.api.disclosure import Disclosed
from app.api.place_filter import Places
from app.api.route import router as routes
from app.api.schemas.heatmap import HeatmapView
from app.domain.access import Scope
from app.domain.heat_grid import DEEPEST_TILE, LEVELS_BELOW_TILE, Grid, grid_for
from app.repositories import cluster as clusters
from app.repositories import heatmap as heatmaps
from app.repositories.heatmap import Weight

router = routes("geo", "/api/geo")

Reader = Annotated[Caller, requires(Scope.GEO_READ)]

DEFAULT_ZOOM = 10


@router.get("/heatmap")
async def get_heatmap(
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
    places: Places,
    weight: Annotated[
        Weight,
        Query(
            description="Customers; their net revenue of all time; the sum of their churn scores; "
            "their value at risk."
        ),
    ] = Weight.CUSTOMERS,
    zoom: Annotated[
        int,
        Query(ge=0, le=DEEPEST_TILE, description="Of the map; a tile has 32 squares on a side."),
    ] = DEFAULT_ZOOM,
    user_id: UserId = None,
) -> HeatmapView:
    """A weighted grid of the wanted customers by their last known place."""
    check_user_id(caller, user_id)
    audit.note_shown(0)  # it tells of groups
    tenant = caller.tenant
    wanted = await places.resolve(connection, tenant.id)
    if disclosure.anonymous:
        districts = await clusters.list_districts(connection, tenant.id, wanted)
        box = wanted.box or heatmaps.around_cells([each.geohash for each in districts])
    else:
        box = await heatmaps.find_extent(connection, tenant.id, wanted)
    grid = Grid(zoom + LEVELS_BELOW_TILE) if box is None else grid_for(zoom, box)
    if disclosure.anonymous:
        squares = heatmaps.squares_of(districts, grid, weight)
    elif box is None:
        squares = []
    else:
        squares = await heatmaps.list_squares(
            connection, tenant.id, wanted, grid=grid, weight=weight
        )
    return HeatmapView.of(
        squares, weight=weight, zoom=zoom, grid=grid, box=box, currency=tenant.currency
    )
