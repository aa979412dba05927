"""Who is, and was, a member of a segment.

Members are kept by difference: what the criteria want is compared with who is present, and only
joiners and leavers are written. One statement does so for the customers of a request; a few do for
everybody, in one transaction, until whose end the members before it are the members.

The evaluation of everybody is alone: it holds a lock that whoever changes customers has shares of
(`watch_segments` in the migration).
"""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database import driver_of, fetch_row, positional
from app.domain.criteria import Clock, Criteria
from app.domain.errors import CannotEvaluate, NotFound
from app.repositories.criteria import Compiler
from app.repositories.page import limited


@dataclass(frozen=True, slots=True)
class Asked:
    """A segment with criteria, for a statement: its key and what they are."""

    segment_sk: int
    criteria: Criteria


# --- Customers of a request -------------------------------------------------------------------

_LISTED = """
    listed AS MATERIALIZED (
        SELECT given AS customer_sk FROM unnest(CAST(:customer_sks AS bigint[])) AS given
        UNION
        SELECT c.referred_by_sk FROM unnest(CAST(:customer_sks AS bigint[])) AS given
        CROSS JOIN LATERAL (
            SELECT referred_by_sk FROM customers
            WHERE tenant_id = :tenant_id AND sk = given OFFSET 0
        ) c
        WHERE c.referred_by_sk IS NOT NULL AND CAST(:with_referrers AS boolean)
    )"""
_WRITTEN = """
    joined AS (
        INSERT INTO segment_members (tenant_id, segment_sk, customer_sk, joined_at)
        SELECT CAST(:tenant_id AS integer), w.segment_sk, e.customer_sk, clock_timestamp()
        FROM evaluated e
        CROSS JOIN LATERAL unnest(e.wanted) AS w (segment_sk)
        WHERE NOT EXISTS (
            SELECT FROM present p
            WHERE p.segment_sk = w.segment_sk AND p.customer_sk = e.customer_sk
        )
        ORDER BY w.segment_sk, e.customer_sk
        ON CONFLICT (tenant_id, segment_sk, customer_sk) WHERE left_at IS NULL DO NOTHING
        RETURNING segment_sk
    ),
    gone AS (
        UPDATE segment_members m SET left_at = clock_timestamp()
        FROM present p
        JOIN evaluated e ON e.customer_sk = p.customer_sk
        -- By its place, once the planner knows that the members are many (`learn_sizes`).
        WHERE m.ctid = p.place AND m.tenant_id = :tenant_id
          AND m.left_at IS NULL AND NOT p.manual AND p.segment_sk <> ALL (e.wanted)
        RETURNING m.segment_sk
    ),
    sized AS (
        INSERT INTO segment_sizes (tenant_id, segment_sk, members)
        SELECT CAST(:tenant_id AS integer), segment_sk, sum(members)
        FROM (
            SELECT segment_sk, 1 AS members FROM joined
            UNION ALL
            SELECT segment_sk, -1 FROM gone
        ) AS moved
        GROUP BY segment_sk HAVING sum(members) <> 0
    )"""
_QUEUED = """
    queued AS (
        INSERT INTO segment_touched (tenant_id, customer_sk)
        SELECT CAST(:tenant_id AS integer), customer_sk FROM listed
    )"""


#: The driver plans a longer statement each time (asyncpg's `max_cacheable_statement_size`);
#: SQLAlchemy keeps it, and costs more for each run of a short one.
_KEPT_BY_THE_DRIVER = 15_000


