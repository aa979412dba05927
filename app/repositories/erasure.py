"""Erasing a customer from every table, and what is kept of it: keyed hashes and a receipt."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.repositories.tables import metadata

# Found by their key, so that a table which comes later is not forgotten. Children go before what
# they hang on.
_OWNED = [
    table.name
    for table in reversed(metadata.sorted_tables)
    if "customer_sk" in table.c and table.name not in ("orders", "duplicate_pairs")
]
#: Sales and answers of the past stay in their totals, which are kept by triggers on these.
_KEPT_IN_TOTALS = frozenset({"orders", "feedback"})

_RETAIN_SALES = """
INSERT INTO retained_sales_days AS r (tenant_id, day, store_sk, orders, revenue)
SELECT tenant_id, local_at::date, coalesce(store_sk, 0), count(*) FILTER (WHERE counted),
       sum(net_amount)
FROM orders
WHERE tenant_id = $1 AND customer_sk = $2 AND (counted OR net_amount <> 0)
GROUP BY 1, 2, 3
ON CONFLICT (tenant_id, day, store_sk) DO UPDATE
SET orders = r.orders + excluded.orders, revenue = r.revenue + excluded.revenue
"""
_RETAIN_SATISFACTION = """
INSERT INTO retained_satisfaction_months AS r (
    tenant_id, month, store_sk, rfm_segment, kind, answers, score_sum, promoters, detractors
)
SELECT tenant_id, date_trunc('month', local_at)::date, coalesce(store_sk, 0),
       coalesce(rfm_segment, 'unknown'), kind, count(*), sum(coalesce(score, 0)),
       count(*) FILTER (WHERE kind = 'nps' AND score >= 9),
       count(*) FILTER (WHERE kind = 'nps' AND score <= 6)
FROM feedback
WHERE tenant_id = $1 AND customer_sk = $2
GROUP BY 1, 2, 3, 4, 5
ON CONFLICT (tenant_id, month, store_sk, rfm_segment, kind) DO UPDATE
SET answers = r.answers + excluded.answers, score_sum = r.score_sum + excluded.score_sum,
    promoters = r.promoters + excluded.promoters, detractors = r.detractors + excluded.detractors
"""


async def retain_totals(connection: AsyncConnection, tenant_id: int, customer_sk: int) -> None:
    """Keep what the customer bought and answered in the totals, without the customer."""
    for statement in (_RETAIN_SALES, _RETAIN_SATISFACTION):
        await connection.exec_driver_sql(statement, (tenant_id, customer_sk))


_DELETE_ITEMS = """
DELETE FROM order_items
WHERE tenant_id = $1 AND order_sk IN (
    SELECT sk FROM orders WHERE tenant_id = $1 AND customer_sk = $2
)
"""
_DELETE_PAIRS = """
DELETE FROM duplicate_pairs WHERE tenant_id = $1 AND (customer_sk, other_sk) IN (
    SELECT customer_sk, other_sk FROM duplicate_pairs WHERE tenant_id = $1 AND customer_sk = $2
    UNION ALL
    SELECT customer_sk, other_sk FROM duplicate_pairs WHERE tenant_id = $1 AND other_sk = $2
)
"""
_SET_TOTALS = text("SELECT set_config('app.totals', :value, true)")


async def delete_everything(
    connection: AsyncConnection, tenant_id: int, customer_sk: int
) -> dict[str, int]:
    """Delete every row of the customer; how many of each table, where there were any."""
    removed: dict[str, int] = {}

    async def delete(table: str, statement: str) -> None:
        result = await connection.exec_driver_sql(statement, (tenant_id, customer_sk))
        if result.rowcount:
            removed[table] = result.rowcount

    await delete("order_items", _DELETE_ITEMS)
    await delete("duplicate_pairs", _DELETE_PAIRS)
    for table in ("orders", *_OWNED):
        if table in _KEPT_IN_TOTALS:
            await connection.execute(_SET_TOTALS, {"value": "off"})
        await delete(table, f"DELETE FROM {table} WHERE tenant_id = $1 AND customer_sk = $2")
        if table in _KEPT_IN_TOTALS:
            await connection.execute(_SET_TOTALS, {"value": "on"})
    await delete("customers", "DELETE FROM customers WHERE tenant_id = $1 AND sk = $2")
    return removed


_FORGET_REFERRER = """
UPDATE customers SET referred_by_sk = NULL, updated_at = now()
WHERE tenant_id = $1 AND referred_by_sk = $2
"""


async def forget_referrer(connection: AsyncConnection, tenant_id: int, customer_sk: int) -> None:
    """Let nobody have been brought in by the customer any more."""
    await connection.exec_driver_sql(_FORGET_REFERRER, (tenant_id, customer_sk))


async def list_connected(
    connection: AsyncConnection, tenant_id: int, customer_ids: Sequence[str]
) -> list[int]:
    """The keys of customers who have one of the ids among their social connections."""
    result = await connection.exec_driver_sql(
        "SELECT sk FROM customers WHERE tenant_id = $1 AND social_connections && $2::text[]",
        (tenant_id, list(customer_ids)),
    )
    return list(result.scalars())


_FORGET_CONNECTION = """
UPDATE customers c
SET social_connections = ARRAY (
        SELECT name FROM unnest(c.social_connections) WITH ORDINALITY AS kept (name, place)
        WHERE name <> ALL ($2::text[]) ORDER BY place
    ),
    updated_at = now()
