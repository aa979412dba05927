"""What each day came to, of the whole business and of each segment."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from decimal import Decimal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.event import ADD_TO_CART, PAGE_VIEW, PRODUCT_VIEW, PURCHASE
from app.domain.performance import (
    ACTIVE_DAYS,
    AT_RISK,
    CHURNED,
    ENGAGED_DAYS,
    FULL_ENGAGEMENT,
)
from app.domain.tenant import Tenant
from app.repositories import behavior


@dataclass(frozen=True, slots=True)
class BusinessDay:
    """The whole business on one day. `revenue` is minor units.

    `active_customers` ordered or did something in the thirty days up to it, `visitors` did
    something on the day itself, and `converted` are those of them who bought. Standing is None
    where no scores are known of the day.
    """

    day: date
    total_customers: int
    new_customers: int
    active_customers: int
    at_risk_customers: int | None
    churned_customers: int | None
    page_views: int
    product_views: int
    cart_additions: int
    purchases: int
    visitors: int
    converted: int
    sessions: int
    bounces: int
    session_seconds: float
    buyers: int
    repeat_buyers: int
    orders: int
    revenue: Decimal
    computed_at: datetime


@dataclass(frozen=True, slots=True)
class SegmentDay:
    """The members of a segment on one day. Amounts are minor units.

    `stayed` and `lost` are those who were not lost thirty days before; `value` is the lifetime
    value of those `valued`; visitors, mails and texts are of the thirty days, in members;
    `engagement` is the mean of the members', 0 to 100.
    """

    day: date
    member_count: int
    active_members: int
    stayed: int | None
    lost: int | None
    valued: int
    value: Decimal
    orders_30d: int
    revenue_30d: Decimal
    visitors: int
    converted: int
    emailed: int
    email_opened: int
    email_clicked: int
    texted: int
    text_opened: int
    engagement: float
    revenue: Decimal
    computed_at: datetime


_BUSINESS = [each.name for each in fields(BusinessDay)]
_SEGMENT = [each.name for each in fields(SegmentDay)]


def _upsert(table: str, key: str, columns: Collection[str]) -> str:
    """INSERT into `table` what follows, over what is there of the same key."""
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns)
    return f"ON CONFLICT ({key}) DO UPDATE SET {changes}, computed_at = now()"


_AT_RISK = ", ".join(f"'{each}'" for each in AT_RISK)

# One row for each customer there was, with what they did on the day and in the days up to it.
_PEOPLE = f"""
WITH known AS MATERIALIZED (
    SELECT c.sk AS customer_sk,
           least(CAST(c.created_at AT TIME ZONE :timezone AS date), a.first_order_day) AS since,
           a.first_order_day
    FROM customers c
    LEFT JOIN customer_analytics a ON a.tenant_id = c.tenant_id AND a.customer_sk = c.sk
    WHERE c.tenant_id = :tenant_id
), standing AS MATERIALIZED (
    SELECT DISTINCT ON (customer_sk) customer_sk, lifecycle_segment, clv
    FROM score_history WHERE tenant_id = :tenant_id AND day <= :day
    ORDER BY customer_sk, day DESC
), former AS MATERIALIZED (
    SELECT DISTINCT ON (customer_sk) customer_sk, lifecycle_segment
    FROM score_history WHERE tenant_id = :tenant_id AND day <= :former_day
    ORDER BY customer_sk, day DESC
), bought AS MATERIALIZED (
    SELECT customer_sk, count(*) FILTER (WHERE counted AND local_at >= :day) AS orders,
           coalesce(sum(net_amount) FILTER (WHERE local_at >= :day), 0) AS revenue,
           count(*) FILTER (WHERE counted) AS orders_30d, sum(net_amount) AS revenue_30d
    FROM orders
    WHERE tenant_id = :tenant_id AND local_at >= :first_day AND local_at < :next_day
      AND (counted OR net_amount <> 0)
    GROUP BY customer_sk
), did AS MATERIALIZED (
    SELECT customer_sk,
           count(*) FILTER (WHERE occurred_at >= :begins) AS events,
           count(*) FILTER (WHERE occurred_at >= :begins AND event_type = '{PAGE_VIEW}')
               AS page_views,
           count(*) FILTER (WHERE occurred_at >= :begins AND event_type = '{PRODUCT_VIEW}')
               AS product_views,
           count(*) FILTER (WHERE occurred_at >= :begins AND event_type = '{ADD_TO_CART}')
               AS cart_additions,
           count(*) FILTER (WHERE occurred_at >= :begins AND event_type = '{PURCHASE}')
               AS purchases,
           bool_or(event_type = '{PURCHASE}') AS purchased_30d,
           bool_or(event_type = 'email_sent') AS emailed,
           bool_or(event_type IN ('email_open', 'email_click')) AS email_opened,
           bool_or(event_type = 'email_click') AS email_clicked,
           bool_or(event_type = 'sms_sent') AS texted,
           bool_or(event_type IN ('sms_open', 'sms_click')) AS text_opened
    FROM behavior_events
    WHERE tenant_id = :tenant_id AND occurred_at >= :first_begins AND occurred_at < :ends
    GROUP BY customer_sk
), came AS MATERIALIZED (
    SELECT customer_sk, count(DISTINCT day) AS days
    FROM (
        SELECT customer_sk, CAST(local_at AS date) AS day FROM orders
        WHERE tenant_id = :tenant_id AND counted
          AND local_at >= :first_day AND local_at < :next_day
        UNION ALL
        SELECT customer_sk, CAST(occurred_at AT TIME ZONE :timezone AS date) FROM behavior_events
        WHERE tenant_id = :tenant_id AND occurred_at >= :first_begins AND occurred_at < :ends
    ) AS days
    GROUP BY customer_sk
), written_to AS MATERIALIZED (
    SELECT DISTINCT customer_sk FROM contacts
    WHERE tenant_id = :tenant_id AND channel = 'email'
      AND sent_at >= :first_begins AND sent_at < :ends
), people AS MATERIALIZED (
    SELECT k.customer_sk, k.since, k.first_order_day, s.lifecycle_segment, s.clv,
           f.lifecycle_segment AS former_segment,
           coalesce(b.orders, 0) AS orders, coalesce(b.revenue, 0) AS revenue,
           coalesce(b.orders_30d, 0) AS orders_30d, coalesce(b.revenue_30d, 0) AS revenue_30d,
           coalesce(d.events, 0) AS events, coalesce(d.page_views, 0) AS page_views,
           coalesce(d.product_views, 0) AS product_views,
           coalesce(d.cart_additions, 0) AS cart_additions, coalesce(d.purchases, 0) AS purchases,
           d.customer_sk IS NOT NULL AS visited_30d,
           coalesce(d.purchased_30d, false) AS purchased_30d,
           w.customer_sk IS NOT NULL OR coalesce(d.emailed, false) AS emailed,
           coalesce(d.email_opened, false) AS email_opened,
           coalesce(d.email_clicked, false) AS email_clicked,
           coalesce(d.texted, false) AS texted, coalesce(d.text_opened, false) AS text_opened,
           coalesce(came.days, 0) AS days
    FROM known k
    LEFT JOIN standing s USING (customer_sk)
    LEFT JOIN former f USING (customer_sk)
    LEFT JOIN bought b USING (customer_sk)
    LEFT JOIN did d USING (customer_sk)
    LEFT JOIN came USING (customer_sk)
    LEFT JOIN written_to w USING (customer_sk)
    WHERE k.since <= :day
)"""

_SESSIONS = ("sessions", "bounces", "session_seconds")
_COUNTED = [name for name in _BUSINESS if name not in ("day", "computed_at")]
_MEASURED = [name for name in _SEGMENT if name not in ("day", "computed_at")]

_KEEP = text(f"""
{_PEOPLE}, everybody AS (
    INSERT INTO behavioral_analytics (tenant_id, day, {", ".join(_COUNTED)})
    SELECT :tenant_id, :day,
           count(*),
           count(*) FILTER (WHERE since = :day),
           count(*) FILTER (WHERE days > 0),
           CASE WHEN count(lifecycle_segment) > 0
                THEN count(*) FILTER (WHERE lifecycle_segment IN ({_AT_RISK})) END,
           CASE WHEN count(lifecycle_segment) > 0
                THEN count(*) FILTER (WHERE lifecycle_segment = '{CHURNED}') END,
           coalesce(sum(page_views), 0), coalesce(sum(product_views), 0),
           coalesce(sum(cart_additions), 0), coalesce(sum(purchases), 0),
           count(*) FILTER (WHERE events > 0),
           count(*) FILTER (WHERE events > 0 AND (purchases > 0 OR orders > 0)),
           :sessions, :bounces, :session_seconds,
           count(*) FILTER (WHERE orders > 0),
           count(*) FILTER (WHERE orders > 0 AND (first_order_day < :day OR orders > 1)),
           coalesce(sum(orders), 0), coalesce(sum(revenue), 0)
    FROM people
    {_upsert("behavioral_analytics", "tenant_id, day", _COUNTED)}
)
INSERT INTO segment_performance (tenant_id, segment_sk, day, {", ".join(_MEASURED)})
SELECT :tenant_id, g.sk, :day,
       count(p.customer_sk),
       count(*) FILTER (WHERE p.days > 0),
       CASE WHEN count(p.former_segment) > 0 THEN count(*) FILTER (
           WHERE p.former_segment <> '{CHURNED}' AND p.lifecycle_segment <> '{CHURNED}') END,
       CASE WHEN count(p.former_segment) > 0 THEN count(*) FILTER (
           WHERE p.former_segment <> '{CHURNED}' AND p.lifecycle_segment = '{CHURNED}') END,
       count(p.clv), coalesce(sum(p.clv), 0),
       coalesce(sum(p.orders_30d), 0), coalesce(sum(p.revenue_30d), 0),
       count(*) FILTER (WHERE p.visited_30d),
       count(*) FILTER (WHERE p.visited_30d AND (p.purchased_30d OR p.orders_30d > 0)),
       count(*) FILTER (WHERE p.emailed),
       count(*) FILTER (WHERE p.emailed AND p.email_opened),
       count(*) FILTER (WHERE p.emailed AND p.email_clicked),
       count(*) FILTER (WHERE p.texted),
       count(*) FILTER (WHERE p.texted AND p.text_opened),
       coalesce(avg({FULL_ENGAGEMENT} * least(p.days / {ENGAGED_DAYS}.0, 1))
                    FILTER (WHERE p.customer_sk IS NOT NULL), 0),
       coalesce(sum(p.revenue), 0)