class ListedEvaluation:
    """One statement that tells the memberships of listed customers in some segments.

    To be built once for a set of segments and kept. With `queues`, it also leaves the customers to
    the job that evaluates what takes longer.
    """

    def __init__(self, asked: Sequence[Asked], compiler: Compiler, *, queues: bool) -> None:
        self._compiler = compiler
        self._segment_sks = [each.segment_sk for each in asked]
        if not asked:
            only_queued = text(f"WITH {_LISTED}, {_QUEUED} SELECT 0, 0")
            self._statement, self._names = positional(only_queued)
            return
        wanted = ", ".join(
            f"CASE WHEN {compiler.predicate(each.criteria)}"
            f" THEN CAST(:segment_{place} AS bigint) END"
            for place, each in enumerate(asked)
        )
        statement = text(f"""
    WITH {_LISTED},
    evaluated AS MATERIALIZED (
        SELECT listed.customer_sk, array_remove(ARRAY[{wanted}], NULL) AS wanted
        {compiler.listed("listed")}
    ),
    present AS MATERIALIZED (
        SELECT m.* FROM listed
        CROSS JOIN LATERAL (
            SELECT ctid AS place, segment_sk, customer_sk, manual FROM segment_members
            WHERE tenant_id = :tenant_id AND customer_sk = listed.customer_sk
              AND left_at IS NULL OFFSET 0
        ) m
        WHERE m.segment_sk = ANY(CAST(:segment_sks AS bigint[]))
    ),
    {_WRITTEN}{f", {_QUEUED}" if queues else ""}
    SELECT (SELECT count(*) FROM joined), (SELECT count(*) FROM gone)""")
        self._statement, self._names = positional(statement)

    async def run(
        self,
        connection: AsyncConnection,
        tenant_id: int,
        clock: Clock,
        customer_sks: Collection[int],
        *,
        with_referrers: bool = True,
    ) -> None:
        """Write who joined and who left among these customers and those who brought them in."""
        parameters: dict[str, object] = {
            "tenant_id": tenant_id,
            "customer_sks": list(customer_sks),
            "with_referrers": with_referrers,
        }
        if self._segment_sks:
            parameters |= self._compiler.parameters(clock)
            parameters |= _numbered(self._segment_sks)
            parameters["segment_sks"] = self._segment_sks
        arguments = [parameters[name] for name in self._names]
        if len(self._statement) < _KEPT_BY_THE_DRIVER:
            await fetch_row(connection, self._statement, *arguments)
        else:
            await connection.exec_driver_sql(self._statement, tuple(arguments))


def _numbered(segment_sks: Sequence[int]) -> dict[str, object]:
    return {f"segment_{place}": sk for place, sk in enumerate(segment_sks)}


_WATCH = text("SELECT watch_segments(:tenant_id, CAST(:customer_sks AS bigint[]))")


async def watch(
    connection: AsyncConnection, tenant_id: int, customer_sks: Collection[int]
) -> UUID | None:
    """The version of the segments to evaluate these customers for; None where there are none.

    None, too, while everybody is evaluated: the customers are then looked at when that has ended.
    """
    parameters = {"tenant_id": tenant_id, "customer_sks": list(customer_sks)}
    version: UUID | None = await connection.scalar(_WATCH, parameters)
    return version


_TOUCH_COLLECTED = text("""
    INSERT INTO segment_touched (tenant_id, customer_sk)
    SELECT CAST(:tenant_id AS integer), customer_sk FROM pg_temp.collected
    WHERE EXISTS (SELECT FROM segment_versions WHERE tenant_id = :tenant_id)
""")


async def touch_collected(connection: AsyncConnection, tenant_id: int) -> None:
    """Leave the customers of a recent run of scores to the job that evaluates them."""
    await connection.execute(_TOUCH_COLLECTED, {"tenant_id": tenant_id})


_TAKE_TOUCHED = """
    WITH taken AS (
        DELETE FROM segment_touched
        WHERE tenant_id = :tenant_id AND seq IN (
            SELECT seq FROM segment_touched WHERE tenant_id = :tenant_id ORDER BY seq LIMIT :limit
        )
        RETURNING customer_sk
    )
    SELECT DISTINCT customer_sk FROM taken
"""


async def take_touched(connection: AsyncConnection, tenant_id: int, limit: int) -> list[int]:
    """Customers who wait to be evaluated, and do not any more once this is committed."""
    found = await connection.execute(limited(_TAKE_TOUCHED, limit), {"tenant_id": tenant_id})
    return list(found.scalars())


_MANY_TOUCHED = """
    SELECT count(*) FROM (
        SELECT FROM segment_touched WHERE tenant_id = :tenant_id LIMIT :limit
    ) AS touched
"""


async def count_touched(connection: AsyncConnection, tenant_id: int, limit: int) -> int:
    """How many entries wait to be taken, as far as `limit`."""
    found = await connection.execute(limited(_MANY_TOUCHED, limit), {"tenant_id": tenant_id})
    return int(found.scalar_one())


_FORGET_TOUCHED = text("DELETE FROM segment_touched WHERE tenant_id = :tenant_id")


