"""Scores that somebody else computed, laid over the rows of customers.

They come as rows of a stage: a temporary table for one request, `external_run_rows` for a run of
many requests. Writing them is one statement over the stage, however many there are. It reads and
writes the rows of `customer_analytics` in key order, as every other writer does, and writes only
what it has read: a row that somebody else has written in between is missed, and written by the same
statement run again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import IO, Any, NamedTuple
from uuid import UUID

from sqlalchemy import Row, TextClause, func, literal, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database import driver_of
from app.domain.errors import NotFound
from app.domain.written_scores import GROUPS
from app.repositories.scoring import REMEMBERED, STANDING
from app.repositories.tables import external_run_rows, external_runs


class WrittenScore(NamedTuple):
    """One customer's scores, in minor units; None where they say nothing.

    `place` is that of the item in its request, `customer_id` the id it names.
    """

    customer_sk: int
    place: int
    customer_id: str
    as_of: datetime
    model_version: str | None
    rfm_segment: str | None
    rfm_recency_score: int | None
    rfm_frequency_score: int | None
    rfm_monetary_score: int | None
    clv: int | None
    clv_percentile: int | None
    churn_score: float | None
    churn_reasons: Sequence[str] | None
    influence_score: float | None
    recommended_products: Sequence[str] | None
    next_purchase_on: date | None
    next_purchase_confidence: float | None


#: The columns of `customer_analytics` that an item may state.
VALUES = WrittenScore._fields[5:]

_FIND_SKS = """
SELECT c.id, c.sk FROM unnest($2::text[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT id, sk FROM customers
    WHERE tenant_id = (SELECT $1::integer) AND id BETWEEN wanted.id AND wanted.id
    ORDER BY id LIMIT 1
) AS c
"""


async def find_customer_sks(
    connection: AsyncConnection, tenant_id: int, customer_ids: Sequence[str]
) -> dict[str, int]:
    """The keys of those of the customers that exist, by their ids."""
    # Straight from the driver: thousands of rows of two columns are mostly wrapping otherwise.
    rows = await driver_of(connection).fetch(_FIND_SKS, tenant_id, customer_ids)
    return dict(rows)


# --- The stage of a request -------------------------------------------------------------------

_STAGE = text("""
    CREATE TEMPORARY TABLE written_scores (
        customer_sk bigint, place bigint, customer_id text, as_of timestamptz, model_version text,
        rfm_segment text, rfm_recency_score smallint, rfm_frequency_score smallint,
        rfm_monetary_score smallint, clv bigint, clv_percentile smallint,
        churn_score double precision, churn_reasons text[], influence_score double precision,
        recommended_products text[], next_purchase_on date,
        next_purchase_confidence double precision
    ) ON COMMIT DROP
""")
_UNSTAGE = text("DROP TABLE IF EXISTS pg_temp.written_scores")
_COUNT_STAGE = text("ANALYZE pg_temp.written_scores (customer_sk, as_of)")


def copy_lines(scores: Iterable[WrittenScore]) -> bytes:
    """The rows as COPY reads them from text."""
    instants: dict[datetime, str] = {}
    lines = []
    for score in scores:
        # The instant is one and the same for nearly all of a request.
        as_of = instants.get(score.as_of) or instants.setdefault(score.as_of, str(score.as_of))
        lines.append(_line(score, as_of))
    return "".join(lines).encode()


def _line(score: WrittenScore, instant: str) -> str:
    customer_sk, place, customer_id, _, version, segment, r, f, m, clv, percentile = score[:11]
    churn, reasons, influence, products, expected_on, confidence = score[11:]
    return (
        f"{customer_sk}\t{place}\t{_text(customer_id)}\t{instant}\t{_text(version)}\t"
        f"{_text(segment)}\t{_plain(r)}\t{_plain(f)}\t{_plain(m)}\t{_plain(clv)}\t"
        f"{_plain(percentile)}\t{_plain(churn)}\t{_array(reasons)}\t{_plain(influence)}\t"
        f"{_array(products)}\t{_plain(expected_on)}\t{_plain(confidence)}\n"
    )


def _plain(value: float | date | None) -> float | date | str:
    return r"\N" if value is None else value


# No text here has control characters, so a backslash is all that COPY could misread.
def _text(value: str | None) -> str:
    if value is None:
        return r"\N"
    return value.replace("\\", "\\\\") if "\\" in value else value


def _array(values: Sequence[str] | None) -> str:
    if values is None:
        return r"\N"
    if not values:
        return "{}"
    joined = '","'.join(values)
    if "\\" in joined or joined.count('"') != 2 * (len(values) - 1):
        # Once for the array, once more for COPY.
        escaped = [each.replace("\\", "\\\\").replace('"', '\\"') for each in values]
        joined = '","'.join(escaped).replace("\\", "\\\\")
    return f'{{"{joined}"}}'


async def stage(connection: AsyncConnection, lines: IO[bytes]) -> None:
    """Copy lines of `copy_lines` into a temporary table that lasts as long as the transaction."""
    await connection.execute(_UNSTAGE)
    await connection.execute(_STAGE)
    await driver_of(connection).copy_to_table("written_scores", source=lines)
    await connection.execute(_COUNT_STAGE)


# --- Writing ----------------------------------------------------------------------------------

_OF_REQUEST = "pg_temp.written_scores"
_OF_RUN = f"""(
        SELECT CAST(NULL AS bigint) AS place, CAST(NULL AS text) AS customer_id, r.as_of,
               r.model_version, s.customer_sk, {", ".join(f"s.{name}" for name in VALUES)}
        FROM external_runs r
        JOIN external_run_rows s ON s.tenant_id = r.tenant_id AND s.run_id = r.id
        WHERE r.tenant_id = :tenant_id AND r.id = :run_id
    )"""


@dataclass(frozen=True, slots=True)
class WritingStatements:
    """What writes a stage by the rules of one profile, and what tells why a row was not written."""

    write: TextClause
    explain: TextClause
    unscored: TextClause
    absent: TextClause
    touch: TextClause


# A row at a time by key, whatever the statistics say: right after an import they may know nothing.
_STORED = f"""
        SELECT ctid, customer_sk, {", ".join(VALUES)}, external_scores, external_as_of,
               external_model_version
        FROM customer_analytics
        WHERE tenant_id = :tenant_id AND customer_sk = n.customer_sk OFFSET 0"""


def writing_statements(derived: str, *, of_run: bool) -> WritingStatements:
    """Statements around the select of `app.scoring` that reads `merged`. Build once, and keep."""
    source = _OF_RUN if of_run else _OF_REQUEST
    missing = f"""{source} n
    LEFT JOIN LATERAL ({_STORED}) a ON true
    WHERE a.customer_sk IS NULL"""
    explain = f"""
    WITH {_merged(source)}
    SELECT count(*), count(*) FILTER (WHERE is_stale),
           count(*) FILTER (WHERE NOT is_stale AND (differs OR is_newer))
    FROM merged"""
    return WritingStatements(
        write=text(_write(source, derived)),
        explain=text(explain),
        unscored=text(f"SELECT n.customer_sk FROM {missing} ORDER BY n.customer_sk"),
        absent=text(f"SELECT n.place, n.customer_id FROM {missing} ORDER BY 1"),
        touch=text(f"""
    INSERT INTO segment_touched (tenant_id, customer_sk)
    SELECT CAST(:tenant_id AS integer), n.customer_sk FROM {source} n
    WHERE EXISTS (SELECT FROM segment_versions WHERE tenant_id = :tenant_id)"""),
    )


def _merged(source: str) -> str:
    """The stored rows with the stage laid over them, and whether that is older, newer, other."""
    stored = ", ".join(f"a.{name}" for name in VALUES)
    laid_over = {name: f"coalesce(n.{name}, a.{name})" for name in VALUES}
    groups = ", ".join(
        f"CASE WHEN n.{column} IS NOT NULL OR '{group}' = ANY (a.external_scores)"
        f" THEN '{group}' END"
        for group, (column, *_) in GROUPS.items()
    )
    return f"""merged AS NOT MATERIALIZED (
        SELECT n.customer_sk, CAST(a.ctid AS text) AS place,
               {", ".join(f"{value} AS {name}" for name, value in laid_over.items())},
               g.external_scores,
               ({", ".join(laid_over.values())}, g.external_scores)
                   IS DISTINCT FROM ({stored}, a.external_scores) AS differs,
               (n.as_of, n.model_version)
                   IS DISTINCT FROM (a.external_as_of, a.external_model_version) AS is_newer,
               (n.as_of < a.external_as_of) IS TRUE AS is_stale,
               n.as_of AS external_as_of, n.model_version AS external_model_version
        FROM (SELECT * FROM {source} n ORDER BY customer_sk OFFSET 0) n
        CROSS JOIN LATERAL ({_STORED}) a
        CROSS JOIN LATERAL (
            SELECT array_remove(ARRAY[{groups}], NULL) AS external_scores OFFSET 0
        ) g
    )"""


def _write(source: str, derived: str) -> str:
    written = (*VALUES, *_DERIVED, "external_scores", "external_as_of", "external_model_version")
    standing = [name for name in STANDING if name in written]
    was = ", ".join(f"stored.{name}" for name in standing)
    becomes = ", ".join(f"d.{name}" for name in standing)
    return f"""
    WITH {_merged(source)},
    derived AS NOT MATERIALIZED (SELECT * FROM ({derived}) derived OFFSET 0),
    written AS (
        UPDATE customer_analytics AS stored
        SET {", ".join(f"{name} = d.{name}" for name in written)},
            computed_at = clock_timestamp(),
            standing_since = CASE
                WHEN ({was}) IS DISTINCT FROM ({becomes}) THEN CAST(:as_of_day AS date)
                ELSE stored.standing_since
            END
        FROM derived d
        -- A row that somebody else has written since it was read is elsewhere now, and is missed.
        WHERE stored.ctid = CAST(d.place AS tid)
          AND NOT d.is_stale AND (d.differs OR d.is_newer)
        RETURNING stored.customer_sk, {", ".join(f"stored.{name}" for name in STANDING)},
                  stored.churn_score, stored.clv, stored.standing_since, d.differs
    ),
    {REMEMBERED}
    SELECT count(*), count(*) FILTER (WHERE differs) FROM written"""


#: The columns that `app.scoring.scores.written_scores` adds.
_DERIVED = (
    "rfm_status",
    "rfm_code",
    "clv_status",
    "clv_tier",
    "clv_bucket",
    "churn_status",
    "churn_band",
    "value_at_risk",
    "next_purchase_status",
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the staged rows, in customers."""

    updated: int
    unchanged: int
    stale: int


@dataclass(frozen=True, slots=True)
class Absent:
    """A staged item whose customer has gone since it was read."""

    place: int
    customer_id: str


# One statement over hundreds of thousands of rows takes as long as it takes, and reads most of the
# table; for a handful the ways by key are taken.
_MEMORY = text("""
    SELECT set_config('work_mem', '128MB', true), set_config('statement_timeout', '0', true),
           set_config('enable_seqscan', 'on', true)
""")


async def allow_many(connection: AsyncConnection) -> None:
    """Prepare the rest of the transaction for a stage of any length."""
    await connection.execute(_MEMORY)


async def list_unscored(
    connection: AsyncConnection,
    statements: WritingStatements,
    tenant_id: int,
    run_id: UUID | None = None,
) -> list[int]:
    """The staged customers that have no row of scores yet, in key order."""
    found = await connection.execute(statements.unscored, _stage_of(tenant_id, run_id))
    return list(found.scalars())


async def list_absent(
    connection: AsyncConnection, statements: WritingStatements, tenant_id: int
) -> list[Absent]:
    """The staged items whose customers have no row of scores, in the order of the request."""
    found = await connection.execute(statements.absent, _stage_of(tenant_id, None))
    return [Absent(*row) for row in found]


async def write(
    connection: AsyncConnection,
    statements: WritingStatements,
    tenant_id: int,
    *,
    staged: int,
    as_of_day: date,
    run_id: UUID | None = None,
) -> tuple[Outcome, int]:
    """Lay the staged scores over the rows of their customers; and how many of these are absent.

    A row that has scores of a later as-of is left alone. One that says the same already keeps its
    values and learns the later as-of, so that nothing older overwrites it afterwards. A change of
    standing is kept in the history of `as_of_day`, whose partition exists.
    """
    parameters = _stage_of(tenant_id, run_id)
    updated = 0
    while True:
        written, differing = (
            await connection.execute(statements.write, parameters | {"as_of_day": as_of_day})
        ).one()
        updated += differing
        if written == staged:
            return Outcome(updated, staged - updated, 0), 0
        found, stale, missed = (await connection.execute(statements.explain, parameters)).one()
        if not missed:
            return Outcome(updated, found - stale - updated, stale), staged - found


async def touch_segments(
    connection: AsyncConnection,
    statements: WritingStatements,
    tenant_id: int,
    run_id: UUID | None = None,
) -> None:
    """Leave the staged customers to the job that tells who belongs to which segment."""
    await connection.execute(statements.touch, _stage_of(tenant_id, run_id))


def _stage_of(tenant_id: int, run_id: UUID | None) -> dict[str, object]:
    return {"tenant_id": tenant_id} | ({} if run_id is None else {"run_id": run_id})


# --- Runs -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ExternalRun:
    """A run of scores in parts. `status` is open, committed or discarded; `outcome` comes at last.

    The outcome of a committed run counts customers: updated, unchanged, stale.
    """

    id: UUID
    as_of: datetime
    model_version: str
    status: str
    opened_at: datetime
    opened_by: str | None
    closed_at: datetime | None
    outcome: Outcome | None


_RUN_COLUMNS = tuple(c for c in external_runs.columns if c.name != "tenant_id")


def _run(row: Row[Any]) -> ExternalRun:
    values = dict(row._mapping)
    if values["outcome"] is not None:
        values["outcome"] = Outcome(**values["outcome"])
    return ExternalRun(**values)


async def add_run(
    connection: AsyncConnection,
    tenant_id: int,
    *,
    as_of: datetime,
    model_version: str,
    opened_by: str,
) -> ExternalRun:
    """Open a run."""
    statement = (
        insert(external_runs)
        .values(tenant_id=tenant_id, as_of=as_of, model_version=model_version, opened_by=opened_by)
        .returning(*_RUN_COLUMNS)
    )
    return _run((await connection.execute(statement)).one())


async def get_run(connection: AsyncConnection, tenant_id: int, run_id: UUID) -> ExternalRun:
    """The run `run_id`. Raises NotFound."""
    return await _get_run(connection, tenant_id, run_id, lock=None)


async def share_run(connection: AsyncConnection, tenant_id: int, run_id: UUID) -> ExternalRun:
    """The run, which nobody can close before the transaction ends. Raises NotFound."""
    return await _get_run(connection, tenant_id, run_id, lock="share")


async def lock_run(connection: AsyncConnection, tenant_id: int, run_id: UUID) -> ExternalRun:
    """The run, to which nobody can add before the transaction ends. Raises NotFound."""
    return await _get_run(connection, tenant_id, run_id, lock="update")


async def _get_run(
    connection: AsyncConnection, tenant_id: int, run_id: UUID, *, lock: str | None
) -> ExternalRun:
    query = select(*_RUN_COLUMNS).where(
        external_runs.c.tenant_id == tenant_id, external_runs.c.id == run_id
    )
    if lock is not None:
        query = query.with_for_update(read=lock == "share", key_share=lock == "update")
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound("run", str(run_id))
    return _run(row)


async def list_runs(
    connection: AsyncConnection,
    tenant_id: int,
    *,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[ExternalRun]:
    """The runs opened before a time and id, newest first."""
    position = tuple_(external_runs.c.opened_at, external_runs.c.id)
    query = select(*_RUN_COLUMNS).where(external_runs.c.tenant_id == tenant_id)
    if before is not None:
        query = query.where(position < tuple_(literal(before[0]), literal(before[1])))
    query = query.order_by(external_runs.c.opened_at.desc(), external_runs.c.id.desc())
    return [_run(row) for row in await connection.execute(query.limit(limit))]


async def count_run_rows(connection: AsyncConnection, tenant_id: int, run_id: UUID) -> int:
    """How many customers the run has scores of."""
    query = select(func.count()).where(
        external_run_rows.c.tenant_id == tenant_id, external_run_rows.c.run_id == run_id
    )
    counted: int = (await connection.execute(query)).scalar_one()
    return counted


_ROW = ", ".join(VALUES)

# A key that is locked here cannot be erased before the row that refers to it is there.
_ADD_ROWS = text(f"""
    WITH present AS MATERIALIZED (
        SELECT c.sk FROM pg_temp.written_scores n
        JOIN customers c ON c.tenant_id = :tenant_id AND c.sk = n.customer_sk
        ORDER BY c.sk FOR KEY SHARE OF c
    ),
    added AS (
        INSERT INTO external_run_rows (tenant_id, run_id, customer_sk, {_ROW})
        SELECT CAST(:tenant_id AS integer), CAST(:run_id AS uuid), customer_sk, {_ROW}
        FROM pg_temp.written_scores
        WHERE customer_sk IN (SELECT sk FROM present)
        ORDER BY customer_sk
        ON CONFLICT (tenant_id, run_id, customer_sk) DO UPDATE
        SET {", ".join(f"{name} = excluded.{name}" for name in VALUES)}
    )
    SELECT place, customer_id FROM pg_temp.written_scores
    WHERE customer_sk NOT IN (SELECT sk FROM present) ORDER BY place
""")


async def add_run_rows(connection: AsyncConnection, tenant_id: int, run_id: UUID) -> list[Absent]:
    """Keep the staged rows of a request for the run, in place of what it had for them.

    Returned are the staged items whose customers have gone.
    """
    absent = await connection.execute(_ADD_ROWS, _stage_of(tenant_id, run_id))
    return [Absent(*row) for row in absent]


async def close_run(
    connection: AsyncConnection,
    tenant_id: int,
    run_id: UUID,
    *,
    status: str,
    outcome: Outcome | None = None,
) -> ExternalRun:
    """Note how the run ended, and drop what was kept for it."""
    await connection.execute(
        external_run_rows.delete().where(
            external_run_rows.c.tenant_id == tenant_id, external_run_rows.c.run_id == run_id
        )
    )
    statement = (
        update(external_runs)
        .where(external_runs.c.tenant_id == tenant_id, external_runs.c.id == run_id)
        .values(
            status=status,
            closed_at=func.clock_timestamp(),
            outcome=None if outcome is None else asdict(outcome),
        )
        .returning(*_RUN_COLUMNS)
    )
    return _run((await connection.execute(statement)).one())
