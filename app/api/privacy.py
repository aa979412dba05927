"""The rights of persons: erasure, one record each, and who read what of them."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import Body, Query
from pydantic import AwareDatetime

from app.api.dependencies import Caller, Connection, PathId, requires
from app.api.disclosure import Disclosed
from app.api.errors import BadCursor, problems
from app.api.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, decode, encode, page_of
from app.api.route import router as routes
from app.api.schemas.customer import CustomerView
from app.api.schemas.privacy import (
    AccessView,
    DuplicatePairView,
    ErasureView,
    MergeRequest,
    MergeView,
)
from app.domain.access import Scope
from app.domain.privacy import pseudonym
from app.repositories import access, duplicate
from app.repositories import customer as customers
from app.repositories import erasure as erasures
from app.repositories import tenant as tenants
from app.services.erasure import erase_customer as erase
from app.services.merging import merge_customers

router = routes("privacy", "/api")

Admin = Annotated[Caller, requires(Scope.ADMIN)]
Reader = Annotated[Caller, requires(Scope.CUSTOMERS_READ)]
Writer = Annotated[Caller, requires(Scope.CUSTOMERS_WRITE)]

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9999, 12, 31, tzinfo=UTC)
_HIGHEST_SCORE = 32_767


@router.get("/customers/duplicates")
async def list_duplicates(
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[DuplicatePairView]:
    """Pairs of customers who may be one person, the likeliest first.

    All customers are compared each hour; a pair may be up to an hour behind.
    """
    position = (_HIGHEST_SCORE, 0, 0)
    if cursor is not None:
        score, customer_sk, other_sk = decode(cursor, int, int, int)
        position = (score, customer_sk, other_sk)
        if abs(score) > _HIGHEST_SCORE:
            raise BadCursor
    found = await duplicate.list_page(connection, caller.tenant.id, after=position, limit=limit + 1)
    shown, next_cursor = page_of(
        found, limit, lambda pair: encode(pair.score, pair.customer.sk, pair.other.sk)
    )
    return Page(
        items=[DuplicatePairView.of(pair, disclosure) for pair in shown], next_cursor=next_cursor
    )


@router.delete("/customers/{id}", responses=problems(409))
async def erase_customer(id: PathId, caller: Admin, connection: Connection) -> ErasureView:
    """Erase a customer from every table; records of the same id are refused from then on.

    What the customer bought and answered stays in the totals of its days, without the customer.
    409 while a scoring run is in progress.
    """
    receipt = await erase(connection, caller.tenant, id, actor=caller.key_id)
    return ErasureView.of(receipt)


@router.post("/customers/{id}/merge")
async def merge_customer(
    id: PathId,
    wanted: Annotated[MergeRequest, Body(examples=[{"duplicateId": "cus-456"}])],
    caller: Writer,
    connection: Connection,
) -> MergeView:
    """Join a duplicate to this customer: its history moves here, its id leads here.

    What this customer declares stays, blanks are filled from the duplicate, points are added.
    409 while a scoring run is in progress, and where the two are one already.
    """
    merged = await merge_customers(
        connection,
        caller.tenant,
        target_id=id,
        duplicate_id=wanted.duplicate_id,
        actor=caller.key_id,
    )
    customer = await customers.get(connection, caller.tenant.id, merged.customer_id)
    return MergeView(
        merged_into=merged.customer_id,
        former_id=merged.former_id,
        moved=dict(merged.moved),
        customer=CustomerView.of(customer, caller.tenant.currency),
    )


@router.get("/privacy/erasures")
async def list_erasures(
    caller: Admin, connection: Connection, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[ErasureView]:
    """The receipts of erasures, the latest first."""
    before = None
    if cursor is not None:
        moment, receipt_id = decode(cursor, str, str)
        before = (_instant(moment), _uuid(receipt_id))
    found = await erasures.list_page(connection, caller.tenant.id, before=before, limit=limit + 1)
    shown, next_cursor = page_of(
        found, limit, lambda each: encode(each.erased_at.isoformat(), str(each.receipt_id))
    )
    return Page(items=[ErasureView.of(each) for each in shown], next_cursor=next_cursor)


@router.get("/privacy/audit")
async def list_accesses(
    caller: Admin,
    connection: Connection,
    customer: Annotated[
        str | None, Query(max_length=255, description="Id of a customer, present or erased.")
    ] = None,
    key: Annotated[str | None, Query(max_length=64, description="Id of an API key.")] = None,
    since: Annotated[AwareDatetime | None, Query(alias="from")] = None,
    until: Annotated[AwareDatetime | None, Query(alias="to")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[AccessView]:
    """Who read what of whom, the latest first. A read shows here within about a second."""
    before = (_LATEST, 0)
    if cursor is not None:
        moment, seq = decode(cursor, str, int)
        before = (_instant(moment), seq)
    subject = None
    if customer is not None:
        subject = pseudonym(await tenants.get_pseudonym_key(connection), customer)
    found = await access.list_page(
        connection,
        caller.tenant.id,
        subject=subject,
        key_id=key,
        since=since or _EARLIEST,
        until=until or _LATEST,
        before=before,
        limit=limit + 1,
    )
    shown, next_cursor = page_of(found, limit, lambda each: encode(each.at.isoformat(), each.seq))
    return Page(items=[AccessView.of(each) for each in shown], next_cursor=next_cursor)


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise BadCursor from None
    if instant.tzinfo is None:
        raise BadCursor
    return instant


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadCursor from None
