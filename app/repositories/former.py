"""Ids that no customer has any more: of customers merged into others, of customers erased."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class FormerIds:
    """What became of ids: `merged` has the present id by the former one, `erased` the instant."""

    merged: Mapping[str, str]
    erased: Mapping[str, datetime]


# An id at a time by key, whatever the statistics say of the tables.
_FORMER = """
SELECT alias.id, c.id AS now, NULL::timestamptz AS erased_at
FROM unnest($2::text[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT id, customer_sk FROM customer_aliases
    WHERE tenant_id = (SELECT $1::integer) AND id BETWEEN wanted.id AND wanted.id
    ORDER BY id LIMIT 1
) AS alias
JOIN customers c ON c.tenant_id = (SELECT $1::integer) AND c.sk = alias.customer_sk
UNION ALL
SELECT id, NULL, erased_at FROM erased_among($1, $2)
"""


async def find_former(
    connection: AsyncConnection, tenant_id: int, customer_ids: Collection[str]
) -> FormerIds:
    """What became of those of `customer_ids` that were a customer's once, and are not now."""
    rows: Iterable[Any] = await connection.exec_driver_sql(_FORMER, (tenant_id, list(customer_ids)))
    merged: dict[str, str] = {}
    erased: dict[str, datetime] = {}
    for former_id, present_id, erased_at in rows:
        if present_id is None:
            erased[former_id] = erased_at
        else:
            merged[former_id] = present_id
    return FormerIds(merged, erased)


_PRESENT_ID = text("""
    SELECT c.id FROM customer_aliases a
    JOIN customers c ON c.tenant_id = a.tenant_id AND c.sk = a.customer_sk
    WHERE a.tenant_id = :tenant_id AND a.id = :id
""")


async def find_present_id(
    connection: AsyncConnection, tenant_id: int, former_id: str
) -> str | None:
    """The id of the customer that the one called `former_id` was merged into."""
    found: str | None = await connection.scalar(
        _PRESENT_ID, {"tenant_id": tenant_id, "id": former_id}
    )
    return found


_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtext('customers leave'), :tenant_id)")


async def try_lock_leaving(connection: AsyncConnection, tenant_id: int) -> bool:
    """Keep runs of scores out until the transaction ends; False where one is in progress.

    A run writes figures of customers it does not lock, and would fail of one who has gone.
    """
    return bool(await connection.scalar(_TRY_LOCK, {"tenant_id": tenant_id}))


_NEIGHBOURS = """
SELECT sk FROM customers
WHERE tenant_id = $1 AND sk IN (
    SELECT unnest($2::bigint[])
    UNION
    SELECT sk FROM customers WHERE tenant_id = $1 AND referred_by_sk = ANY ($2::bigint[])
    UNION
    SELECT referred_by_sk FROM customers WHERE tenant_id = $1 AND sk = ANY ($2::bigint[])
)
ORDER BY sk
FOR NO KEY UPDATE
"""
# Waits for those who have just added something of the customers, and lets nobody add more.
_LEAVING = "SELECT sk FROM customers WHERE tenant_id = $1 AND sk = ANY ($2::bigint[]) FOR UPDATE"


async def lock_leaving(
    connection: AsyncConnection, tenant_id: int, *, leaving: int, others: Collection[int] = ()
) -> frozenset[int]:
    """Lock a customer who is to go, some others, and the referrers and the referred of all.

    In key order, like every writer. Returns the keys of those locked: who has gone is not.
    """
    named = [leaving, *others]
    locked = await connection.exec_driver_sql(_NEIGHBOURS, (tenant_id, named))
    await connection.exec_driver_sql(_LEAVING, (tenant_id, [leaving]))
    return frozenset(locked.scalars())


_FIND_SK = text("""
    SELECT sk FROM customers WHERE tenant_id = :tenant_id AND id = :id
    UNION ALL
    SELECT customer_sk FROM customer_aliases WHERE tenant_id = :tenant_id AND id = :id
""")


async def find_sk(connection: AsyncConnection, tenant_id: int, customer_id: str) -> int | None:
    """The key of the customer who is, or before a merge was, called `customer_id`."""
    sk: int | None = await connection.scalar(_FIND_SK, {"tenant_id": tenant_id, "id": customer_id})
    return sk
