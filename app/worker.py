"""Queued and periodic jobs: scoring runs as they are asked for, each hour and each night.

Jobs come from PgQueuer's table in the same database, so that a job is queued in the transaction of
the data that asks for it. A job that dies with its worker is taken up again by the next one.
"""

import asyncio
import json
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import asyncpg
from pgqueuer import AsyncpgPoolDriver, Job, PgQueuer
from pgqueuer.errors import FailingListenerError
from pgqueuer.models import Schedule

from app.database import SERVICE_ROLE, Database, DatabaseUnavailableError
from app.domain.errors import DomainError
from app.domain.period import Period
from app.domain.scoring_run import RunMode
from app.domain.tenant import Tenant
from app.gateways.face import FaceError, face_provider
from app.gateways.object_store import ObjectStoreError, object_store
from app.repositories.job import queue_queries
from app.services import (
    auditing,
    daily_figures,
    face_erasure,
    face_reconciliation,
    maintenance,
    retention,
    sanity,
    scoring,
    segmentation,
    staging,
    tenancy,
    totals,
)
from app.services.duplicates import find_duplicates
from app.services.face_backend import FaceBackend
from app.settings import Settings

log = logging.getLogger(__name__)

#: A run keeps one core of the database busy; two leave room for the requests.
CONCURRENT_RUNS = 2

#: Customers are compared each hour if one has changed in this time.
_COMPARED_AGAIN = timedelta(minutes=75)

#: How long connections may take to come back before they are dropped.
CLOSING_SECONDS = 5

RECONNECT_SECONDS = (1, 2, 5, 10, 30)

# The queue asks whether it hears the database, and of a busy one may ask before it listens.
_DATABASE_AWAY = (
    FailingListenerError,
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    DatabaseUnavailableError,
)


async def run(database_url: str, settings: Settings | None = None) -> None:
    """Work until SIGINT or SIGTERM; a database that goes away is waited for."""
    settings = settings or Settings()
    backend = FaceBackend(face_provider(settings), object_store(settings))
    try:
        await _run(database_url, backend)
    finally:
        await backend.close()


async def _run(database_url: str, backend: FaceBackend) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    failures = 0
    while not stopping.is_set():
        began = loop.time()
        try:
            await _work(database_url, backend, stopping)
        except _DATABASE_AWAY as error:
            if loop.time() - began > RECONNECT_SECONDS[-1]:
                failures = 0  # it had worked in between
            pause = RECONNECT_SECONDS[min(failures, len(RECONNECT_SECONDS) - 1)]
            failures += 1
            log.warning("lost the database (%r); again in %s s", error, pause)
            await _sleep(pause, stopping)


async def _work(database_url: str, backend: FaceBackend, stopping: asyncio.Event) -> None:
    database = Database(
        database_url, pool_size=4, statement_timeout=None, application_name="bps-worker"
    )
    try:
        async with _queue_pool(database_url) as pool:
            await _request_due_runs(database)
            await _maintain(database)
            queue = _queue(database, backend, AsyncpgPoolDriver(pool))
            ending = asyncio.create_task(_end(queue, stopping))
            comparing = asyncio.create_task(_find_first_duplicates(database))
            try:
                await queue.run(
                    batch_size=1,
                    max_concurrent_tasks=CONCURRENT_RUNS,
                    shutdown_on_listener_failure=True,
                )
            finally:
                ending.cancel()
                comparing.cancel()
                await asyncio.wait([comparing])
    finally:
        await database.close()


@asynccontextmanager
async def _queue_pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """The connections of the queue. One that the server has dropped may never be given back."""
    pool = await asyncpg.create_pool(
        database_url,
        min_size=2,
        max_size=4,
        server_settings={"role": SERVICE_ROLE, "application_name": "bps-queue"},
    )
    try:
        yield pool
    finally:
        try:
            async with asyncio.timeout(CLOSING_SECONDS):
                await pool.close()
        except TimeoutError:
            pool.terminate()


