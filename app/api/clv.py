"""Lifetime value of all customers: tiers, distribution, the most valuable."""

from typing import Annotated

from app.api.dependencies import Caller, Connection, requires
from app.api.disclosure import Disclosed
from app.api.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, decode, encode, page_of
from app.api.route import router as routes
from app.api.schemas.clv import ClvDistributionView, ClvTiersView, ValuedCustomerView
from app.domain.access import Scope
from app.repositories import analytics, population

router = routes("analytics", "/api/analytics/clv")

Analyst = Annotated[Caller, requires(Scope.ANALYTICS_READ)]


@router.get("/tiers")
async def get_clv_tiers(caller: Analyst, connection: Connection) -> ClvTiersView:
    """Every tier of the profile: how many customers, what they are worth."""
    found = await population.list_totals(connection, caller.tenant.id, "clv_tier")
    as_of = await population.find_as_of(connection, caller.tenant.id)
    return ClvTiersView.of(found["clv_tier"], caller.tenant, as_of)


@router.get("/distribution")
async def get_clv_distribution(caller: Analyst, connection: Connection) -> ClvDistributionView:
    """How many customers are worth how much."""
    found = await population.list_totals(connection, caller.tenant.id, "clv_bucket")
    as_of = await population.find_as_of(connection, caller.tenant.id)
    return ClvDistributionView.of(found["clv_bucket"], caller.tenant.currency, as_of)


@router.get("/top")
async def list_most_valuable(
    caller: Analyst,
    connection: Connection,
    disclosure: Disclosed,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[ValuedCustomerView]:
    """Customers by lifetime value, the greatest first, each with the share of the whole."""
    after = None if cursor is None else decode(cursor, int, int)
    found = await analytics.list_top(
        connection,
        caller.tenant.id,
        after=None if after is None else (after[0], after[1]),
        limit=limit + 1,
    )
    totals = await population.list_totals(connection, caller.tenant.id, "lifecycle")
    whole = sum(each.clv for each in totals["lifecycle"])
    shown, next_cursor = page_of(found, limit, lambda customer: encode(customer.clv, customer.sk))
    currency = caller.tenant.currency
    return Page(
        items=[ValuedCustomerView.of(each, whole, currency, disclosure) for each in shown],
        next_cursor=next_cursor,
    )
