"""Summaries of behaviour, funnels and retention over HTTP."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Self

from pydantic import Field

from app.api.schemas.profile import View
from app.domain.behaviour import days_between_orders
from app.domain.event import Bucket, CohortBasis, most_frequent
from app.domain.money import from_minor, round_minor
from app.domain.tenant import Tenant
from app.repositories.behavior import BehaviorSummary, FunnelStep, RetentionCell, SessionDay


class SessionsView(View):
    """Sessions that began in a stretch of days, of those events that are still kept."""

    days: int
    sessions: int
    bounces: int = Field(description="Sessions of a single event.")
    bounce_rate: float | None
    average_duration_seconds: float | None
    events_per_session: float | None

    @classmethod
    def of(cls, days: int, found: Sequence[SessionDay]) -> Self:
        """The sessions of so many days together."""
        sessions = sum(each.sessions for each in found)
        bounces = sum(each.bounces for each in found)
        return cls(
            days=days,
            sessions=sessions,
            bounces=bounces,
            bounce_rate=_share(bounces, sessions),
            average_duration_seconds=_mean(sum(each.seconds for each in found), sessions),
            events_per_session=_mean(sum(each.events for each in found), sessions),
        )


class BehaviorView(View):
    """What all events of a customer come to, since the first one, kept as they arrive."""

    customer_id: str
    total_events: int
    total_page_views: int
    total_product_views: int
    total_add_to_cart: int
    total_purchases: int
    total_spent: Decimal
    avg_order_value: Decimal | None
    first_event_at: datetime | None
    last_event_at: datetime | None
    first_purchase_date: datetime | None
    last_purchase_date: datetime | None
    days_since_purchase: int | None
    purchase_frequency_days: float | None = Field(
        description="Mean days from one purchase to the next; null before the second."
    )
    preferred_category: str | None = Field(examples=["Outerwear"])
    preferred_device: str | None = Field(examples=["mobile"])
    preferred_source: str | None = Field(examples=["website"])
    categories: dict[str, int] = Field(description="Events by product category.")
    devices: dict[str, int] = Field(description="Events by device type.")
    sources: dict[str, int] = Field(description="Events by event category.")
    recent_sessions: SessionsView
    created_at: datetime | None
    updated_at: datetime | None

    @classmethod
    def of(
        cls,
        customer_id: str,
        summary: BehaviorSummary | None,
        sessions: SessionsView,
        tenant: Tenant,
        now: datetime,
    ) -> Self:
        """The summary as it stands `now`; zeros for a customer without events."""
        if summary is None:
            return cls(
                customer_id=customer_id,
                total_events=0,
                total_page_views=0,
                total_product_views=0,
                total_add_to_cart=0,
                total_purchases=0,
                total_spent=from_minor(0, tenant.currency),
                avg_order_value=None,
                first_event_at=None,
                last_event_at=None,
                first_purchase_date=None,
                last_purchase_date=None,
                days_since_purchase=None,
                purchase_frequency_days=None,
                preferred_category=None,
                preferred_device=None,
                preferred_source=None,
                categories={},
                devices={},
                sources={},
                recent_sessions=sessions,
                created_at=None,
                updated_at=None,
            )
        since, between = _days_of_purchases(summary, tenant, now)
        return cls(
            customer_id=customer_id,
            total_events=summary.events,
            total_page_views=summary.page_views,
            total_product_views=summary.product_views,
            total_add_to_cart=summary.cart_additions,
            total_purchases=summary.purchases,
            total_spent=from_minor(summary.spent, tenant.currency),
            avg_order_value=(
                from_minor(round_minor(Decimal(summary.spent) / summary.purchases), tenant.currency)
                if summary.purchases
                else None
            ),
            first_event_at=summary.first_event_at,
            last_event_at=summary.last_event_at,
            first_purchase_date=summary.first_purchase_at,
            last_purchase_date=summary.last_purchase_at,
            days_since_purchase=since,
            purchase_frequency_days=between,
            preferred_category=most_frequent(summary.categories),
            preferred_device=most_frequent(summary.devices),
            preferred_source=most_frequent(summary.sources),
            categories=dict(summary.categories),
            devices=dict(summary.devices),
            sources=dict(summary.sources),
            recent_sessions=sessions,
            created_at=summary.created_at,
            updated_at=summary.updated_at,
        )


def _days_of_purchases(
    summary: BehaviorSummary, tenant: Tenant, now: datetime
) -> tuple[int | None, float | None]:
    """Whole days since the last purchase, and mean days between two, by the tenant's calendar."""
    if summary.first_purchase_at is None or summary.last_purchase_at is None:
        return None, None
    first = tenant.local_day(summary.first_purchase_at)
    last = tenant.local_day(summary.last_purchase_at)
    # A clock ahead of ours may have put it on tomorrow.
    since = max((tenant.local_day(now) - last).days, 0)
    between = days_between_orders((last - first).days, summary.purchases)
    return since, None if between is None else round(between, 2)


