"""Writing the computed rows of customers from the score definitions.

There is one shape. The selects of `app.scoring` read five relations; common table expressions
supply them, for the customers of one request or for a whole tenant. The result is compared with
what is stored, and only rows that differ are written, in key order, so that two writers never wait
for each other in a circle.
"""

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.rfm import QUINTILES
from app.domain.scoring_run import RunClock
from app.domain.written_scores import GROUPS, PRODUCTS
from app.repositories.population import rebuild as rebuild_totals
from app.repositories.tables import customer_analytics

_KEPT_BY_THE_WRITE = {
    "tenant_id",
    "computed_at",
    "standing_since",
    "risk_rank",
    "clv_rank",
    "recommended_products",
    "external_as_of",
    "external_model_version",
}
_SCORED = tuple(c for c in customer_analytics.columns if c.name not in _KEPT_BY_THE_WRITE)

#: A change of one of these is a change of standing: it makes a row of history.
STANDING = ("rfm_code", "rfm_segment", "lifecycle_segment", "churn_band", "membership_tier")

#: The common table expression that keeps the standing of `written` rows in the history.
REMEMBERED = f"""remembered AS (
        INSERT INTO score_history
            (tenant_id, day, customer_sk, {", ".join(STANDING)}, churn_score, clv)
        SELECT CAST(:tenant_id AS integer), standing_since, customer_sk,
               {", ".join(STANDING)}, churn_score, clv
        FROM written
        WHERE standing_since = CAST(:as_of_day AS date)
        ON CONFLICT (tenant_id, day, customer_sk) DO UPDATE
        SET {", ".join(f"{name} = excluded.{name}" for name in STANDING)},
            churn_score = excluded.churn_score, clv = excluded.clv, recorded_at = now()
    )"""

#: The same day under the same rules gives the same values; a newer instant alone is no change.
_COMPARED = tuple(c.name for c in _SCORED if c.name not in {"customer_sk", "as_of"})

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]

_RUN = """
    run AS (
        SELECT CAST(:as_of AS timestamptz) AS as_of, CAST(:as_of_day AS date) AS as_of_day,
               CAST(:since_30d AS timestamptz) AS since_30d,
               CAST(:since_90d AS timestamptz) AS since_90d,
               CAST(:since_180d AS timestamptz) AS since_180d,
               CAST(:since_365d AS timestamptz) AS since_365d,
               CAST(:rfm_since AS timestamptz) AS rfm_since
    )"""

# Always one row; all null where the buyers were never cut.
_CUTOFFS = """
    cutoffs AS (
        SELECT c.* FROM (SELECT) always
        LEFT JOIN LATERAL (
            SELECT * FROM rfm_cutoffs
            WHERE tenant_id = :tenant_id ORDER BY computed_at DESC LIMIT 1
        ) c ON true
    )"""


# Equally frequent names go by code point, whatever the collation of the database.
_NAMES = 'i.category COLLATE "C" AS category, i.brand COLLATE "C" AS brand'


#: The columns of a customer's row that a run computes and somebody else may have written.
WRITTEN_COLUMNS = {group: names for group, names in GROUPS.items() if group != PRODUCTS}

_DECLARED = ("sk", "membership_tier", "loyalty_points", "gender", "date_of_birth", "age_estimate")
_STORED = ("computed_at", "external_scores", *chain.from_iterable(WRITTEN_COLUMNS.values()))

# From the declared row `c` and the stored row `a`, if there is one.
_TOUCHED = f"""
        SELECT c.sk AS customer_sk, {", ".join(f"c.{name}" for name in _DECLARED[1:])},
               a.computed_at AS previously_computed_at,
               coalesce(a.external_scores, '{{}}') AS external_scores,
               {
    ", ".join(
        f"CASE WHEN '{group}' = ANY(a.external_scores) THEN a.{name} END AS written_{name}"
        for group, names in WRITTEN_COLUMNS.items()
        for name in names
    )
}"""


