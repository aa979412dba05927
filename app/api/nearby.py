"""Customers near a point."""

from typing import Annotated

from fastapi import Query

from app.api.dependencies import Caller, Connection, UserId, check_user_id, requires
from app.api.disclosure import Disclosed
from app.api.nearest import Nearest, NearestPage
from app.api.pagination import DEFAULT_LIMIT, Cursor, Limit, Page
from app.api.place_filter import Places
from app.api.point import QueryPoint
from app.api.route import router as routes
from app.api.schemas.nearby import NearCustomerView
from app.domain.access import Scope
from app.domain.geodesy import FARTHEST_METRES
from app.repositories import nearby
from app.repositories.nearby import Around

router = routes("geo", "/api/geo/nearby")

Reader = Annotated[Caller, requires(Scope.GEO_READ)]


@router.get("/customers")
async def list_nearby_customers(
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
    point: QueryPoint,
    places: Places,
    radius: Annotated[
        float | None,
        Query(
            ge=0,
            le=FARTHEST_METRES,
            allow_inf_nan=False,
            description="Only customers within so many metres, the edge included.",
            examples=[2000],
        ),
    ] = None,
    k: Nearest = None,
    user_id: UserId = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[NearCustomerView]:
    """Customers by the distance of their last known place, the nearest first.

    Without a radius and without k, everybody whose place is known.
    """
    check_user_id(caller, user_id)
    page = NearestPage.of(cursor, limit, k)
    wanted = await places.resolve(connection, caller.tenant.id)
    find = nearby.list_near_roughly if disclosure.anonymous else nearby.list_near
    found = (
        await find(
            connection,
            caller.tenant.id,
            Around(point.latitude, point.longitude, radius),
            wanted,
            after=page.after,
            limit=page.size + 1,
        )
        if page.size
        else []
    )
    shown, next_cursor = page.split(found)
    return Page(
        items=[NearCustomerView.of(each, disclosure) for each in shown], next_cursor=next_cursor
    )