FROM segments g
LEFT JOIN (
    SELECT DISTINCT segment_sk, customer_sk FROM segment_members
    WHERE tenant_id = :tenant_id AND joined_at < :ends
      AND (left_at IS NULL OR left_at >= :ends)
) AS m ON m.segment_sk = g.sk
LEFT JOIN people p ON p.customer_sk = m.customer_sk
WHERE g.tenant_id = :tenant_id AND g.is_active
GROUP BY g.sk
{_upsert("segment_performance", "tenant_id, segment_sk, day", _MEASURED)}
""")


async def keep_day(connection: AsyncConnection, tenant: Tenant, day: date) -> None:
    """Add up a day of the tenant's calendar that is over, over what was added up of it before."""
    sessions = await behavior.list_session_days(connection, tenant, first=day, last=day)
    first_day = day - timedelta(days=ACTIVE_DAYS - 1)
    await connection.execute(
        _KEEP,
        {
            "tenant_id": tenant.id,
            "timezone": tenant.timezone,
            "day": day,
            "next_day": day + timedelta(days=1),
            "first_day": first_day,
            "former_day": day - timedelta(days=ACTIVE_DAYS),
            "begins": tenant.end_of(day - timedelta(days=1)),
            "first_begins": tenant.end_of(first_day - timedelta(days=1)),
            "ends": tenant.end_of(day),
            "sessions": sum(each.sessions for each in sessions),
            "bounces": sum(each.bounces for each in sessions),
            "session_seconds": float(sum(each.seconds for each in sessions)),
        },
    )