async def forget_touched(connection: AsyncConnection, tenant_id: int) -> None:
    """Let nobody wait any more, because everybody is going to be evaluated."""
    await connection.execute(_FORGET_TOUCHED, {"tenant_id": tenant_id})


_COMPACT = text("SELECT compact_segment_sizes(:tenant_id)")


async def compact_sizes(connection: AsyncConnection, tenant_id: int) -> None:
    """Make one row of the sizes of each segment."""
    await connection.execute(_COMPACT, {"tenant_id": tenant_id})


# --- Everybody --------------------------------------------------------------------------------

# Erasures and merges are refused meanwhile, as during runs of scores.
_LOCK = text("""
    SELECT pg_advisory_xact_lock(hashtext('segment members'), :tenant_id),
           pg_advisory_xact_lock_shared(hashtext('customers leave'), :tenant_id)
""")


async def lock_evaluation(connection: AsyncConnection, tenant_id: int) -> None:
    """Wait for who is changing customers, and be the only one to write members of all.

    To be called first in a transaction; statements after it see what those have committed.
    """
    await connection.execute(_LOCK, {"tenant_id": tenant_id})


# See `app.repositories.scoring`: read in whatever way suits the number of customers, in parallel.
_MEMORY = text("""
    SELECT set_config('work_mem', '256MB', true), set_config('statement_timeout', '0', true),
           set_config('enable_nestloop', 'off', true), set_config('enable_seqscan', 'on', true),
           set_config('parallel_setup_cost', '10', true),
           set_config('parallel_tuple_cost', '0.005', true)
""")
_BY_KEY = text("SELECT set_config('enable_nestloop', 'on', true)")
_COUNT_CHANGES = text("ANALYZE pg_temp.member_changes")
_DROP_CHANGES = text("DROP TABLE pg_temp.member_changes")
_ALL_JOINED = text("""
    WITH joined AS (
        INSERT INTO segment_members (tenant_id, segment_sk, customer_sk, joined_at)
        SELECT CAST(:tenant_id AS integer), segment_sk, customer_sk, CAST(:moved_at AS timestamptz)
        FROM member_changes WHERE joined_at IS NULL
        ORDER BY segment_sk, customer_sk
        ON CONFLICT DO NOTHING
        RETURNING segment_sk
    )
    INSERT INTO segment_sizes (tenant_id, segment_sk, members)
    SELECT CAST(:tenant_id AS integer), segment_sk, count(*) FROM joined GROUP BY segment_sk
""")
_ALL_GONE = text("""
    WITH gone AS (
        UPDATE segment_members m SET left_at = CAST(:moved_at AS timestamptz)
        FROM member_changes d
        WHERE d.joined_at IS NOT NULL
          AND m.tenant_id = :tenant_id AND m.segment_sk = d.segment_sk
          AND m.joined_at = d.joined_at AND m.customer_sk = d.customer_sk
          AND m.left_at IS NULL AND NOT m.manual
        RETURNING m.segment_sk
    )
    INSERT INTO segment_sizes (tenant_id, segment_sk, members)
    SELECT CAST(:tenant_id AS integer), segment_sk, -count(*) FROM gone GROUP BY segment_sk
""")
_NOW = text("SELECT clock_timestamp()")


def everybody_statement(
    asked: Sequence[Asked], compiler: Compiler, segment_sks: Sequence[int]
) -> tuple[TextClause, dict[str, object]]:
    """What lists joiners (without `joined_at`) and leavers of `segment_sks`, and its parameters.

    A table of its own, because PostgreSQL plans CREATE TABLE AS in parallel and INSERT never.
    """
    parameters = _numbered([each.segment_sk for each in asked])
    wanted = ", ".join(
        f"CASE WHEN {compiler.predicate(each.criteria)} THEN CAST(:segment_{place} AS bigint) END"
        for place, each in enumerate(asked)
    )
    wanting = (
        f"SELECT unnest(array_remove(ARRAY[{wanted}], NULL)) AS segment_sk, c.sk AS customer_sk"
        f" {compiler.everybody()}"
        if asked
        else "SELECT CAST(NULL AS bigint) AS segment_sk, CAST(NULL AS bigint) AS customer_sk"
        " WHERE false"
    )
    statement = text(f"""
    CREATE TEMPORARY TABLE member_changes AS
    SELECT segment_sk, customer_sk, p.joined_at
    FROM ({wanting}) w
    FULL JOIN (
        SELECT segment_sk, customer_sk, joined_at, manual FROM segment_members
        WHERE tenant_id = :tenant_id AND left_at IS NULL
          AND segment_sk = ANY(CAST(:segment_sks AS bigint[]))
    ) p USING (segment_sk, customer_sk)
    WHERE p.joined_at IS NULL OR w.customer_sk IS NULL AND NOT p.manual""")
    return statement, parameters | {"segment_sks": list(segment_sks)}


