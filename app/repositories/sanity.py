"""Counting again, from the sources, what the rows of truth say; and what came of it.

Each statement reads what it compares in one go, so that orders which come in meanwhile are on both
sides or on neither. Nothing is streamed: a statement answers with figures and a few examples.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Row, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.rfm import Cutoffs
from app.domain.sanity import EXAMPLES, Check
from app.domain.tile import GRIDS, MAX_LATITUDE

# It takes as long as it takes, whoever started it; and it reads whole tables.
_PREPARE = text("""
    SELECT set_config('statement_timeout', '0', true), set_config('work_mem', '256MB', true),
           set_config('enable_seqscan', 'on', true), set_config('enable_nestloop', 'off', true),
           set_config('plan_cache_mode', 'force_custom_plan', true)
""")


def _offending(name: str, condition: str) -> str:
    """Two columns: how many rows meet the condition, and a few customers among them."""
    return f"""
        count(*) FILTER (WHERE {condition}) AS {name}_offenders,
        (array_agg(customer_sk) FILTER (WHERE {condition}))[1:{EXAMPLES}] AS {name}_examples"""


# One pass over the orders. A row is held to its own as-of: orders at or after it do not count. An
# order that the row should have seen since is one recorded after the row was computed and placed
# before now; or one that was dated ahead, and whose time had come when the last full run began.
_AGAINST_ORDERS = text(f"""
    WITH counted_again AS MATERIALIZED (
        SELECT a.customer_sk,
               count(o.sk) FILTER (WHERE o.ordered_at < a.as_of) AS total_orders,
               count(*) FILTER (WHERE o.counted AND o.ordered_at < a.as_of) AS counted_orders,
               min(o.ordered_at) FILTER (WHERE o.counted AND o.ordered_at < a.as_of)
                   AS first_order_at,
               max(o.ordered_at) FILTER (WHERE o.counted AND o.ordered_at < a.as_of)
                   AS last_order_at,
               coalesce(sum(o.net_amount) FILTER (WHERE o.ordered_at < a.as_of), 0) AS revenue,
               coalesce(bool_or(
                   o.ordered_at >= a.as_of
                   AND (o.recorded_at > a.computed_at AND o.ordered_at < CAST(:now AS timestamptz)
                        OR o.ordered_at < CAST(:last_full_as_of AS timestamptz))
               ), false) AS unseen
        FROM customer_analytics a
        LEFT JOIN orders o ON o.tenant_id = a.tenant_id AND o.customer_sk = a.customer_sk
        WHERE a.tenant_id = :tenant_id
        GROUP BY a.customer_sk
    )
    SELECT count(*) AS rows,
        {
    _offending(
        "counts",
        "(a.total_orders, a.counted_orders) IS DISTINCT FROM (n.total_orders, n.counted_orders)",
    )
},
        {
    _offending(
        "first_counted_order",
        "(a.first_order_at, a.last_order_at) IS DISTINCT FROM (n.first_order_at, n.last_order_at)",
    )
},
        {_offending("revenue", "a.revenue IS DISTINCT FROM n.revenue")},
        {
    _offending(
        "averages",
        "a.average_order_value IS DISTINCT FROM CAST(round("
        "CAST(greatest(n.revenue, 0) AS float8) / nullif(n.counted_orders, 0)) AS bigint)",
    )
},
        {_offending("no_stale_rows", "a.model_version <> :model_version OR n.unseen")}
    FROM (SELECT * FROM customer_analytics WHERE tenant_id = :tenant_id) a
    JOIN counted_again n USING (customer_sk)
