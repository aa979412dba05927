"""Segments: what they ask for, and how their last evaluation went."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound
from app.repositories.page import limited


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment. `criteria` are as sent, `normalized` as evaluated; None asks for nobody.

    `state` is queued, running, succeeded, failed or cancelled, of the last evaluation of everybody.
    `computed_at` is when the members were last those of everybody, by `evaluated_revision` of the
    criteria, whose present one is `revision`.
    """

    sk: int
    id: UUID
    name: str
    description: str | None
    segment_type: str
    criteria: dict[str, Any] | None
    normalized: dict[str, Any] | None
    is_active: bool
    revision: int
    evaluated_revision: int | None
    state: str
    requested_at: datetime
    started_at: datetime | None
    cancel_requested: bool
    computed_at: datetime | None
    last_error: str | None
    created_at: datetime
    updated_at: datetime
    created_by: str | None
    updated_by: str | None
    member_count: int

    @property
    def is_current(self) -> bool:
        """Whether the members are those of the present criteria."""
        return self.evaluated_revision == self.revision


_COUNTED = """(
    SELECT CAST(coalesce(sum(z.members), 0) AS bigint) FROM segment_sizes z
    WHERE z.tenant_id = s.tenant_id AND z.segment_sk = s.sk
)"""
_COLUMNS = ", ".join(
    f"{_COUNTED} AS member_count" if field.name == "member_count" else f"s.{field.name}"
    for field in fields(Segment)
)


def _segment(row: Row[Any]) -> Segment:
    return Segment(**row._mapping)


_ADD = text("""
    INSERT INTO segments AS s (tenant_id, name, description, segment_type, criteria, normalized,
                               created_by, updated_by)
    VALUES (:tenant_id, :name, :description, :segment_type, :criteria, :normalized, :actor, :actor)
    RETURNING s.id
""").bindparams(
    bindparam("criteria", type_=JSONB(none_as_null=True)),
    bindparam("normalized", type_=JSONB(none_as_null=True)),
)


async def add(
    connection: AsyncConnection,
    tenant_id: int,
    *,
    name: str,
    description: str | None,
    segment_type: str,
    criteria: Mapping[str, Any] | None,
    normalized: Mapping[str, Any] | None,
    actor: str | None,
) -> UUID:
    """Add a segment that waits for its first evaluation; its id."""
    values = {
        "tenant_id": tenant_id,
        "name": name,
        "description": description,
        "segment_type": segment_type,
        "criteria": criteria,
        "normalized": normalized,
        "actor": actor,
    }
    segment_id: UUID = (await connection.execute(_ADD, values)).scalar_one()
    return segment_id


_GET = f"SELECT {_COLUMNS} FROM segments s WHERE s.tenant_id = :tenant_id AND s.id = :id"
_GET_PLAIN = text(_GET)
_GET_LOCKED = text(f"{_GET} FOR NO KEY UPDATE OF s")


async def get(
    connection: AsyncConnection, tenant_id: int, segment_id: str, *, lock: bool = False
) -> Segment:
    """The segment; with `lock`, nobody else changes it meanwhile. Raises NotFound."""
    try:
        key = UUID(segment_id)
    except ValueError:
        raise NotFound("segment", segment_id) from None
    statement = _GET_LOCKED if lock else _GET_PLAIN
    found = await connection.execute(statement, {"tenant_id": tenant_id, "id": key})
    row = found.one_or_none()
    if row is None:
        raise NotFound("segment", segment_id)
    return _segment(row)


_FILTER = """
    s.tenant_id = :tenant_id
    AND (CAST(:is_active AS boolean) IS NULL OR s.is_active = CAST(:is_active AS boolean))
    AND (CAST(:segment_type AS text) IS NULL OR s.segment_type = CAST(:segment_type AS text))
"""
_LIST = f"""
    SELECT {_COLUMNS} FROM segments s WHERE {_FILTER} AND s.sk > :after
    ORDER BY s.sk LIMIT :limit
"""
_COUNT = text(f"SELECT count(*) FROM segments s WHERE {_FILTER}")


async def list_segments(
    connection: AsyncConnection,
    tenant_id: int,
    *,
    is_active: bool | None,
    segment_type: str | None,
    after: int,
    limit: int,
) -> list[Segment]:
    """Segments with an `sk` beyond `after`, the oldest first; None narrows nothing."""
    parameters = {
        "tenant_id": tenant_id,
        "is_active": is_active,
        "segment_type": segment_type,
        "after": after,
    }
    return [_segment(row) for row in await connection.execute(limited(_LIST, limit), parameters)]


