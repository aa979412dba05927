"""The tenant's own settings, and how its jobs are doing."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from app.api.dependencies import Caller, Connection, requires
from app.api.route import router as routes
from app.api.schemas.admin import TenantPatch, TenantView
from app.api.schemas.analytics import JobKindView, JobRunView, JobsStatusView
from app.domain.access import Scope
from app.domain.schedule import next_hour, next_night
from app.domain.scoring_run import RunMode
from app.repositories import job
from app.services import tenancy

router = routes("admin", "/api/admin")

_SHOWN_RUNS = 50

Admin = Annotated[Caller, requires(Scope.ADMIN)]


@router.get("/tenant")
async def get_tenant(caller: Admin) -> TenantView:
    """The business this key belongs to."""
    return TenantView.of(caller.tenant)


@router.patch("/tenant")
async def change_tenant(patch: TenantPatch, caller: Admin, connection: Connection) -> TenantView:
    """Change the name, the time zone or the scoring profile.

    A new time zone moves every recorded order to its new local hour, weekday and day at once. Both
    a new zone and a new profile are in the scores after the next run.
    """
    tenant = caller.tenant
    if patch.name is not None:
        tenant = await tenancy.change_name(connection, tenant, patch.name)
    if patch.timezone is not None and patch.timezone != tenant.timezone:
        tenant = await tenancy.change_timezone(connection, tenant, patch.timezone)
    if patch.profile is not None:
        tenant = await tenancy.change_profile(connection, tenant, patch.profile)
    return TenantView.of(tenant)


@router.get("/jobs/status")
async def get_jobs_status(caller: Admin, connection: Connection) -> JobsStatusView:
    """The last runs, the next ones, how old the scores are, and what went wrong."""
    now = datetime.now(UTC)
    next_runs = {
        RunMode.FULL: next_night(caller.tenant.timezone, now),
        RunMode.RECENT: next_hour(now),
    }
    kinds = []
    for kind, next_run_at in next_runs.items():
        health = await job.get_health(connection, kind)
        finished = health.last_succeeded_at
        kinds.append(
            JobKindView(
                kind=kind,
                next_run_at=next_run_at,
                last_succeeded_at=finished,
                lag_seconds=(now - finished).total_seconds() if finished else None,
                last_error=health.last_error,
            )
        )
    runs = await job.list_latest(connection, _SHOWN_RUNS)
    return JobsStatusView(kinds=kinds, runs=[JobRunView.of(run) for run in runs])


@router.get("/jobs/{id}")
async def get_job(id: UUID, caller: Admin, connection: Connection) -> JobRunView:
    """One run: whether it waits, runs, succeeded or failed, and why."""
    return JobRunView.of(await job.get(connection, id))
