"""What customers did, added up: summaries, sessions, funnels and retention."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache

from sqlalchemy import TextClause, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.event import CohortBasis
from app.domain.tenant import Tenant


@dataclass(frozen=True, slots=True)
class BehaviorSummary:
    """What all events of a customer come to. `spent` in minor units; counts are by name."""

    events: int
    page_views: int
    product_views: int
    cart_additions: int
    purchases: int
    spent: int
    first_event_at: datetime
    last_event_at: datetime
    first_purchase_at: datetime | None
    last_purchase_at: datetime | None
    categories: Mapping[str, int]
    devices: Mapping[str, int]
    sources: Mapping[str, int]
    created_at: datetime
    updated_at: datetime


_FIND = text("""
    SELECT events, page_views, product_views, cart_additions, purchases, spent, first_event_at,
           last_event_at, first_purchase_at, last_purchase_at, categories, devices, sources,
           created_at, updated_at
    FROM behavior_summaries WHERE tenant_id = :tenant_id AND customer_sk = :customer_sk
""").columns(categories=JSONB, devices=JSONB, sources=JSONB)


async def find(
    connection: AsyncConnection, tenant_id: int, customer_sk: int
) -> BehaviorSummary | None:
    """The summary of a customer's events; None where there never was one."""
    result = await connection.execute(_FIND, {"tenant_id": tenant_id, "customer_sk": customer_sk})
    row = result.one_or_none()
    return None if row is None else BehaviorSummary(**row._mapping)


# --- sessions ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionDay:
    """The sessions that began on a day; a bounce has one event, `seconds` is the sum of them."""

    day: date
    sessions: int
    bounces: int
    events: int
    seconds: float


# A session is what one customer sent under one id: it may go on past the last day, but not for
# more than a day, and one that began before the first day is not of these days.
_SESSION_DAYS = """
    WITH seen AS (
        SELECT customer_sk, session_id, min(occurred_at) AS began, max(occurred_at) AS ended,
               count(*) AS events
        FROM behavior_events
        WHERE tenant_id = :tenant_id{customer} AND session_id IS NOT NULL
          AND occurred_at >= :since AND occurred_at < :until
        GROUP BY customer_sk, session_id
    ), begun AS (
        SELECT *, (began AT TIME ZONE CAST(:timezone AS text))::date AS day FROM seen
    )
    SELECT day, count(*) AS sessions, count(*) FILTER (WHERE events = 1) AS bounces,
           sum(events)::bigint AS events,
           extract(epoch FROM sum(ended - began))::double precision AS seconds
    FROM begun
    WHERE day BETWEEN CAST(:first AS date) AND CAST(:last AS date)
    GROUP BY day ORDER BY day
"""
_SESSION_DAYS_OF_ALL = text(_SESSION_DAYS.format(customer=""))
_SESSION_DAYS_OF_CUSTOMER = text(_SESSION_DAYS.format(customer=" AND customer_sk = :customer_sk"))


async def list_session_days(
    connection: AsyncConnection,
    tenant: Tenant,
    *,
    first: date,
    last: date,
    customer_sk: int | None = None,
) -> list[SessionDay]:
    """The sessions of the days from `first` to `last` that had any, by the day they began on."""
    parameters: dict[str, object] = {
        "tenant_id": tenant.id,
        "timezone": tenant.timezone,
        "since": tenant.end_of(first - timedelta(days=2)),
        "until": tenant.end_of(last + timedelta(days=1)),
        "first": first,
        "last": last,
    }
    statement = _SESSION_DAYS_OF_ALL
    if customer_sk is not None:
        statement = _SESSION_DAYS_OF_CUSTOMER
        parameters["customer_sk"] = customer_sk
    rows = await connection.execute(statement, parameters)
    return [SessionDay(**row._mapping) for row in rows]


# --- whose events -----------------------------------------------------------------------------

_IN_RFM_SEGMENT = """
          AND EXISTS (
              SELECT FROM customer_analytics a
              WHERE a.tenant_id = :tenant_id AND a.customer_sk = e.customer_sk
                AND a.rfm_segment = :segment
          )"""
