"""The 20 nearest customers: the repository's call against the bare statement, at the same points.

The bare statement is what one would write by hand: it orders by the index's distance on a sphere,
and returns the same columns. Ours puts them in order by true distance, which takes a few more rows.
Both run on the same connection, one after the other, with the service's role and settings.
"""

import itertools
import random
import time
from collections.abc import Awaitable, Callable, Sequence

from app.database import Connection, driver_of
from app.domain.scoring_run import RunMode
from app.repositories import nearby
from app.repositories.customer import CustomerFilter
from app.repositories.nearby import Around
from app.services import scoring
from tests.bench.ground import Business, Sizes, business
from tests.bench.ratio import Ratio, middle, say
from tests.bench.server import client_of, serving

NEAREST = 20
CALLS = 400
"""Of each side in each round."""

WARM_UP = 50
EVERYBODY = CustomerFilter()

_SPREAD = """
    UPDATE customers
    SET last_known_latitude = -6.2 + 0.06 * (random() + random() + random() - 1.5),
        last_known_longitude = 106.82 + 0.08 * (random() + random() + random() - 1.5)
"""
_BARE = f"""
    SELECT c.sk, c.id, c.code, c.name, c.customer_type, c.membership_tier, c.status,
           a.rfm_segment, a.churn_band, a.last_order_at, c.last_known_latitude,
           c.last_known_longitude, c.last_known_geohash, c.last_location_captured_at,
           ST_Distance(c.last_known_geography, point.geography),
           degrees(ST_Azimuth(point.geography, c.last_known_geography))
    FROM (SELECT ST_SetSRID(ST_MakePoint($2, $3), 4326)::geography AS geography) AS point
    CROSS JOIN customers c
    LEFT JOIN customer_analytics a ON a.tenant_id = c.tenant_id AND a.customer_sk = c.sk
    WHERE c.tenant_id = $1 AND c.last_known_geography IS NOT NULL
    ORDER BY c.last_known_geography <-> point.geography
    LIMIT {NEAREST}
"""


async def measure(cluster_url: str, sizes: Sizes) -> list[Ratio]:
    """The median time of our call over that of the bare statement."""
    async with business(cluster_url, "nearby", sizes.many_customers) as of:
        await of.owner.execute(_SPREAD)
        await of.owner.execute("VACUUM FULL customers")
        await scoring.run_scores(of.database, of.tenant, mode=RunMode.FULL, as_of=of.day(0))
        await of.settle()
        points = _points()
        async with of.database.tenant_transaction(of.tenant.id) as connection:
            ratios = [await _round(of, connection, points) for _ in range(sizes.rounds)]
        await _over_http(of, points)
    name = f"nearby: {NEAREST} nearest of {sizes.many_customers:,} / bare SQL"
    return [Ratio(name, middle(ratios), at_most=1.5)]


def _points() -> list[Around]:
    chance = random.Random(7)
    return [
        Around(-6.2 + 0.1 * (chance.random() - 0.5), 106.82 + 0.1 * (chance.random() - 0.5))
        for _ in range(WARM_UP + CALLS)
    ]


async def _round(of: Business, connection: Connection, points: Sequence[Around]) -> float:
    driver = driver_of(connection)

    async def ours(point: Around) -> object:
        return await nearby.list_near(
            connection, of.tenant.id, point, EVERYBODY, after=None, limit=NEAREST
        )

    async def bare(point: Around) -> object:
        return await driver.fetch(_BARE, of.tenant.id, point.longitude, point.latitude)

    # In turn, so that whatever else the machine does slows both down.
    times: dict[Callable[[Around], Awaitable[object]], list[float]] = {ours: [], bare: []}
    for point, call in itertools.product(points, (ours, bare)):
        started = time.perf_counter()
        await call(point)
        times[call].append(time.perf_counter() - started)
    our_time, bare_time = (middle(each[WARM_UP:]) for each in times.values())
    say(f"  {1000 * our_time:.2f} ms, bare SQL {1000 * bare_time:.2f} ms")
    return our_time / bare_time


async def _over_http(of: Business, points: Sequence[Around]) -> None:
    """Say what a caller waits for, who also shows a key and reads JSON."""
    times = []
    async with (
        serving(of.url) as port,
        client_of(port, of.token) as client,
    ):
        for point in points:
            query: dict[str, float] = {
                "latitude": point.latitude,
                "longitude": point.longitude,
                "k": NEAREST,
            }
            started = time.perf_counter()
            (await client.get("/api/geo/nearby/customers", params=query)).raise_for_status()
            times.append(time.perf_counter() - started)
    say(f"  {1000 * middle(times[WARM_UP:]):.2f} ms over HTTP")