def _sources_of_set(restriction: str) -> str:
    """The sources for many customers: joined in whatever way suits their number."""
    of_customer = restriction.format(customer="customer_sk")
    return f"""
    touched AS NOT MATERIALIZED (
        {_TOUCHED}
        FROM customers c
        LEFT JOIN customer_analytics a ON a.tenant_id = c.tenant_id AND a.customer_sk = c.sk
        WHERE c.tenant_id = :tenant_id{restriction.format(customer="c.sk")}
    ),
    touched_orders AS NOT MATERIALIZED (
        SELECT * FROM orders WHERE tenant_id = :tenant_id{of_customer}
    ),
    touched_items AS NOT MATERIALIZED (
        SELECT i.order_sk, o.customer_sk, {_NAMES}, i.quantity
        FROM orders o
        JOIN order_items i ON i.tenant_id = o.tenant_id AND i.order_sk = o.sk
        WHERE o.tenant_id = :tenant_id{restriction.format(customer="o.customer_sk")}
    ),
    touched_contacts AS NOT MATERIALIZED (
        SELECT * FROM contacts WHERE tenant_id = :tenant_id{of_customer}
    ),
    touched_feedback AS NOT MATERIALIZED (
        SELECT * FROM feedback WHERE tenant_id = :tenant_id{of_customer}
    ),
    touched_referred AS NOT MATERIALIZED (
        SELECT referred_by_sk AS customer_sk, sk AS referred_sk FROM customers
        WHERE tenant_id = :tenant_id AND referred_by_sk IS NOT NULL{
        restriction.format(customer="referred_by_sk")
    }
    ),
    touched_referred_orders AS NOT MATERIALIZED (
        SELECT r.customer_sk, o.ordered_at, o.net_amount
        FROM touched_referred r
        JOIN orders o ON o.tenant_id = :tenant_id AND o.customer_sk = r.referred_sk
    )"""


_SOURCES_OF_EVERYBODY = _sources_of_set("")
_SOURCES_OF_THE_COLLECTED = _sources_of_set(
    " AND {customer} IN (SELECT customer_sk FROM collected)"
)

# One customer after the other, by key. The plan is made once and kept, so it must not hang on what
# the statistics said that day: OFFSET 0 leaves the planner no other way than the index.
_SOURCES_OF_THE_LISTED = f"""
    listed AS MATERIALIZED (
        SELECT given AS customer_sk FROM unnest(CAST(:customer_sks AS bigint[])) AS given
        UNION
        SELECT c.referred_by_sk FROM unnest(CAST(:customer_sks AS bigint[])) AS given
        CROSS JOIN LATERAL (
            SELECT referred_by_sk FROM customers
            WHERE tenant_id = :tenant_id AND sk = given OFFSET 0
        ) c
        WHERE c.referred_by_sk IS NOT NULL
    ),
    touched AS NOT MATERIALIZED (
        {_TOUCHED}
        FROM listed
        CROSS JOIN LATERAL (
            SELECT {", ".join(_DECLARED)} FROM customers
            WHERE tenant_id = :tenant_id AND sk = listed.customer_sk OFFSET 0
        ) c
        LEFT JOIN LATERAL (
            SELECT {", ".join(_STORED)} FROM customer_analytics
            WHERE tenant_id = :tenant_id AND customer_sk = listed.customer_sk OFFSET 0
        ) a ON true
    ),
    touched_orders AS NOT MATERIALIZED (
        SELECT o.* FROM listed
        CROSS JOIN LATERAL (
            SELECT * FROM orders
            WHERE tenant_id = :tenant_id AND customer_sk = listed.customer_sk OFFSET 0
        ) o
    ),
    touched_items AS NOT MATERIALIZED (
        SELECT i.order_sk, o.customer_sk, {_NAMES}, i.quantity
        FROM touched_orders o
        CROSS JOIN LATERAL (
            SELECT * FROM order_items
            WHERE tenant_id = :tenant_id AND order_sk = o.sk OFFSET 0
        ) i
    ),
    touched_contacts AS NOT MATERIALIZED (
        SELECT o.* FROM listed
        CROSS JOIN LATERAL (
            SELECT * FROM contacts
            WHERE tenant_id = :tenant_id AND customer_sk = listed.customer_sk OFFSET 0
        ) o
    ),
    touched_feedback AS NOT MATERIALIZED (
        SELECT o.* FROM listed
        CROSS JOIN LATERAL (
            SELECT * FROM feedback
            WHERE tenant_id = :tenant_id AND customer_sk = listed.customer_sk OFFSET 0
        ) o
    ),
    touched_referred AS NOT MATERIALIZED (
        SELECT listed.customer_sk, r.sk AS referred_sk FROM listed
        CROSS JOIN LATERAL (
            SELECT sk FROM customers
            WHERE tenant_id = :tenant_id AND referred_by_sk = listed.customer_sk OFFSET 0
        ) r
    ),
    touched_referred_orders AS NOT MATERIALIZED (
        SELECT r.customer_sk, o.ordered_at, o.net_amount
        FROM touched_referred r
        CROSS JOIN LATERAL (
            SELECT ordered_at, net_amount FROM orders
            WHERE tenant_id = :tenant_id AND customer_sk = r.referred_sk OFFSET 0
        ) o
    )"""