async def evaluate_everybody(
    connection: AsyncConnection,
    tenant_id: int,
    clock: Clock,
    asked: Sequence[Asked],
    compiler: Compiler,
    *,
    segment_sks: Sequence[int],
) -> None:
    """Make the members of `segment_sks` those whom the criteria want, and the manual ones.

    Who is asked for nothing gets no members. In the caller's transaction, which holds
    `lock_evaluation`. Raises CannotEvaluate, after which the transaction is as before.
    """
    statement, parameters = everybody_statement(asked, compiler, segment_sks)
    parameters |= {"tenant_id": tenant_id} | compiler.parameters(clock)
    savepoint = await connection.begin_nested()
    try:
        await connection.execute(_MEMORY)
        await connection.execute(statement, parameters)
        await connection.execute(_COUNT_CHANGES)
        await connection.execute(_BY_KEY)
        moved = {
            "tenant_id": tenant_id,
            "moved_at": (await connection.execute(_NOW)).scalar_one(),
        }
        await connection.execute(_ALL_GONE, moved)
        await connection.execute(_ALL_JOINED, moved)
        await connection.execute(_DROP_CHANGES)
    except DBAPIError as error:
        if not _is_of_the_criteria(error):
            raise
        await savepoint.rollback()
        raise CannotEvaluate(str(error.orig).partition("\n")[0]) from error
    await savepoint.commit()


#: Data exceptions and limits of a statement: what another evaluation would meet again.
_OF_THE_CRITERIA = ("22", "42", "54", "P0", "XX")


def _is_of_the_criteria(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None) or ""
    return not error.connection_invalidated and state.startswith(_OF_THE_CRITERIA)


# --- Members of one segment -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Member:
    """A customer in a segment. `left_at` is None of the present ones."""

    customer_sk: int
    customer_id: str
    name: str
    joined_at: datetime
    left_at: datetime | None
    manual: bool


_MEMBER = """m.customer_sk, c.id AS customer_id, c.name, m.joined_at, m.left_at, m.manual"""
_JOIN = """
    CROSS JOIN LATERAL (
        SELECT id, name FROM customers
        WHERE tenant_id = :tenant_id AND sk = m.customer_sk OFFSET 0
    ) c"""
_PRESENT = f"""
    SELECT {_MEMBER}
    FROM (
        SELECT customer_sk, joined_at, left_at, manual FROM segment_members
        WHERE tenant_id = :tenant_id AND segment_sk = :segment_sk AND left_at IS NULL
          AND customer_sk > :after
        ORDER BY customer_sk LIMIT :limit
    ) m {_JOIN}
    ORDER BY m.customer_sk
"""


async def list_present(
    connection: AsyncConnection, tenant_id: int, segment_sk: int, *, after: int, limit: int
) -> list[Member]:
    """Present members with a key beyond `after`, those first recorded in front."""
    parameters = {"tenant_id": tenant_id, "segment_sk": segment_sk, "after": after}
    rows = await connection.execute(limited(_PRESENT, limit), parameters)
    return [Member(*row) for row in rows]


_PAST = f"""
    SELECT {_MEMBER}
    FROM (
        SELECT customer_sk, joined_at, left_at, manual FROM segment_members
        WHERE tenant_id = :tenant_id AND segment_sk = :segment_sk
          AND joined_at < CAST(:at AS timestamptz)
          AND (left_at IS NULL OR left_at >= CAST(:at AS timestamptz))
          AND (joined_at, customer_sk) > (CAST(:joined_at AS timestamptz), :after)
        ORDER BY joined_at, customer_sk LIMIT :limit
    ) m {_JOIN}
    ORDER BY m.joined_at, m.customer_sk
"""


