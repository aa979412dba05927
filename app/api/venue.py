"""Customers as one venue knows them: every figure from the orders there only."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query

from app.api.dependencies import (
    Caller,
    Connection,
    CustomerId,
    DatabaseAccess,
    VenueId,
    admits,
    requires,
)
from app.api.disclosure import Disclosed
from app.api.errors import bad_parameter
from app.api.journey import Kinds, Since, Until, cursor_of, journey_filter, position_of
from app.api.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, decode_sk, encode, page_of
from app.api.route import router as routes
from app.api.schemas.insight import InsightsView
from app.api.schemas.journey import MomentView
from app.api.schemas.venue import (
    VenueClvView,
    VenueCustomerView,
    VenueInsightsView,
    VenueProfileView,
    VenueRfmView,
    VenueSegmentsView,
)
from app.domain import search
from app.domain.access import Scope
from app.domain.errors import Forbidden
from app.domain.journey import JourneyKind
from app.domain.scoring_run import run_clock
from app.repositories import customer as customers
from app.repositories import cutoffs, journey
from app.repositories import store as stores
from app.repositories import venue as venues
from app.repositories.analytics import Analytics
from app.repositories.customer import Customer, CustomerFilter
from app.services import venue as venue_service
from app.services.scoring import statements_for

router = routes("venues", "/api/customers/venue/{venueId}")

Analyst = Annotated[Caller, admits(Scope.ANALYTICS_READ)]
Reader = Annotated[Caller, requires(Scope.CUSTOMERS_READ)]

_MOST_WORDS = 8


@router.get("/segments")
async def list_venue_segments(
    venue_id: VenueId, caller: Analyst, database: DatabaseAccess
) -> VenueSegmentsView:
    """How the customers with an order at the venue divide, by stage of life and by RFM segment.

    Counted at most once an hour; `computedAt` says when.
    """
    found = await venue_service.count_segments(
        database, caller.tenant, venue_id, now=datetime.now(UTC)
    )
    return VenueSegmentsView.of(venue_id, found, caller.tenant)


@router.get("/search")
async def search_venue_customers(
    venue_id: VenueId,
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
    q: Annotated[
        str,
        Query(
            min_length=1,
            max_length=200,
            description="Words of the name, e-mail, telephone number, code or id. Each has to be "
            "the beginning of one.",
            examples=["siti 0812"],
        ),
    ],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[VenueCustomerView]:
    """Find customers with an order at the venue, in the order in which they were recorded."""
    if Scope.CUSTOMERS_ANONYMIZED in caller.scopes:
        raise Forbidden(
            "A key with the scope customers:anonymized cannot search by q: a name or a telephone "
            "number that finds a pseudonym would undo it."
        )
    words = search.words(q)
    if not 1 <= len(words) <= _MOST_WORDS:
        raise bad_parameter("query", "q", f"must have 1 to {_MOST_WORDS} words")
    tenant = caller.tenant
    store = await stores.get(connection, tenant.id, venue_id)
    found = await customers.list_page(
        connection,
        tenant.id,
        CustomerFilter(words=words, buys_at_store_sk=store.sk),
        after=decode_sk(cursor),
        limit=limit + 1,
    )
    shown, next_cursor = page_of(found, limit, lambda customer: encode(customer.sk))
    visits = await venues.list_visits(
        connection,
        tenant.id,
        store.sk,
        [customer.sk for customer in shown],
        as_of=tenant.as_of(datetime.now(UTC)),
    )
    return Page(
        items=[
            VenueCustomerView.of(customer, visits, tenant.currency, disclosure)
            for customer in shown
        ],
        next_cursor=next_cursor,
    )


@router.get("/{customerId}")
async def get_venue_customer(
    venue_id: VenueId,
    customer_id: CustomerId,
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
) -> VenueProfileView:
    """One customer as the venue alone would know them; zeros where there is no order there."""
    customer, found = await _at_venue(connection, caller, venue_id, customer_id, datetime.now(UTC))
    return VenueProfileView.of(venue_id, customer, found, caller.tenant.currency, disclosure)


@router.get("/{customerId}/insights")
async def list_venue_customer_insights(
    venue_id: VenueId,
    customer_id: CustomerId,
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
) -> VenueInsightsView:
    """What stands out about the customer at this venue, the weightiest first."""
    now = datetime.now(UTC)
    customer, found = await _at_venue(connection, caller, venue_id, customer_id, now)
    view = InsightsView.of(customer, found, caller.tenant, now, disclosure)
    return VenueInsightsView(
        venue_id=venue_id, customer_id=view.customer_id, as_of=view.as_of, items=view.items
    )


@router.get("/{customerId}/rfm")
async def get_venue_customer_rfm(
    venue_id: VenueId,
    customer_id: CustomerId,
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
) -> VenueRfmView:
    """The RFM scores that the orders at this venue give, by the cutoffs of the whole business."""
    now = datetime.now(UTC)
    customer, found = await _at_venue(connection, caller, venue_id, customer_id, now)
    stored = await cutoffs.find_latest(connection, caller.tenant.id)
    return VenueRfmView.at(venue_id, customer, found, stored, caller.tenant, now, disclosure)


@router.get("/{customerId}/clv")
async def get_venue_customer_clv(
    venue_id: VenueId,
    customer_id: CustomerId,
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
) -> VenueClvView:
    """The lifetime value that the orders at this venue promise."""
    now = datetime.now(UTC)
    customer, found = await _at_venue(connection, caller, venue_id, customer_id, now)
    return VenueClvView.at(venue_id, customer, found, caller.tenant, now, disclosure)


@router.get("/{customerId}/journey")
async def list_venue_customer_journey(
    venue_id: VenueId,
    customer_id: CustomerId,
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
    kinds: Kinds = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[MomentView]:
    """The orders and the feedback of the customer at this venue, newest first.

    The other kinds of moments belong to no venue.
    """
    tenant = caller.tenant
    after = position_of(cursor)
    wanted = journey_filter(tenant, kinds or list(JourneyKind), since, until, after)
    store = await stores.get(connection, tenant.id, venue_id)
    customer = await customers.get(connection, tenant.id, customer_id)
    found = await journey.list_page_at_store(
        connection, tenant.id, customer.sk, store.sk, wanted, after=after, limit=limit + 1
    )
    shown, next_cursor = page_of(found, limit, cursor_of)
    return Page(
        items=[MomentView.of(moment, tenant.currency, disclosure) for moment in shown],
        next_cursor=next_cursor,
    )


async def _at_venue(
    connection: Connection, caller: Caller, venue_id: str, customer_id: str, now: datetime
) -> tuple[Customer, Analytics]:
    """The customer, and every figure from the orders at the venue. Raises NotFound."""
    tenant = caller.tenant
    store = await stores.get(connection, tenant.id, venue_id)
    customer = await customers.get(connection, tenant.id, customer_id)
    found = await venues.get_analytics(
        connection,
        statements_for(tenant),
        tenant.id,
        run_clock(tenant, tenant.as_of(now)),
        customer_sk=customer.sk,
        store_sk=store.sk,
    )
    return customer, found
