"""Answers about all customers over HTTP."""

import itertools
from datetime import datetime
from decimal import Decimal
from typing import Self
from uuid import UUID

from pydantic import Field

from app.api.schemas.figures import amount, mean, mean_amount, nobody, share
from app.api.schemas.profile import ReasonView, View, churn_reasons
from app.domain.churn import ChurnBand
from app.domain.money import from_minor
from app.domain.privacy import Disclosure
from app.domain.tenant import Tenant
from app.repositories.analytics import AtRiskCustomer, SegmentCustomer
from app.repositories.job import JobRun
from app.repositories.population import Totals


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
    def of(cls, found: list[Totals], tenant: Tenant, as_of: datetime | None) -> Self:
        """The profile's segments with what was found of each."""
        totals = {each.a: each for each in found}
        customers = sum(each.customers for each in found)
        revenue = sum(each.revenue_365d for each in found)
        currency = tenant.currency
        items = []
        for segment in tenant.profile.segments:
            t = totals.get(segment.code, nobody(segment.code))
            items.append(
                SegmentView(
                    segment=segment.code,
                    name=segment.name,
                    customers=t.customers,
                    share=share(t.customers, customers),
                    revenue=from_minor(t.revenue_365d, currency),
                    revenue_share=share(t.revenue_365d, revenue),
                    average_revenue=mean_amount(t.revenue_365d, t.customers, currency),
                    average_orders=mean(t.orders_365d, t.customers),
                    average_order_value=mean_amount(t.order_values, t.buyers, currency),
                    average_days_since_last_order=mean(t.days_since, t.buyers),
                    active_in_30_days=t.active_30d,
                    inactive_over_90_days=t.inactive_90d,
                    value_tier=segment.value_tier,
                    recommended_action=segment.action,
                )
            )
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
    as_of: datetime | None

    @classmethod
    def of(cls, found: list[Totals], currency: str, as_of: datetime | None) -> Self:
        """All 25 cells, those of nobody too."""
        return cls(items=rfm_cells(found, currency), currency=currency, as_of=as_of)


def rfm_cells(found: list[Totals], currency: str) -> list[RfmCellView]:
    """The grid of what was found of each pair of a recency and a frequency score, best first."""
    totals = {(each.a, each.b): each for each in found}
    best_first = range(5, 0, -1)
    cells = []
    for recency, frequency in itertools.product(best_first, best_first):
        t = totals.get((str(recency), str(frequency)), nobody())
        cells.append(
            RfmCellView(
                recency=recency,
                frequency=frequency,
                customers=t.customers,
                revenue=from_minor(t.revenue_365d, currency),
            )
        )
    return cells


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
    def of(cls, found: AtRiskCustomer, tenant: Tenant, disclosure: Disclosure) -> Self:
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


class SegmentCustomerView(View):
    """A customer of an RFM segment."""

    customer_id: str
    code: str | None
    name: str | None
    email: str | None
    phone: str | None
    membership_tier: str | None
    rfm_code: str | None
    lifecycle_segment: str
    orders_365d: int = Field(alias="orders365d")
    revenue_365d: Decimal = Field(alias="revenue365d")
    average_order_value: Decimal | None
    last_order_at: datetime | None
    days_since_last_order: int | None
    clv: Decimal | None
    churn_score: float | None
    churn_band: str | None
    as_of: datetime

    @classmethod
    def of(cls, found: SegmentCustomer, currency: str, disclosure: Disclosure) -> Self:
        """`found` with amounts in `currency`, as far as `disclosure` tells of persons."""
        return cls(
            customer_id=disclosure.id(found.id),
            code=disclosure.personal(found.code),
            name=disclosure.personal(found.name),
            email=disclosure.personal(found.email),
            phone=disclosure.personal(found.phone),
            membership_tier=found.membership_tier,
            rfm_code=found.rfm_code,
            lifecycle_segment=found.lifecycle_segment,
            orders_365d=found.orders_365d,
            revenue_365d=from_minor(found.revenue_365d, currency),
            average_order_value=amount(found.average_order_value, currency),
            last_order_at=found.last_order_at,
            days_since_last_order=found.days_since_last_order,
            clv=amount(found.clv, currency),
            churn_score=found.churn_score,
            churn_band=found.churn_band,
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
