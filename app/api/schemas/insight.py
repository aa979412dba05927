"""Insights and single scores of one customer over HTTP."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Self

from pydantic import Field

from app.api.schemas.profile import ChurnView, ClvView, RfmView, ScoresView, View
from app.domain import insights
from app.domain.insights import Facts, Impact, Insight, InsightType
from app.domain.money import decimals, from_minor
from app.domain.privacy import Disclosure
from app.domain.tenant import Tenant
from app.repositories.analytics import Analytics
from app.repositories.customer import Customer
from app.repositories.cutoffs import StoredCutoffs
from app.repositories.journey import StandingChange


class InsightView(View):
    """One thing worth knowing about a customer, and what to do about it."""

    type: InsightType
    title: str = Field(examples=["High churn risk"])
    description: str = Field(examples=["The churn score is 72% (high). The last order was …"])
    impact: Impact
    suggested_actions: list[str]

    @classmethod
    def of(cls, insight: Insight) -> Self:
        """`insight` as the API shows it."""
        return cls(
            type=insight.type,
            title=insight.title,
            description=insight.description,
            impact=insight.impact,
            suggested_actions=list(insight.suggested_actions),
        )


class InsightsView(View):
    """Every insight that holds, the weightiest first. `asOf` is null before the first scoring."""

    customer_id: str
    as_of: datetime | None
    items: list[InsightView]

    @classmethod
    def of(
        cls,
        customer: Customer,
        analytics: Analytics | None,
        tenant: Tenant,
        now: datetime,
        disclosure: Disclosure,
    ) -> Self:
        """What `tenant` should know about `customer` at `now`."""
        found = (
            []
            if analytics is None
            else insights.insights(_facts(customer, analytics, tenant, now, disclosure))
        )
        return cls(
            customer_id=disclosure.id(customer.id),
            as_of=analytics and analytics.as_of,
            items=[InsightView.of(insight) for insight in found],
        )


def _facts(
    customer: Customer, a: Analytics, tenant: Tenant, now: datetime, disclosure: Disclosure
) -> Facts:
    best = min(tenant.profile.segments, key=lambda segment: segment.priority)
    return Facts(
        today=tenant.local_day(tenant.as_of(now)),
        currency=tenant.currency,
        recorded_on=tenant.local_day(customer.created_at),
        counted_orders=a.counted_orders,
        revenue=a.revenue,
        days_since_last_order=a.days_since_last_order,
        tenure_days=a.tenure_days,
        average_order_value=a.average_order_value,
        lifecycle_segment=a.lifecycle_segment,
        best_segment=a.rfm_segment == best.code,
        clv=a.clv,
        clv_percentile=a.clv_percentile,
        churn_score=a.churn_score,
        churn_band=a.churn_band,
        value_at_risk=a.value_at_risk,
        next_purchase_status=a.next_purchase_status,
        next_purchase_on=a.next_purchase_on,
        satisfaction_score=a.satisfaction_score,
        complaints_90d=a.complaints_90d,
        influence_score=a.influence_score,
        referred_customers=a.referred_customers,
        referral_revenue=a.referral_revenue,
        contacts=a.contacts,
        responses=a.responses,
        response_rate=a.response_rate,
        date_of_birth=disclosure.personal(customer.date_of_birth),
    )


class CutoffsView(View):
    """The four values that split the tenant's buyers into quintiles, ascending."""

    fixed: bool = Field(description="Whether the profile fixes them.")
    computed_at: datetime | None = Field(description="Null where the profile fixes them.")
    recency_days: list[float]
    frequency: list[float]
    monetary: list[Decimal]

    @classmethod
    def of(cls, stored: StoredCutoffs | None, tenant: Tenant) -> Self | None:
        """The cutoffs `tenant` scores by; None before its buyers were first cut."""
        fixed = tenant.profile.fixed_cutoffs
        if fixed is not None:
            return cls(
                fixed=True,
                computed_at=None,
                recency_days=list(fixed.recency_days),
                frequency=list(fixed.frequency),
                monetary=[Decimal(str(bound)) for bound in fixed.monetary],
            )
        if stored is None:
            return None
        # A quantile may lie between two amounts and have more places than either.
        places = decimals(tenant.currency)
        return cls(
            fixed=False,
            computed_at=stored.computed_at,
            recency_days=list(stored.cutoffs.recency_days),
            frequency=list(stored.cutoffs.frequency),
            monetary=[Decimal(str(bound)).scaleb(-places) for bound in stored.cutoffs.monetary],
        )


