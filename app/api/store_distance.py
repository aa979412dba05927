"""The nearest stores: to a point, and to each customer."""

from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Any

from starlette.responses import Response

from app import database as db
from app.api.csv_stream import MEDIA_TYPE, Cell, CsvResponse, row_of
from app.api.dependencies import (
    Caller,
    Connection,
    DatabaseAccess,
    UserId,
    admits,
    check_user_id,
    requires,
)
from app.api.disclosure import Anonymize, Disclosed, disclosure_to
from app.api.errors import bad_parameter
from app.api.nearest import Nearest, NearestPage
from app.api.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, decode_sk, encode, page_of
from app.api.place_filter import PlaceFilter, Places
from app.api.point import OptionalPoint
from app.api.route import router as routes
from app.api.schemas.store_distance import CustomerStoresView, NearStoreView
from app.domain.access import Scope
from app.domain.privacy import Disclosure
from app.repositories import district as districts
from app.repositories import store_distance
from app.repositories.customer import CustomerFilter
from app.repositories.district import District

router = routes("geo", "/api/geo/stores")

Reader = Annotated[Caller, requires(Scope.GEO_READ)]
Exporter = Annotated[Caller, admits(Scope.EXPORTS_READ)]


@router.get("/nearest")
async def list_nearest_stores(
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
    point: OptionalPoint,
    places: Places,
    k: Nearest = None,
    user_id: UserId = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[NearStoreView] | Page[CustomerStoresView]:
    """With a point, the stores by their distance from it, the nearest first.

    Without one, each customer whose place is known, in the order of their record, with the nearest
    store and the home store.
    """
    check_user_id(caller, user_id)
    tenant_id = caller.tenant.id
    if point is not None:
        if places != PlaceFilter(CustomerFilter(), None):
            raise bad_parameter(
                "query", "latitude", "goes without a filter of customers: it is stores that follow"
            )
        page = NearestPage.of(cursor, limit, k)
        stores = (
            await store_distance.list_near(
                connection, tenant_id, point, after=page.after, limit=page.size + 1
            )
            if page.size
            else []
        )
        near, next_cursor = page.split(stores)
        return Page(items=[NearStoreView.of(each) for each in near], next_cursor=next_cursor)
    if k is not None:
        raise bad_parameter("query", "k", "goes with a latitude and a longitude only")
    wanted = await places.resolve(connection, tenant_id)
    found = await store_distance.list_of_customers(
        connection,
        tenant_id,
        wanted,
        districts=await _told(connection, tenant_id, wanted, disclosure),
        after=decode_sk(cursor),
        limit=limit + 1,
    )
    shown, next_cursor = page_of(found, limit, lambda each: encode(each.sk))
    return Page(
        items=[CustomerStoresView.of(each, disclosure) for each in shown], next_cursor=next_cursor
    )


_COLUMNS = [field.alias or name for name, field in CustomerStoresView.model_fields.items()]
_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A CSV file (RFC 4180, UTF-8, a header line). Texts that a spreadsheet would"
        " take for a formula begin with an apostrophe.",
        "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get("/nearest.csv", response_class=Response, responses=_FILE)
async def export_nearest_stores(
    caller: Exporter,
    database: DatabaseAccess,
    places: Places,
    user_id: UserId = None,
    anonymize: Anonymize = False,
) -> CsvResponse:
    """Each customer whose place is known, with the nearest store and the home store, as CSV."""
    check_user_id(caller, user_id)
    tenant_id = caller.tenant.id
    async with database.tenant_transaction(tenant_id) as connection:
        wanted = await places.resolve(connection, tenant_id)

    async def rows() -> AsyncGenerator[Sequence[Sequence[Cell]]]:
        async with database.tenant_transaction(tenant_id) as connection:
            disclosure = await disclosure_to(connection, caller, anonymize)
            told = await _told(connection, tenant_id, wanted, disclosure)
            async for found in store_distance.stream_of_customers(
                connection, tenant_id, wanted, districts=told
            ):
                views = (CustomerStoresView.of(each, disclosure) for each in found)
                yield [row_of(view.model_dump(by_alias=True), _COLUMNS) for view in views]

    return CsvResponse("nearest-stores", _COLUMNS, rows())


async def _told(
    connection: db.Connection, tenant_id: int, wanted: CustomerFilter, disclosure: Disclosure
) -> list[District] | None:
    """The districts that an anonymous caller may be told of; None for others."""
    if not disclosure.anonymous:
        return None
    return await districts.list_told(connection, tenant_id, wanted)
