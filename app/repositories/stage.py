"""Where customers stand in their journeys, how they came there, and by which rules."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.criteria import Clock
from app.domain.stage import FIRST, STAGES, Stage, StageRule
from app.repositories.criteria import Compiler
from app.repositories.page import limited


@dataclass(frozen=True, slots=True)
class CustomerStage:
    """Where a customer stands. `set_by` is the key of whoever said so; None for the rules.

    One who was never looked at is at the first stage since they were recorded.
    """

    sk: int
    customer_id: str
    name: str
    stage: Stage
    entered_at: datetime
    set_by: str | None


@dataclass(frozen=True, slots=True)
class Move:
    """A customer came to a stage; from none, when they were first looked at."""

    seq: int
    entered_at: datetime
    from_stage: Stage | None
    stage: Stage
    set_by: str | None


@dataclass(frozen=True, slots=True)
class StageFlow:
    """What became of those who entered a stage in a period, by its end, in moves.

    `stalled` are those who had been there for long and had not left; `median_days` is how long it
    took those who went on.
    """

    stage: Stage
    entered: int
    advanced: int
    fell_back: int
    stalled: int
    median_days: float | None


@dataclass(frozen=True, slots=True)
class OwnRules:
    """The rules that a tenant has made for itself, as JSON."""

    rules: list[dict[str, Any]]
    updated_at: datetime
    updated_by: str | None


_FIND_RULES = text("""
    SELECT rules, updated_at, updated_by FROM journey_rules WHERE tenant_id = :tenant_id
""")
_PUT_RULES = text("""
    INSERT INTO journey_rules (tenant_id, rules, updated_by)
    VALUES (:tenant_id, CAST(:rules AS jsonb), :updated_by)
    ON CONFLICT (tenant_id) DO UPDATE SET
        rules = excluded.rules, updated_at = now(), updated_by = excluded.updated_by
""")
_DELETE_RULES = text("DELETE FROM journey_rules WHERE tenant_id = :tenant_id")


async def find_rules(connection: AsyncConnection, tenant_id: int) -> OwnRules | None:
    """The tenant's own rules; None for one that goes by the default ones."""
    row = (await connection.execute(_FIND_RULES, {"tenant_id": tenant_id})).first()
    return None if row is None else OwnRules(row.rules, row.updated_at, row.updated_by)


async def put_rules(
    connection: AsyncConnection, tenant_id: int, rules: list[dict[str, Any]], actor: str
) -> None:
    """Make these the tenant's rules."""
    await connection.execute(
        _PUT_RULES, {"tenant_id": tenant_id, "rules": json.dumps(rules), "updated_by": actor}
    )


async def delete_rules(connection: AsyncConnection, tenant_id: int) -> None:
    """Let the tenant go by the default rules again."""
    await connection.execute(_DELETE_RULES, {"tenant_id": tenant_id})


def _rank(expression: str) -> str:
    """How far a stage is, in SQL."""
    stages = ", ".join(f"'{stage}'" for stage in STAGES)
    return f"array_position(CAST(ARRAY[{stages}] AS text[]), {expression})"


# Nobody is led back, not even by two who write at the same time.
_ADVANCE = f"""
WITH {{listed}}judged AS MATERIALIZED (
    SELECT c.sk AS customer_sk, CASE {{cases}} ELSE '{FIRST}' END AS stage
    {{source}}
), moving AS MATERIALIZED (
    SELECT j.customer_sk, present.stage AS from_stage, j.stage
    FROM judged j
    LEFT JOIN customer_stages present
        ON present.tenant_id = :tenant_id AND present.customer_sk = j.customer_sk
    WHERE present.stage IS NULL OR {_rank("present.stage")} < {_rank("j.stage")}
), moved AS (
    INSERT INTO customer_stages AS s (tenant_id, customer_sk, stage, entered_at)
    SELECT :tenant_id, customer_sk, stage, :entered_at FROM moving ORDER BY customer_sk
    ON CONFLICT (tenant_id, customer_sk) DO UPDATE SET
        stage = excluded.stage, entered_at = excluded.entered_at, set_by = NULL
    WHERE {_rank("s.stage")} < {_rank("excluded.stage")}
    RETURNING customer_sk
)
INSERT INTO stage_moves (tenant_id, customer_sk, entered_at, from_stage, stage)
SELECT :tenant_id, moving.customer_sk, :entered_at, moving.from_stage, moving.stage
FROM moving JOIN moved USING (customer_sk)
"""
_LISTED = "listed AS MATERIALIZED (SELECT unnest(CAST(:customer_sks AS bigint[])) AS customer_sk), "


