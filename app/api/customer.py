"""Customers: recorded, changed, found."""

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import quote

from fastapi import Body, Query, Request, Response

from app.api.batch import Batch, Results, answer_batch, batch_route
from app.api.dependencies import Caller, Connection, DatabaseAccess, PathId, admits, requires
from app.api.errors import bad_parameter, problems
from app.api.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, decode_sk, encode, page_of
from app.api.route import router as routes
from app.api.schemas.customer import EXAMPLE, CustomerView
from app.database import Connection as Transaction
from app.domain import search
from app.domain.access import Scope
from app.domain.tenant import Tenant
from app.repositories import customer as customers
from app.repositories.customer import CustomerFilter
from app.services import customer_records
from app.services.outcomes import ItemOutcome
from app.services.records import CustomerPatch, CustomerRecord

router = routes("customers", "/api/customers")

Reader = Annotated[Caller, requires(Scope.CUSTOMERS_READ)]
Writer = Annotated[Caller, requires(Scope.CUSTOMERS_WRITE)]

_MOST_WORDS = 8


@router.post("", status_code=201)
async def create_customer(
    record: Annotated[CustomerRecord, Body(examples=[EXAMPLE])],
    caller: Writer,
    connection: Connection,
    response: Response,
) -> CustomerView:
    """Record a customer who is not known yet; 409 if the id is taken."""
    await customer_records.create_customer(connection, caller.tenant, record, actor=caller.key_id)
    response.headers["Location"] = f"/api/customers/{quote(record.id, safe='')}"
    return await _view(caller, connection, record.id)


@router.post("/batch", **batch_route(CustomerRecord, EXAMPLE))
async def record_customer_batch(
    request: Request,
    caller: Annotated[Caller, admits(Scope.CUSTOMERS_WRITE)],
    database: DatabaseAccess,
    results: Results = "all",
) -> Response:
    """Create or change many customers; what an item leaves out stays as it is."""

    async def write(
        connection: Transaction, tenant: Tenant, records: Sequence[CustomerRecord]
    ) -> list[ItemOutcome]:
        return await customer_records.record_customers(
            connection, tenant, records, actor=caller.key_id
        )

    batch = Batch(CustomerRecord, write, caller.tenant, database)
    return await answer_batch(request, batch, results)


@router.get("")
async def list_customers(
    caller: Reader,
    connection: Connection,
    q: Annotated[
        str | None,
        Query(
            max_length=200,
            description="Words of the name, e-mail, telephone number, code or id. Each has to be "
            "the beginning of one.",
            examples=["siti 0812"],
        ),
    ] = None,
    type: Annotated[str | None, Query(max_length=50, examples=["retail"])] = None,
    tier: Annotated[str | None, Query(max_length=50, examples=["gold"])] = None,
    status: Annotated[str | None, Query(max_length=50, examples=["active"])] = None,
    rfm_segment: Annotated[
        str | None, Query(alias="rfmSegment", max_length=100, examples=["champion"])
    ] = None,
    churn_band: Annotated[
        str | None, Query(alias="churnBand", max_length=50, examples=["high"])
    ] = None,
    store: Annotated[str | None, Query(max_length=255, description="Id of the home store.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[CustomerView]:
    """Find customers, in the order in which they were first recorded."""
    words = search.words(q or "")
    if len(words) > _MOST_WORDS:
        raise bad_parameter("query", "q", f"may have {_MOST_WORDS} words at most")
    found = await customers.list_page(
        connection,
        caller.tenant.id,
        CustomerFilter(
            words=words,
            customer_type=type,
            membership_tier=tier,
            status=status,
            rfm_segment=rfm_segment,
            churn_band=churn_band,
            store_id=store,
        ),
        after=decode_sk(cursor),
        limit=limit + 1,
    )
    shown, next_cursor = page_of(found, limit, lambda customer: encode(customer.sk))
    return Page(
        items=[CustomerView.of(customer, caller.tenant.currency) for customer in shown],
        next_cursor=next_cursor,
    )


@router.get("/{id}")
async def get_customer(id: PathId, caller: Reader, connection: Connection) -> CustomerView:
    """One customer with every declared attribute."""
    return await _view(caller, connection, id)


@router.patch("/{id}", responses=problems(409))
async def change_customer(
    id: PathId,
    patch: Annotated[
        CustomerPatch, Body(examples=[{"membershipTier": "platinum", "companyName": None}])
    ],
    caller: Writer,
    connection: Connection,
) -> CustomerView:
    """Change the attributes that are given; null clears one.

    With `updatedAt`, a change older than the last one is refused with 409.
    """
    await customer_records.change_customer(
        connection, caller.tenant, id, patch, actor=caller.key_id
    )
    return await _view(caller, connection, id)


async def _view(caller: Caller, connection: Connection, customer_id: str) -> CustomerView:
    customer = await customers.get(connection, caller.tenant.id, customer_id)
    return CustomerView.of(customer, caller.tenant.currency)
