"""What the scores say: of one customer, of each segment, of everybody at risk."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database import driver_sql, fetch_row
from app.domain.errors import NotFound
from app.repositories import customer as customers_repository
from app.repositories.customer import Customer
from app.repositories.tables import customer_analytics, customers


@dataclass(frozen=True, slots=True)
class Analytics:
    """Every computed figure of one customer, named as in `docs/data-model.md`.

    Amounts are minor units, shares are of one, percentiles go from 0 to 100.
    """

    as_of: datetime
    computed_at: datetime
    model_version: str
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
    revenue: int
    refunded_amount: int
    discount_amount: int
    average_order_value: int | None
    orders_30d: int
    orders_90d: int
    orders_180d: int
    orders_365d: int
    revenue_30d: int
    revenue_90d: int
    revenue_180d: int
    revenue_365d: int
    order_frequency_trend: str | None
    spend_trend: str | None
    order_interval_change: float | None
    tenure_days: int | None
    days_since_last_order: int | None
    purchase_frequency_days: float | None
    orders_per_month: float | None
    monthly_revenue: int | None
    preferred_shopping_day: int | None
    preferred_shopping_hour: int | None
    preferred_payment_method: str | None
    preferred_categories: list[str] | None
    preferred_brands: list[str] | None
    basket_size: float | None
    discount_sensitivity: float | None
    order_notes: list[str] | None
    rfm_status: str
    rfm_recency_days: int | None
    rfm_frequency: int
    rfm_monetary: int
    rfm_recency_score: int | None
    rfm_frequency_score: int | None
    rfm_monetary_score: int | None
    rfm_code: str | None
    rfm_segment: str | None
    rfm_recency_percentile: int | None
    rfm_frequency_percentile: int | None
    rfm_monetary_percentile: int | None
    clv_status: str
    clv: int | None
    clv_1_year: int | None
    clv_3_year: int | None
    clv_percentile: int | None
    clv_confidence: int | None
    churn_status: str
    churn_score: float | None
    churn_band: str | None
    churn_reasons: list[str]
    value_at_risk: int | None
    lifecycle_segment: str
    standing_since: date
    first_order_day: date | None
    loyalty_points: int | None
    gender: str | None
    age_group: str | None
    contacts: int
    responses: int
    response_rate: float | None
    last_contact_at: datetime | None
    last_contact_channel: str | None
    preferred_contact_channel: str | None
    feedback_count: int
    complaint_count: int
    complaints_90d: int
    satisfaction_score: float | None
    satisfaction_at: datetime | None
    referred_customers: int
    referral_revenue: int
    influence_score: float | None
    response_level: str | None
    spending_level: str | None
    engagement_quadrant: str | None
    next_purchase_status: str
    next_purchase_on: date | None
    next_purchase_confidence: float | None
    clv_tier: str | None
    recommended_products: list[str] | None
    external_scores: list[str]
    external_as_of: datetime | None
    external_model_version: str | None


_ANALYTICS = [customer_analytics.c[field.name] for field in fields(Analytics)]


@dataclass(frozen=True, slots=True)
class CustomerProfile:
    """The 360-degree view. `analytics` is None before the customer was first scored."""

    customer: Customer
    analytics: Analytics | None


def _profile_sql() -> str:
    on_customer = (customer_analytics.c.tenant_id == customers.c.tenant_id) & (
        customer_analytics.c.customer_sk == customers.c.sk
    )
    joined = customers_repository.DECLARED_FROM.outerjoin(customer_analytics, on_customer)
    query = (
        select(*customers_repository.DECLARED, *_ANALYTICS)
        .select_from(joined)
        .where(
            customers.c.tenant_id == bindparam("tenant_id"),
            customers.c.id == bindparam("customer_id"),
        )
    )
    return driver_sql(query)


_PROFILE = _profile_sql()
_DECLARED_COLUMNS = len(customers_repository.DECLARED)


async def get_profile(
    connection: AsyncConnection, tenant_id: int, customer_id: str
) -> CustomerProfile:
    """Everything about the customer called `customer_id`. Raises NotFound."""
    row = await fetch_row(connection, _PROFILE, tenant_id, customer_id)
    if row is None:
        raise NotFound("customer", customer_id)
    declared, computed = row[:_DECLARED_COLUMNS], row[_DECLARED_COLUMNS:]
    return CustomerProfile(
        customer=customers_repository.read_declared(declared),
        analytics=None if computed[0] is None else Analytics(*computed),
    )


@dataclass(frozen=True, slots=True)
class SegmentSummary:
    """One RFM segment. Revenue is of the last 365 days; averages are None without members."""

    segment: str
    customers: int
    revenue: int
    average_revenue: float
    average_orders: float
    average_order_value: float | None
    average_days_since_last_order: float | None
    active_30d: int
    inactive_90d: int
    as_of: datetime


_SEGMENTS = text("""
    SELECT rfm_segment AS segment,
           count(*) AS customers,
           sum(revenue_365d)::bigint AS revenue,
           avg(revenue_365d)::float8 AS average_revenue,
           avg(orders_365d)::float8 AS average_orders,
           avg(average_order_value)::float8 AS average_order_value,
           avg(days_since_last_order)::float8 AS average_days_since_last_order,
           count(*) FILTER (WHERE days_since_last_order <= 30) AS active_30d,
           count(*) FILTER (WHERE days_since_last_order > 90) AS inactive_90d,
           max(as_of) AS as_of
    FROM customer_analytics
    WHERE tenant_id = :tenant_id AND rfm_segment IS NOT NULL
    GROUP BY rfm_segment