_IS_MEMBER = """
          AND EXISTS (
              SELECT FROM segment_members m
              WHERE m.tenant_id = :tenant_id AND m.segment_sk = :segment
                AND m.customer_sk = e.customer_sk AND m.left_at IS NULL
          )"""

#: An RFM segment by its code, or a segment with members by its key.
SegmentKey = str | int


def _segment(segment: SegmentKey | None) -> tuple[str, dict[str, object]]:
    """The condition on the customer of `e`, and its parameter."""
    if segment is None:
        return "", {}
    return _IS_MEMBER if isinstance(segment, int) else _IN_RFM_SEGMENT, {"segment": segment}


# --- funnel -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FunnelStep:
    """How many customers came so far, and the median time since the step before."""

    customers: int
    median_seconds: float | None


# A chain is kept as its times in microseconds: the start, then the later ones with their signs
# turned. The greatest of all chains that reached the step before is the one that began last, so the
# one that the window lets go on longest; of those with one start it is the one whose steps came
# first. So each event needs one look back, a window function in the order of time, and no pairs of
# events are formed. A chain is null where the event is not of the step, or comes too late.
_FUNNEL_STEP = """
    , step_{number} AS (
        SELECT customer_sk, occurred_at, received_at, id, event_type, at, {kept}
               CASE WHEN event_type = :step_{number}
                         AND at - earlier[1] <= CAST(:within AS bigint)
                    THEN earlier || -at END AS chain_{number}
        FROM (
            SELECT *, max(chain_{before}) OVER (
                          PARTITION BY customer_sk ORDER BY occurred_at, received_at, id
                          ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                      ) AS earlier
            FROM step_{before}
        ) AS looked_back
    )"""

# The further step counts, and of several chains to it the one that got there first.
_FUNNEL = """
    WITH step_1 AS (
        SELECT e.customer_sk, e.occurred_at, e.received_at, e.id, e.event_type, t.at,
               CASE WHEN e.event_type = :step_1 AND e.occurred_at < :until
                    THEN ARRAY[t.at] END AS chain_1
        FROM behavior_events e
        CROSS JOIN LATERAL (
            SELECT (extract(epoch FROM e.occurred_at) * 1000000)::bigint AS at
        ) AS t
        WHERE e.tenant_id = :tenant_id AND e.event_type = ANY (CAST(:steps AS text[]))
          AND e.occurred_at >= :since AND e.occurred_at < :read_until{segment}
    ){steps}, furthest AS (
        SELECT DISTINCT ON (customer_sk) coalesce({chains}) AS chain
        FROM step_{last}
        WHERE coalesce({chains}) IS NOT NULL
        ORDER BY customer_sk, cardinality(coalesce({chains})) DESC, occurred_at, received_at, id
    )
    SELECT count(chain[number]) AS customers,
           percentile_cont(0.5) WITHIN GROUP (
               ORDER BY abs(chain[number]) - abs(chain[number - 1])
           ) / 1000000 AS median_seconds
    FROM generate_series(1, CAST(:number_of_steps AS integer)) AS steps (number)
    LEFT JOIN furthest ON true
    GROUP BY number ORDER BY number
"""


@cache
def _funnel(steps: int, segment: str) -> TextClause:
    numbers = range(1, steps + 1)
    return text(
        _FUNNEL.format(
            steps="".join(
                _FUNNEL_STEP.format(
                    number=number,
                    before=number - 1,
                    kept="".join(f"chain_{kept}, " for kept in range(1, number)),
                )
                for number in numbers[1:]
            ),
            chains=", ".join(f"chain_{number}" for number in reversed(numbers)),
            last=steps,
            segment=segment,
        )
    )


async def list_funnel_steps(
    connection: AsyncConnection,
    tenant_id: int,
    steps: Sequence[str],
    *,
    within: timedelta,
    since: datetime,
    until: datetime,
    segment: SegmentKey | None = None,
) -> list[FunnelStep]:
    """For each step, who came so far through those before it, in their order.

    The first step is taken in [since, until), every other one no later than `within` after it.
    """
    condition, parameters = _segment(segment)
    rows = await connection.execute(
        _funnel(len(steps), condition),
        {
            "tenant_id": tenant_id,
            "steps": list(set(steps)),
            "number_of_steps": len(steps),
            "within": within // timedelta(microseconds=1),
            "since": since,
            "until": until,
            "read_until": until + within,
            **{f"step_{number}": step for number, step in enumerate(steps, 1)},
            **parameters,
        },
    )
    return [FunnelStep(**row._mapping) for row in rows]