def _sources_at_store(
    *, customers: str, orders: str, items: str, feedback: str, others: str
) -> str:
    """The sources of customers as if there were one store only; nothing that others wrote.

    Each argument selects one relation; `others` those whom they brought in.
    """
    return f"""
    touched AS NOT MATERIALIZED (
        {_TOUCHED}
        FROM ({customers}) c
        LEFT JOIN (
            SELECT {", ".join(_STORED)} FROM customer_analytics WHERE false
        ) a ON true
    ),
    touched_orders AS NOT MATERIALIZED ({orders}),
    touched_items AS NOT MATERIALIZED ({items}),
    touched_contacts AS NOT MATERIALIZED (SELECT * FROM contacts WHERE false),
    touched_feedback AS NOT MATERIALIZED ({feedback}),
    touched_referred AS NOT MATERIALIZED ({others}),
    touched_referred_orders AS NOT MATERIALIZED (
        SELECT r.customer_sk, o.ordered_at, o.net_amount
        FROM touched_referred r
        CROSS JOIN LATERAL (
            SELECT ordered_at, net_amount FROM orders
            WHERE tenant_id = :tenant_id AND customer_sk = r.referred_sk
              AND store_sk = :store_sk OFFSET 0
        ) o
    )"""


# A contact belongs to no store. Whom the customer brought in counts by what they bought there.
_SOURCES_OF_ONE_AT_STORE = _sources_at_store(
    customers=f"""
        SELECT {", ".join(_DECLARED)} FROM customers
        WHERE tenant_id = :tenant_id AND sk = :customer_sk""",
    orders="""
        SELECT * FROM orders
        WHERE tenant_id = :tenant_id AND customer_sk = :customer_sk AND store_sk = :store_sk""",
    items=f"""
        SELECT i.order_sk, o.customer_sk, {_NAMES}, i.quantity
        FROM touched_orders o
        CROSS JOIN LATERAL (
            SELECT * FROM order_items
            WHERE tenant_id = :tenant_id AND order_sk = o.sk OFFSET 0
        ) i""",
    feedback="""
        SELECT * FROM feedback
        WHERE tenant_id = :tenant_id AND customer_sk = :customer_sk AND store_sk = :store_sk""",
    others="""
        SELECT referred_by_sk AS customer_sk, sk AS referred_sk FROM customers
        WHERE tenant_id = :tenant_id AND referred_by_sk = :customer_sk""",
)

