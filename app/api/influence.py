"""Who brings customers."""

from typing import Annotated

from app.api.dependencies import Caller, Connection, requires
from app.api.disclosure import Disclosed
from app.api.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, decode, encode, page_of
from app.api.route import router as routes
from app.api.schemas.influence import InfluencerView
from app.domain.access import Scope
from app.repositories import influence

router = routes("analytics", "/api/analytics")

Analyst = Annotated[Caller, requires(Scope.ANALYTICS_READ)]


@router.get("/influencers")
async def list_influencers(
    caller: Analyst,
    connection: Connection,
    disclosure: Disclosed,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[InfluencerView]:
    """Customers who referred others, the most influential first, with their network's revenue."""
    after = None if cursor is None else decode(cursor, float, int)
    found = await influence.list_influencers(
        connection,
        caller.tenant.id,
        after=None if after is None else (after[0], after[1]),
        limit=limit + 1,
    )
    shown, next_cursor = page_of(
        found, limit, lambda customer: encode(customer.influence_score, customer.sk)
    )
    currency = caller.tenant.currency
    return Page(
        items=[InfluencerView.of(each, currency, disclosure) for each in shown],
        next_cursor=next_cursor,
    )