# --- retention --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RetentionCell:
    """Of the customers whose first bucket begins with `cohort`, those seen in that of `bucket`."""

    cohort: date
    bucket: date
    customers: int


_BASIS = {
    CohortBasis.FIRST_EVENT: "first_event_at",
    CohortBasis.FIRST_PURCHASE: "first_purchase_at",
}

# The first event is known for good from the summaries, whatever became of the events.
_COHORTS = """
    SELECT date_trunc(CAST(:bucket AS text), {basis} AT TIME ZONE CAST(:timezone AS text))::date
               AS cohort,
           count(*) AS customers
    FROM behavior_summaries e
    WHERE e.tenant_id = :tenant_id AND {basis} >= :since AND {basis} < :until{segment}
    GROUP BY 1 ORDER BY 1
"""
# Whoever came a thousand times in a bucket is one row before anything else is done with it.
_RETENTION = """
    WITH seen AS (
        SELECT DISTINCT e.customer_sk,
               date_trunc(CAST(:bucket AS text),
                          e.occurred_at AT TIME ZONE CAST(:timezone AS text))::date AS bucket
        FROM behavior_events e
        WHERE e.tenant_id = :tenant_id AND e.occurred_at >= :since AND e.occurred_at < :until{event}
    ), started AS (
        SELECT e.customer_sk,
               date_trunc(CAST(:bucket AS text),
                          {basis} AT TIME ZONE CAST(:timezone AS text))::date AS cohort
        FROM behavior_summaries e
        WHERE e.tenant_id = :tenant_id AND {basis} >= :since AND {basis} < :until{segment}
    )
    SELECT cohort, bucket, count(*) AS customers
    FROM seen JOIN started USING (customer_sk)
    WHERE bucket >= cohort
    GROUP BY cohort, bucket ORDER BY cohort, bucket
"""
_OF_TYPE = " AND e.event_type = :event_type"


@cache
def _cohorts(basis: CohortBasis, segment: str) -> TextClause:
    return text(_COHORTS.format(basis=_BASIS[basis], segment=segment))


@cache
def _retention(basis: CohortBasis, event: str, segment: str) -> TextClause:
    return text(_RETENTION.format(basis=_BASIS[basis], event=event, segment=segment))


async def list_cohort_sizes(
    connection: AsyncConnection,
    tenant_id: int,
    *,
    basis: CohortBasis,
    bucket: str,
    timezone: str,
    since: datetime,
    until: datetime,
    segment: SegmentKey | None = None,
) -> dict[date, int]:
    """How many customers were first seen in each bucket of [since, until), by its first day."""
    condition, parameters = _segment(segment)
    rows = await connection.execute(
        _cohorts(basis, condition),
        {
            "tenant_id": tenant_id,
            "bucket": bucket,
            "timezone": timezone,
            "since": since,
            "until": until,
            **parameters,
        },
    )
    return {row.cohort: row.customers for row in rows}


async def list_retention(
    connection: AsyncConnection,
    tenant_id: int,
    *,
    basis: CohortBasis,
    bucket: str,
    timezone: str,
    since: datetime,
    until: datetime,
    event_type: str | None = None,
    segment: SegmentKey | None = None,
) -> list[RetentionCell]:
    """In which buckets the customers first seen in [since, until) were seen again, till `until`.

    Every event counts, or those of `event_type` alone.
    """
    condition, parameters = _segment(segment)
    if event_type is not None:
        parameters["event_type"] = event_type
    rows = await connection.execute(
        _retention(basis, "" if event_type is None else _OF_TYPE, condition),
        {
            "tenant_id": tenant_id,
            "bucket": bucket,
            "timezone": timezone,
            "since": since,
            "until": until,
            **parameters,
        },
    )
    return [RetentionCell(**row._mapping) for row in rows]
