"""Stores: the venues of the business."""

from typing import Annotated

from fastapi import Body

from app.api.dependencies import Caller, Connection, requires
from app.api.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, decode_sk, encode, page_of
from app.api.route import router as routes
from app.api.schemas.store import EXAMPLE, StoreView
from app.domain.access import Scope
from app.domain.errors import AlreadyExists
from app.repositories import store as stores
from app.services import ingestion
from app.services.records import StoreRecord

router = routes("stores", "/api/stores")

Writer = Annotated[Caller, requires(Scope.CUSTOMERS_WRITE)]
Reader = Annotated[Caller, requires(Scope.CUSTOMERS_READ)]


@router.post("", status_code=201)
async def create_store(
    record: Annotated[StoreRecord, Body(examples=[EXAMPLE])], caller: Writer, connection: Connection
) -> StoreView:
    """Record a venue that is not known yet; 409 if the id is taken."""
    if not await ingestion.record_store(connection, caller.tenant, record):
        # The transaction ends with the error, and takes back what was written.
        raise AlreadyExists("store", record.id)
    return StoreView.of(await stores.get(connection, caller.tenant.id, record.id))


@router.get("")
async def list_stores(
    caller: Reader, connection: Connection, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[StoreView]:
    """Every venue, in the order in which they were first recorded."""
    found = await stores.list_page(
        connection, caller.tenant.id, after=decode_sk(cursor), limit=limit + 1
    )
    shown, next_cursor = page_of(found, limit, lambda store: encode(store.sk))
    return Page(items=[StoreView.of(store) for store in shown], next_cursor=next_cursor)