""")

_RANGES = " OR ".join(
    (
        *(
            f"rfm_{part}_score NOT BETWEEN 1 AND 5 OR rfm_{part}_percentile NOT BETWEEN 0 AND 100"
            for part in ("recency", "frequency", "monetary")
        ),
        "rfm_code <> CAST(rfm_recency_score * 100 + rfm_frequency_score * 10"
        " + rfm_monetary_score AS text)",
        "rfm_segment <> ALL (CAST(:segments AS text[]))",
        "churn_score NOT BETWEEN 0 AND 1",
        "(churn_score IS NULL) <> (churn_band IS NULL)",
        "clv_percentile NOT BETWEEN 0 AND 100",
        "clv_confidence NOT BETWEEN 0 AND 100",
        "influence_score NOT BETWEEN 0 AND 100",
        "response_rate NOT BETWEEN 0 AND 1",
        "satisfaction_score NOT BETWEEN 0 AND 10",
        "discount_sensitivity NOT BETWEEN 0 AND 1",
        "next_purchase_confidence NOT BETWEEN 0 AND 1",
        "responses > contacts",
        "counted_orders > total_orders",
        "days_since_last_order < 0",
        "first_order_at > last_order_at",
    )
)


def _below(value: str, cutoffs: str) -> str:
    """How many of the four cutoffs lie strictly below the value."""
    bounds = (f"({cutoffs})[{place}]" for place in range(1, 5))
    return "(" + " + ".join(f"CAST({value} > {bound} AS integer)" for bound in bounds) + ")"


_RECENCY, _FREQUENCY, _MONETARY = (
    f"CAST(:{part} AS float8[])" for part in ("recency", "frequency", "monetary")
)
_RATED_OTHERWISE = f"""
    NOT ('rfm' = ANY (external_scores))
    AND (rfm_recency_score, rfm_frequency_score, rfm_monetary_score) IS DISTINCT FROM (
        CASE WHEN rfm_frequency > 0 THEN 5 - {_below("days_since_last_order", _RECENCY)} END,
        CASE WHEN rfm_frequency > 0 THEN 1 + {_below("rfm_frequency", _FREQUENCY)} END,
        CASE WHEN rfm_frequency > 0 THEN 1 + {_below("rfm_monetary", _MONETARY)} END
    )"""

_OF_ITSELF = text(f"""
    SELECT count(*) AS rows,
        {_offending("scores_in_range", _RANGES)},
        {_offending("rfm_cutoffs", _RATED_OTHERWISE)}
    FROM customer_analytics WHERE tenant_id = :tenant_id
""")

# Every total that the dashboards read, counted anew. A figure keeps the sums that it shows: of the
# first orders these are the customers only.
_KEYS_OF_FIGURES = """
    ('segment', rfm_segment, ''),
    ('grid', CAST(rfm_recency_score AS text), CAST(rfm_frequency_score AS text)),
    ('band', churn_band, ''),
    ('lifecycle', lifecycle_segment, ''),
    ('tier', coalesce(membership_tier, 'none'), ''),
    ('engagement', coalesce(response_level, 'none'), spending_level),
    ('clv_tier', clv_tier, ''),
    ('clv_bucket', CAST(clv_bucket AS text), ''),
    ('demographics', coalesce(age_group, 'unknown'), coalesce(gender, 'unknown')),
    ('first_order', CAST(first_order_day AS text), CAST(coalesce(first_store_sk, 0) AS text))
