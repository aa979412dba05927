"""Orders: recorded, corrected, read."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Body, Query, Request, Response

from app.api.batch import Batch, Results, answer_batch, batch_route
from app.api.dependencies import Caller, Connection, DatabaseAccess, PathId, admits, requires
from app.api.pagination import (
    DEFAULT_LIMIT,
    Cursor,
    Limit,
    Page,
    decode_moment,
    encode,
    page_of,
)
from app.api.route import router as routes
from app.api.schemas.order import EXAMPLE, OrderSummary, OrderView
from app.database import Connection as Transaction
from app.domain.access import Scope
from app.domain.tenant import Tenant
from app.repositories import customer as customers
from app.repositories import order as orders
from app.services.ingestion import change_order, create_or_replace_order, record_orders
from app.services.outcomes import ItemOutcome
from app.services.records import OrderPatch, OrderRecord

router = routes("orders")

Reader = Annotated[Caller, requires(Scope.CUSTOMERS_READ)]
Writer = Annotated[Caller, requires(Scope.ORDERS_WRITE)]

CreateCustomers = Annotated[
    bool,
    Query(
        alias="createCustomers",
        description="Create the customer of an order where it is unknown, instead of refusing.",
    ),
]


@router.post("/api/orders/batch", **batch_route(OrderRecord, EXAMPLE))
async def record_order_batch(
    request: Request,
    caller: Annotated[Caller, admits(Scope.ORDERS_WRITE)],
    database: DatabaseAccess,
    create_customers: CreateCustomers = False,
    results: Results = "all",
) -> Response:
    """Record many orders by their ids, and bring the figures of their customers up to date."""

    async def write(
        connection: Transaction, tenant: Tenant, records: Sequence[OrderRecord]
    ) -> list[ItemOutcome]:
        return await record_orders(
            connection,
            tenant,
            records,
            create_customers=create_customers,
            actor=caller.key_id,
        )

    return await answer_batch(request, Batch(OrderRecord, write, caller.tenant, database), results)


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
async def get_order(id: PathId, caller: Reader, connection: Connection) -> OrderView:
    """One order with its items."""
    return await _view(connection, caller, id)


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
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[OrderSummary]:
    """The orders of a customer, newest first."""
    customer = await customers.get(connection, caller.tenant.id, id)
    found = await orders.list_of_customer(
        connection, caller.tenant.id, customer.sk, before=decode_moment(cursor), limit=limit + 1
    )
    shown, next_cursor = page_of(
        found, limit, lambda order: encode(order.ordered_at.isoformat(), order.sk)
    )
    return Page(
        items=[OrderSummary.of(order, caller.tenant.currency) for order in shown],
        next_cursor=next_cursor,
    )


async def _view(connection: Connection, caller: Caller, order_id: str) -> OrderView:
    order = await orders.get(connection, caller.tenant.id, order_id)
    return OrderView.of(order, caller.tenant.currency)