_KEPT = text("""
    SELECT day FROM behavioral_analytics
    WHERE tenant_id = :tenant_id AND day BETWEEN :first AND :last
""")
_BUSINESS_DAYS = text(f"""
    SELECT {", ".join(_BUSINESS)} FROM behavioral_analytics
    WHERE tenant_id = :tenant_id AND day BETWEEN :first AND :last ORDER BY day
""")
_SEGMENT_DAYS = text(f"""
    SELECT {", ".join(_SEGMENT)} FROM segment_performance
    WHERE tenant_id = :tenant_id AND segment_sk = :segment_sk AND day BETWEEN :first AND :last
    ORDER BY day
""")


async def list_kept(
    connection: AsyncConnection, tenant_id: int, first: date, last: date
) -> set[date]:
    """The days of a period that were added up."""
    rows = await connection.execute(_KEPT, {"tenant_id": tenant_id, "first": first, "last": last})
    return set(rows.scalars())


async def list_business_days(
    connection: AsyncConnection, tenant_id: int, first: date, last: date
) -> list[BusinessDay]:
    """The days of a period that were added up, of the whole business, oldest first."""
    rows = await connection.execute(
        _BUSINESS_DAYS, {"tenant_id": tenant_id, "first": first, "last": last}
    )
    return [BusinessDay(**row._mapping) for row in rows]


async def list_segment_days(
    connection: AsyncConnection, tenant_id: int, segment_sk: int, first: date, last: date
) -> list[SegmentDay]:
    """The days of a period that were added up, of one segment, oldest first."""
    rows = await connection.execute(
        _SEGMENT_DAYS,
        {"tenant_id": tenant_id, "segment_sk": segment_sk, "first": first, "last": last},
    )
    return [SegmentDay(**row._mapping) for row in rows]
