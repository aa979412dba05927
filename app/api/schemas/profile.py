"""The 360-degree view of a customer over HTTP."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Protocol, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from app.api.schemas.customer import CustomerView
from app.domain import churn
from app.domain.behaviour import WEEKDAYS
from app.domain.churn import ChurnBand, ChurnReason
from app.domain.money import from_minor
from app.domain.status import ScoreStatus
from app.domain.tenant import Tenant
from app.repositories.analytics import Analytics, CustomerProfile
from app.repositories.customer import Customer

#: Scores of an open log that no run has confirmed for this long are stale.
STALE_AFTER = timedelta(hours=48)


class View(BaseModel):
    """A part of an answer, in camelCase."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class ReasonView(View):
    """Why a score is what it is: a code for programs, a sentence for people."""

    code: str = Field(examples=["long_absence"])
    sentence: str = Field(examples=["No order for 74 days."])


class WindowView(View):
    """Counted orders and net revenue of the last so many days."""

    orders: int
    revenue: Decimal


class MetricsView(View):
    """What happened, over all orders before the as-of."""

    total_orders: int
    counted_orders: int
    pending_orders: int
    accepted_orders: int
    completed_orders: int
    cancelled_orders: int
    no_show_orders: int
    refunded_orders: int
    first_order_at: datetime | None
    last_order_at: datetime | None
    days_since_last_order: int | None
    tenure_days: int | None
    revenue: Decimal
    refunded_amount: Decimal
    discount_amount: Decimal
    average_order_value: Decimal | None
    monthly_revenue: Decimal | None
    orders_per_month: float | None
    purchase_frequency_days: float | None
    windows: dict[str, WindowView]
    order_frequency_trend: str | None
    spend_trend: str | None
    order_interval_change: float | None
    preferred_shopping_day: str | None
    preferred_shopping_hour: int | None
    preferred_payment_method: str | None
    preferred_categories: list[str]
    preferred_brands: list[str]
    basket_size: float | None
    discount_sensitivity: float | None
    order_notes: list[str]

    @classmethod
    def of(cls, a: Analytics, currency: str) -> Self:
        """The metrics of `a`, amounts in `currency`."""

        def amount(minor: int | None) -> Decimal | None:
            return None if minor is None else from_minor(minor, currency)

        day = a.preferred_shopping_day
        return cls(
            total_orders=a.total_orders,
            counted_orders=a.counted_orders,
            pending_orders=a.pending_orders,
            accepted_orders=a.accepted_orders,
            completed_orders=a.completed_orders,
            cancelled_orders=a.cancelled_orders,
            no_show_orders=a.no_show_orders,
            refunded_orders=a.refunded_orders,
            first_order_at=a.first_order_at,
            last_order_at=a.last_order_at,
            days_since_last_order=a.days_since_last_order,
            tenure_days=a.tenure_days,
            revenue=from_minor(a.revenue, currency),
            refunded_amount=from_minor(a.refunded_amount, currency),
            discount_amount=from_minor(a.discount_amount, currency),
            average_order_value=amount(a.average_order_value),
            monthly_revenue=amount(a.monthly_revenue),
            orders_per_month=a.orders_per_month,
            purchase_frequency_days=a.purchase_frequency_days,
            windows={
                "30d": WindowView(orders=a.orders_30d, revenue=from_minor(a.revenue_30d, currency)),
                "90d": WindowView(orders=a.orders_90d, revenue=from_minor(a.revenue_90d, currency)),
                "180d": WindowView(
                    orders=a.orders_180d, revenue=from_minor(a.revenue_180d, currency)
                ),
                "365d": WindowView(
                    orders=a.orders_365d, revenue=from_minor(a.revenue_365d, currency)
                ),
            },
            order_frequency_trend=a.order_frequency_trend,
            spend_trend=a.spend_trend,
            order_interval_change=a.order_interval_change,
            preferred_shopping_day=None if day is None else WEEKDAYS[day - 1],
            preferred_shopping_hour=a.preferred_shopping_hour,
            preferred_payment_method=a.preferred_payment_method,
            preferred_categories=a.preferred_categories or [],
            preferred_brands=a.preferred_brands or [],
            basket_size=a.basket_size,
            discount_sensitivity=a.discount_sensitivity,
            order_notes=a.order_notes or [],
        )


class RfmScoresView(View):
    """1 to 5 each, 5 the best."""

    recency: int | None
    frequency: int | None
    monetary: int | None


class RfmView(View):
    """Recency, frequency and monetary value over the profile's window."""

    status: ScoreStatus
    reason: str | None = Field(description="Why there are no scores, where there are none.")
    recency_days: int | None
    frequency: int
    monetary: Decimal
    scores: RfmScoresView
    percentiles: RfmScoresView = Field(description="0 to 100, higher is better.")
    code: str | None = Field(examples=["545"])
    segment: str | None = Field(examples=["champion"])
    segment_name: str | None
    value_tier: str | None
    recommended_action: str | None