async def count_segments(
    connection: AsyncConnection, tenant_id: int, *, is_active: bool | None, segment_type: str | None
) -> int:
    """How many segments there are in the whole list."""
    parameters = {"tenant_id": tenant_id, "is_active": is_active, "segment_type": segment_type}
    return int((await connection.execute(_COUNT, parameters)).scalar_one())


_ACTIVE = text(
    f"SELECT {_COLUMNS} FROM segments s WHERE s.tenant_id = :tenant_id AND s.is_active"
    " ORDER BY s.sk"
)


async def list_active(connection: AsyncConnection, tenant_id: int) -> list[Segment]:
    """All active segments, the oldest first."""
    return [_segment(row) for row in await connection.execute(_ACTIVE, {"tenant_id": tenant_id})]


_REFERENCED = text("""
    SELECT id, sk, normalized, is_active FROM segments WHERE tenant_id = :tenant_id
""")


@dataclass(frozen=True, slots=True)
class SegmentReference:
    """What has to be known of a segment that others may refer to."""

    id: str
    sk: int
    normalized: dict[str, Any] | None
    is_active: bool


async def list_references(connection: AsyncConnection, tenant_id: int) -> list[SegmentReference]:
    """Every segment, inactive ones too."""
    rows = await connection.execute(_REFERENCED, {"tenant_id": tenant_id})
    return [SegmentReference(str(row.id), row.sk, row.normalized, row.is_active) for row in rows]


_COHORTS = text("""
    SELECT id, sk FROM cohorts WHERE tenant_id = :tenant_id AND id = ANY(CAST(:ids AS text[]))
""")


async def find_cohorts(
    connection: AsyncConnection, tenant_id: int, cohort_ids: Collection[str]
) -> dict[str, int]:
    """The keys of those of the cohorts that there are, by id."""
    if not cohort_ids:
        return {}
    parameters = {"tenant_id": tenant_id, "ids": list(cohort_ids)}
    return {row.id: row.sk for row in await connection.execute(_COHORTS, parameters)}


_CHANGE = text("""
    UPDATE segments
    SET name = :name, description = :description, segment_type = :segment_type,
        criteria = :criteria, normalized = :normalized, is_active = :is_active,
        revision = revision + CASE WHEN :reevaluate THEN 1 ELSE 0 END,
        updated_at = now(), updated_by = :actor
    WHERE tenant_id = :tenant_id AND sk = :sk
""").bindparams(
    bindparam("criteria", type_=JSONB(none_as_null=True)),
    bindparam("normalized", type_=JSONB(none_as_null=True)),
)


async def change(
    connection: AsyncConnection,
    tenant_id: int,
    segment_sk: int,
    *,
    name: str,
    description: str | None,
    segment_type: str,
    criteria: Mapping[str, Any] | None,
    normalized: Mapping[str, Any] | None,
    is_active: bool,
    reevaluate: bool,
    actor: str | None,
) -> None:
    """Write what a locked segment says from now on; with `reevaluate`, its members are old."""
    values = {
        "tenant_id": tenant_id,
        "sk": segment_sk,
        "name": name,
        "description": description,
        "segment_type": segment_type,
        "criteria": criteria,
        "normalized": normalized,
        "is_active": is_active,
        "reevaluate": reevaluate,
        "actor": actor,
    }
    await connection.execute(_CHANGE, values)


_RENEW = text("""
    INSERT INTO segment_versions AS v (tenant_id) VALUES (:tenant_id)
    ON CONFLICT (tenant_id) DO UPDATE SET version = excluded.version
""")


async def renew_version(connection: AsyncConnection, tenant_id: int) -> None:
    """Let every process read the tenant's segments anew once this is committed."""
    await connection.execute(_RENEW, {"tenant_id": tenant_id})


_NOTE_EVENTS = text("""
    UPDATE segment_versions SET asks_of_events = :asks
    WHERE tenant_id = :tenant_id AND asks_of_events <> :asks
""")


async def note_whether_events_matter(
    connection: AsyncConnection, tenant_id: int, *, asks: bool
) -> None:
    """Say whether any segment asks of events. Its caller has renewed the version before."""
    await connection.execute(_NOTE_EVENTS, {"tenant_id": tenant_id, "asks": asks})


# --- Evaluations of everybody -----------------------------------------------------------------

