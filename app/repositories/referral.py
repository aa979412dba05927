"""Who brought whom: the tree below one customer."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

#: Deeper trees are not followed: who is seven steps away was not brought by the customer.
MAX_DEPTH = 6


@dataclass(frozen=True, slots=True)
class ReferralLevel:
    """The customers so many steps below. Revenue is of all time, in minor units."""

    level: int
    customers: int
    buyers: int
    revenue: int


@dataclass(frozen=True, slots=True)
class Referral:
    """A customer whom the root referred, and how many that customer referred in turn."""

    sk: int
    id: str
    name: str
    counted_orders: int
    revenue: int
    referred_customers: int


# Everybody has one referrer at most, so a circle is entered by nobody but its own members: it is
# enough to leave the root out. The subtree is read key by key; OFFSET 0 leaves the planner no other
# way, whatever it believes about the size of the tree.
_LEVELS = text("""
    WITH RECURSIVE tree (sk, level) AS (
        SELECT sk, 1 FROM customers
        WHERE tenant_id = :tenant_id AND referred_by_sk = :customer_sk AND sk <> :customer_sk
        UNION ALL
        SELECT c.sk, tree.level + 1
        FROM tree
        CROSS JOIN LATERAL (
            SELECT sk FROM customers
            WHERE tenant_id = :tenant_id AND referred_by_sk = tree.sk AND sk <> :customer_sk
            OFFSET 0
        ) c
        WHERE tree.level < :depth
    )
    SELECT tree.level, count(*) AS customers,
           count(*) FILTER (WHERE a.counted_orders > 0) AS buyers,
           CAST(coalesce(sum(a.revenue), 0) AS bigint) AS revenue
    FROM tree
    LEFT JOIN LATERAL (
        SELECT counted_orders, revenue FROM customer_analytics
        WHERE tenant_id = :tenant_id AND customer_sk = tree.sk OFFSET 0
    ) a ON true
    GROUP BY tree.level
    ORDER BY tree.level
""")


async def list_levels(
    connection: AsyncConnection, tenant_id: int, customer_sk: int, *, depth: int
) -> list[ReferralLevel]:
    """What the customer's referrals amount to, level by level; levels without anybody are left out.

    Only the subtree itself is read, however large the network around it is.
    """
    parameters = {"tenant_id": tenant_id, "customer_sk": customer_sk, "depth": depth}
    return [ReferralLevel(**row._mapping) for row in await connection.execute(_LEVELS, parameters)]


_DIRECT = text("""
    SELECT c.sk, c.id, c.name, coalesce(a.counted_orders, 0) AS counted_orders,
           coalesce(a.revenue, 0) AS revenue, r.referred_customers
    FROM (
        SELECT sk, id, name FROM customers
        WHERE tenant_id = :tenant_id AND referred_by_sk = :customer_sk AND sk <> :customer_sk
          AND sk > :after
        ORDER BY sk LIMIT :limit
    ) c
    LEFT JOIN LATERAL (
        SELECT counted_orders, revenue FROM customer_analytics
        WHERE tenant_id = :tenant_id AND customer_sk = c.sk OFFSET 0
    ) a ON true
    CROSS JOIN LATERAL (
        SELECT count(*) AS referred_customers FROM customers
        WHERE tenant_id = :tenant_id AND referred_by_sk = c.sk AND sk <> c.sk
    ) r
    ORDER BY c.sk
""")


async def list_direct(
    connection: AsyncConnection, tenant_id: int, customer_sk: int, *, after: int, limit: int
) -> list[Referral]:
    """Up to `limit` customers whom the customer referred, those recorded first in front."""
    parameters = {
        "tenant_id": tenant_id,
        "customer_sk": customer_sk,
        "after": after,
        "limit": limit,
    }
    return [Referral(**row._mapping) for row in await connection.execute(_DIRECT, parameters)]
