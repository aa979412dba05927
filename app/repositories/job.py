"""Runs of jobs: what was asked for, what became of it; and the queue the worker takes them from."""

import json
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pgqueuer import AsyncpgDriver, Queries
from pgqueuer.adapters.persistence.qb import (
    QueryBuilderEnvironment,
    QueryQueueBuilder,
    QuerySchedulerBuilder,
)
from pgqueuer.domain.settings import DBSettings
from pgqueuer.ports.driver import Driver
from sqlalchemy import Row, bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound
from app.repositories.tables import job_runs

QUEUE_SETTINGS = DBSettings(db_schema="queue")


@dataclass(frozen=True, slots=True)
class JobRun:
    """One run. `status` is queued, running, succeeded or failed; `error` says why it failed."""

    id: UUID
    kind: str
    status: str
    requested_at: datetime
    requested_by: str | None
    started_at: datetime | None
    finished_at: datetime | None
    as_of: datetime | None
    rows_read: int | None
    rows_written: int | None
    error: str | None


_COLUMNS = tuple(c for c in job_runs.columns if c.name != "tenant_id")


def _job_run(row: Row[tuple[object, ...]]) -> JobRun:
    return JobRun(**row._mapping)


async def get(connection: AsyncConnection, run_id: UUID) -> JobRun:
    """The run `run_id`. Raises NotFound."""
    row = (await connection.execute(select(*_COLUMNS).where(job_runs.c.id == run_id))).one_or_none()
    if row is None:
        raise NotFound("job", str(run_id))
    return _job_run(row)


async def list_latest(connection: AsyncConnection, limit: int) -> list[JobRun]:
    """The last runs of every kind, newest first."""
    query = select(*_COLUMNS).order_by(job_runs.c.requested_at.desc()).limit(limit)
    return [_job_run(row) for row in await connection.execute(query)]


async def find_last_requested(connection: AsyncConnection, kind: str) -> datetime | None:
    """When a run of this kind that did not fail was last asked for."""
    query = select(func.max(job_runs.c.requested_at)).where(
        job_runs.c.kind == kind, job_runs.c.status != "failed"
    )
    instant: datetime | None = (await connection.execute(query)).scalar_one()
    return instant


async def find_last_success_start(connection: AsyncConnection, kinds: list[str]) -> datetime | None:
    """When the last run of one of these kinds that succeeded began to read."""
    query = select(func.max(job_runs.c.started_at)).where(
        job_runs.c.kind.in_(kinds), job_runs.c.status == "succeeded"
    )
    instant: datetime | None = (await connection.execute(query)).scalar_one()
    return instant


@dataclass(frozen=True, slots=True)
class FullRun:
    """When a full run of the scores began to read, and the instant that it was for."""

    started_at: datetime
    as_of: datetime


async def find_last_full(
    connection: AsyncConnection, tenant_id: int, *, as_of_before: datetime | None = None
) -> FullRun | None:
    """The last full run that succeeded; of those for an instant before, where one is given."""
    parameters = {"tenant_id": tenant_id, "as_of_before": as_of_before}
    row = (await connection.execute(_LAST_FULL, parameters)).first()
    return None if row is None else FullRun(row.started_at, row.as_of)


_LAST_FULL = text("""
    SELECT started_at, as_of FROM job_runs
    WHERE tenant_id = :tenant_id AND kind = 'full' AND status = 'succeeded'
      AND as_of < coalesce(CAST(:as_of_before AS timestamptz), 'infinity')
    ORDER BY requested_at DESC LIMIT 1
""")


@dataclass(frozen=True, slots=True)
class JobHealth:
    """When a kind of run last succeeded, and the error of a failure since."""

    last_succeeded_at: datetime | None
    last_error: str | None


async def get_health(connection: AsyncConnection, kind: str) -> JobHealth:
    """How runs of this kind have been going."""
    row = (await connection.execute(_HEALTH, {"kind": kind})).one()
    return JobHealth(row.last_succeeded_at, row.last_error)


