"""Twenty segments: everybody evaluated, kept up by orders, and asked for without being saved.

The hand-written statements say what the criteria say, one INSERT … SELECT for each segment, into a
table with the same key and the same unique index as the members have.
"""

import time
from datetime import UTC, datetime

from app.domain.scoring_run import RunMode
from app.services import scoring, segmentation
from app.services.segment_records import SegmentRecord
from tests.bench.ground import Business, Sizes, business
from tests.bench.load import rate
from tests.bench.order_post import order_requests
from tests.bench.profile import customer_ids
from tests.bench.ratio import Ratio, middle, say, seconds_of
from tests.bench.server import client_of, serving

MOST_PREVIEW_SECONDS = 2.0

_WINDOW = "o.counted AND o.ordered_at <= now() AND o.ordered_at >= now() - interval '{days} days'"
_ORDERS_SINCE = (
    "(SELECT {figure} FILTER (WHERE " + _WINDOW + ") AS figure, customer_sk FROM orders o"
    " WHERE tenant_id = $1 AND ordered_at >= now() - interval '{days} days' GROUP BY customer_sk)"
)

#: Criteria, and the same as a condition of `c`, `a` and a figure over orders.
SEGMENTS: list[tuple[dict[str, object], str, str | None]] = [
    ({"field": "churnBand", "in": ["high", "critical"]},
     "a.churn_band IN ('high', 'critical')", None),
    ({"field": "rfmSegment", "eq": "champion"}, "a.rfm_segment = 'champion'", None),
    ({"recency_days": 30, "min_frequency": 5},
     "a.days_since_last_order <= 30 AND a.rfm_frequency >= 5", None),
    ({"min_monetary": 5_000_000}, "a.rfm_monetary >= 500000000", None),
    ({"daysInactive": 180, "minPreviousPurchases": 3},
     "a.days_since_last_order >= 180 AND a.counted_orders >= 3", None),
    ({"all": [{"field": "clvPercentile", "gte": 90}, {"field": "churnScore", "gte": 0.5}]},
     "a.clv_percentile >= 90 AND a.churn_score >= 0.5", None),
    ({"field": "membershipTier", "in": ["gold", "platinum"]},
     "c.membership_tier IN ('gold', 'platinum')", None),
    ({"all": [{"field": "optInWhatsapp", "eq": True}, {"field": "gender", "eq": "female"}]},
     "c.opt_in_whatsapp AND c.gender = 'female'", None),
    ({"field": "lifecycleSegment", "ne": "active"}, "a.lifecycle_segment IS DISTINCT FROM 'active'",
     None),
    ({"field": "averageOrderValue", "gte": 400_000}, "a.average_order_value >= 40000000", None),
    ({"field": "lastOrderAt", "within": "P30D"},
     "a.last_order_at BETWEEN now() - interval '30 days' AND now()", None),
    ({"field": "firstOrderAt", "within": "P90D"},
     "a.first_order_at BETWEEN now() - interval '90 days' AND now()", None),
    ({"field": "preferredPaymentMethod", "eq": "qris"},
     "a.preferred_payment_method = 'qris'", None),
    ({"field": "customerType", "eq": "wholesale"}, "c.customer_type = 'wholesale'", None),
    ({"all": [{"field": "tenureDays", "gte": 365}, {"field": "orders90d", "eq": 0}]},
     "a.tenure_days >= 365 AND a.orders_90d = 0", None),
    ({"any": [{"field": "spendTrend", "eq": "declining"},
              {"field": "orderFrequencyTrend", "eq": "declining"}]},
     "a.spend_trend = 'declining' OR a.order_frequency_trend = 'declining'", None),
    ({"not": {"any": [{"field": "email", "exists": True}, {"field": "phone", "exists": True}]}},
     "NOT (c.email IS NOT NULL OR c.phone IS NOT NULL)", None),
    ({"field": "valueAtRisk", "gte": 1_000_000}, "a.value_at_risk >= 100000000", None),
    ({"orders": {"count": {"gte": 2}, "within": "P60D"}}, "o.figure >= 2",
     _ORDERS_SINCE.format(figure="count(*)", days=60)),
    ({"orders": {"sum": {"gte": 1_000_000}, "within": "P90D"}}, "o.figure >= 100000000",
     _ORDERS_SINCE.format(figure="sum(o.net_amount)", days=90)),
]  # fmt: skip

_BASELINE_TABLE = """
    DROP TABLE IF EXISTS baseline_members;
    CREATE TABLE baseline_members (LIKE segment_members INCLUDING DEFAULTS);
    ALTER TABLE baseline_members
        ADD PRIMARY KEY (tenant_id, segment_sk, joined_at, customer_sk);
    CREATE UNIQUE INDEX ON baseline_members (tenant_id, segment_sk, customer_sk)
        WHERE left_at IS NULL;
    CREATE INDEX ON baseline_members (tenant_id, customer_sk);
"""


async def measure(cluster_url: str, sizes: Sizes) -> list[Ratio]:
    """Evaluations and previews over many customers, orders over fewer."""
    async with business(cluster_url, "many_segments", sizes.many_customers) as of:
        ratios = await _everybody(of, sizes)
        ratios.append(await _previews(of))
    async with business(cluster_url, "live_segments", sizes.customers) as of:
        ratios.append(await _orders(of, sizes))
    return ratios