async def list_past(
    connection: AsyncConnection,
    tenant_id: int,
    segment_sk: int,
    *,
    at: datetime,
    after: tuple[datetime, int],
    limit: int,
) -> list[Member]:
    """Who was a member just before `at`, in the order of joining; erased customers never were.

    `after` is when the last member of the page before joined, and its key.
    """
    joined_at, customer_sk = after
    parameters = {
        "tenant_id": tenant_id,
        "segment_sk": segment_sk,
        "at": at,
        "joined_at": joined_at,
        "after": customer_sk,
    }
    rows = await connection.execute(limited(_PAST, limit), parameters)
    return [Member(*row) for row in rows]


_STREAM = """
    SELECT m.customer_sk, c.id, c.name, m.joined_at, m.left_at, m.manual
    FROM segment_members m
    JOIN customers c ON c.tenant_id = m.tenant_id AND c.sk = m.customer_sk
    WHERE m.tenant_id = $1 AND m.segment_sk = $2
      AND CASE WHEN $3::timestamptz IS NULL THEN m.left_at IS NULL
               ELSE m.joined_at < $3 AND (m.left_at IS NULL OR m.left_at >= $3) END
    ORDER BY m.joined_at, m.customer_sk
"""
_STREAMED_ROWS = 500


async def stream(
    connection: AsyncConnection, tenant_id: int, segment_sk: int, *, at: datetime | None
) -> AsyncGenerator[list[Member]]:
    """All members, now or just before `at`, some at a time; inside the caller's transaction."""
    cursor = await driver_of(connection).cursor(_STREAM, tenant_id, segment_sk, at)
    while rows := await cursor.fetch(_STREAMED_ROWS):
        yield [Member(*row) for row in rows]


_GET = text(f"""
    SELECT {_MEMBER}
    FROM customers c
    JOIN segment_members m ON m.tenant_id = c.tenant_id AND m.customer_sk = c.sk
    WHERE c.tenant_id = :tenant_id AND c.id = :customer_id
      AND m.segment_sk = :segment_sk AND m.left_at IS NULL
""")


async def get(
    connection: AsyncConnection, tenant_id: int, segment_sk: int, customer_id: str
) -> Member:
    """The present member called `customer_id`. Raises NotFound."""
    parameters = {"tenant_id": tenant_id, "segment_sk": segment_sk, "customer_id": customer_id}
    row = (await connection.execute(_GET, parameters)).one_or_none()
    if row is None:
        raise NotFound("member", customer_id)
    return Member(*row)


@dataclass(frozen=True, slots=True)
class Membership:
    """That a customer is a member, since when, and whether by hand."""

    joined_at: datetime
    manual: bool


_FIND = text("""
    SELECT joined_at, manual FROM segment_members
    WHERE tenant_id = :tenant_id AND segment_sk = :segment_sk AND customer_sk = :customer_sk
      AND left_at IS NULL
""")


async def find(
    connection: AsyncConnection, tenant_id: int, segment_sk: int, customer_sk: int
) -> Membership | None:
    """The present membership of a customer."""
    parameters = {"tenant_id": tenant_id, "segment_sk": segment_sk, "customer_sk": customer_sk}
    row = (await connection.execute(_FIND, parameters)).one_or_none()
    return None if row is None else Membership(row.joined_at, row.manual)


_ADD_MANUAL = text("""
    WITH added AS (
        INSERT INTO segment_members AS m
            (tenant_id, segment_sk, customer_sk, joined_at, manual)
        VALUES (:tenant_id, :segment_sk, :customer_sk, clock_timestamp(), true)
        ON CONFLICT (tenant_id, segment_sk, customer_sk) WHERE left_at IS NULL
        DO UPDATE SET manual = true
        RETURNING joined_at, (xmax = 0) AS is_new
    ),
    sized AS (
        INSERT INTO segment_sizes (tenant_id, segment_sk, members)
        SELECT :tenant_id, :segment_sk, 1 FROM added WHERE is_new
    )
    SELECT is_new FROM added
""")


async def add_manual(
    connection: AsyncConnection, tenant_id: int, segment_sk: int, customer_sk: int
) -> bool:
    """Make a locked customer a member who stays until taken out; whether it was none before."""
    parameters = {"tenant_id": tenant_id, "segment_sk": segment_sk, "customer_sk": customer_sk}
    return bool((await connection.execute(_ADD_MANUAL, parameters)).scalar_one())