class ClvView(View):
    """Customer lifetime value by the profile's method."""

    status: ScoreStatus
    reason: str | None
    value: Decimal | None
    one_year: Decimal | None
    three_years: Decimal | None
    percentile: int | None
    tier: str | None = Field(description="Tier of the profile.", examples=["gold"])
    confidence: int | None = Field(description="0 to 100: how much history stands behind it.")


class ChurnView(View):
    """The risk of losing the customer, 0 to 1, with its reasons."""

    status: ScoreStatus
    reason: str | None
    score: float | None
    band: str | None
    reasons: list[ReasonView]
    recommended_action: str | None
    value_at_risk: Decimal | None = Field(description="Lifetime value times the churn score.")


class LifecycleView(View):
    """Where the customer stands in life with the business."""

    segment: str = Field(examples=["regular"])


class NextPurchaseView(View):
    """When the next order is to be expected."""

    status: ScoreStatus
    reason: str | None
    expected_on: date | None = Field(description="A day of the tenant; today where it is overdue.")
    confidence: float | None = Field(description="0 to 1.", examples=[0.62])


class InfluenceView(View):
    """How much the customer moves others."""

    score: float | None = Field(description="0 to 100.", examples=[41.5])
    referred_customers: int
    referral_revenue: Decimal = Field(description="Of the customers brought in directly.")


class EngagementView(View):
    """How the customer answers, and what the customer says."""

    contacts: int
    responses: int
    response_rate: float | None
    response_level: str | None = Field(examples=["medium"])
    spending_level: str | None = Field(
        description="Against the median of the buyers.", examples=["high"]
    )
    quadrant: str | None = Field(examples=["passive_buyer"])
    last_contact_at: datetime | None
    last_contact_channel: str | None
    preferred_contact_channel: str | None = Field(
        description="The declared one, else the one most often answered on."
    )
    satisfaction_score: float | None = Field(
        description="Mean of the NPS and CSAT scores of the last 365 days, 0 to 10."
    )
    satisfaction_at: datetime | None
    feedback: int
    complaints: int
    complaints_in_90_days: int


class ExternalView(View):
    """Scores that another system computed and wrote back."""

    scores: list[str] = Field(examples=[["churn", "clv"]])
    as_of: datetime | None
    model_version: str | None = Field(examples=["xgboost-2026-11"])


class ScoresView(View):
    """All scores of one customer."""

    rfm: RfmView
    clv: ClvView
    churn: ChurnView
    lifecycle: LifecycleView
    next_purchase: NextPurchaseView
    influence: InfluenceView
    engagement: EngagementView
    age_group: str | None = Field(examples=["26-35"])
    recommended_products: list[str]
    external: ExternalView | None = Field(
        description="Which of these came from outside, and of when; null where all are ours."
    )
    standing_since: date = Field(
        description="The day on which the RFM code, a segment, the band or the tier last changed."
    )

    @classmethod
    def of(cls, a: Analytics, customer: Customer, tenant: Tenant, now: datetime) -> "ScoresView":
        """The scores in `a` of `customer`, as `tenant` sees them at `now`."""
        return _scores(a, customer, tenant, now)


class ProfileView(View):
    """The 360-degree view. `metrics` and `scores` are null before the customer was first scored."""

    customer: CustomerView
    currency: str = Field(examples=["IDR"])
    metrics: MetricsView | None
    scores: ScoresView | None
    as_of: datetime | None = Field(description="The instant for which the figures hold.")
    computed_at: datetime | None
    model_version: str | None = Field(examples=["retail-2"])

    @classmethod
    def of(cls, profile: CustomerProfile, tenant: Tenant, now: datetime) -> Self:
        """`profile` as its tenant sees it at `now`."""
        a = profile.analytics
        customer = CustomerView.of(profile.customer, tenant.currency)
        if a is None:
            return cls(
                customer=customer,
                currency=tenant.currency,
                metrics=None,
                scores=None,
                as_of=None,
                computed_at=None,
                model_version=None,
            )
        return cls(
            customer=customer,
            currency=tenant.currency,
            metrics=MetricsView.of(a, tenant.currency),
            scores=_scores(a, profile.customer, tenant, now),
            as_of=a.as_of,
            computed_at=a.computed_at,
            model_version=a.model_version,
        )


class ChurnFigures(Protocol):
    """What the sentences of churn reasons speak of. Revenue in minor units."""

    @property
    def churn_reasons(self) -> list[str]: ...
    @property
    def days_since_last_order(self) -> int | None: ...
    @property
    def orders_30d(self) -> int: ...
    @property
    def orders_90d(self) -> int: ...
    @property
    def orders_365d(self) -> int: ...
    @property
    def revenue_30d(self) -> int: ...
    @property
    def revenue_90d(self) -> int: ...
    @property
    def contacts(self) -> int: ...
    @property
    def responses(self) -> int: ...
    @property
    def complaints_90d(self) -> int: ...
    @property
    def satisfaction_score(self) -> float | None: ...


