"""What the scores say: of one customer, of each segment, of everybody at risk."""

import math
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database import driver_of, driver_sql, fetch_row
from app.domain.errors import NotFound
from app.repositories import customer as customers_repository
from app.repositories.customer import Customer
from app.repositories.page import page_size
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


_AT_RISK_STREAM = f"""
    SELECT {", ".join(f"{column.table.name}.{column.name}" for column in _AT_RISK_COLUMNS)}
    FROM customer_analytics
    JOIN customers
      ON customers.tenant_id = customer_analytics.tenant_id
     AND customers.sk = customer_analytics.customer_sk
    WHERE customer_analytics.tenant_id = $1 AND customer_analytics.risk_rank IS NOT NULL
      AND (cardinality($2::text[]) = 0 OR customer_analytics.churn_band = ANY ($2::text[]))
      AND ($3::double precision IS NULL OR customer_analytics.churn_score >= $3)
    ORDER BY customer_analytics.risk_rank DESC, customer_analytics.value_at_risk DESC,
             customer_analytics.customer_sk
"""


async def stream_at_risk(
    connection: AsyncConnection, tenant_id: int, *, min_score: float | None, bands: Sequence[str]
) -> AsyncGenerator[list[AtRiskCustomer]]:
    """All of `list_at_risk`, some at a time; inside the caller's transaction."""
    async for rows in _stream(connection, _AT_RISK_STREAM, tenant_id, list(bands), min_score):
        yield [AtRiskCustomer(*row) for row in rows]


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
        .limit(page_size(limit))
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


def _rank(value: int) -> int:
    """No lower than the table's rank of the value: rounding may differ in the last digit."""
    return math.floor(50 * math.log10(max(value, 1)) + 1e-6)


def _at_risk(row: Row[Any]) -> AtRiskCustomer:
    return AtRiskCustomer(**row._mapping)


@dataclass(frozen=True, slots=True)
class SegmentCustomer:
    """A customer of an RFM segment. Amounts are minor units."""

    sk: int
    id: str
    code: str | None
    name: str
    email: str | None
    phone: str | None
    membership_tier: str | None
    rfm_code: str | None
    lifecycle_segment: str
    orders_365d: int
    revenue_365d: int
    average_order_value: int | None
    last_order_at: datetime | None
    days_since_last_order: int | None
    clv: int | None
    churn_score: float | None
    churn_band: str | None
    as_of: datetime


_DECLARED_NAMES = {"sk", "id", "code", "name", "email", "phone"}


def _columns_of(made: type[Any]) -> str:
    """The columns that the fields of `made` are named after, of customers `c` and scores `a`."""
    return ", ".join(
        f"c.{field.name}" if field.name in _DECLARED_NAMES else f"a.{field.name}"
        for field in fields(made)
    )


_OF_SEGMENT = f"""
    SELECT {_columns_of(SegmentCustomer)}
    FROM customer_analytics a
    JOIN customers c ON c.tenant_id = a.tenant_id AND c.sk = a.customer_sk
    WHERE a.tenant_id = $1 AND a.rfm_segment = $2 AND a.customer_sk > $3
    ORDER BY a.customer_sk
"""


async def list_of_segment(
    connection: AsyncConnection, tenant_id: int, segment: str, *, after: int, limit: int
) -> list[SegmentCustomer]:
    """Up to `limit` customers of the segment with an `sk` beyond `after`, oldest record first."""
    found = await connection.exec_driver_sql(
        f"{_OF_SEGMENT} LIMIT {limit:d}", (tenant_id, segment, after)
    )
    return [SegmentCustomer(**row._mapping) for row in found]


async def stream_segment(
    connection: AsyncConnection, tenant_id: int, segment: str
) -> AsyncGenerator[list[SegmentCustomer]]:
    """All customers of the segment, some at a time; inside the caller's transaction."""
    async for rows in _stream(connection, _OF_SEGMENT, tenant_id, segment, 0):
        yield [SegmentCustomer(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class ValuedCustomer:
    """A customer with a lifetime value. Amounts are minor units."""

    sk: int
    id: str
    code: str | None
    name: str
    membership_tier: str | None
    rfm_segment: str | None
    clv: int
    clv_1_year: int | None
    clv_3_year: int | None
    clv_percentile: int | None
    clv_confidence: int | None
    clv_tier: str | None
    revenue: int
    churn_band: str | None
    as_of: datetime


# The rank is what the index holds; it rises with the value, so the order is the value's.
_TOP = f"""
    SELECT {_columns_of(ValuedCustomer)}
    FROM customer_analytics a
    JOIN customers c ON c.tenant_id = a.tenant_id AND c.sk = a.customer_sk
    WHERE a.tenant_id = $1 AND a.clv_rank IS NOT NULL AND a.clv_rank <= $2
      AND (a.clv < $3 OR (a.clv = $3 AND a.customer_sk > $4))
    ORDER BY a.clv_rank DESC, a.clv DESC, a.customer_sk
"""
_NOBODY_IS_ABOVE = (2**63 - 1, 0)


async def list_top(
    connection: AsyncConnection, tenant_id: int, *, after: tuple[int, int] | None, limit: int
) -> list[ValuedCustomer]:
    """Customers with a lifetime value, the greatest first.

    `after` is the value and the sk of the last customer of the page before.
    """
    value, customer_sk = after or _NOBODY_IS_ABOVE
    found = await connection.exec_driver_sql(
        # See `app.repositories.page`.
        f"{_TOP} LIMIT {limit:d}",
        (tenant_id, _rank(value), value, customer_sk),
    )
    return [ValuedCustomer(**row._mapping) for row in found]


#: Rows that a stream fetches at once.
_STREAMED_ROWS = 500


async def _stream(
    connection: AsyncConnection, statement: str, *arguments: object
) -> AsyncGenerator[Sequence[Sequence[Any]]]:
    """The rows of `statement` by a cursor of the server, some at a time."""
    cursor = await driver_of(connection).cursor(statement, *arguments)
    while rows := await cursor.fetch(_STREAMED_ROWS):
        yield rows