class StandingView(View):
    """What the customer's standing became on a day on which it changed."""

    day: date
    code: str | None = Field(examples=["545"])
    segment: str | None
    lifecycle_segment: str
    churn_band: str | None
    churn_score: float | None
    clv: Decimal | None
    membership_tier: str | None

    @classmethod
    def of(cls, change: StandingChange, currency: str) -> Self:
        """`change` with its amount in `currency`."""
        return cls(
            day=change.day,
            code=change.rfm_code,
            segment=change.rfm_segment,
            lifecycle_segment=change.lifecycle_segment,
            churn_band=change.churn_band,
            churn_score=change.churn_score,
            clv=None if change.clv is None else from_minor(change.clv, currency),
            membership_tier=change.membership_tier,
        )


class SingleScoreView(View):
    """What the answers about one score have in common; nulls before the first scoring."""

    customer_id: str
    currency: str = Field(examples=["IDR"])
    as_of: datetime | None
    computed_at: datetime | None
    model_version: str | None

    @staticmethod
    def common(
        customer: Customer, a: Analytics | None, tenant: Tenant, disclosure: Disclosure
    ) -> dict[str, Any]:
        """The values of these fields."""
        return {
            "customer_id": disclosure.id(customer.id),
            "currency": tenant.currency,
            "as_of": a and a.as_of,
            "computed_at": a and a.computed_at,
            "model_version": a and a.model_version,
        }


class CustomerRfmView(SingleScoreView):
    """The RFM scores of one customer, what they were cut by, and the last changes of standing."""

    rfm: RfmView | None
    cutoffs: CutoffsView | None
    history: list[StandingView] = Field(description="The last 12 changes, newest first.")

    @classmethod
    def of(
        cls,
        customer: Customer,
        a: Analytics | None,
        cutoffs: StoredCutoffs | None,
        history: Sequence[StandingChange],
        tenant: Tenant,
        now: datetime,
        disclosure: Disclosure,
    ) -> Self:
        """The RFM scores in `a`, as `tenant` sees them at `now`."""
        return cls(
            rfm=None if a is None else ScoresView.of(a, customer, tenant, now).rfm,
            cutoffs=CutoffsView.of(cutoffs, tenant),
            history=[StandingView.of(change, tenant.currency) for change in history],
            **cls.common(customer, a, tenant, disclosure),
        )


class CustomerClvView(SingleScoreView):
    """The lifetime value of one customer."""

    clv: ClvView | None

    @classmethod
    def of(
        cls,
        customer: Customer,
        a: Analytics | None,
        tenant: Tenant,
        now: datetime,
        disclosure: Disclosure,
    ) -> Self:
        """The lifetime value in `a`, as `tenant` sees it at `now`."""
        return cls(
            clv=None if a is None else ScoresView.of(a, customer, tenant, now).clv,
            **cls.common(customer, a, tenant, disclosure),
        )


class CustomerChurnView(SingleScoreView):
    """The churn risk of one customer, with its reasons."""

    churn: ChurnView | None

    @classmethod
    def of(
        cls,
        customer: Customer,
        a: Analytics | None,
        tenant: Tenant,
        now: datetime,
        disclosure: Disclosure,
    ) -> Self:
        """The churn risk in `a`, as `tenant` sees it at `now`."""
        return cls(
            churn=None if a is None else ScoresView.of(a, customer, tenant, now).churn,
            **cls.common(customer, a, tenant, disclosure),
        )