def _queue(database: Database, backend: FaceBackend, driver: AsyncpgPoolDriver) -> PgQueuer:
    queue = PgQueuer(driver, queries=queue_queries(driver))

    @queue.entrypoint("score")
    async def score(job: Job) -> None:
        await _score(database, json.loads(job.payload or b"{}"))

    @queue.entrypoint("keep_totals")
    async def keep_totals(job: Job) -> None:
        await _keep_totals(database, json.loads(job.payload or b"{}"))

    @queue.entrypoint("advance_stages")
    async def advance_stages(job: Job) -> None:
        await _advance_stages(database, json.loads(job.payload or b"{}"))

    @queue.entrypoint("keep_days")
    async def keep_days(job: Job) -> None:
        await _keep_days(database, json.loads(job.payload or b"{}"))

    @queue.schedule("advance_touched", "* * * * *")
    async def advance_touched(_: Schedule) -> None:
        await _advance_touched(database)

    @queue.entrypoint("evaluate_segments")
    async def evaluate_segments(job: Job) -> None:
        await _evaluate_segments(database, json.loads(job.payload or b"{}"))

    @queue.schedule("evaluate_touched", "* * * * *")
    async def evaluate_touched(_: Schedule) -> None:
        await _evaluate_touched(database)

    @queue.entrypoint(face_erasure.JOB)
    async def erase_face(job: Job) -> None:
        await _erase_face(database, backend, json.loads(job.payload or b"{}"))

    @queue.schedule("request_due_runs", "0 * * * *")
    async def request_due_runs(_: Schedule) -> None:
        await _request_due_runs(database)

    @queue.schedule("maintain", "30 * * * *")
    async def maintain(_: Schedule) -> None:
        await _maintain(database)

    @queue.schedule("delete_expired", "20 3 * * *")
    async def delete_expired(_: Schedule) -> None:
        await _delete_expired(database)

    @queue.schedule("find_duplicates", "45 * * * *")
    async def find_duplicates_of_the_hour(_: Schedule) -> None:
        await _find_duplicates(database, datetime.now(UTC) - _COMPARED_AGAIN)

    @queue.schedule("retry_face_erasures", "* * * * *")
    async def retry_face_erasures(_: Schedule) -> None:
        await _retry_face_erasures(database)

    @queue.schedule("keep_faces_in_order", "10 3 * * *")
    async def keep_faces_in_order(_: Schedule) -> None:
        await _keep_faces_in_order(database, backend)

    @queue.schedule("compact_totals", "* * * * *")
    async def compact_totals(_: Schedule) -> None:
        await _compact_totals(database)

    return queue


async def _score(database: Database, wanted: dict[str, str | int]) -> None:
    tenant_id = int(wanted["tenant_id"])
    async with database.tenant_transaction(tenant_id) as connection:
        tenant = await tenancy.get_tenant(connection, tenant_id)
    mode = RunMode(str(wanted["mode"]))
    log.info("scoring %s (%s)", tenant.slug, mode)
    try:
        await scoring.run_scores(
            database,
            tenant,
            mode=mode,
            as_of=tenant.as_of(datetime.now(UTC)),
            run_id=UUID(str(wanted["run_id"])),
        )
        async with database.tenant_transaction(tenant_id) as connection:
            await totals.compact(connection, tenant)
    except DomainError as error:
        # The run's row has the reason; there is nothing to try again.
        log.warning("scoring %s (%s): %s", tenant.slug, mode, error)
        return
    if mode is RunMode.FULL:
        await _check(database, tenant)


async def _advance_stages(database: Database, wanted: dict[str, int]) -> None:
    tenant_id = int(wanted["tenant_id"])
    async with database.tenant_transaction(tenant_id) as connection:
        tenant = await tenancy.get_tenant(connection, tenant_id)
    moved = await staging.advance_everybody(database, tenant)
    log.info("%d customers of %s came to another stage", moved, tenant.slug)


async def _keep_days(database: Database, wanted: dict[str, int | str]) -> None:
    tenant_id = int(wanted["tenant_id"])
    async with database.tenant_transaction(tenant_id) as connection:
        tenant = await tenancy.get_tenant(connection, tenant_id)
    period = Period(
        date.fromisoformat(str(wanted["first"])), date.fromisoformat(str(wanted["last"]))
    )
    await daily_figures.keep_days(database, tenant, period)


async def _advance_touched(database: Database) -> None:
    async with database.transaction() as connection:
        tenants = await tenancy.list_tenants(connection)
    for tenant in tenants:
        await staging.advance_touched(database, tenant)


async def _evaluate_segments(database: Database, wanted: dict[str, int]) -> None:
    tenant_id = int(wanted["tenant_id"])
    async with database.tenant_transaction(tenant_id) as connection:
        tenant = await tenancy.get_tenant(connection, tenant_id)
    log.info("evaluating segments of %s", tenant.slug)
    await segmentation.evaluate_requested(database, tenant)


async def _evaluate_touched(database: Database) -> None:
    async with database.transaction() as connection:
        tenants = await tenancy.list_tenants(connection)
    for tenant in tenants:
        await segmentation.evaluate_touched(database, tenant)