"""
_TOTALLED = ("revenue", "revenue_365d", "clv", "value_at_risk")
_WITHOUT_AMOUNTS = "'first_order'"
_SUMS = ", ".join(
    f"coalesce(sum({name}) FILTER (WHERE figure <> {_WITHOUT_AMOUNTS}), 0) AS {name}"
    for name in _TOTALLED
)


def _sums_of(relation: str) -> str:
    names = ("customers", *_TOTALLED)
    return ", ".join(f"coalesce({relation}.{name}, 0)" for name in names)


_RATED_BY_US = "tenant_id = :tenant_id AND NOT ('rfm' = ANY (external_scores))"
_SEGMENTS = text(f"""
    WITH fresh AS (
        SELECT figure, a, b, count(*) AS customers, {_SUMS}
        FROM customer_analytics
        CROSS JOIN LATERAL (VALUES {_KEYS_OF_FIGURES}) AS named (figure, a, b)
        WHERE tenant_id = :tenant_id AND a IS NOT NULL AND b IS NOT NULL
        GROUP BY figure, a, b
    ), kept AS (
        SELECT figure, a, b, sum(customers) AS customers, {_SUMS}
        FROM population_totals
        WHERE tenant_id = :tenant_id AND figure <> 'reason'
        GROUP BY figure, a, b
    ), compared AS (
        SELECT rtrim(figure || ':' || a || ':' || b, ':') AS name
        FROM fresh FULL JOIN kept USING (figure, a, b)
        WHERE ({_sums_of("fresh")}) IS DISTINCT FROM ({_sums_of("kept")})
        UNION ALL
        SELECT 'segment' WHERE
            (SELECT count(*) FROM customer_analytics
             WHERE {_RATED_BY_US} AND rfm_recency_score IS NOT NULL)
            <>
            (SELECT count(*) FROM customer_analytics
             WHERE {_RATED_BY_US} AND rfm_segment IS NOT NULL)
    )
    SELECT (SELECT coalesce(sum(customers), 0) FROM fresh WHERE figure = 'segment') AS figure,
           count(*) AS offenders,
           (array_agg(name ORDER BY name))[1:{EXAMPLES}] AS examples
    FROM compared
""")

_OF_CUSTOMERS = (
    ("customer_analytics", "customer_sk"),
    ("customer_terms", "term"),
    ("orders", "id"),
    ("addresses", "id"),
    ("contacts", "id"),
    ("feedback", "id"),
)


def _orphans(table: str, name: str, parent: str, column: str) -> str:
    return f"""
        SELECT '{table}:' || CAST({name} AS text) AS name
        FROM (SELECT {name}, {column} AS parent_sk FROM {table} WHERE tenant_id = :tenant_id) c
        LEFT JOIN (SELECT sk FROM {parent} WHERE tenant_id = :tenant_id) p ON p.sk = c.parent_sk
        WHERE p.sk IS NULL"""


_ALL_ORPHANS = " UNION ALL ".join(
    [
        *(_orphans(table, name, "customers", "customer_sk") for table, name in _OF_CUSTOMERS),
        _orphans("order_items", "order_sk", "orders", "order_sk"),
    ]
)
_COUNTED_TABLES = " + ".join(
    f"(SELECT count(*) FROM {table} WHERE tenant_id = :tenant_id)"
    for table in (*(table for table, _ in _OF_CUSTOMERS), "order_items")
)
_ORPHANS = text(f"""
    SELECT {_COUNTED_TABLES} AS figure, count(*) AS offenders,
           (array_agg(name ORDER BY name))[1:{EXAMPLES}] AS examples
    FROM ({_ALL_ORPHANS}) orphans
""")

_SALES_DAYS = text(f"""
    WITH present AS (
        SELECT CAST(local_at AS date) AS day, coalesce(store_sk, 0) AS store_sk,
               count(*) FILTER (WHERE counted) AS orders, sum(net_amount) AS revenue
        FROM orders
        WHERE tenant_id = :tenant_id AND (counted OR net_amount <> 0)
        GROUP BY 1, 2
    ), fresh AS (
        -- What erased customers bought stays in the totals.
        SELECT day, store_sk, sum(orders) AS orders, sum(revenue) AS revenue
        FROM (
            SELECT * FROM present
            UNION ALL
            SELECT day, store_sk, orders, revenue FROM retained_sales_days
            WHERE tenant_id = :tenant_id
        ) AS every_part
        GROUP BY 1, 2
    ), kept AS (
        SELECT day, store_sk, sum(orders) AS orders, sum(revenue) AS revenue
        FROM sales_days WHERE tenant_id = :tenant_id
        GROUP BY 1, 2
    ), compared AS (
        SELECT day, (coalesce(fresh.orders, 0), coalesce(fresh.revenue, 0))
               IS DISTINCT FROM (coalesce(kept.orders, 0), coalesce(kept.revenue, 0)) AS differs
        FROM fresh FULL JOIN kept USING (day, store_sk)
    )
    SELECT count(*) AS figure, count(*) FILTER (WHERE differs) AS offenders,
           (array_agg(DISTINCT CAST(day AS text)) FILTER (WHERE differs))[1:{EXAMPLES}] AS examples
    FROM compared
