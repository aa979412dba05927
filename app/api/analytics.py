"""What the scores say about all customers, and asking for new ones."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query

from app.api.dependencies import Caller, Connection, PathId, requires
from app.api.disclosure import Disclosed
from app.api.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, decode, encode, page_of
from app.api.route import router as routes
from app.api.schemas.analytics import (
    AtRiskView,
    RefreshView,
    RfmDistributionView,
    SegmentsView,
)
from app.api.schemas.profile import ProfileView
from app.domain.access import Scope
from app.domain.churn import ChurnBand
from app.domain.scoring_run import RunMode
from app.repositories import analytics
from app.services import scoring

router = routes("analytics")

Analyst = Annotated[Caller, requires(Scope.ANALYTICS_READ)]
Reader = Annotated[Caller, requires(Scope.CUSTOMERS_READ)]
Scorer = Annotated[Caller, requires(Scope.SCORES_WRITE)]


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
    found = await analytics.list_segments(connection, caller.tenant.id)
    return SegmentsView.of(found, caller.tenant)


@router.get("/api/analytics/rfm/distribution")
async def get_rfm_distribution(caller: Analyst, connection: Connection) -> RfmDistributionView:
    """The grid of recency by frequency scores, with customers and revenue."""
    cells = await analytics.list_rfm_distribution(connection, caller.tenant.id)
    return RfmDistributionView.of(cells, caller.tenant.currency)


@router.get("/api/analytics/at-risk")
async def list_at_risk(
    caller: Analyst,
    connection: Connection,
    disclosure: Disclosed,
    min_score: Annotated[
        float | None,
        Query(alias="minScore", ge=0, le=1, description="Lowest churn score.", examples=[0.6]),
    ] = None,
    band: Annotated[
        list[ChurnBand] | None,
        Query(description="One or more bands; high and critical without any choice."),
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[AtRiskView]:
    """Customers at risk, the greatest value at risk first."""
    if band is None and min_score is None:
        band = [ChurnBand.HIGH, ChurnBand.CRITICAL]
    after = None if cursor is None else decode(cursor, int, int)
    found = await analytics.list_at_risk(
        connection,
        caller.tenant.id,
        min_score=min_score,
        bands=band or [],
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
