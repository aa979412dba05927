"""What days came to, over HTTP: in the shape that the dashboards have always read."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any, Generic, Self, TypeVar

from pydantic import Field

from app.api.schemas.profile import View
from app.domain.money import from_minor, round_minor
from app.domain.performance import churn_rate, rate
from app.repositories.performance import BusinessDay, SegmentDay

Day = TypeVar("Day")


class BusinessDayView(View):
    """The whole business on one day."""

    date: date
    total_customers: int
    new_customers: int
    active_customers: int = Field(description="Ordered or did something in the last 30 days.")
    at_risk_customers: int | None = Field(description="Null where no scores are known of the day.")
    churned_customers: int | None
    conversion_rate: float | None = Field(
        description="Share of the day's visitors who bought on it; null on a day without visitors."
    )
    revenue: float = Field(description="Net.")

    @classmethod
    def of(cls, day: BusinessDay, currency: str) -> Self:
        """`day` with its rates."""
        return cls(**_business(day, currency))


class FullBusinessDayView(BusinessDayView):
    """The whole business on one day, with everything that is kept of it."""

    total_page_views: int
    total_product_views: int
    total_add_to_cart: int
    total_purchases: int = Field(description="Events of the type purchase.")
    visitors: int
    sessions: int
    avg_session_duration_minutes: float | None
    bounce_rate: float | None = Field(description="Share of the sessions with one event.")
    orders: int
    buyers: int
    repeat_purchase_rate: float | None = Field(
        description="Share of the day's buyers who had bought before, or bought twice."
    )
    avg_order_value: float | None
    computed_at: datetime

    @classmethod
    def of(cls, day: BusinessDay, currency: str) -> Self:
        """`day` with its rates."""
        minutes = day.session_seconds / 60
        return cls(
            **_business(day, currency),
            total_page_views=day.page_views,
            total_product_views=day.product_views,
            total_add_to_cart=day.cart_additions,
            total_purchases=day.purchases,
            visitors=day.visitors,
            sessions=day.sessions,
            avg_session_duration_minutes=minutes / day.sessions if day.sessions else None,
            bounce_rate=rate(day.bounces, day.sessions),
            orders=day.orders,
            buyers=day.buyers,
            repeat_purchase_rate=rate(day.repeat_buyers, day.buyers),
            avg_order_value=_mean(day.revenue, day.orders, currency),
            computed_at=day.computed_at,
        )


class SegmentDayView(View):
    """The members of a segment on one day."""

    date: date
    member_count: int
    active_members: int
    churn_rate: float | None = Field(
        description="Of those not lost 30 days before, the share that is lost; null where no "
        "standing is known of then."
    )
    conversion_rate: float | None = Field(
        description="Share of the visitors of the last 30 days who bought in them."
    )
    revenue_generated: float = Field(description="Net, on the day.")
    engagement_score: float = Field(
        description="0 to 100: the mean of the members'; once a week in 30 days is full."
    )

    @classmethod
    def of(cls, day: SegmentDay, currency: str) -> Self:
        """`day` with its rates."""
        return cls(**_segment(day, currency))


class FullSegmentDayView(SegmentDayView):
    """The members of a segment on one day, with everything that is kept of it."""

    lifetime_value: float | None = Field(description="Mean of the members'.")
    avg_order_value: float | None = Field(description="Of the last 30 days.")
    purchase_frequency: float | None = Field(description="Orders a member in the last 30 days.")
    email_open_rate: float | None = Field(description="Share of the members who got an e-mail.")
    email_click_rate: float | None
    sms_open_rate: float | None
    computed_at: datetime

    @classmethod
    def of(cls, day: SegmentDay, currency: str) -> Self:
        """`day` with its rates."""
        return cls(
            **_segment(day, currency),
            lifetime_value=_mean(day.value, day.valued, currency),
            avg_order_value=_mean(day.revenue_30d, day.orders_30d, currency),
            purchase_frequency=rate(day.orders_30d, day.member_count),
            email_open_rate=rate(day.email_opened, day.emailed),
            email_click_rate=rate(day.email_clicked, day.emailed),
            sms_open_rate=rate(day.text_opened, day.texted),
            computed_at=day.computed_at,
        )


class Days(View, Generic[Day]):
    """Days in their order, and how many there are."""

    data: list[Day]
    total: int


def _business(day: BusinessDay, currency: str) -> dict[str, Any]:
    return {
        "date": day.day,
        "total_customers": day.total_customers,
        "new_customers": day.new_customers,
        "active_customers": day.active_customers,
        "at_risk_customers": day.at_risk_customers,
        "churned_customers": day.churned_customers,
        "conversion_rate": rate(day.converted, day.visitors),
        "revenue": float(from_minor(int(day.revenue), currency)),
    }


def _segment(day: SegmentDay, currency: str) -> dict[str, Any]:
    return {
        "date": day.day,
        "member_count": day.member_count,
        "active_members": day.active_members,
        "churn_rate": churn_rate(day.stayed, day.lost),
        "conversion_rate": rate(day.converted, day.visitors),
        "revenue_generated": float(from_minor(int(day.revenue), currency)),
        "engagement_score": round(day.engagement, 1),
    }


def _mean(amount: Decimal, count: int, currency: str) -> float | None:
    return float(from_minor(round_minor(amount / count), currency)) if count else None
