"""What customers are to one store, from their orders there only."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.scoring_run import RunClock
from app.repositories import scoring
from app.repositories.analytics import Analytics
from app.repositories.scoring import ScoringStatements, StoreSegment

_FIELDS = frozenset(field.name for field in fields(Analytics))


async def get_analytics(
    connection: AsyncConnection,
    statements: ScoringStatements,
    tenant_id: int,
    clock: RunClock,
    *,
    customer_sk: int,
    store_sk: int,
) -> Analytics:
    """Every figure of a customer, computed from the orders and the feedback at the store.

    Scores are ranked by the cutoffs of the whole tenant. Without an order there, the figures are
    those of a customer who has none at all.
    """
    computed = await scoring.compute_at_store(
        connection, statements, tenant_id, clock, customer_sk=customer_sk, store_sk=store_sk
    )
    values: dict[str, Any] = {
        "recommended_products": None,
        "external_as_of": None,
        "external_model_version": None,
        "computed_at": clock.as_of,
        "standing_since": clock.as_of_day,
    }
    values |= {name: value for name, value in computed.items() if name in _FIELDS}
    return Analytics(**values)


@dataclass(frozen=True, slots=True)
class Visits:
    """The orders of a customer at one store. Revenue in minor units, over all time."""

    counted_orders: int
    revenue: int
    last_order_at: datetime | None


_VISITS = text("""
    SELECT given AS customer_sk,
           count(*) FILTER (WHERE o.counted) AS counted_orders,
           CAST(coalesce(sum(o.net_amount), 0) AS bigint) AS revenue,
           max(o.ordered_at) FILTER (WHERE o.counted) AS last_order_at
    FROM unnest(CAST(:customer_sks AS bigint[])) AS given
    CROSS JOIN LATERAL (
        SELECT counted, net_amount, ordered_at FROM orders
        WHERE tenant_id = :tenant_id AND customer_sk = given AND store_sk = :store_sk
          AND ordered_at < CAST(:as_of AS timestamptz)
        OFFSET 0
    ) o
    GROUP BY given
""")


async def list_visits(
    connection: AsyncConnection,
    tenant_id: int,
    store_sk: int,
    customer_sks: Sequence[int],
    *,
    as_of: datetime,
) -> dict[int, Visits]:
    """What these customers did at the store before an instant, by their sk; not who did nothing."""
    parameters = {
        "tenant_id": tenant_id,
        "store_sk": store_sk,
        "customer_sks": list(customer_sks),
        "as_of": as_of,
    }
    rows = await connection.execute(_VISITS, parameters)
    return {
        row.customer_sk: Visits(row.counted_orders, row.revenue, row.last_order_at) for row in rows
    }


@dataclass(frozen=True, slots=True)
class VenueSegments:
    """How the customers of a store divide, and when that was counted."""

    as_of: datetime
    computed_at: datetime
    segments: list[StoreSegment]


_FIND = text("""
    SELECT kind, segment, customers, revenue, as_of, computed_at FROM venue_segments
    WHERE tenant_id = :tenant_id AND store_sk = :store_sk AND model_version = :model_version
      AND computed_at >= CAST(:since AS timestamptz)
    ORDER BY kind, segment
""")


async def find_segments(
    connection: AsyncConnection,
    tenant_id: int,
    store_sk: int,
    *,
    model_version: str,
    since: datetime,
) -> VenueSegments | None:
    """What was counted under these rules since an instant; None where nothing was."""
    parameters = {
        "tenant_id": tenant_id,
        "store_sk": store_sk,
        "model_version": model_version,
        "since": since,
    }
    rows = (await connection.execute(_FIND, parameters)).all()
    if not rows:
        return None
    segments = [StoreSegment(row.kind, row.segment, row.customers, row.revenue) for row in rows]
    return VenueSegments(rows[0].as_of, rows[0].computed_at, segments)


_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('venue segments', :store_sk))")


async def lock_segments(connection: AsyncConnection, store_sk: int) -> None:
    """Let nobody else count the segments of the store until the transaction ends."""
    await connection.execute(_LOCK, {"store_sk": store_sk})


_FORGET = text("""
    DELETE FROM venue_segments WHERE tenant_id = :tenant_id AND store_sk = :store_sk
""")
_ADD = text("""
    INSERT INTO venue_segments
        (tenant_id, store_sk, kind, segment, customers, revenue, as_of, model_version, computed_at)
    SELECT CAST(:tenant_id AS integer), CAST(:store_sk AS bigint), kind, segment, customers,
           revenue, CAST(:as_of AS timestamptz), CAST(:model_version AS text),
           CAST(:computed_at AS timestamptz)
    FROM unnest(
        CAST(:kinds AS text[]), CAST(:segments AS text[]), CAST(:customers AS bigint[]),
        CAST(:revenues AS bigint[])
    ) AS counted (kind, segment, customers, revenue)
""")


async def replace_segments(
    connection: AsyncConnection,
    tenant_id: int,
    store_sk: int,
    found: VenueSegments,
    *,
    model_version: str,
) -> None:
    """Keep what was counted in place of what was counted before."""
    await connection.execute(_FORGET, {"tenant_id": tenant_id, "store_sk": store_sk})
    await connection.execute(
        _ADD,
        {
            "tenant_id": tenant_id,
            "store_sk": store_sk,
            "kinds": [each.kind for each in found.segments],
            "segments": [each.segment for each in found.segments],
            "customers": [each.customers for each in found.segments],
            "revenues": [each.revenue for each in found.segments],
            "as_of": found.as_of,
            "model_version": model_version,
            "computed_at": found.computed_at,
        },
    )
