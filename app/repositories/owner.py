"""The locks under which what belongs to customers is written."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection


class Locked(NamedTuple):
    """What a lock found: customers, now locked, and stores, by external id."""

    customers: dict[str, int]
    stores: dict[str, int]


# Statistics know nothing yet of a tenant whose first file is coming in: the planner takes it for
# empty, finds every index that begins with the tenant as good as any other, and may read all the
# tenant has for every row. So each row is looked up by its key in a subquery that cannot be turned
# around, as a range of one value in order, which only the index of that key has for nothing.
#
# The rows are locked in the order of their keys, because the outer list is sorted. Who brought in a
# customer is locked as well: what the customer buys shows in their figures too.
_LOCK = """
WITH clock AS MATERIALIZED (
    SELECT pg_advisory_xact_lock_shared(hashtext('local clock'), $1)
), owners AS MATERIALIZED (
    SELECT c.sk
    FROM clock CROSS JOIN unnest($2::text[]) AS wanted (id)
    CROSS JOIN LATERAL (
        SELECT sk FROM customers
        WHERE tenant_id = (SELECT $1::integer) AND id BETWEEN wanted.id AND wanted.id
        ORDER BY id LIMIT 1
    ) AS c
    UNION
    SELECT o.customer_sk
    FROM {wanted}
    CROSS JOIN LATERAL (
        SELECT customer_sk FROM {table}
        WHERE tenant_id = (SELECT $1::integer) AND id BETWEEN wanted.id AND wanted.id
        ORDER BY id LIMIT 1
    ) AS o
), touched AS MATERIALIZED (
    SELECT sk FROM owners
    UNION
    SELECT c.referred_by_sk
    FROM owners
    CROSS JOIN LATERAL (
        SELECT referred_by_sk FROM customers
        WHERE tenant_id = (SELECT $1::integer) AND sk BETWEEN owners.sk AND owners.sk
        ORDER BY sk LIMIT 1
    ) AS c
    WHERE c.referred_by_sk IS NOT NULL
    ORDER BY sk
), locked AS MATERIALIZED (
    SELECT c.sk, c.id
    FROM touched
    CROSS JOIN LATERAL (
        SELECT sk, id FROM customers
        WHERE tenant_id = (SELECT $1::integer)
          AND sk BETWEEN touched.sk AND touched.sk
        ORDER BY sk LIMIT 1
        FOR NO KEY UPDATE
    ) AS c
)
SELECT false AS is_store, sk, id FROM locked
UNION ALL
SELECT true, sk, id FROM stores WHERE tenant_id = (SELECT $1::integer) AND id = ANY ($3::text[])
"""


def lock_statement(table: str, wanted: str = "unnest($4::text[]) AS wanted (id)") -> str:
    """The statement of `lock` for what `table` has; `wanted` is a relation of the ids in it."""
    return _LOCK.format(table=table, wanted=wanted)


async def lock(
    connection: AsyncConnection,
    statement: str,
    tenant_id: int,
    customer_ids: Collection[str],
    store_ids: Collection[str],
    *ids: Sequence[str],
) -> Locked:
    """Lock the named customers, the present owners of what is named, and who brought them in.

    The rows are locked in key order, and the tenant keeps its clock, until the transaction ends.
    """
    rows: Iterable[Any] = await connection.exec_driver_sql(
        statement, (tenant_id, list(customer_ids), list(store_ids), *ids)
    )
    locked = Locked({}, {})
    for is_store, sk, identity in rows:
        (locked.stores if is_store else locked.customers)[identity] = sk
    return locked


_LOCK_CLOCK = "SELECT pg_advisory_xact_lock(hashtext('local clock'), $1)"
#: Taken by `lock` too.
SHARE_CLOCK = "SELECT pg_advisory_xact_lock_shared(hashtext('local clock'), $1)"


async def lock_clock(connection: AsyncConnection, tenant_id: int) -> None:
    """Wait for all who write by the tenant's clock, and keep others waiting until the end."""
    await connection.exec_driver_sql(_LOCK_CLOCK, (tenant_id,))
