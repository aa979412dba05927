"""Answers about all customers over HTTP."""

from datetime import datetime
from decimal import Decimal
from typing import Self
from uuid import UUID

from pydantic import Field

from app.api.schemas.profile import ReasonView, View, churn_reasons
from app.domain.churn import ChurnBand
from app.domain.money import from_minor, round_minor
from app.domain.privacy import FULL, Disclosure
from app.domain.tenant import Tenant
from app.repositories.analytics import AtRiskCustomer, RfmCell, SegmentSummary
from app.repositories.job import JobRun


class SegmentView(View):
    """One RFM segment of the tenant's profile, with or without members."""

    segment: str = Field(examples=["champion"])
    name: str = Field(examples=["Champions"])
    customers: int
    share: float = Field(description="Of the customers with an RFM segment.")
    revenue: Decimal = Field(description="Net revenue of the last 365 days.")
    revenue_share: float
    average_revenue: Decimal | None
    average_orders: float | None
    average_order_value: Decimal | None
    average_days_since_last_order: float | None
    active_in_30_days: int
    inactive_over_90_days: int
    value_tier: str
    recommended_action: str


class SegmentsView(View):
    """Every segment of the profile, best first."""

    items: list[SegmentView]
    currency: str
    as_of: datetime | None

    @classmethod
    def of(cls, found: list[SegmentSummary], tenant: Tenant) -> Self:
        """The profile's segments with what was found of each."""
        summaries = {summary.segment: summary for summary in found}
        customers = sum(summary.customers for summary in found)
        revenue = sum(summary.revenue for summary in found)
        currency = tenant.currency

        def mean(minor: float | None) -> Decimal | None:
            return None if minor is None else from_minor(round_minor(Decimal(minor)), currency)

        items = []
        for segment in tenant.profile.segments:
            s = summaries.get(segment.code)
            items.append(
                SegmentView(
                    segment=segment.code,
                    name=segment.name,
                    customers=s.customers if s else 0,
                    share=s.customers / customers if s else 0.0,
                    revenue=from_minor(s.revenue if s else 0, currency),
                    revenue_share=s.revenue / revenue if s and revenue else 0.0,
                    average_revenue=mean(s.average_revenue if s else None),
                    average_orders=s.average_orders if s else None,
                    average_order_value=mean(s.average_order_value if s else None),
                    average_days_since_last_order=s.average_days_since_last_order if s else None,
                    active_in_30_days=s.active_30d if s else 0,
                    inactive_over_90_days=s.inactive_90d if s else 0,
                    value_tier=segment.value_tier,
                    recommended_action=segment.action,
                )
            )
        as_of = max((summary.as_of for summary in found), default=None)
        return cls(items=items, currency=currency, as_of=as_of)


class RfmCellView(View):
    """The customers with one recency and one frequency score."""

    recency: int = Field(ge=1, le=5)
    frequency: int = Field(ge=1, le=5)
    customers: int
    revenue: Decimal = Field(description="Net revenue of the last 365 days.")


class RfmDistributionView(View):
    """The 5x5 grid, best cell first."""

    items: list[RfmCellView]
    currency: str

    @classmethod
    def of(cls, cells: list[RfmCell], currency: str) -> Self:
        """The grid with revenue in `currency`."""
        return cls(
            items=[
                RfmCellView(
                    recency=cell.recency,
                    frequency=cell.frequency,
                    customers=cell.customers,
                    revenue=from_minor(cell.revenue, currency),
                )
                for cell in cells
            ],
            currency=currency,
        )


class AtRiskView(View):
    """A customer at risk: how much is at stake, why, and what to do."""

    customer_id: str
    code: str | None
    name: str | None = Field(description="Null only where the answer is anonymized.")
    email: str | None
    phone: str | None
    membership_tier: str | None
    rfm_segment: str | None
    churn_score: float
    churn_band: str
    reasons: list[ReasonView]
    recommended_action: str
    value_at_risk: Decimal = Field(description="Lifetime value times the churn score.")
    clv: Decimal | None
    revenue: Decimal
    days_since_last_order: int | None
    orders_30d: int = Field(alias="orders30d")
    orders_90d: int = Field(alias="orders90d")
    order_frequency_trend: str | None
    spend_trend: str | None
    as_of: datetime

    @classmethod
    def of(cls, found: AtRiskCustomer, tenant: Tenant, disclosure: Disclosure = FULL) -> Self:
        """`found` with amounts in the tenant's currency and the profile's action."""
        currency = tenant.currency
        return cls(
            customer_id=disclosure.id(found.id),
            code=disclosure.personal(found.code),
            name=disclosure.personal(found.name),
            email=disclosure.personal(found.email),
            phone=disclosure.personal(found.phone),
            membership_tier=found.membership_tier,
            rfm_segment=found.rfm_segment,
            churn_score=found.churn_score,
            churn_band=found.churn_band,
            reasons=churn_reasons(found, currency),
            recommended_action=tenant.profile.churn_actions[ChurnBand(found.churn_band)],
            value_at_risk=from_minor(found.value_at_risk, currency),
            clv=None if found.clv is None else from_minor(found.clv, currency),
            revenue=from_minor(found.revenue, currency),
            days_since_last_order=found.days_since_last_order,
            orders_30d=found.orders_30d,
            orders_90d=found.orders_90d,
            order_frequency_trend=found.order_frequency_trend,
            spend_trend=found.spend_trend,
            as_of=found.as_of,
        )


class RefreshView(View):
    """A run that was asked for; look it up under `/api/admin/jobs/{jobId}`."""

    job_id: UUID


class JobRunView(View):
    """One run of a job."""

    id: UUID
    kind: str = Field(examples=["full"])
    status: str = Field(examples=["succeeded"])
    requested_at: datetime
    requested_by: str | None
    started_at: datetime | None
    finished_at: datetime | None
    duration_seconds: float | None
    as_of: datetime | None
    rows_read: int | None
    rows_written: int | None
    error: str | None

    @classmethod
    def of(cls, run: JobRun) -> Self:
        """`run` with its duration."""
        duration = (
            (run.finished_at - run.started_at).total_seconds()
            if run.started_at and run.finished_at
            else None
        )
        return cls(
            id=run.id,
            kind=run.kind,
            status=run.status,
            requested_at=run.requested_at,
            requested_by=run.requested_by,
            started_at=run.started_at,
            finished_at=run.finished_at,
            duration_seconds=duration,
            as_of=run.as_of,
            rows_read=run.rows_read,
            rows_written=run.rows_written,
            error=run.error,
        )


class JobKindView(View):
    """How one kind of run is doing. `lagSeconds` is the age of the scores it last left."""

    kind: str = Field(examples=["recent"])
    next_run_at: datetime
    last_succeeded_at: datetime | None
    lag_seconds: float | None
    last_error: str | None


class JobsStatusView(View):
    """How the periodic runs are doing, and the last runs of any kind, newest first."""

    kinds: list[JobKindView]
    runs: list[JobRunView]