""")


async def list_segments(connection: AsyncConnection, tenant_id: int) -> list[SegmentSummary]:
    """A summary of every RFM segment that has members."""
    rows = await connection.execute(_SEGMENTS, {"tenant_id": tenant_id})
    return [SegmentSummary(**row._mapping) for row in rows]


@dataclass(frozen=True, slots=True)
class RfmCell:
    """The customers with one recency score and one frequency score."""

    recency: int
    frequency: int
    customers: int
    revenue: int


_DISTRIBUTION = text("""
    SELECT recency, frequency,
           count(a.customer_sk) AS customers,
           coalesce(sum(a.revenue_365d), 0)::bigint AS revenue
    FROM generate_series(1, 5) AS recency
    CROSS JOIN generate_series(1, 5) AS frequency
    LEFT JOIN customer_analytics a
           ON a.tenant_id = :tenant_id
          AND a.rfm_recency_score = recency AND a.rfm_frequency_score = frequency
    GROUP BY recency, frequency
    ORDER BY recency DESC, frequency DESC
""")


async def list_rfm_distribution(connection: AsyncConnection, tenant_id: int) -> list[RfmCell]:
    """All 25 cells of the recency-by-frequency grid, best first, empty ones included."""
    rows = await connection.execute(_DISTRIBUTION, {"tenant_id": tenant_id})
    return [RfmCell(**row._mapping) for row in rows]


@dataclass(frozen=True, slots=True)
class AtRiskCustomer:
    """A customer with a churn score, and what a loss would cost."""

    sk: int
    id: str
    code: str | None
    name: str
    email: str | None
    phone: str | None
    membership_tier: str | None
    rfm_segment: str | None
    churn_score: float
    churn_band: str
    churn_reasons: list[str]
    value_at_risk: int
    clv: int | None
    revenue: int
    days_since_last_order: int | None
    orders_30d: int
    orders_90d: int
    orders_365d: int
    revenue_30d: int
    revenue_90d: int
    order_frequency_trend: str | None
    spend_trend: str | None
    contacts: int
    responses: int
    complaints_90d: int
    satisfaction_score: float | None
    as_of: datetime


_AT_RISK_COLUMNS = [
    (
        customers
        if field.name in {"sk", "id", "code", "name", "email", "phone"}
        else customer_analytics
    ).c[field.name]
    for field in fields(AtRiskCustomer)
]


async def list_at_risk(
    connection: AsyncConnection,
    tenant_id: int,
    *,
    min_score: float | None,
    bands: Sequence[str],
    after: tuple[int, int] | None,
    limit: int,
) -> list[AtRiskCustomer]:
    """Customers at risk, the greatest value at risk first.

    `bands` and `min_score` each narrow the list where given; `after` is the value at risk and the
    sk of the last customer of the page before.
    """
    a = customer_analytics.c
    query = (
        select(*_AT_RISK_COLUMNS)
        .join(customers, (customers.c.tenant_id == a.tenant_id) & (customers.c.sk == a.customer_sk))
        .where(a.tenant_id == tenant_id, a.risk_rank.is_not(None))
        # The rank is what the index holds; it rises with the value, so the order is the value's.
        .order_by(a.risk_rank.desc(), a.value_at_risk.desc(), a.customer_sk)
        .limit(limit)
    )
    if bands:
        query = query.where(a.churn_band.in_(bands))
    if min_score is not None:
        query = query.where(a.churn_score >= min_score)
    if after is not None:
        value, customer_sk = after
        query = query.where(
            a.risk_rank <= _rank(value),
            (a.value_at_risk < value)
            | ((a.value_at_risk == value) & (a.customer_sk > customer_sk)),
        )
    return [_at_risk(row) for row in await connection.execute(query)]


def _rank(value_at_risk: int) -> int:
    """No lower than the table's `risk_rank` of the value: rounding may differ in the last digit."""
    return math.floor(50 * math.log10(max(value_at_risk, 1)) + 1e-6)


def _at_risk(row: Row[Any]) -> AtRiskCustomer:
    return AtRiskCustomer(**row._mapping)
