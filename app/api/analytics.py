"""What the scores say about all customers, and asking for new ones."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query

from app.api.dependencies import Caller, Connection, PathId, requires
from app.api.disclosure import Disclosed
from app.api.pagination import (
    DEFAULT_LIMIT,
    Cursor,
    Limit,
    Page,
    decode,
    decode_sk,
    encode,
    page_of,
)
from app.api.route import router as routes
from app.api.schemas.analytics import (
    AtRiskView,
    RefreshView,
    RfmDistributionView,
    SegmentCustomerView,
    SegmentsView,
)
from app.api.schemas.profile import ProfileView
from app.domain.access import Scope
from app.domain.churn import ChurnBand
from app.domain.errors import NotFound
from app.domain.scoring_run import RunMode
from app.domain.tenant import Tenant
from app.repositories import analytics, population
from app.services import scoring

router = routes("analytics")

Analyst = Annotated[Caller, requires(Scope.ANALYTICS_READ)]
Reader = Annotated[Caller, requires(Scope.CUSTOMERS_READ)]
Scorer = Annotated[Caller, requires(Scope.SCORES_WRITE)]

MinScore = Annotated[
    float | None,
    Query(alias="minScore", ge=0, le=1, description="Lowest churn score.", examples=[0.6]),
]
Bands = Annotated[
    list[ChurnBand] | None,
    Query(alias="band", description="One or more bands; high and critical without any choice."),
]


def chosen_bands(bands: list[ChurnBand] | None, min_score: float | None) -> list[ChurnBand]:
    """The bands of a list of customers at risk; none where the score alone decides."""
    if bands is None and min_score is None:
        return [ChurnBand.HIGH, ChurnBand.CRITICAL]
    return bands or []


def check_segment(tenant: Tenant, code: str) -> None:
    """Raise NotFound for an RFM segment that the tenant's profile does not have."""
    if code not in {segment.code for segment in tenant.profile.segments}:
        raise NotFound("segment", code)


@router.get("/api/customers/{id}/profile")
async def get_customer_profile(
    id: PathId, caller: Reader, connection: Connection, disclosure: Disclosed
) -> ProfileView:
    """The 360-degree view: who the customer is, what happened, and every score with its reasons."""
    profile = await analytics.get_profile(connection, caller.tenant.id, id)
    return ProfileView.of(profile, caller.tenant, datetime.now(UTC), disclosure)


@router.get("/api/analytics/segments")
async def list_segments(caller: Analyst, connection: Connection) -> SegmentsView:
    """Every RFM segment: how many customers, what they are worth, what to do."""
    found = await population.list_totals(connection, caller.tenant.id, "segment")
    as_of = await population.find_as_of(connection, caller.tenant.id)
    return SegmentsView.of(found["segment"], caller.tenant, as_of)


@router.get("/api/analytics/rfm/distribution")
async def get_rfm_distribution(caller: Analyst, connection: Connection) -> RfmDistributionView:
    """The grid of recency by frequency scores, with customers and revenue."""
    found = await population.list_totals(connection, caller.tenant.id, "grid")
    as_of = await population.find_as_of(connection, caller.tenant.id)
    return RfmDistributionView.of(found["grid"], caller.tenant.currency, as_of)


@router.get("/api/analytics/segments/{segment}/customers")
async def list_segment_customers(
    segment: PathId,
    caller: Analyst,
    connection: Connection,
    disclosure: Disclosed,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[SegmentCustomerView]:
    """The customers of an RFM segment, in the order in which they were first recorded."""
    check_segment(caller.tenant, segment)
    found = await analytics.list_of_segment(
        connection, caller.tenant.id, segment, after=decode_sk(cursor), limit=limit + 1
    )
    shown, next_cursor = page_of(found, limit, lambda customer: encode(customer.sk))
    currency = caller.tenant.currency
    return Page(
        items=[SegmentCustomerView.of(each, currency, disclosure) for each in shown],
        next_cursor=next_cursor,
    )


@router.get("/api/analytics/at-risk")
async def list_at_risk(
    caller: Analyst,
    connection: Connection,
    disclosure: Disclosed,
    min_score: MinScore = None,
    band: Bands = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[AtRiskView]:
    """Customers at risk, the greatest value at risk first."""
    after = None if cursor is None else decode(cursor, int, int)
    found = await analytics.list_at_risk(
        connection,
        caller.tenant.id,
        min_score=min_score,
        bands=chosen_bands(band, min_score),
        after=None if after is None else (after[0], after[1]),
        limit=limit + 1,
    )
    shown, next_cursor = page_of(
        found, limit, lambda customer: encode(customer.value_at_risk, customer.sk)
    )
    return Page(
        items=[AtRiskView.of(customer, caller.tenant, disclosure) for customer in shown],
        next_cursor=next_cursor,
    )


@router.post("/api/analytics/refresh", status_code=202)
async def refresh_scores(
    caller: Scorer,
    connection: Connection,
    mode: Annotated[
        RunMode,
        Query(description="`full` scores everybody and cuts anew; `recent` who changed lately."),
    ] = RunMode.RECENT,
) -> RefreshView:
    """Ask for a scoring run. A run that is waiting already is the one you get."""
    run_id = await scoring.request_run(connection, caller.tenant, mode, requested_by=caller.key_id)
    return RefreshView(job_id=run_id)
