"""Every list and figure about all customers, and a referral tree, at two sizes of the business.

Each answer is to come in a tenth of a second, and in at most twice the time for ten times the
customers. Requests go one after the other over one connection, first page and second in turn.
"""

import time
from collections.abc import Iterator
from datetime import timedelta

import httpx

from app.domain.scoring_run import RunMode
from app.services import scoring
from tests.bench.ground import Business, Sizes, business
from tests.bench.ratio import Ratio, middle, say, seconds_of
from tests.bench.server import serving

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
_TREE = "/api/customers/{root}/referrals"


async def measure(cluster_url: str, sizes: Sizes) -> list[Ratio]:
    """The 95th percentiles of the larger business in milliseconds, and over the smaller one's."""
    async with business(cluster_url, "lists", sizes.customers) as few:
        short = await _percentiles(few, sizes.rounds)
    async with business(cluster_url, "many_lists", sizes.many_customers) as many:
        long = await _percentiles(many, sizes.rounds)
    ratios = []
    for path, milliseconds in long.items():
        say(f"  {short[path]:8.1f} ms {milliseconds:8.1f} ms  {path}")
        at_size = f"lists: {path} at {sizes.many_customers:,}"
        ratios += [
            Ratio(f"{at_size}, p95 ms", milliseconds, at_most=MOST_MILLISECONDS),
            Ratio(f"{at_size} / {sizes.customers:,}", milliseconds / short[path], at_most=GROWTH),
        ]
    return ratios


async def _percentiles(of: Business, rounds: int) -> dict[str, float]:
    root = await _refer(of)
    taken = await seconds_of(
        scoring.run_scores(of.database, of.tenant, mode=RunMode.FULL, as_of=of.day(0))
    )
    say(f"  {of.options.customers:,} customers scored in {taken:.1f} s")
    await of.settle()
    names = {"year_ago": str(of.options.as_of - timedelta(days=365)), "root": root}
    async with (
        serving(of.url) as port,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {of.token}"},
            timeout=60,
        ) as client,
    ):
        known = (await client.get("/openapi.json")).json()["paths"]
        paths = [*_LISTS, *_FIGURES]
        if _TREE.replace("root", "id") in known:
            paths.append(_TREE)
        found: dict[str, list[float]] = {path: [] for path in paths}
        for _ in range(rounds):
            for path in paths:
                found[path].append(await _percentile(client, path.format(**names), path in _LISTS))
    return {path: middle(percentiles) for path, percentiles in found.items()}


async def _percentile(client: httpx.AsyncClient, path: str, paged: bool) -> float:
    """The 95th percentile of the time to the last byte, in milliseconds."""
    cursor = (await client.get(path)).raise_for_status().json()["nextCursor"] if paged else None
    queries: Iterator[dict[str, str]] = (
        {"cursor": cursor} if cursor and number % 2 else {} for number in range(WARM_UP + REQUESTS)
    )
    times = []
    for query in queries:
        started = time.perf_counter()
        (await client.get(path, params=query or None)).raise_for_status()
        times.append(time.perf_counter() - started)
    return 1000 * sorted(times[WARM_UP:])[round(0.95 * REQUESTS) - 1]


async def _refer(of: Business) -> str:
    """Make one network of all customers, each referring the next six; the id of the first."""
    await of.owner.execute(
        """
        UPDATE customers c SET referred_by_sk = r.sk
        FROM (SELECT sk, row_number() OVER (ORDER BY sk) - 1 AS place FROM customers) each,
             (SELECT sk, row_number() OVER (ORDER BY sk) - 1 AS place FROM customers) r
        WHERE c.sk = each.sk AND each.place > 0 AND r.place = (each.place - 1) / $1
        """,
        FAN_OUT,
    )
    root = await of.owner.fetchval("SELECT id FROM customers ORDER BY sk LIMIT 1")
    await of.settle()
    return str(root)
