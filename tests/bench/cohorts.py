"""Monthly cohorts: added up against the statement one would write by hand, and served."""

import statistics
import time

from app.domain.scoring_run import RunMode
from app.repositories import cohort, population
from app.services import scoring, totals
from tests.bench.ground import Business, Sizes, business
from tests.bench.ratio import Ratio, middle, say, seconds_of
from tests.bench.server import client_of, serving

REQUESTS = 60
MOST_MILLISECONDS = 50.0

# By the owner of the tables: no row-level security, and whatever memory our own statement has.
_BY_HAND = """
CREATE TEMPORARY TABLE by_hand ON COMMIT DROP AS
WITH first_month AS (
    SELECT customer_sk, date_trunc('month', min(local_at)) AS cohort
    FROM orders WHERE counted GROUP BY customer_sk
), monthly AS (
    SELECT customer_sk, date_trunc('month', local_at) AS month, count(*) AS orders,
           sum(net_amount) AS revenue
    FROM orders WHERE counted GROUP BY 1, 2
)
SELECT cohort, month, count(*) AS customers, sum(orders) AS orders, sum(revenue) AS revenue
FROM monthly JOIN first_month USING (customer_sk)
GROUP BY cohort, month
"""


async def measure(cluster_url: str, sizes: Sizes) -> list[Ratio]:
    """Our time over the time by hand, and the milliseconds of an answer of ten years."""
    async with business(cluster_url, "cohorts", sizes.many_customers) as of:
        await scoring.run_scores(of.database, of.tenant, mode=RunMode.FULL, as_of=of.day(0))
        await of.settle()
        ratios = []
        for _ in range(sizes.rounds):
            ours = await seconds_of(_ours(of))
            by_hand = await seconds_of(_by_hand(of))
            say(f"  {ours:.2f} s, by hand {by_hand:.2f} s")
            ratios.append(ours / by_hand)
        async with of.database.tenant_transaction(of.tenant.id) as connection:
            await totals.after_full_run(connection, of.tenant, of.day(0))
        orders = f"{10 * sizes.many_customers:,} orders"
        return [
            Ratio(f"cohorts of {orders} / bare SQL", middle(ratios), at_most=1.3),
            Ratio(f"cohorts of {orders}, p95 ms", await _served(of), at_most=MOST_MILLISECONDS),
        ]


async def _ours(of: Business) -> None:
    async with of.database.tenant_transaction(of.tenant.id) as connection:
        await population.read_everybody(connection)
        await cohort.keep_months(connection, of.tenant.id)


async def _by_hand(of: Business) -> None:
    async with of.owner.transaction():
        await of.owner.execute("SET LOCAL work_mem = '256MB'; SET LOCAL jit = off")
        await of.owner.execute(_BY_HAND)


async def _served(of: Business) -> float:
    async with (
        serving(of.url) as port,
        client_of(port, of.token) as client,
    ):
        last = of.options.as_of
        query = {"from": f"{last.year - 9}-01", "to": f"{last:%Y-%m}"}
        times = []
        for _ in range(REQUESTS):
            started = time.perf_counter()
            answer = await client.get("/api/segmentation/cohorts/analysis", params=query)
            times.append(1000 * (time.perf_counter() - started))
            answer.raise_for_status()
    return statistics.quantiles(times, n=20)[-1]