async def advance(
    connection: AsyncConnection,
    tenant_id: int,
    *,
    rules: Sequence[StageRule],
    compiler: Compiler,
    clock: Clock,
    customer_sks: Collection[int] | None,
) -> int:
    """Lead customers to the stages that the rules find them at; how many went on.

    All customers, where no keys are given. `rules` are in the order of their stages.
    """
    # The furthest stage is asked for first.
    cases = " ".join(
        f"WHEN {compiler.predicate(rule.criteria)} THEN '{rule.stage}'" for rule in reversed(rules)
    )
    everybody = customer_sks is None
    statement = _ADVANCE.format(
        listed="" if everybody else _LISTED,
        cases=cases or "WHEN false THEN ''",
        source=compiler.everybody() if everybody else compiler.listed("listed"),
    )
    parameters = compiler.parameters(clock) | {"tenant_id": tenant_id, "entered_at": clock.as_of}
    if customer_sks is not None:
        parameters["customer_sks"] = list(customer_sks)
    result = await connection.execute(text(statement), parameters)
    return result.rowcount


_TAKE_TOUCHED = """
    DELETE FROM stage_touched
    WHERE tenant_id = :tenant_id AND seq IN (
        SELECT seq FROM stage_touched WHERE tenant_id = :tenant_id
        ORDER BY seq LIMIT :limit
        FOR UPDATE SKIP LOCKED
    )
    RETURNING customer_sk
"""


async def take_touched(connection: AsyncConnection, tenant_id: int, limit: int) -> list[int]:
    """Customers who have changed since they were looked at, the first to change in front.

    They are noted no more, unless the transaction fails.
    """
    rows = await connection.execute(limited(_TAKE_TOUCHED, limit), {"tenant_id": tenant_id})
    return list(rows.scalars())


_SET = text("""
    WITH before AS (
        SELECT stage FROM customer_stages
        WHERE tenant_id = :tenant_id AND customer_sk = :customer_sk
    ), placed AS (
        INSERT INTO customer_stages (tenant_id, customer_sk, stage, entered_at, set_by)
        SELECT :tenant_id, :customer_sk, :stage, :entered_at, :set_by
        WHERE NOT EXISTS (SELECT FROM before WHERE stage = :stage)
        ON CONFLICT (tenant_id, customer_sk) DO UPDATE SET
            stage = excluded.stage, entered_at = excluded.entered_at, set_by = excluded.set_by
        RETURNING stage
    )
    INSERT INTO stage_moves (tenant_id, customer_sk, entered_at, from_stage, stage, set_by)
    SELECT :tenant_id, :customer_sk, :entered_at, (SELECT stage FROM before), stage, :set_by
    FROM placed
""")


async def put(
    connection: AsyncConnection,
    tenant_id: int,
    customer_sk: int,
    stage: Stage,
    *,
    entered_at: datetime,
    actor: str,
) -> bool:
    """Place a customer, whose row is locked, at a stage; False where they stood there already."""
    result = await connection.execute(
        _SET,
        {
            "tenant_id": tenant_id,
            "customer_sk": customer_sk,
            "stage": stage,
            "entered_at": entered_at,
            "set_by": actor,
        },
    )
    return bool(result.rowcount)


_CUSTOMER_STAGE = f"""
SELECT c.sk, c.id AS customer_id, c.name, coalesce(s.stage, '{FIRST}') AS stage,
       coalesce(s.entered_at, c.created_at) AS entered_at, s.set_by
FROM customers c
LEFT JOIN customer_stages s ON s.tenant_id = c.tenant_id AND s.customer_sk = c.sk
"""
_FIND = text(_CUSTOMER_STAGE + "WHERE c.tenant_id = :tenant_id AND c.id = :customer_id")
_LIST = (
    _CUSTOMER_STAGE
    + """
WHERE c.tenant_id = :tenant_id AND c.sk > :after
ORDER BY c.sk
LIMIT :limit
"""
)
_LIST_AT = """
SELECT c.sk, c.id AS customer_id, c.name, s.stage, s.entered_at, s.set_by
FROM customer_stages s
JOIN customers c ON c.tenant_id = s.tenant_id AND c.sk = s.customer_sk
WHERE s.tenant_id = :tenant_id AND s.stage = :stage AND s.customer_sk > :after
ORDER BY s.customer_sk
LIMIT :limit
"""
_MOVES = """
SELECT seq, entered_at, from_stage, stage, set_by FROM stage_moves
WHERE tenant_id = :tenant_id AND customer_sk = :customer_sk AND (entered_at, seq) < (:moment, :seq)
ORDER BY entered_at DESC, seq DESC
LIMIT :limit
"""


