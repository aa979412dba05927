"""Every list and figure about all customers, and a referral tree, at two sizes of the business.

Each answer is to come in a tenth of a second, and in at most twice the time for ten times the
customers. Requests go one after the other over one connection, first page and second in turn.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import httpx

from app.domain.scoring_run import RunMode
from app.services import scoring, totals
from tests.bench.ground import Business, Sizes, business
from tests.bench.ratio import Ratio, middle, say, seconds_of
from tests.bench.server import client_of, serving

REQUESTS = 60
"""Of each route in each round; the slowest three of them are beyond the 95th percentile."""

WARM_UP = 5
MOST_MILLISECONDS = 100.0
GROWTH = 2.0

FAN_OUT = 6
"""Customers that each customer of the network referred."""

_ANALYTICS = "/api/analytics"
_LISTS = (
    f"{_ANALYTICS}/segments/champion/customers",
    f"{_ANALYTICS}/at-risk",
    f"{_ANALYTICS}/influencers",
    f"{_ANALYTICS}/clv/top",
)
_FIGURES = (
    f"{_ANALYTICS}/segments",
    f"{_ANALYTICS}/rfm/distribution",
    f"{_ANALYTICS}/rfm/migration",
    f"{_ANALYTICS}/demographics",
    f"{_ANALYTICS}/engagement",
    f"{_ANALYTICS}/satisfaction",
    f"{_ANALYTICS}/satisfaction?by=store",
    f"{_ANALYTICS}/satisfaction?by=segment",
    f"{_ANALYTICS}/loyalty",
    f"{_ANALYTICS}/clv/tiers",
    f"{_ANALYTICS}/clv/distribution",
    f"{_ANALYTICS}/churn/overview",
    f"{_ANALYTICS}/churn/factors",
    f"{_ANALYTICS}/dashboard",
    f"{_ANALYTICS}/dashboard?from={{year_ago}}",
)
_ENGAGEMENT = (
    """
    INSERT INTO contacts (tenant_id, id, customer_sk, channel, purpose, sent_at, responded_at)
    SELECT tenant_id, 'contact-' || sk, sk, 'whatsapp', 'promo', now() - interval '40 days',
           CASE WHEN sk % 3 = 0 THEN now() - interval '39 days' END
    FROM customers
    """,
    """
    INSERT INTO feedback
        (tenant_id, id, customer_sk, store_sk, kind, score, given_at, local_at)
    SELECT tenant_id, 'feedback-' || sk, sk, home_store_sk, kind,
           CASE kind WHEN 'nps' THEN sk % 11 WHEN 'csat' THEN 1 + sk % 10
                     WHEN 'review' THEN 1 + sk % 5 END,
           given_at, given_at AT TIME ZONE 'Asia/Jakarta'
    FROM (
        SELECT *, (ARRAY['nps', 'csat', 'review', 'complaint'])[1 + sk % 4] AS kind,
               now() - sk % 1095 * interval '1 day' AS given_at
        FROM customers
    ) AS answering
    """,
)
_TREE = "/api/customers/{root}/referrals"


async def measure(cluster_url: str, sizes: Sizes) -> list[Ratio]:
    """The 95th percentiles of the larger business in milliseconds, and over the smaller one's."""
    async with (
        business(cluster_url, "lists", sizes.customers) as few,
        business(cluster_url, "many_lists", sizes.many_customers) as many,
        _asking(few) as small,
        _asking(many) as large,
    ):
        # In turn, so that whatever else the machine does slows both down.
        paths = [*_LISTS, *_FIGURES]
        if _TREE.replace("root", "id") in (await small.client.get("/openapi.json")).json()["paths"]:
            paths.append(_TREE)
        found: dict[str, list[tuple[float, float]]] = {path: [] for path in paths}
        for _ in range(sizes.rounds):
            for path in paths:
                found[path].append((await small.percentile(path), await large.percentile(path)))
    ratios = []
    for path, rounds in found.items():
        short, long = (middle(each) for each in zip(*rounds, strict=True))
        say(f"  {short:8.1f} ms {long:8.1f} ms  {path}")
        growth = middle([more / less for less, more in rounds])
        at_size = f"lists: {path} at {sizes.many_customers:,}"
        ratios += [
            Ratio(f"{at_size}, p95 ms", long, at_most=MOST_MILLISECONDS),
            Ratio(f"{at_size} / {sizes.customers:,}", growth, at_most=GROWTH),
        ]
    return ratios


@dataclass(frozen=True, slots=True)
class _Asker:
    """A connection to the service of one business, and what the paths name there."""

    client: httpx.AsyncClient
    names: dict[str, str]

    async def percentile(self, path: str) -> float:
        """The 95th percentile of the time to the last byte, in milliseconds."""
        address = path.format(**self.names)
        cursor = None
        if path in _LISTS:
            first = (await self.client.get(address)).raise_for_status()
            cursor = first.json()["nextCursor"]
        times = []
        for number in range(WARM_UP + REQUESTS):
            query = {"cursor": cursor} if cursor and number % 2 else None
            started = time.perf_counter()
            (await self.client.get(address, params=query)).raise_for_status()
            times.append(time.perf_counter() - started)
        return 1000 * sorted(times[WARM_UP:])[round(0.95 * REQUESTS) - 1]


@asynccontextmanager
async def _asking(of: Business) -> AsyncIterator[_Asker]:
    """The business with a network and scores, served."""
    root = await _refer(of)
    taken = await seconds_of(
        scoring.run_scores(of.database, of.tenant, mode=RunMode.FULL, as_of=of.day(0))
    )
    say(f"  {of.options.customers:,} customers scored in {taken:.1f} s")
    async with of.database.tenant_transaction(of.tenant.id) as connection:
        # As the worker does.
        await totals.after_full_run(connection, of.tenant, of.day(0))
        taken = await seconds_of(totals.compact(connection, of.tenant))
    say(f"  totals compacted in {taken:.1f} s")
    await of.settle()
    async with (
        serving(of.url) as port,
        client_of(port, of.token) as client,
    ):
        yield _Asker(
            client, {"year_ago": str(of.options.as_of - timedelta(days=365)), "root": root}
        )


async def _refer(of: Business) -> str:
    """Make one network of all customers, each referring six; the id of the first.

    Each customer also gets a contact and an answer, over three years, all stores and all kinds.
    """
    await of.owner.execute(
        """
        UPDATE customers c SET referred_by_sk = r.sk
        FROM (SELECT sk, row_number() OVER (ORDER BY sk) - 1 AS place FROM customers) each,
             (SELECT sk, row_number() OVER (ORDER BY sk) - 1 AS place FROM customers) r
        WHERE c.sk = each.sk AND each.place > 0 AND r.place = (each.place - 1) / $1
        """,
        FAN_OUT,
    )
    for engagement in _ENGAGEMENT:
        await of.owner.execute(engagement)
    root = await of.owner.fetchval("SELECT id FROM customers ORDER BY sk LIMIT 1")
    await of.settle()
    return str(root)