# For segments, which look at orders only.
_SOURCES_OF_STORE = _sources_at_store(
    customers=f"""
        SELECT {", ".join(_DECLARED)} FROM customers
        WHERE tenant_id = :tenant_id AND sk IN (SELECT customer_sk FROM pg_temp.store_orders)""",
    orders="SELECT * FROM pg_temp.store_orders",
    items=f"""
        SELECT i.order_sk, CAST(NULL AS bigint) AS customer_sk, {_NAMES}, i.quantity
        FROM order_items i WHERE false""",
    feedback="SELECT * FROM feedback WHERE false",
    others="""
        SELECT referred_by_sk AS customer_sk, sk AS referred_sk FROM customers WHERE false""",
)


def _steps(*, order: str = "", **selects: str) -> str:
    """Common table expressions, each reading the one before and in the stated order.

    OFFSET 0 keeps the planner from pasting the expressions of one step into every mention of them
    in the next, which would compute a score once for each rule that reads it.
    """
    return ", ".join(
        f"{name} AS NOT MATERIALIZED (SELECT * FROM ({select}) {name}{order} OFFSET 0)"
        for name, select in selects.items()
    )


def _typed(scores: str) -> str:
    """The computed columns of the relation `scores`, in the types of the table."""
    return ", ".join(
        f"CAST({scores}.{c.name} AS {c.type.compile(_DIALECT)}) AS {c.name}" for c in _SCORED
    )


def _scored(ratings: str, scores: str, order: str = "") -> str:
    """Common table expressions that end with `scored`, rows in the types of the table.

    Each has the time of computation of the row that it was computed over. Where the stored row has
    another by now, somebody scored that customer in between: the row is missed, not overwritten.
    """
    return f"""
    {_steps(ratings=ratings, scores=scores, order=order)},
    scored AS NOT MATERIALIZED (
        SELECT s.previously_computed_at, {_typed("s")} FROM scores s{order} OFFSET 0
    )"""


def _columns(relation: str, names: Iterable[str]) -> str:
    return ", ".join(f"{relation}.{name}" for name in names)


_NAMED = ", ".join(c.name for c in _SCORED)
_RETURNED = _columns("stored", ("customer_sk", *STANDING, "churn_score", "clv", "standing_since"))


def _set_from(relation: str, day: str) -> str:
    """What an UPDATE of `stored` sets to the scores of `relation`, which were computed on `day`."""
    return f"""
        SET {", ".join(f"{name} = {relation}.{name}" for name in ("as_of", *_COMPARED))},
            computed_at = clock_timestamp(),
            standing_since = CASE
                WHEN ({_columns("stored", STANDING)}) IS DISTINCT FROM
                     ({_columns(relation, STANDING)})
                THEN {day} ELSE stored.standing_since
            END"""


# Of the few of a request, whether they have a row yet or not. LATERAL, because the plan is kept.
_WRITTEN_OF_THE_LISTED = f"""
    proposed AS (
        SELECT n.* FROM scored n
        LEFT JOIN LATERAL (
            SELECT * FROM customer_analytics
            WHERE tenant_id = :tenant_id AND customer_sk = n.customer_sk OFFSET 0
        ) old ON true
        WHERE old.customer_sk IS NULL
           OR ({_columns("n", _COMPARED)}) IS DISTINCT FROM ({_columns("old", _COMPARED)})
    ),
    written AS (
        INSERT INTO customer_analytics AS stored (tenant_id, {_NAMED}, computed_at, standing_since)
        SELECT CAST(:tenant_id AS integer), {_NAMED},
               coalesce(previously_computed_at, clock_timestamp()), CAST(:as_of_day AS date)
        FROM proposed
        ORDER BY customer_sk
        ON CONFLICT (tenant_id, customer_sk) DO UPDATE{
    _set_from("excluded", "excluded.standing_since")
}
        WHERE stored.computed_at = excluded.computed_at
        RETURNING {_RETURNED}
    ),
    {REMEMBERED}"""

