"""The worker as a process of its own: due runs, runs asked for, and a database that goes away."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from app.database import Database
from app.domain.scoring_run import RunMode
from app.domain.tenant import Tenant
from app.repositories import job, sanity
from app.repositories.job import JobRun
from app.services.scoring import request_due_runs, request_run
from tests.factories import make_tenant
from tests.scoring_oracle import Customer, Order
from tests.scoring_rows import read_rows, record

pytestmark = pytest.mark.e2e

PROGRAM = "import asyncio, sys; from app import worker; asyncio.run(worker.run(sys.argv[1]))"


@pytest.fixture
async def scored_tenant(fresh_database: Database) -> Tenant:
    tenant = await make_tenant(fresh_database)
    ordered = datetime.now(UTC) - timedelta(days=3)
    await record(fresh_database, tenant, [Customer("cus-1", (Order(ordered), Order(ordered)))])
    return tenant


@pytest.fixture
async def worker(
    fresh_database_url: str, scored_tenant: Tenant
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker that must still be there at the end, and stop in good order."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, fresh_database_url
    )
    try:
        yield process
        assert process.returncode is None
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def runs(database: Database, tenant: Tenant) -> list[JobRun]:
    async with database.tenant_transaction(tenant.id) as connection:
        return await job.list_latest(connection, 50)


async def ask(database: Database, tenant: Tenant, mode: RunMode) -> JobRun:
    """Request a run and wait until it is done."""
    async with database.tenant_transaction(tenant.id) as connection:
        run_id = await request_run(connection, tenant, mode, requested_by="test")
    async with asyncio.timeout(60):
        while True:
            async with database.tenant_transaction(tenant.id) as connection:
                run = await job.get(connection, run_id)
            if run.finished_at is not None:
                return run
            await asyncio.sleep(0.1)


async def test_the_worker_scores_what_is_due_and_what_is_asked_for(
    fresh_database: Database, scored_tenant: Tenant, worker: asyncio.subprocess.Process
) -> None:
    async with asyncio.timeout(60):
        while True:
            done = [run for run in await runs(fresh_database, scored_tenant) if run.finished_at]
            if done:
                break
            await asyncio.sleep(0.1)
    [nightly] = await runs(fresh_database, scored_tenant)
    assert (nightly.kind, nightly.requested_by, nightly.rows_written) == ("full", "schedule", 1)
    [row] = (await read_rows(fresh_database, scored_tenant)).values()
    assert row["rfm_code"] == "511"
    run = await ask(fresh_database, scored_tenant, RunMode.RECENT)
    assert (run.status, run.error, run.requested_by) == ("succeeded", None, "test")


async def test_the_worker_outlives_its_connections(
    fresh_database: Database,
    fresh_database_url: str,
    scored_tenant: Tenant,
    worker: asyncio.subprocess.Process,
) -> None:
    assert (await ask(fresh_database, scored_tenant, RunMode.FULL)).status == "succeeded"
    owner = await asyncpg.connect(fresh_database_url)
    for _ in range(3):
        await owner.execute("""
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name IN ('bps-worker', 'bps-queue')
        """)
        await asyncio.sleep(0.3)
    await owner.close()
    assert (await ask(fresh_database, scored_tenant, RunMode.FULL)).status == "succeeded"


async def test_runs_are_due_once_a_night_and_once_an_hour(fresh_database: Database) -> None:
    now = datetime.now(UTC)
    ahead = 12 - now.hour  # noon by the tenant's clock: no night falls into the next hour
    zone = f"Etc/GMT{-ahead:+d}"  # whose names count westwards
    tenant = await make_tenant(fresh_database, timezone=zone)
    for later in (0, 0, 1, 1):
        async with fresh_database.tenant_transaction(tenant.id) as connection:
            await request_due_runs(connection, tenant, now=now + timedelta(hours=later))
        if not later:
            assert [run.kind for run in await runs(fresh_database, tenant)] == ["full"]
    asked = await runs(fresh_database, tenant)
    assert sorted(run.kind for run in asked) == ["full", "recent"]
    assert {run.status for run in asked} == {"queued"}
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        for run in asked:
            await job.succeed(connection, run.id, rows_read=0, rows_written=0)
        await request_due_runs(connection, tenant, now=now + timedelta(hours=24))
    assert sorted(r.kind for r in await runs(fresh_database, tenant)) == ["full", "full", "recent"]


async def test_a_run_whose_job_was_lost_is_queued_again_when_it_is_asked_for(
    fresh_database: Database, fresh_database_url: str
) -> None:
    tenant = await make_tenant(fresh_database)
    owner = await asyncpg.connect(fresh_database_url)

    async def request() -> tuple[object, int]:
        async with fresh_database.tenant_transaction(tenant.id) as connection:
            run_id = await request_run(connection, tenant, RunMode.FULL, requested_by=None)
        return run_id, await owner.fetchval("SELECT count(*) FROM queue.pgqueuer")

    first = await request()
    assert first[1] == 1
    assert await request() == first
    await owner.execute("DELETE FROM queue.pgqueuer")
    assert await request() == first
    await owner.close()


async def test_every_full_run_is_verified(
    fresh_database: Database, scored_tenant: Tenant, worker: asyncio.subprocess.Process
) -> None:
    assert (await ask(fresh_database, scored_tenant, RunMode.FULL)).status == "succeeded"
    async with asyncio.timeout(60):
        while True:
            async with fresh_database.tenant_transaction(scored_tenant.id) as connection:
                result = await sanity.find_latest(connection, scored_tenant.id)
            if result is not None:
                break
            await asyncio.sleep(0.1)
    assert [check for check in result.checks if not check.passed] == []