async def _make(of: Business) -> None:
    async with of.database.tenant_transaction(of.tenant.id) as connection:
        for number, (criteria, _, _) in enumerate(SEGMENTS):
            record = SegmentRecord.model_validate(
                {"name": f"Segment {number}", "segmentType": "behavioral", "criteria": criteria}
            )
            await segmentation.create_segment(connection, of.tenant, record, actor=None)


async def _everybody(of: Business, sizes: Sizes) -> list[Ratio]:
    await scoring.run_scores(of.database, of.tenant, mode=RunMode.FULL, as_of=of.day(0))
    first, again = [], []
    for _ in range(sizes.rounds):
        await of.owner.execute(
            "TRUNCATE segments, segment_members, segment_sizes, segment_touched CASCADE"
        )
        await of.owner.execute(_BASELINE_TABLE)
        await _make(of)
        await of.settle()
        ours = await seconds_of(segmentation.evaluate_requested(of.database, of.tenant))
        await of.settle()
        baseline = await _written_by_hand(of)
        found = await of.owner.fetchval("SELECT count(*) FROM segment_members")
        expected = await of.owner.fetchval("SELECT count(*) FROM baseline_members")
        # The hand-written ones run later, and a window may have moved on by some seconds.
        if abs(found - expected) > expected / 10_000:
            raise AssertionError(f"{found} members, {expected} by hand")
        async with of.database.tenant_transaction(of.tenant.id) as connection:
            await segmentation.request_all(connection, of.tenant)
        await of.settle()
        repeated = await seconds_of(segmentation.evaluate_requested(of.database, of.tenant))
        say(
            f"  {found:,} members of {len(SEGMENTS)} segments in {ours:.1f} s,"
            f" by hand in {baseline:.1f} s, once more in {repeated:.1f} s"
        )
        first.append(ours / baseline)
        again.append(repeated / baseline)
    return [
        Ratio("segments: first evaluation / INSERT … SELECT", middle(first), at_most=1.5),
        Ratio("segments: nightly evaluation / INSERT … SELECT", middle(again), at_most=1.5),
    ]


async def _written_by_hand(of: Business) -> float:
    keys = await of.owner.fetch("SELECT sk FROM segments ORDER BY sk")
    started = time.perf_counter()
    async with of.owner.transaction():
        await of.owner.execute("SET LOCAL work_mem = '256MB'")
        for (_, condition, figure), key in zip(SEGMENTS, keys, strict=True):
            joined = f"LEFT JOIN {figure} o ON o.customer_sk = c.sk" if figure else ""
            await of.owner.execute(
                f"""
                INSERT INTO baseline_members (tenant_id, segment_sk, customer_sk, joined_at)
                SELECT c.tenant_id, $2, c.sk, now()
                FROM customers c
                LEFT JOIN customer_analytics a
                       ON a.tenant_id = c.tenant_id AND a.customer_sk = c.sk
                {joined}
                WHERE c.tenant_id = $1 AND ({condition})
                """,
                of.tenant.id,
                key["sk"],
            )
    return time.perf_counter() - started


async def _previews(of: Business) -> Ratio:
    """The slowest preview of all criteria, each asked for three times."""
    slowest = 0.0
    async with (
        serving(of.url) as port,
        client_of(port, of.token) as client,
    ):
        for criteria, condition, _ in SEGMENTS:
            times = []
            for _ in range(3):
                started = time.perf_counter()
                answer = await client.post(
                    "/api/segmentation/segments/preview", json={"criteria": criteria}
                )
                answer.raise_for_status()
                times.append(time.perf_counter() - started)
            say(f"  {middle(times):6.2f} s  {condition}")
            slowest = max(slowest, middle(times))
    name = f"segments: preview of {of.options.customers:,}, seconds"
    return Ratio(name, slowest, at_most=MOST_PREVIEW_SECONDS)


async def _orders(of: Business, sizes: Sizes) -> Ratio:
    """Orders with twenty segments, over the same without any: the time of one over the other."""
    await scoring.run_scores(of.database, of.tenant, mode=RunMode.FULL, as_of=of.day(0))
    ids = await customer_ids(of)
    ratios = []
    async with serving(of.url) as port:
        await of.settle()
        seed = int(datetime.now(UTC).timestamp())
        await rate(port, order_requests(of, "/api/orders", ids, seed=seed), 1)
        for number in range(sizes.rounds):
            plain = order_requests(of, "/api/orders", ids, seed=seed + 2 * number + 1)
            await rate(port, plain, 1)
            without = await rate(port, plain, sizes.load_seconds)
            await _make(of)
            await segmentation.evaluate_requested(of.database, of.tenant)
            await of.settle()
            kept = order_requests(of, "/api/orders", ids, seed=seed + 2 * number + 2)
            await rate(port, kept, 1)  # compiles the statements of the new segments
            live = await rate(port, kept, sizes.load_seconds)
            say(f"  {live:,.0f} orders a second with segments, {without:,.0f} without")
            ratios.append(without / live)
            await of.owner.execute(
                "TRUNCATE segments, segment_members, segment_sizes, segment_touched,"
                " segment_versions CASCADE"
            )
            await of.settle()
    return Ratio("segments: POST an order / without segments", middle(ratios), at_most=1.3)