# Of everybody: an UPDATE compares and writes a row in one go, where INSERT … ON CONFLICT looks each
# up for itself and locks it first. The time is no key to merge by, so that nothing is sorted twice.
_UPDATED = f"""
    written AS (
        UPDATE customer_analytics AS stored{_set_from("n", "CAST(:as_of_day AS date)")}
        FROM scored n
        WHERE stored.tenant_id = :tenant_id AND stored.customer_sk = n.customer_sk
          AND stored.computed_at IS NOT DISTINCT FROM n.previously_computed_at
          AND ({_columns("n", _COMPARED)}) IS DISTINCT FROM ({_columns("stored", _COMPARED)})
        RETURNING {_RETURNED}
    ),
    {REMEMBERED}"""

_INSERTED = f"""
    written AS (
        INSERT INTO customer_analytics AS stored (tenant_id, {_NAMED}, computed_at, standing_since)
        SELECT CAST(:tenant_id AS integer), {_NAMED}, clock_timestamp(), CAST(:as_of_day AS date)
        FROM scored
        ORDER BY customer_sk
        ON CONFLICT DO NOTHING
        RETURNING {_RETURNED}
    ),
    {REMEMBERED}"""

# Whether a run found a row stored or not, under the name that the definitions know.
_STORED_FEATURES, _NEW_FEATURES = (
    f"""
    features AS NOT MATERIALIZED (
        SELECT * FROM pg_temp.features WHERE previously_computed_at {condition}
    )"""
    for condition in ("IS NOT NULL", "IS NULL")
)


@dataclass(frozen=True, slots=True)
class ScoringStatements:
    """The compiled rules of one profile, wrapped for each way of running them."""

    live: TextClause
    stage_everybody: TextClause
    stage_collected: TextClause
    cut: TextClause
    update_staged: TextClause
    insert_staged: TextClause
    one_at_store: TextClause
    segments_of_store: TextClause


def scoring_statements(
    *, totals: str, periods: str, features: str, population: str, ratings: str, scores: str
) -> ScoringStatements:
    """Statements around the selects of `app.scoring`. Build once for a profile, and keep."""
    described = _steps(totals=totals, periods=periods)
    live = f"""
        WITH {_RUN}, {_CUTOFFS}, {_SOURCES_OF_THE_LISTED}, {described},
        features AS MATERIALIZED ({features}),
        {_scored(ratings, scores)}, {_WRITTEN_OF_THE_LISTED}
        SELECT (SELECT count(*) FROM proposed), (SELECT count(*) FROM written),
               (SELECT buyers IS NOT NULL FROM cutoffs),
               watch_segments(:tenant_id, CAST(:customer_sks AS bigint[]))"""

    # A temporary table, because PostgreSQL plans CREATE TABLE AS in parallel and INSERT never.
    def stage(sources: str) -> str:
        return f"""
        CREATE TEMPORARY TABLE features AS
        WITH {_RUN}, {sources}, {described} {features}"""

    quintiles = len(QUINTILES)
    cut_columns = ", ".join(
        f"{name}[1:{quintiles}] AS {name}_cutoffs, {name}[{quintiles + 1}:] AS {name}_percentiles"
        for name in ("recency", "frequency", "monetary")
    )
    cut = f"""
        INSERT INTO rfm_cutoffs (tenant_id, as_of, model_version, buyers,
            recency_cutoffs, recency_percentiles, frequency_cutoffs, frequency_percentiles,
            monetary_cutoffs, monetary_percentiles, clv_percentiles)
        SELECT :tenant_id, CAST(:as_of AS timestamptz), :model_version, buyers,
               {cut_columns}, clv[{quintiles + 1}:]
        FROM ({population}) p WHERE buyers > 0"""
    scored = _scored(ratings, scores, _BY_KEY)
    update_staged = f"""
        WITH {_RUN}, {_CUTOFFS}, {_STORED_FEATURES}, {scored}, {_UPDATED}
        SELECT count(*) FROM written"""
    insert_staged = f"""
        WITH {_RUN}, {_CUTOFFS}, {_NEW_FEATURES}, {scored}, {_INSERTED}
        SELECT count(*) FROM written"""
    rated = f"""
        {described}, features AS MATERIALIZED ({features}),
        {_steps(ratings=ratings, scores=scores)}"""
    one_at_store = f"""
        WITH {_RUN}, {_CUTOFFS}, {_SOURCES_OF_ONE_AT_STORE}, {rated}
        SELECT {_typed("s")} FROM scores s"""
    segments_of_store = f"""
        WITH {_RUN}, {_CUTOFFS}, {_SOURCES_OF_STORE}, {rated}
        SELECT kind, segment, count(*) AS customers, CAST(sum(s.revenue) AS bigint) AS revenue
        FROM scores s
        CROSS JOIN LATERAL (
            VALUES ('lifecycle', s.lifecycle_segment), ('rfm', s.rfm_segment)
        ) AS named (kind, segment)
        WHERE segment IS NOT NULL
        GROUP BY kind, segment"""
    return ScoringStatements(
        live=text(live),
        stage_everybody=text(stage(_SOURCES_OF_EVERYBODY)),
        stage_collected=text(stage(_SOURCES_OF_THE_COLLECTED)),
        cut=text(cut),
        update_staged=text(update_staged),
        insert_staged=text(insert_staged),
        one_at_store=text(one_at_store),
        segments_of_store=text(segments_of_store),
    )