""")

# The cells of all grids. What is named is the one of the coarsest grid around, as z/x/y: it tells
# nobody where a customer is.
_FINEST = GRIDS[-1]
_COARSER = ", ".join(f"({grid}, {_FINEST - grid})" for grid in GRIDS)
_PLACE_TOTALS = text(f"""
    WITH located AS (
        SELECT CAST(floor(mercator_x(last_known_longitude) * {1 << _FINEST}) AS integer) AS x,
               CAST(floor(mercator_y(last_known_latitude) * {1 << _FINEST}) AS integer) AS y
        FROM customers
        WHERE tenant_id = :tenant_id AND last_known_longitude IS NOT NULL
          AND last_known_latitude > -{MAX_LATITUDE} AND last_known_latitude < {MAX_LATITUDE}
    ), fresh AS (
        SELECT zoom, x >> coarser AS x, y >> coarser AS y, sum(customers) AS customers
        FROM (SELECT x, y, count(*) AS customers FROM located GROUP BY x, y) AS finest
        CROSS JOIN (VALUES {_COARSER}) AS grids (zoom, coarser)
        GROUP BY 1, 2, 3
    ), kept AS (
        SELECT zoom, x, y, sum(customers) AS customers
        FROM place_totals WHERE tenant_id = :tenant_id
        GROUP BY zoom, x, y
    ), compared AS (
        SELECT zoom - {GRIDS[0]} AS finer, x, y,
               coalesce(fresh.customers, 0) <> coalesce(kept.customers, 0) AS differs
        FROM fresh FULL JOIN kept USING (zoom, x, y)
    )
    SELECT count(*) AS figure, count(*) FILTER (WHERE differs) AS offenders,
           (array_agg(DISTINCT '{GRIDS[0]}/' || (x >> finer) || '/' || (y >> finer))
            FILTER (WHERE differs))[1:{EXAMPLES}] AS examples
    FROM compared
""")

_UNSCORED = text(f"""
    SELECT count(*) AS rows, {_offending("all_scored", "a.found IS NULL")}
    FROM (SELECT sk AS customer_sk FROM customers WHERE tenant_id = :tenant_id) c
    LEFT JOIN (
        SELECT customer_sk, true AS found FROM customer_analytics WHERE tenant_id = :tenant_id
    ) a USING (customer_sk)
""")

_IDS = text("""
    SELECT sk, id FROM customers
    WHERE tenant_id = :tenant_id AND sk = ANY (CAST(:sks AS bigint[]))
""")

_LAST_FULL = text("""
    SELECT as_of FROM job_runs
    WHERE tenant_id = :tenant_id AND kind = 'full' AND status = 'succeeded'
    ORDER BY requested_at DESC LIMIT 1