_REQUEST = text("""
    UPDATE segments
    SET state = 'queued', requested_at = now(), cancel_requested = false
    WHERE tenant_id = :tenant_id AND is_active AND sk = ANY(CAST(:sks AS bigint[]))
""")


async def request(connection: AsyncConnection, tenant_id: int, sks: Collection[int]) -> None:
    """Let active segments wait for an evaluation."""
    await connection.execute(_REQUEST, {"tenant_id": tenant_id, "sks": list(sks)})


_REQUEST_CANCEL = text("""
    UPDATE segments
    SET cancel_requested = (state = 'running'),
        state = CASE WHEN state = 'queued' THEN 'cancelled' ELSE state END
    WHERE tenant_id = :tenant_id AND sk = :sk AND state IN ('queued', 'running')
    RETURNING sk
""")


async def request_cancel(connection: AsyncConnection, tenant_id: int, segment_sk: int) -> bool:
    """Cancel the evaluation that waits, or ask the one under way to end; whether there is one."""
    found = await connection.execute(_REQUEST_CANCEL, {"tenant_id": tenant_id, "sk": segment_sk})
    return found.one_or_none() is not None


# Nobody else is at work, so whoever began what still says running has died.
_START = text("""
    WITH alone AS (
        SELECT pg_try_advisory_xact_lock(hashtext('segment members'), :tenant_id) AS alone
    )
    UPDATE segments
    SET state = 'running', started_at = clock_timestamp()
    WHERE tenant_id = :tenant_id AND is_active
      AND (state = 'queued' OR state = 'running' AND (SELECT alone FROM alone))
    RETURNING sk
""")


async def start_requested(connection: AsyncConnection, tenant_id: int) -> list[int]:
    """Take up every segment that waits for an evaluation, or whose evaluation has died."""
    return list((await connection.execute(_START, {"tenant_id": tenant_id})).scalars())


_CANCELLED = text("""
    SELECT EXISTS (
        SELECT FROM segments
        WHERE tenant_id = :tenant_id AND sk = ANY(CAST(:sks AS bigint[])) AND cancel_requested
    )
""")


async def is_cancelled(connection: AsyncConnection, tenant_id: int, sks: Collection[int]) -> bool:
    """Whether the evaluation of one of these is to end."""
    parameters = {"tenant_id": tenant_id, "sks": list(sks)}
    return bool(await connection.scalar(_CANCELLED, parameters))


_SUCCEED = text("""
    UPDATE segments s
    SET state = CASE WHEN s.revision = given.revision THEN 'succeeded' ELSE 'queued' END,
        evaluated_revision = given.revision, computed_at = :computed_at, last_error = NULL,
        cancel_requested = false
    FROM unnest(CAST(:sks AS bigint[]), CAST(:revisions AS bigint[])) AS given (sk, revision)
    WHERE s.tenant_id = :tenant_id AND s.sk = given.sk
""")


async def succeed(
    connection: AsyncConnection,
    tenant_id: int,
    revisions: Mapping[int, int],
    computed_at: datetime,
) -> None:
    """Note that the members are those of `computed_at`, by the revisions of the criteria."""
    parameters = {
        "tenant_id": tenant_id,
        "sks": list(revisions),
        "revisions": list(revisions.values()),
        "computed_at": computed_at,
    }
    await connection.execute(_SUCCEED, parameters)


_FAIL = text("""
    UPDATE segments SET state = 'failed', last_error = :error, cancel_requested = false
    WHERE tenant_id = :tenant_id AND sk = ANY(CAST(:sks AS bigint[]))
""")


async def fail(
    connection: AsyncConnection, tenant_id: int, sks: Collection[int], error: str
) -> None:
    """Note why the members are still those of before."""
    await connection.execute(_FAIL, {"tenant_id": tenant_id, "sks": list(sks), "error": error})


_CANCEL = text("""
    UPDATE segments
    SET state = CASE WHEN cancel_requested THEN 'cancelled' ELSE 'queued' END,
        cancel_requested = false
    WHERE tenant_id = :tenant_id AND sk = ANY(CAST(:sks AS bigint[])) AND state = 'running'
""")


async def cancel(connection: AsyncConnection, tenant_id: int, sks: Collection[int]) -> None:
    """Note that these were not evaluated: some were cancelled, the others wait again."""
    await connection.execute(_CANCEL, {"tenant_id": tenant_id, "sks": list(sks)})