@dataclass(frozen=True, slots=True)
class LiveScores:
    """What was read with the scores of a request: whether the tenant's buyers were ever cut, and

    the version of the segments to tell (`app.repositories.segment_member.watch`).
    """

    has_cutoffs: bool
    segments_version: UUID | None


async def score_live(
    connection: AsyncConnection,
    statements: ScoringStatements,
    tenant_id: int,
    clock: RunClock,
    customer_sks: Collection[int],
) -> LiveScores:
    """Score these customers now and store what changed.

    The caller holds the locks of the customers' rows. A run of the whole tenant may still write one
    of them in between, with newer cutoffs: such a row is scored again.
    """
    parameters = _clock_parameters(tenant_id, clock) | {"customer_sks": list(customer_sks)}
    while True:
        row = (await connection.execute(statements.live, parameters)).one()
        proposed, written, has_cutoffs, segments_version = row
        if written == proposed:
            return LiveScores(bool(has_cutoffs), segments_version)


async def compute_at_store(
    connection: AsyncConnection,
    statements: ScoringStatements,
    tenant_id: int,
    clock: RunClock,
    *,
    customer_sk: int,
    store_sk: int,
) -> dict[str, Any]:
    """The computed columns of a customer from the orders at one store; nothing is written."""
    parameters = _clock_parameters(tenant_id, clock)
    parameters |= {"customer_sk": customer_sk, "store_sk": store_sk}
    row = (await connection.execute(statements.one_at_store, parameters)).one()
    return dict(row._mapping)


class StoreSegment(NamedTuple):
    """The customers of a store in one segment; revenue there, of all time, in minor units."""

    kind: str
    segment: str
    customers: int
    revenue: int


async def compute_store_segments(
    connection: AsyncConnection,
    statements: ScoringStatements,
    tenant_id: int,
    clock: RunClock,
    *,
    store_sk: int,
) -> list[StoreSegment]:
    """Score everybody with an order at the store by those orders, and count the segments.

    To be called in a transaction, whose settings it changes; nothing of the scores is written.
    """
    parameters = _clock_parameters(tenant_id, clock) | {"store_sk": store_sk}
    await connection.execute(_RUN_MEMORY)
    await connection.execute(_STAGE_STORE, {"tenant_id": tenant_id, "store_sk": store_sk})
    await connection.execute(_COUNT_STORE)
    rows = (await connection.execute(statements.segments_of_store, parameters)).all()
    await connection.execute(_DROP_STORE)
    return [StoreSegment._make(row) for row in rows]


