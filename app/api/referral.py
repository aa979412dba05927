"""Whom a customer brought along."""

from typing import Annotated

from fastapi import Query

from app.api.dependencies import Caller, Connection, PathId, requires
from app.api.disclosure import Disclosed
from app.api.pagination import DEFAULT_LIMIT, Cursor, Limit, decode_sk, encode, page_of
from app.api.route import router as routes
from app.api.schemas.referral import ReferralTreeView
from app.domain.access import Scope
from app.repositories import customer as customers
from app.repositories import referral
from app.repositories.referral import MAX_DEPTH

router = routes("referrals", "/api/customers")

Reader = Annotated[Caller, requires(Scope.CUSTOMERS_READ)]

_DEFAULT_DEPTH = 3


@router.get("/{id}/referrals")
async def list_customer_referrals(
    id: PathId,
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
    depth: Annotated[
        int, Query(ge=1, le=MAX_DEPTH, description="How many levels to look down.")
    ] = _DEFAULT_DEPTH,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> ReferralTreeView:
    """The referral tree by levels, with counts and revenue, and the direct referrals in pages."""
    tenant = caller.tenant
    after = decode_sk(cursor)
    customer = await customers.get(connection, tenant.id, id)
    levels = await referral.list_levels(connection, tenant.id, customer.sk, depth=depth)
    found = await referral.list_direct(
        connection, tenant.id, customer.sk, after=after, limit=limit + 1
    )
    shown, next_cursor = page_of(found, limit, lambda each: encode(each.sk))
    return ReferralTreeView.of(
        customer.id, depth, levels, shown, next_cursor, tenant.currency, disclosure
    )