_HEALTH = text("""
    WITH success AS (
        SELECT max(finished_at) AS finished_at FROM job_runs
        WHERE kind = :kind AND status = 'succeeded'
    )
    SELECT finished_at AS last_succeeded_at, (
        SELECT error FROM job_runs
        WHERE kind = :kind AND status = 'failed'
          AND job_runs.finished_at > coalesce(success.finished_at, '-infinity')
        ORDER BY requested_at DESC LIMIT 1
    ) AS last_error
    FROM success
""")


async def add(
    connection: AsyncConnection, tenant_id: int, kind: str, requested_by: str | None
) -> UUID:
    """Note that a run was begun without waiting in the queue."""
    values = {"tenant_id": tenant_id, "kind": kind, "requested_by": requested_by}
    statement = insert(job_runs).values(**values, status="running").returning(job_runs.c.id)
    run_id: UUID = (await connection.execute(statement)).scalar_one()
    return run_id


async def request(
    connection: AsyncConnection, tenant_id: int, kind: str, requested_by: str | None
) -> UUID:
    """The run of this kind that waits for the worker; only one of a kind does."""
    parameters = {"tenant_id": tenant_id, "kind": kind, "requested_by": requested_by}
    run_id: UUID = (await connection.execute(_REQUEST, parameters)).scalar_one()
    return run_id


# An update that changes nothing, because only a row that was touched is returned.
_REQUEST = text("""
    INSERT INTO job_runs AS waiting (tenant_id, kind, requested_by)
    VALUES (:tenant_id, :kind, :requested_by)
    ON CONFLICT (tenant_id, kind) WHERE status = 'queued' DO UPDATE SET kind = waiting.kind
    RETURNING id
""")


async def start(connection: AsyncConnection, run_id: UUID, as_of: datetime) -> None:
    """Note that the run began, perhaps not for the first time."""
    await connection.execute(
        update(job_runs)
        .where(job_runs.c.id == run_id)
        .values(
            status="running",
            started_at=func.clock_timestamp(),
            finished_at=None,
            as_of=as_of,
            error=None,
        )
    )


async def succeed(
    connection: AsyncConnection, run_id: UUID, *, rows_read: int, rows_written: int
) -> None:
    """Note that the run is done; in the transaction of its result, so that both hold or neither."""
    await connection.execute(
        update(job_runs)
        .where(job_runs.c.id == run_id)
        .values(
            status="succeeded",
            finished_at=func.clock_timestamp(),
            error=None,
            rows_read=rows_read,
            rows_written=rows_written,
        )
    )


async def fail(connection: AsyncConnection, run_id: UUID, error: str) -> None:
    """Note why the run ended without a result."""
    await connection.execute(
        update(job_runs)
        .where(job_runs.c.id == run_id)
        .values(status="failed", finished_at=func.clock_timestamp(), error=error)
    )


async def fail_abandoned(connection: AsyncConnection, *, kinds: list[str], but: UUID) -> None:
    """Close the runs that still say running, though whoever holds the permit now is `but`."""
    await connection.execute(_FAIL_ABANDONED, {"kinds": kinds, "but": but})


_FAIL_ABANDONED = text("""
    UPDATE job_runs
    SET status = 'failed', finished_at = clock_timestamp(),
        error = 'The process ended before the run did.'
    WHERE status = 'running' AND kind = ANY(:kinds) AND id <> :but
""").bindparams(bindparam("but"))


def queue_queries(driver: Driver) -> Queries:
    """PgQueuer's statements for the queue in its own schema."""
    return Queries(
        driver,
        qbe=QueryBuilderEnvironment(QUEUE_SETTINGS),
        qbq=QueryQueueBuilder(QUEUE_SETTINGS),
        qbs=QuerySchedulerBuilder(QUEUE_SETTINGS),
    )


async def enqueue_once(
    connection: AsyncConnection, entrypoint: str, key: str, payload: dict[str, object]
) -> None:
    """Hand a job to the worker, in this transaction; nothing where one of `key` waits or runs."""
    driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    queue = queue_queries(AsyncpgDriver(driver))
    await queue.enqueue(
        entrypoint, json.dumps(payload).encode(), dedupe_key=key, on_conflict="skip"
    )
