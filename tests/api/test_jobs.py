"""Asking for runs and looking after them over HTTP."""

from datetime import UTC, datetime

import httpx
import pytest
from sqlalchemy import text

from app.database import Database
from app.domain.errors import RunInProgress
from app.domain.scoring_run import RunMode
from app.domain.tenant import Tenant
from app.repositories import job
from app.services.scoring import run_scores


async def test_a_run_that_is_asked_for_waits_and_is_the_same_when_asked_again(
    client: httpx.AsyncClient,
) -> None:
    first = await client.post("/api/analytics/refresh", params={"mode": "full"})
    assert first.status_code == 202
    again = await client.post("/api/analytics/refresh", params={"mode": "full"})
    assert again.json() == first.json()
    other = await client.post("/api/analytics/refresh")
    assert other.json() != first.json()
    run = (await client.get(f"/api/admin/jobs/{first.json()['jobId']}")).json()
    assert (run["kind"], run["status"], run["finishedAt"]) == ("full", "queued", None)


async def test_an_unknown_mode_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/analytics/refresh", params={"mode": "half"})
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("path", "status"),
    [("00000000-0000-0000-0000-000000000000", 404), ("not-a-uuid", 422)],
)
async def test_unknown_jobs(client: httpx.AsyncClient, path: str, status: int) -> None:
    assert (await client.get(f"/api/admin/jobs/{path}")).status_code == status


async def test_status_shows_last_and_next_runs_lag_and_errors(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    before = (await client.get("/api/admin/jobs/status")).json()
    assert before["runs"] == []
    assert {kind["kind"]: kind["lastSucceededAt"] for kind in before["kinds"]} == {
        "full": None,
        "recent": None,
    }
    now = datetime.now(UTC)
    await run_scores(database, tenant, mode=RunMode.FULL, as_of=now)
    async with database.tenant_transaction(tenant.id) as connection:
        failing = await job.add(connection, tenant.id, RunMode.RECENT, "schedule")
        await job.fail(connection, failing, str(RunInProgress(tenant.slug)))
    status = (await client.get("/api/admin/jobs/status")).json()
    full, recent = status["kinds"]
    assert full["lastError"] is None
    assert 0 <= full["lagSeconds"] < 60
    assert recent["lastError"] == "Another scoring run of tenant 'kidz' is in progress."
    assert recent["lastSucceededAt"] is None
    for kind in (full, recent):
        assert datetime.fromisoformat(kind["nextRunAt"]) > now
    # The night begins at two in Jakarta, the hour everywhere.
    assert full["nextRunAt"].endswith("T19:00:00Z")
    assert [run["status"] for run in status["runs"]] == ["failed", "succeeded"]
    assert status["runs"][1]["durationSeconds"] >= 0


async def test_a_refresh_is_queued_for_the_worker_once(
    client: httpx.AsyncClient, database: Database
) -> None:
    for _ in range(2):
        await client.post("/api/analytics/refresh", params={"mode": "full"})
    async with database.transaction() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM queue.pgqueuer")) == 1
