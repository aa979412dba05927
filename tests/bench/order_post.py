"""Single orders of random customers, against the same route without the live refresh."""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime

from app.domain.scoring_run import RunMode
from app.services import scoring
from tests.bench.ground import Business, Sizes, business
from tests.bench.load import rate, request
from tests.bench.profile import customer_ids
from tests.bench.ratio import Ratio, middle, say
from tests.bench.server import serving


async def measure(cluster_url: str, sizes: Sizes) -> list[Ratio]:
    """Orders a second with the live refresh over those without."""
    async with business(cluster_url, "order_posts", sizes.customers) as of:
        await scoring.run_scores(of.database, of.tenant, mode=RunMode.FULL, as_of=of.day(0))
        await of.settle()
        async with serving(of.url) as port:
            ids = await customer_ids(of)
            scored = order_requests(of, "/api/orders", ids, seed=1)
            unscored = order_requests(of, "/bench/orders", ids, seed=2)
            await rate(port, scored, 1)
            ratios = []
            for _ in range(sizes.rounds):
                ours = await rate(port, scored, sizes.load_seconds)
                baseline = await rate(port, unscored, sizes.load_seconds)
                say(f"  {ours:,.0f} orders a second, {baseline:,.0f} without the live refresh")
                ratios.append(ours / baseline)
    return [Ratio("order_post: POST an order / without refresh", middle(ratios), at_least=0.5)]


def order_requests(of: Business, path: str, ids: list[str], *, seed: int) -> Iterator[bytes]:
    """Orders of random customers, each with an id of its own."""
    chance = random.Random(seed)
    now = datetime.now(UTC).isoformat()
    number = 0
    while True:
        number += 1
        order = {
            "id": f"bench-{seed}-{number}",
            "customerId": chance.choice(ids),
            "orderedAt": now,
            "totalAmount": f"{chance.randint(50, 900)}000.00",
            "paymentMethod": "qris",
            "itemCount": chance.randint(1, 5),
        }
        yield request("POST", path, of.token, json.dumps(order).encode())