class FunnelStepView(View):
    """One step of a funnel."""

    step: str = Field(examples=["add_to_cart"])
    customers: int = Field(description="Who came so far, through every step before.")
    conversion: float | None = Field(description="Of those who took the first step.")
    step_conversion: float | None = Field(description="Of those who took the step before.")
    drop_off: int = Field(description="Who took the step before and not this one.")
    median_seconds: float | None = Field(description="Since the step before; null for the first.")


class FunnelView(View):
    """Ordered steps, each taken after the one before and within a time of the first."""

    from_: date = Field(alias="from")
    to: date
    within_seconds: float
    segment: str | None
    steps: list[FunnelStepView]

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        found: Sequence[FunnelStep],
        *,
        first: date,
        last: date,
        within: timedelta,
        segment: str | None,
    ) -> Self:
        """The funnel of the days from `first` to `last`."""
        steps = []
        before = found[0].customers
        for name, step in zip(names, found, strict=True):
            steps.append(
                FunnelStepView(
                    step=name,
                    customers=step.customers,
                    conversion=_share(step.customers, found[0].customers),
                    step_conversion=_share(step.customers, before),
                    drop_off=before - step.customers,
                    median_seconds=_rounded(step.median_seconds),
                )
            )
            before = step.customers
        return cls(
            from_=first,
            to=last,
            within_seconds=within.total_seconds(),
            segment=segment,
            steps=steps,
        )


class RetentionPeriodView(View):
    """A bucket of a cohort, the first being that of the first event itself."""

    period: int = Field(description="0 is the bucket in which the cohort began.")
    start: date
    customers: int
    share: float | None
    complete: bool = Field(description="False while the bucket is not over.")


class CohortView(View):
    """Customers who began in the same bucket."""

    start: date
    customers: int
    periods: list[RetentionPeriodView]


class RetentionView(View):
    """How many of each cohort were seen again, bucket by bucket."""

    from_: date = Field(alias="from")
    to: date
    by: CohortBasis
    bucket: Bucket
    event: str | None = Field(description="The type that counts as coming back; null for any.")
    segment: str | None
    cohorts: list[CohortView]

    @classmethod
    def of(
        cls,
        sizes: Mapping[date, int],
        cells: Sequence[RetentionCell],
        *,
        first: date,
        last: date,
        today: date,
        by: CohortBasis,
        bucket: Bucket,
        event: str | None,
        segment: str | None,
    ) -> Self:
        """The cohorts that began on days from `first` to `last`, up to the bucket of `last`."""
        seen = {(cell.cohort, cell.bucket): cell.customers for cell in cells}
        cohorts = []
        for start, size in sizes.items():
            periods: list[RetentionPeriodView] = []
            at = start
            while at <= last:
                customers = seen.get((start, at), 0)
                periods.append(
                    RetentionPeriodView(
                        period=len(periods),
                        start=at,
                        customers=customers,
                        share=_share(customers, size),
                        complete=bucket.after(at) <= min(last + timedelta(days=1), today),
                    )
                )
                at = bucket.after(at)
            cohorts.append(CohortView(start=start, customers=size, periods=periods))
        return cls(
            from_=first,
            to=last,
            by=by,
            bucket=bucket,
            event=event,
            segment=segment,
            cohorts=cohorts,
        )


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _mean(total: float, count: int) -> float | None:
    return round(total / count, 2) if count else None


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
