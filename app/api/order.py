"""Orders: recorded, corrected, read."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Body, Response

from app.api.audit import note_subject
from app.api.batch import CreateCustomers
from app.api.dependencies import Caller, Connection, PathId, requires
from app.api.disclosure import Disclosed
from app.api.errors import BadCursor
from app.api.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, decode, encode, page_of
from app.api.route import router as routes
from app.api.schemas.order import EXAMPLE, OrderSummary, OrderView
from app.domain.access import Scope
from app.repositories import customer as customers
from app.repositories import order as orders
from app.services.ingestion import change_order, create_or_replace_order
from app.services.records import OrderPatch, OrderRecord

router = routes("orders")

Reader = Annotated[Caller, requires(Scope.CUSTOMERS_READ)]
Writer = Annotated[Caller, requires(Scope.ORDERS_WRITE)]

_LATEST = datetime.max.replace(tzinfo=UTC)


@router.post(
    "/api/orders",
    status_code=201,
    responses={200: {"model": OrderView, "description": "The order was there already."}},
)
async def record_order(
    record: Annotated[OrderRecord, Body(examples=[EXAMPLE])],
    caller: Writer,
    connection: Connection,
    response: Response,
    create_customers: CreateCustomers = False,
) -> OrderView:
    """Record an order by its id; the customer's figures are up to date with the answer."""
    created = await create_or_replace_order(
        connection,
        caller.tenant,
        record,
        create_customers=create_customers,
        actor=caller.key_id,
    )
    if not created:
        response.status_code = 200
    return await _view(connection, caller, record.id)


@router.get("/api/orders/{id}")
async def get_order(
    id: PathId, caller: Reader, connection: Connection, disclosure: Disclosed
) -> OrderView:
    """One order with its items."""
    order = await orders.get(connection, caller.tenant.id, id)
    note_subject(order.customer_id)
    return OrderView.of(order, caller.tenant.currency, disclosure)


@router.patch("/api/orders/{id}")
async def correct_order(
    id: PathId,
    patch: Annotated[OrderPatch, Body(examples=[{"status": "refunded"}])],
    caller: Writer,
    connection: Connection,
) -> OrderView:
    """Change the status, the refund or the notes of an order."""
    await change_order(connection, caller.tenant, id, patch)
    return await _view(connection, caller, id)


@router.get("/api/customers/{id}/orders")
async def list_customer_orders(
    id: PathId,
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[OrderSummary]:
    """The orders of a customer, newest first."""
    customer = await customers.get(connection, caller.tenant.id, id)
    found = await orders.list_of_customer(
        connection, caller.tenant.id, customer.sk, before=_position(cursor), limit=limit + 1
    )
    shown, next_cursor = page_of(
        found, limit, lambda order: encode(order.ordered_at.isoformat(), order.sk)
    )
    return Page(
        items=[OrderSummary.of(order, caller.tenant.currency, disclosure) for order in shown],
        next_cursor=next_cursor,
    )


def _position(cursor: str | None) -> tuple[datetime, int]:
    if cursor is None:
        return _LATEST, 0
    moment, sk = decode(cursor, str, int)
    try:
        ordered_at = datetime.fromisoformat(moment)
    except ValueError:
        raise BadCursor from None
    if ordered_at.tzinfo is None:
        raise BadCursor
    return ordered_at, sk


async def _view(connection: Connection, caller: Caller, order_id: str) -> OrderView:
    order = await orders.get(connection, caller.tenant.id, order_id)
    return OrderView.of(order, caller.tenant.currency)