# The orders are read once, however often the definitions mention them.
_STAGE_STORE = text("""
    CREATE TEMPORARY TABLE store_orders AS
    SELECT * FROM orders WHERE tenant_id = :tenant_id AND store_sk = :store_sk
""")
_COUNT_STORE = text("ANALYZE pg_temp.store_orders")
_DROP_STORE = text("DROP TABLE pg_temp.store_orders")


async def has_cutoffs(connection: AsyncConnection, tenant_id: int) -> bool:
    """Whether the tenant's buyers were ever split into quintiles."""
    found = await connection.execute(_HAS_CUTOFFS, {"tenant_id": tenant_id})
    return bool(found.scalar_one())


_HAS_CUTOFFS = text("SELECT EXISTS (SELECT FROM rfm_cutoffs WHERE tenant_id = :tenant_id)")


async def lock_customers(
    connection: AsyncConnection, tenant_id: int, customer_sks: Collection[int]
) -> None:
    """Keep other writers off these customers until the transaction ends, in key order."""
    parameters = {"tenant_id": tenant_id, "customer_sks": list(customer_sks)}
    await connection.execute(_LOCK_CUSTOMERS, parameters)


_LOCK_CUSTOMERS = text("""
    SELECT FROM customers
    WHERE tenant_id = :tenant_id AND sk = ANY(CAST(:customer_sks AS bigint[]))
    ORDER BY sk FOR NO KEY UPDATE
""")


async def try_lock_runs(connection: AsyncConnection, tenant_id: int) -> bool:
    """Take the tenant's only permit to score everybody, until the transaction ends."""
    return bool((await connection.execute(_TRY_LOCK_RUNS, {"tenant_id": tenant_id})).scalar_one())


# The second lock is against customers who leave (`former.try_lock_leaving`), which takes a moment.
_TRY_LOCK_RUNS = text("""
    SELECT pg_try_advisory_xact_lock(hashtext('scoring run'), :tenant_id)
       AND pg_advisory_xact_lock_shared(hashtext('customers leave'), :tenant_id) IS NOT NULL
""")


async def collect_recent(
    connection: AsyncConnection, tenant_id: int, since: datetime | None
) -> None:
    """Put into `collected` the customers whose sources changed since, or that have no scores."""
    await connection.execute(_COLLECT_RECENT, {"tenant_id": tenant_id, "since": since})
    await connection.execute(_COUNT_COLLECTED)


_COUNT_COLLECTED = text("ANALYZE pg_temp.collected")

# A day is added for orders dated ahead by a clock that runs fast: they begin to count afterwards.
_COLLECT_RECENT = text("""
    CREATE TEMPORARY TABLE collected AS
    WITH since AS (
        SELECT coalesce(CAST(:since AS timestamptz) - interval '1 day', '-infinity') AS instant
    ), changed AS (
        SELECT customer_sk FROM orders
        WHERE tenant_id = :tenant_id AND recorded_at >= (SELECT instant FROM since)
        UNION
        SELECT customer_sk FROM contacts
        WHERE tenant_id = :tenant_id AND recorded_at >= (SELECT instant FROM since)
        UNION
        SELECT customer_sk FROM feedback
        WHERE tenant_id = :tenant_id AND recorded_at >= (SELECT instant FROM since)
        UNION
        SELECT c.sk FROM customers c
        LEFT JOIN customer_analytics a ON a.tenant_id = c.tenant_id AND a.customer_sk = c.sk
        WHERE c.tenant_id = :tenant_id
          AND (a.customer_sk IS NULL OR c.updated_at >= (SELECT instant FROM since))
    )
    SELECT customer_sk FROM changed
    UNION
    SELECT c.referred_by_sk FROM changed
    JOIN customers c ON c.tenant_id = :tenant_id AND c.sk = changed.customer_sk
    WHERE c.referred_by_sk IS NOT NULL
""")


