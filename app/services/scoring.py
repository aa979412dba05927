"""Scoring: the few customers of one request at once, a whole tenant hourly and nightly."""

from collections.abc import Collection
from dataclasses import asdict
from datetime import date, datetime
from uuid import UUID

from app.database import Connection, Database
from app.domain import money
from app.domain.errors import DomainError, RunInProgress
from app.domain.schedule import last_night, this_hour
from app.domain.scoring_run import RunMode, run_clock
from app.domain.tenant import Tenant
from app.repositories import job, partition, segment_member
from app.repositories import scoring as scores
from app.repositories.scoring import ScoringStatements
from app.scoring.postgres import scoring_sql
from app.services.segmentation import refresh_memberships, refresh_watched, request_all

#: Customers that a run missed are scored in transactions of this many.
MISSED_BATCH = 500

_statements: dict[tuple[str, int], ScoringStatements] = {}
_known_months: set[date] = set()


def statements_for(tenant: Tenant) -> ScoringStatements:
    """The tenant's rules as statements; compiled once a process for each set of rules."""
    decimals = money.decimals(tenant.currency)
    key = (tenant.profile.version, decimals)
    if key not in _statements:
        sql = scoring_sql(tenant.profile, decimals)
        _statements[key] = scores.scoring_statements(**asdict(sql))
    return _statements[key]


async def refresh_customers(
    connection: Connection,
    tenant: Tenant,
    customer_sks: Collection[int],
    *,
    now: datetime,
    cuts_needed: bool = True,
    also_changed: Collection[int] = (),
) -> None:
    """Score these customers within the caller's transaction, against the stored cutoffs.

    The caller has locked the customers' rows in key order, and calls this once a transaction: that
    order is what keeps writers from waiting for each other in a circle. A tenant whose buyers were
    never cut gets a full run queued with the data that made it needed, unless the caller brought
    nothing to cut and leaves that to whoever brings the first orders.

    Their memberships in segments follow, with those of `also_changed`, whose scores stay.
    """
    if not customer_sks:
        await refresh_memberships(connection, tenant, also_changed, now=now)
        return
    clock = run_clock(tenant, tenant.as_of(now))
    await _ensure_month(connection, clock.as_of_day)
    live = await scores.score_live(
        connection, statements_for(tenant), tenant.id, clock, customer_sks
    )
    if set(also_changed) <= set(customer_sks):
        await refresh_watched(connection, tenant, customer_sks, live.segments_version, now=now)
    else:
        await refresh_memberships(connection, tenant, {*customer_sks, *also_changed}, now=now)
    if cuts_needed and not live.has_cutoffs and tenant.profile.fixed_cutoffs is None:
        await request_run(connection, tenant, RunMode.FULL, requested_by=None)


async def request_run(
    connection: Connection, tenant: Tenant, mode: RunMode, *, requested_by: str | None
) -> UUID:
    """Queue a run with the data that asks for it; the run already waiting, where one is."""
    run_id = await job.request(connection, tenant.id, mode, requested_by)
    payload: dict[str, object] = {"tenant_id": tenant.id, "run_id": str(run_id), "mode": mode}
    # Also for a run that waits already: a worker may have lost its job together with the database.
    await job.enqueue_once(connection, "score", str(run_id), payload)
    return run_id


async def request_due_runs(connection: Connection, tenant: Tenant, *, now: datetime) -> None:
    """Queue what is due and was not asked for yet: all scores once a night, else the recent."""
    last_full = await job.find_last_requested(connection, RunMode.FULL)
    if last_full is None or last_full < last_night(tenant.timezone, now):
        await request_run(connection, tenant, RunMode.FULL, requested_by="schedule")
        return
    last_recent = await job.find_last_requested(connection, RunMode.RECENT)
    if max(last_full, last_recent or last_full) < this_hour(now):
        await request_run(connection, tenant, RunMode.RECENT, requested_by="schedule")


async def score_after_import(database: Database, tenant: Tenant, *, now: datetime) -> None:
    """Score whom an import touched; everybody, where the tenant's buyers were never cut."""
    async with database.tenant_transaction(tenant.id) as connection:
        cut = await scores.has_cutoffs(connection, tenant.id)
    mode = RunMode.RECENT if cut else RunMode.FULL
    await run_scores(database, tenant, mode=mode, as_of=tenant.as_of(now), requested_by="import")


async def run_scores(
    database: Database,
    tenant: Tenant,
    *,
    mode: RunMode,
    as_of: datetime,
    requested_by: str | None = None,
    run_id: UUID | None = None,
) -> UUID:
    """Score the tenant as of `as_of` and leave a row in `job_runs`; the id of that row.

    One transaction writes everything, so a run that dies leaves the scores before it. What is kept
    of a full run for comparisons (`totals.after_full_run`) is queued with it. Raises RunInProgress
    where another run of the tenant has not finished.
    """
    async with database.tenant_transaction(tenant.id) as connection:
        if run_id is None:
            run_id = await job.add(connection, tenant.id, mode, requested_by)
        await job.start(connection, run_id, as_of)
    try:
        missed = await _run(database, tenant, mode=mode, as_of=as_of, run_id=run_id)
    except Exception as error:
        async with database.tenant_transaction(tenant.id) as connection:
            reason = str(error) if isinstance(error, DomainError) else repr(error)[:2000]
            await job.fail(connection, run_id, reason)
        raise
    await _score_missed(database, tenant, missed, as_of)
    return run_id


async def _run(
    database: Database, tenant: Tenant, *, mode: RunMode, as_of: datetime, run_id: UUID
) -> list[int]:
    statements = statements_for(tenant)
    clock = run_clock(tenant, as_of)
    async with database.tenant_transaction(tenant.id) as connection:
        if not await scores.try_lock_runs(connection, tenant.id):
            raise RunInProgress(tenant.slug)
        await job.fail_abandoned(connection, kinds=list(RunMode), but=run_id)
        await _ensure_month(connection, clock.as_of_day)
        if mode is RunMode.RECENT:
            since = await job.find_last_success_start(connection, list(RunMode))
            await scores.collect_recent(connection, tenant.id, since)
            await segment_member.touch_collected(connection, tenant.id)
        result = await scores.score_staged(
            connection,
            statements,
            tenant.id,
            clock,
            model_version=tenant.profile.version,
            everybody=mode is RunMode.FULL,
        )
        await job.succeed(connection, run_id, rows_read=result.read, rows_written=result.written)
        if mode is RunMode.FULL:
            payload: dict[str, object] = {"tenant_id": tenant.id, "as_of": as_of.isoformat()}
            await job.enqueue_once(connection, "keep_totals", str(run_id), payload)
            await request_all(connection, tenant)
    return result.missed


async def _score_missed(
    database: Database, tenant: Tenant, missed: list[int], as_of: datetime
) -> None:
    """Score the customers whose orders came in while the run was writing, on the new cutoffs."""
    clock = run_clock(tenant, as_of)
    for start in range(0, len(missed), MISSED_BATCH):
        batch = missed[start : start + MISSED_BATCH]
        async with database.tenant_transaction(tenant.id) as connection:
            await scores.lock_customers(connection, tenant.id, batch)
            live = await scores.score_live(
                connection, statements_for(tenant), tenant.id, clock, batch
            )
            await refresh_watched(connection, tenant, batch, live.segments_version, now=as_of)


async def _ensure_month(connection: Connection, day: date) -> None:
    month = day.replace(day=1)
    if month in _known_months:
        return
    made = await partition.ensure(connection, "score_history", month)
    if not made:  # a partition made in this transaction is not there before it commits
        _known_months.add(month)