async def find(
    connection: AsyncConnection, tenant_id: int, customer_id: str
) -> CustomerStage | None:
    """Where the customer called `customer_id` stands."""
    rows = await connection.execute(_FIND, {"tenant_id": tenant_id, "customer_id": customer_id})
    row = rows.first()
    return None if row is None else _read(row._mapping)


async def list_page(
    connection: AsyncConnection, tenant_id: int, *, stage: Stage | None, after: int, limit: int
) -> list[CustomerStage]:
    """Customers with an `sk` beyond `after`; those placed at one stage, where one is given."""
    rows = await connection.execute(
        limited(_LIST if stage is None else _LIST_AT, limit),
        {"tenant_id": tenant_id, "after": after} | ({} if stage is None else {"stage": str(stage)}),
    )
    return [_read(row._mapping) for row in rows]


async def list_moves(
    connection: AsyncConnection,
    tenant_id: int,
    customer_sk: int,
    *,
    before: tuple[datetime, int],
    limit: int,
) -> list[Move]:
    """How a customer came to where they are, the last move first, before a time and a move."""
    moment, seq = before
    rows = await connection.execute(
        limited(_MOVES, limit),
        {"tenant_id": tenant_id, "customer_sk": customer_sk, "moment": moment, "seq": seq},
    )
    return [
        Move(
            row.seq,
            row.entered_at,
            None if row.from_stage is None else Stage(row.from_stage),
            Stage(row.stage),
            row.set_by,
        )
        for row in rows
    ]


_COUNTS = text("""
    SELECT stage, count(*) AS customers,
           avg(extract(epoch FROM :as_of - entered_at)) / 86400 AS days
    FROM customer_stages WHERE tenant_id = :tenant_id
    GROUP BY stage
""")
_FLOW = text(f"""
    SELECT stage, count(*) AS entered,
           count(*) FILTER (WHERE {_rank("next")} > {_rank("stage")}) AS advanced,
           count(*) FILTER (WHERE {_rank("next")} < {_rank("stage")}) AS fell_back,
           count(*) FILTER (WHERE next IS NULL AND entered_at <= :stalled_before) AS stalled,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM left_at - entered_at))
               FILTER (WHERE {_rank("next")} > {_rank("stage")}) / 86400 AS median_days
    FROM (
        SELECT stage, entered_at, lead(stage) OVER later AS next,
               lead(entered_at) OVER later AS left_at
        FROM stage_moves
        WHERE tenant_id = :tenant_id AND entered_at >= :since AND entered_at < :until
        WINDOW later AS (PARTITION BY customer_sk ORDER BY entered_at, seq)
    ) AS moves
    GROUP BY stage
""")


async def list_counts(
    connection: AsyncConnection, tenant_id: int, as_of: datetime
) -> dict[Stage, tuple[int, float]]:
    """How many customers are placed at each stage, and for how many days on average."""
    rows = await connection.execute(_COUNTS, {"tenant_id": tenant_id, "as_of": as_of})
    return {Stage(row.stage): (row.customers, float(row.days)) for row in rows}


async def list_flow(
    connection: AsyncConnection,
    tenant_id: int,
    *,
    since: datetime,
    until: datetime,
    stalled_before: datetime,
) -> dict[Stage, StageFlow]:
    """What became of those who entered each stage in a period.

    A customer counts once for each time of coming to a stage.
    """
    rows = await connection.execute(
        _FLOW,
        {
            "tenant_id": tenant_id,
            "since": since,
            "until": until,
            "stalled_before": stalled_before,
        },
    )
    return {
        Stage(row.stage): StageFlow(
            Stage(row.stage),
            row.entered,
            row.advanced,
            row.fell_back,
            row.stalled,
            None if row.median_days is None else float(row.median_days),
        )
        for row in rows
    }


def _read(row: Any) -> CustomerStage:
    return CustomerStage(**{**row, "stage": Stage(row["stage"])})