@dataclass(frozen=True, slots=True)
class WrittenScores:
    """What a staged run did. `missed` customers were scored by somebody else in between."""

    read: int
    written: int
    missed: list[int]


async def score_staged(
    connection: AsyncConnection,
    statements: ScoringStatements,
    tenant_id: int,
    clock: RunClock,
    *,
    model_version: str,
    everybody: bool,
) -> WrittenScores:
    """Score all customers of the tenant and cut anew, or the `collected` on the stored cutoffs.

    Everything happens in the caller's transaction: until it commits, readers see the last scores.
    """
    parameters = _clock_parameters(tenant_id, clock)
    await connection.execute(_RUN_MEMORY)
    # Adding up what changed in every row would take longer than adding up every row.
    await connection.execute(_TOTALS, {"kept": "off" if everybody else "on"})
    stage = statements.stage_everybody if everybody else statements.stage_collected
    staged = await connection.execute(stage, parameters)
    for statement in _SORT_STAGE:
        await connection.execute(statement)
    if everybody:
        cut = parameters | {"model_version": model_version}
        await connection.execute(statements.cut, cut)
    await connection.execute(_MERGED)
    written = (await connection.execute(statements.update_staged, parameters)).scalar_one()
    written += (await connection.execute(statements.insert_staged, parameters)).scalar_one()
    if everybody:
        await rebuild_totals(connection, tenant_id)
        await connection.execute(_TOTALS, {"kept": "on"})
    missed = list((await connection.execute(_MISSED, {"tenant_id": tenant_id})).scalars())
    await connection.execute(_DROP_STAGES)
    return WrittenScores(staged.rowcount, written, missed)


# A million wide rows are neither sorted nor hashed when both sides are read by key: that would go
# through files, and take longer the more customers there are.
_SORT_STAGE = (
    text("CREATE INDEX ON pg_temp.features (customer_sk)"),
    text("ANALYZE pg_temp.features (customer_sk)"),
)
_BY_KEY = " ORDER BY customer_sk"

# Rolled back with everything else where the run fails.
_DROP_STAGES = text("DROP TABLE IF EXISTS pg_temp.features, pg_temp.collected")


# Sorts and hashes of a whole tenant, once an hour or a night, one run at a time; it takes as long
# as it takes, whoever started it. Right after an import the statistics may know nothing of the
# tenant, and a nested loop over what was thought to be ten rows would not end. The orders are read
# and sorted on every core there is.
_RUN_MEMORY = text("""
    SELECT set_config('work_mem', '256MB', true), set_config('statement_timeout', '0', true),
           set_config('enable_nestloop', 'off', true), set_config('enable_seqscan', 'on', true),
           set_config('parallel_setup_cost', '10', true),
           set_config('parallel_tuple_cost', '0.005', true)
""")

# Both sides of the UPDATE are merged by key, so that rows are locked in that order.
_MERGED = text("SELECT set_config('enable_hashjoin', 'off', true)")

_TOTALS = text("SELECT set_config('app.totals', :kept, true)")

# A row that was neither ours to write nor still the one that was staged.
_MISSED = text("""
    SELECT a.customer_sk
    FROM features f
    JOIN customer_analytics a ON a.tenant_id = :tenant_id AND a.customer_sk = f.customer_sk
    WHERE a.computed_at IS DISTINCT FROM f.previously_computed_at
      AND a.xmin <> CAST(CAST(pg_current_xact_id() AS xid8) AS xid)
    ORDER BY a.customer_sk
""")


def _clock_parameters(tenant_id: int, clock: RunClock) -> dict[str, object]:
    return {"tenant_id": tenant_id} | asdict(clock)