WHERE tenant_id = $1 AND sk = ANY ($3::bigint[])
"""


async def forget_connections(
    connection: AsyncConnection,
    tenant_id: int,
    customer_ids: Sequence[str],
    connected: Collection[int],
) -> None:
    """Take the ids out of the social connections of the locked customers in `connected`."""
    await connection.exec_driver_sql(
        _FORGET_CONNECTION, (tenant_id, list(customer_ids), list(connected))
    )


_DELETE_ANSWERS = """
DELETE FROM idempotency_keys k
WHERE tenant_id = $1 AND EXISTS (
    SELECT FROM unnest($2::bytea[]) AS named (id) WHERE position(named.id IN k.body) > 0
)
"""


async def delete_answers(
    connection: AsyncConnection, tenant_id: int, customer_ids: Collection[str]
) -> int:
    """Delete the answers, kept for repeated requests, that name one of the ids; how many."""
    # As a JSON text is written with and without escapes.
    named = {
        json.dumps(each, ensure_ascii=escaped).encode()
        for each in customer_ids
        for escaped in (True, False)
    }
    result = await connection.exec_driver_sql(_DELETE_ANSWERS, (tenant_id, list(named)))
    return result.rowcount


_IDS = """
SELECT id FROM customers WHERE tenant_id = $1 AND sk = $2
UNION ALL
SELECT id FROM customer_aliases WHERE tenant_id = $1 AND customer_sk = $2
"""


async def list_ids(connection: AsyncConnection, tenant_id: int, customer_sk: int) -> list[str]:
    """The id of the customer and its former ones."""
    result = await connection.exec_driver_sql(_IDS, (tenant_id, customer_sk))
    return list(result.scalars())


async def find_referrer(
    connection: AsyncConnection, tenant_id: int, customer_sk: int
) -> int | None:
    """The key of the customer who brought this one in."""
    result = await connection.exec_driver_sql(
        "SELECT referred_by_sk FROM customers WHERE tenant_id = $1 AND sk = $2",
        (tenant_id, customer_sk),
    )
    sk: int | None = result.scalar_one_or_none()
    return sk


@dataclass(frozen=True, slots=True)
class Erasure:
    """The receipt of one erasure: rows removed by table, and nothing about the person."""

    receipt_id: UUID
    erased_at: datetime
    erased_by: str | None
    removed: Mapping[str, int]


_ADD = """
INSERT INTO erasures (tenant_id, id_hash, receipt_id, erased_by, receipt)
SELECT $1, id_hash, $3, $4, $5::jsonb FROM unnest($2::bytea[]) AS hashes (id_hash)
ON CONFLICT (tenant_id, id_hash) DO UPDATE
SET receipt_id = excluded.receipt_id, erased_at = excluded.erased_at,
    erased_by = excluded.erased_by, receipt = excluded.receipt
RETURNING erased_at
"""


async def add(
    connection: AsyncConnection,
    tenant_id: int,
    *,
    id_hashes: Collection[bytes],
    receipt_id: UUID,
    erased_by: str | None,
    removed: Mapping[str, int],
) -> Erasure:
    """Keep the hashes of the customer's ids, so that it stays away, and the receipt."""
    result = await connection.exec_driver_sql(
        _ADD, (tenant_id, list(id_hashes), receipt_id, erased_by, json.dumps(removed))
    )
    [erased_at, *_] = result.scalars()
    return Erasure(receipt_id, erased_at, erased_by, removed)


_LIST = text("""
    SELECT DISTINCT receipt_id, erased_at, erased_by, receipt AS removed
    FROM erasures
    WHERE tenant_id = :tenant_id
      AND (CAST(:erased_at AS timestamptz) IS NULL
           OR (erased_at, receipt_id) < (:erased_at, CAST(:receipt_id AS uuid)))
    ORDER BY erased_at DESC, receipt_id DESC
    LIMIT :limit
""")


async def list_page(
    connection: AsyncConnection,
    tenant_id: int,
    *,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[Erasure]:
    """Receipts, the latest first, before the instant and the id of the last one seen."""
    erased_at, receipt_id = before or (None, None)
    rows = await connection.execute(
        _LIST,
        {
            "tenant_id": tenant_id,
            "erased_at": erased_at,
            "receipt_id": receipt_id,
            "limit": limit,
        },
    )
    return [Erasure(**row._mapping) for row in rows]