def churn_reasons(figures: ChurnFigures, currency: str) -> list[ReasonView]:
    """The reasons behind a churn score, in words with the customer's own numbers."""
    if not figures.churn_reasons:
        return []
    spend_30d = f"{currency} {from_minor(figures.revenue_30d, currency):,}"
    spend_90d = f"{currency} {from_minor(figures.revenue_90d, currency):,}"
    known = set(ChurnReason)
    return [
        ReasonView(
            code=code,
            sentence=churn.sentence(
                ChurnReason(code),
                days_since_last_order=figures.days_since_last_order,
                orders_30d=figures.orders_30d,
                orders_90d=figures.orders_90d,
                orders_365d=figures.orders_365d,
                spend_30d=spend_30d,
                spend_90d=spend_90d,
                contacts=figures.contacts,
                responses=figures.responses,
                complaints_90d=figures.complaints_90d,
                satisfaction_score=figures.satisfaction_score,
            )
            if code in known
            # Whoever writes scores back names reasons of their own.
            else code.replace("_", " ").capitalize() + ".",
        )
        for code in figures.churn_reasons
    ]


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _scores(a: Analytics, customer: Customer, tenant: Tenant, now: datetime) -> ScoresView:
    currency, profile = tenant.currency, tenant.profile
    stale = a.model_version != profile.version or (
        profile.as_of is None and now - a.as_of > STALE_AFTER
    )

    def status(stored: str) -> ScoreStatus:
        if stale and stored == ScoreStatus.OK:
            return ScoreStatus.STALE
        return ScoreStatus(stored)

    def amount(minor: int | None) -> Decimal | None:
        return None if minor is None else from_minor(minor, currency)

    known = {segment.code: segment for segment in profile.segments}
    segment = known.get(a.rfm_segment or "")
    return ScoresView(
        rfm=RfmView(
            status=status(a.rfm_status),
            reason=_why_no_rfm(a, profile.window_days),
            recency_days=a.rfm_recency_days,
            frequency=a.rfm_frequency,
            monetary=from_minor(a.rfm_monetary, currency),
            scores=RfmScoresView(
                recency=a.rfm_recency_score,
                frequency=a.rfm_frequency_score,
                monetary=a.rfm_monetary_score,
            ),
            percentiles=RfmScoresView(
                recency=a.rfm_recency_percentile,
                frequency=a.rfm_frequency_percentile,
                monetary=a.rfm_monetary_percentile,
            ),
            code=a.rfm_code,
            segment=a.rfm_segment,
            segment_name=segment and segment.name,
            value_tier=segment and segment.value_tier,
            recommended_action=segment and segment.action,
        ),
        clv=ClvView(
            status=status(a.clv_status),
            reason=None if a.clv is not None else "No order counts yet.",
            value=amount(a.clv),
            one_year=amount(a.clv_1_year),
            three_years=amount(a.clv_3_year),
            percentile=a.clv_percentile,
            tier=a.clv_tier,
            confidence=a.clv_confidence,
        ),
        churn=ChurnView(
            status=status(a.churn_status),
            reason=_why_no_churn(a, profile.churn.minimum_orders),
            score=a.churn_score,
            band=a.churn_band,
            reasons=churn_reasons(a, currency),
            recommended_action=(
                profile.churn_actions[ChurnBand(a.churn_band)] if a.churn_band else None
            ),
            value_at_risk=amount(a.value_at_risk),
        ),
        lifecycle=LifecycleView(segment=a.lifecycle_segment),
        next_purchase=NextPurchaseView(
            status=status(a.next_purchase_status),
            reason=(
                None
                if a.next_purchase_on is not None
                else "Fewer than two counted orders on different days."
            ),
            expected_on=a.next_purchase_on,
            confidence=_rounded(a.next_purchase_confidence, 4),
        ),
        influence=InfluenceView(
            score=_rounded(a.influence_score, 2),
            referred_customers=a.referred_customers,
            referral_revenue=from_minor(a.referral_revenue, currency),
        ),
        engagement=EngagementView(
            contacts=a.contacts,
            responses=a.responses,
            response_rate=_rounded(a.response_rate, 4),
            response_level=a.response_level,
            spending_level=a.spending_level,
            quadrant=a.engagement_quadrant,
            last_contact_at=a.last_contact_at,
            last_contact_channel=a.last_contact_channel,
            preferred_contact_channel=(
                customer.preferred_contact_channel or a.preferred_contact_channel
            ),
            satisfaction_score=_rounded(a.satisfaction_score, 2),
            satisfaction_at=a.satisfaction_at,
            feedback=a.feedback_count,
            complaints=a.complaint_count,
            complaints_in_90_days=a.complaints_90d,
        ),
        age_group=a.age_group,
        recommended_products=a.recommended_products or [],
        external=(
            ExternalView(
                scores=a.external_scores,
                as_of=a.external_as_of,
                model_version=a.external_model_version,
            )
            if a.external_scores
            else None
        ),
        standing_since=a.standing_since,
    )


def _why_no_rfm(a: Analytics, window_days: int) -> str | None:
    if a.rfm_recency_score is not None:
        return None
    if a.rfm_frequency == 0:
        return f"No counted order in the last {window_days} days."
    return "The tenant's buyers were not ranked yet; the next full run does it."


def _why_no_churn(a: Analytics, minimum_orders: int) -> str | None:
    if a.churn_score is not None:
        return None
    return f"{a.counted_orders} counted orders; {minimum_orders} are needed."