""")


async def list_checks(
    connection: AsyncConnection,
    tenant_id: int,
    *,
    now: datetime,
    model_version: str,
    segments: Sequence[str],
    cutoffs: Cutoffs | None,
) -> list[Check]:
    """Verify every row of the tenant; one Check for each of `app.domain.sanity.VERIFICATIONS`.

    `now` is the instant to score for; `cutoffs` are those in force, monetary ones in minor units.
    To be called in a transaction, whose settings it changes.
    """
    await connection.execute(_PREPARE)
    tenant = {"tenant_id": tenant_id}
    last_full = (await connection.execute(_LAST_FULL, tenant)).scalar_one_or_none()
    bounds = cutoffs or Cutoffs((), (), ())
    against_orders = (
        await connection.execute(
            _AGAINST_ORDERS,
            tenant
            | {
                "now": now,
                "last_full_as_of": min(last_full or now, now),
                "model_version": model_version,
            },
        )
    ).one()
    of_itself = (
        await connection.execute(
            _OF_ITSELF,
            tenant
            | {
                "segments": list(segments),
                "recency": list(bounds.recency_days),
                "frequency": list(bounds.frequency),
                "monetary": list(bounds.monetary),
            },
        )
    ).one()
    grouped = {
        name: (await connection.execute(statement, tenant)).one()
        for name, statement in (
            ("segments_sum", _SEGMENTS),
            ("no_orphans", _ORPHANS),
            ("sales_days", _SALES_DAYS),
            ("place_totals", _PLACE_TOTALS),
        )
    }
    unscored = (await connection.execute(_UNSCORED, tenant)).one()
    of_customers = {
        "counts": against_orders,
        "first_counted_order": against_orders,
        "revenue": against_orders,
        "averages": against_orders,
        "no_stale_rows": against_orders,
        "scores_in_range": of_itself,
        "rfm_cutoffs": of_itself,
        "all_scored": unscored,
    }
    ids = await _ids(connection, tenant_id, of_customers)
    checks = [_check_of_customers(name, row, ids) for name, row in of_customers.items()]
    checks += [
        Check(name, int(row.figure), row.offenders, tuple(row.examples or ()))
        for name, row in grouped.items()
    ]
    return checks


def _examples(name: str, row: Row[tuple[object, ...]]) -> list[int]:
    return row._mapping[f"{name}_examples"] or []


async def _ids(
    connection: AsyncConnection, tenant_id: int, rows: dict[str, Row[tuple[object, ...]]]
) -> dict[int, str]:
    sks = sorted({sk for name, row in rows.items() for sk in _examples(name, row)})
    if not sks:
        return {}
    found = await connection.execute(_IDS, {"tenant_id": tenant_id, "sks": sks})
    return {row.sk: row.id for row in found}


def _check_of_customers(name: str, row: Row[tuple[object, ...]], ids: dict[int, str]) -> Check:
    # A row without a customer has no other name than its key.
    examples = tuple(sorted(ids.get(sk, f"sk {sk}") for sk in _examples(name, row)))
    return Check(name, row._mapping["rows"], row._mapping[f"{name}_offenders"], examples)


@dataclass(frozen=True, slots=True)
class SanityResult:
    """What was found when."""

    checked_at: datetime
    passed: bool
    checks: list[Check]


_ADD = text("""
    INSERT INTO sanity_checks (tenant_id, passed, checks)
    VALUES (:tenant_id, :passed, :checks)
    RETURNING checked_at
""").bindparams(bindparam("checks", type_=JSONB))

# The result of a year of nights is enough of a history.
_FORGET = text("""
    DELETE FROM sanity_checks
    WHERE tenant_id = :tenant_id AND checked_at < clock_timestamp() - interval '1 year'
""")


async def add(
    connection: AsyncConnection, tenant_id: int, *, passed: bool, checks: Sequence[Check]
) -> SanityResult:
    """Keep what was found, and let go of what was found over a year ago."""
    await connection.execute(_FORGET, {"tenant_id": tenant_id})
    written = await connection.execute(
        _ADD,
        {"tenant_id": tenant_id, "passed": passed, "checks": [asdict(each) for each in checks]},
    )
    return SanityResult(written.scalar_one(), passed, list(checks))


_LATEST = text("""
    SELECT checked_at, passed, checks FROM sanity_checks
    WHERE tenant_id = :tenant_id ORDER BY checked_at DESC LIMIT 1
""").columns(checks=JSONB)


async def find_latest(connection: AsyncConnection, tenant_id: int) -> SanityResult | None:
    """The last result; None before the first."""
    row = (await connection.execute(_LATEST, {"tenant_id": tenant_id})).one_or_none()
    if row is None:
        return None
    checks = [Check(**each | {"examples": tuple(each["examples"])}) for each in row.checks]
    return SanityResult(row.checked_at, row.passed, checks)
