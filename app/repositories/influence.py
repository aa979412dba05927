"""Who brings customers, and what the network below them comes to."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.repositories.page import limited

#: A network ends at the referrals of the referrals … of so many levels.
NETWORK_DEPTH = 6

#: Networks of at most so many customers are added up when they are asked for.
SMALL_NETWORK = 50


@dataclass(frozen=True, slots=True)
class Influencer:
    """A customer who referred others. Revenue is of all time, in minor units.

    `network_…` is everybody below, down to `NETWORK_DEPTH` levels; `network_as_of` is when it was
    added up, None where that is now.
    """

    sk: int
    id: str
    name: str
    membership_tier: str | None
    influence_score: float
    referred_customers: int
    referral_revenue: int
    response_rate: float | None
    revenue: int
    network_customers: int
    network_revenue: int
    network_as_of: datetime | None


# One row after the other, by key: OFFSET 0 leaves the planner no other way than the index.
_INFLUENCERS = f"""
    WITH shown AS MATERIALIZED (
        SELECT customer_sk, influence_score, referred_customers, referral_revenue, response_rate,
               membership_tier, revenue
        FROM customer_analytics
        WHERE tenant_id = :tenant_id AND referred_customers > 0 AND influence_score IS NOT NULL
          AND influence_score <= CAST(:score AS double precision)
          AND (influence_score < CAST(:score AS double precision)
               OR customer_sk > CAST(:customer_sk AS bigint))
        ORDER BY influence_score DESC, customer_sk
        LIMIT :limit
    )
    SELECT shown.customer_sk AS sk, c.id, c.name, shown.membership_tier, shown.influence_score,
           shown.referred_customers, shown.referral_revenue, shown.response_rate, shown.revenue,
           CAST(coalesce(kept.customers, counted.customers) AS bigint) AS network_customers,
           CAST(coalesce(kept.revenue, counted.revenue) AS bigint) AS network_revenue,
           kept.computed_at AS network_as_of
    FROM shown
    CROSS JOIN LATERAL (
        SELECT id, name FROM customers
        WHERE tenant_id = :tenant_id AND sk = shown.customer_sk OFFSET 0
    ) AS c
    LEFT JOIN LATERAL (
        SELECT customers, revenue, computed_at FROM referral_networks
        WHERE tenant_id = :tenant_id AND customer_sk = shown.customer_sk OFFSET 0
    ) AS kept ON true
    LEFT JOIN LATERAL (
        WITH RECURSIVE network (sk, level) AS (
            SELECT sk, 1 FROM customers
            WHERE tenant_id = :tenant_id AND referred_by_sk = shown.customer_sk
              AND kept.computed_at IS NULL
            UNION ALL
            SELECT referred.sk, network.level + 1
            FROM network
            CROSS JOIN LATERAL (
                SELECT sk FROM customers
                WHERE tenant_id = :tenant_id AND referred_by_sk = network.sk OFFSET 0
            ) AS referred
            WHERE network.level < {NETWORK_DEPTH}
        )
        SELECT count(*) AS customers, coalesce(sum(a.revenue), 0) AS revenue
        FROM network
        LEFT JOIN LATERAL (
            SELECT revenue FROM customer_analytics
            WHERE tenant_id = :tenant_id AND customer_sk = network.sk OFFSET 0
        ) AS a ON true
    ) AS counted ON true
    ORDER BY shown.influence_score DESC, shown.customer_sk
"""


async def list_influencers(
    connection: AsyncConnection, tenant_id: int, *, after: tuple[float, int] | None, limit: int
) -> list[Influencer]:
    """Customers who referred others, the most influential first.

    `after` is the score and the sk of the last customer of the page before.
    """
    score, customer_sk = after or (float("inf"), 0)
    parameters = {
        "tenant_id": tenant_id,
        "score": score,
        "customer_sk": customer_sk,
    }
    rows = await connection.execute(limited(_INFLUENCERS, limit), parameters)
    return [Influencer(**row._mapping) for row in rows]


_FORGET = text("DELETE FROM referral_networks WHERE tenant_id = :tenant_id")
_KEEP = text(f"""
    INSERT INTO referral_networks (tenant_id, customer_sk, customers, revenue, computed_at)
    WITH RECURSIVE link (referrer_sk, revenue, level) AS (
        SELECT c.referred_by_sk, coalesce(a.revenue, 0), 1
        FROM customers c
        LEFT JOIN customer_analytics a ON a.tenant_id = c.tenant_id AND a.customer_sk = c.sk
        WHERE c.tenant_id = :tenant_id AND c.referred_by_sk IS NOT NULL
        UNION ALL
        SELECT c.referred_by_sk, link.revenue, link.level + 1
        FROM link
        JOIN customers c ON c.tenant_id = :tenant_id AND c.sk = link.referrer_sk
        WHERE c.referred_by_sk IS NOT NULL AND link.level < {NETWORK_DEPTH}
    )
    SELECT CAST(:tenant_id AS integer), referrer_sk, count(*), sum(revenue), statement_timestamp()
    FROM link
    GROUP BY referrer_sk HAVING count(*) > :small
""")


async def keep_networks(connection: AsyncConnection, tenant_id: int) -> None:
    """Add up the networks of more than `SMALL_NETWORK` customers; in the caller's transaction."""
    await connection.execute(_FORGET, {"tenant_id": tenant_id})
    await connection.execute(_KEEP, {"tenant_id": tenant_id, "small": SMALL_NETWORK})