_REMOVE = text("""
    WITH gone AS (
        UPDATE segment_members SET left_at = clock_timestamp()
        WHERE tenant_id = :tenant_id AND segment_sk = :segment_sk AND customer_sk = :customer_sk
          AND left_at IS NULL
        RETURNING segment_sk
    )
    INSERT INTO segment_sizes (tenant_id, segment_sk, members)
    SELECT :tenant_id, segment_sk, -1 FROM gone
""")


async def remove(
    connection: AsyncConnection, tenant_id: int, segment_sk: int, customer_sk: int
) -> None:
    """End the membership of a locked customer."""
    parameters = {"tenant_id": tenant_id, "segment_sk": segment_sk, "customer_sk": customer_sk}
    await connection.execute(_REMOVE, parameters)


@dataclass(frozen=True, slots=True)
class MemberChange:
    """Somebody joined or left."""

    at: datetime
    joined: bool
    customer_sk: int
    customer_id: str
    name: str


# Two indexes, each read backwards from where the page begins.
_CHANGES = f"""
    SELECT m.at, m.joined, m.customer_sk, c.id AS customer_id, c.name
    FROM (
        SELECT * FROM (
            (
                SELECT joined_at AS at, true AS joined, customer_sk FROM segment_members
                WHERE tenant_id = :tenant_id AND segment_sk = :segment_sk
                  AND (joined_at, customer_sk) <= (CAST(:at AS timestamptz), :customer_sk)
                  AND joined_at >= CAST(:since AS timestamptz)
                ORDER BY joined_at DESC, customer_sk DESC LIMIT :limit
            ) UNION ALL (
                SELECT left_at, false, customer_sk FROM segment_members
                WHERE tenant_id = :tenant_id AND segment_sk = :segment_sk
                  AND left_at IS NOT NULL
                  AND (left_at, customer_sk) <= (CAST(:at AS timestamptz), :customer_sk)
                  AND left_at >= CAST(:since AS timestamptz)
                ORDER BY left_at DESC, customer_sk DESC LIMIT :limit
            )
        ) AS moved
        WHERE (at, customer_sk, joined)
              < (CAST(:at AS timestamptz), :customer_sk, CAST(:joined AS boolean))
        ORDER BY at DESC, customer_sk DESC, joined DESC LIMIT :limit
    ) m {_JOIN}
    ORDER BY m.at DESC, m.customer_sk DESC, m.joined DESC
"""


async def list_changes(
    connection: AsyncConnection,
    tenant_id: int,
    segment_sk: int,
    *,
    since: datetime,
    before: tuple[datetime, int, bool],
    limit: int,
) -> list[MemberChange]:
    """Who joined and left since, the latest first.

    `before` is the last change of the page before: when, whose, and whether it was joining.
    """
    at, customer_sk, joined = before
    parameters = {
        "tenant_id": tenant_id,
        "segment_sk": segment_sk,
        "since": since,
        "at": at,
        "customer_sk": customer_sk,
        "joined": joined,
    }
    # One more of each kind, because the first of both may be the last of the page before.
    rows = await connection.execute(limited(_CHANGES, limit + 1), parameters)
    return [MemberChange(*row) for row in rows][:limit]


# --- Several segments -------------------------------------------------------------------------

_REGIONS = text("""
    SELECT mask, count(*) AS customers FROM (
        SELECT m.customer_sk, bit_or(CAST(1 AS bigint) << CAST(given.place - 1 AS integer)) AS mask
        FROM unnest(CAST(:segment_sks AS bigint[])) WITH ORDINALITY AS given (segment_sk, place)
        JOIN segment_members m ON m.tenant_id = :tenant_id AND m.segment_sk = given.segment_sk
                              AND m.left_at IS NULL
        GROUP BY m.customer_sk
    ) AS placed
    GROUP BY mask
""")


async def count_regions(
    connection: AsyncConnection, tenant_id: int, segment_sks: Sequence[int]
) -> Mapping[int, int]:
    """How many customers are in exactly which of the segments: bit `i` stands for the `i`-th."""
    parameters = {"tenant_id": tenant_id, "segment_sks": list(segment_sks)}
    await connection.execute(_MEMORY)
    rows = (await connection.execute(_REGIONS, parameters)).all()
    return {row.mask: row.customers for row in rows}