async def _keep_totals(database: Database, wanted: dict[str, str | int]) -> None:
    tenant_id = int(wanted["tenant_id"])
    as_of = datetime.fromisoformat(str(wanted["as_of"]))
    async with database.tenant_transaction(tenant_id) as connection:
        tenant = await tenancy.get_tenant(connection, tenant_id)
        await totals.after_full_run(connection, tenant, as_of)
    await staging.advance_everybody(database, tenant)
    await daily_figures.keep_missing_days(database, tenant)


async def _erase_face(
    database: Database, backend: FaceBackend, wanted: dict[str, str | int]
) -> None:
    tenant_id = int(wanted["tenant_id"])
    async with database.tenant_transaction(tenant_id) as connection:
        tenant = await tenancy.get_tenant(connection, tenant_id)
    await face_erasure.run_erasure(database, backend, tenant, UUID(str(wanted["erasure_id"])))


async def _retry_face_erasures(database: Database) -> None:
    async with database.transaction() as connection:
        tenants = await tenancy.list_tenants(connection)
    for tenant in tenants:
        async with database.tenant_transaction(tenant.id) as connection:
            await face_erasure.enqueue_due(connection, tenant, now=datetime.now(UTC))


async def _keep_faces_in_order(database: Database, backend: FaceBackend) -> None:
    async with database.transaction() as connection:
        tenants = await tenancy.list_tenants(connection)
    for tenant in tenants:
        await face_reconciliation.expire_faces(database, tenant, now=datetime.now(UTC))
        if not backend.configured:
            continue
        try:
            done = await face_reconciliation.reconcile_faces(
                database, backend, tenant, now=datetime.now(UTC)
            )
        except (FaceError, ObjectStoreError) as error:
            log.error("faces of %s were not compared: %s", tenant.slug, error)
            continue
        log.info("faces of %s: %s", tenant.slug, done)


async def _check(database: Database, tenant: Tenant) -> None:
    """Verify what the full run left, which is once a night unless more were asked for."""
    result = await sanity.check_tenant(database, tenant, now=datetime.now(UTC))
    for check in result.checks:
        if not check.passed:
            log.error(
                "check %s of %s failed: %d of %d, such as %s",
                check.name,
                tenant.slug,
                check.offenders,
                check.figure,
                ", ".join(check.examples),
            )


async def _request_due_runs(database: Database) -> None:
    now = datetime.now(UTC)
    async with database.transaction() as connection:
        tenants = await tenancy.list_tenants(connection)
    for tenant in tenants:
        async with database.tenant_transaction(tenant.id) as connection:
            await scoring.request_due_runs(connection, tenant, now=now)
            await segmentation.request_due_evaluations(connection, tenant)


async def _compact_totals(database: Database) -> None:
    async with database.transaction() as connection:
        tenants = await tenancy.list_tenants(connection)
    for tenant in tenants:
        async with database.tenant_transaction(tenant.id) as connection:
            await totals.compact(connection, tenant)
            await segmentation.compact_sizes(connection, tenant)


async def _maintain(database: Database) -> None:
    now = datetime.now(UTC)
    async with database.transaction() as connection:
        await maintenance.make_partitions_ahead(connection, now.date())
        await auditing.forget_old_reads(connection, now.date())
        tenants = await tenancy.list_tenants(connection)
    for tenant in tenants:
        async with database.tenant_transaction(tenant.id) as connection:
            await maintenance.forget_old_answers(connection)
            await totals.forget_old(connection, tenant, now=now)


async def _delete_expired(database: Database) -> None:
    now = datetime.now(UTC)
    await retention.drop_expired_months(database)
    async with database.transaction() as connection:
        tenants = await tenancy.list_tenants(connection)
    for tenant in tenants:
        deleted = await retention.delete_expired(database, tenant, now=now)
        if deleted:
            log.info("deleted %d rows past the retention of %s", deleted, tenant.slug)


async def _find_duplicates(database: Database, changed_since: datetime | None = None) -> None:
    async with database.transaction() as connection:
        tenants = await tenancy.list_tenants(connection)
    for tenant in tenants:
        async with database.tenant_transaction(tenant.id) as connection:
            await find_duplicates(connection, tenant, changed_since=changed_since)


async def _find_first_duplicates(database: Database) -> None:
    """Find what has changed while no worker was there, without keeping the queue waiting."""
    try:
        await _find_duplicates(database)
    except Exception:
        log.exception("duplicates were not looked for; the next hour tries again")


async def _end(queue: PgQueuer, stopping: asyncio.Event) -> None:
    await stopping.wait()
    queue.shutdown.set()


async def _sleep(seconds: float, stopping: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stopping.wait(), seconds)
    except TimeoutError:
        return
