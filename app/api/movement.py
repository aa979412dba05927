"""Who moved between segments, and between membership tiers, from one day to another."""

from datetime import UTC, date, datetime
from typing import Annotated

from app import database as db
from app.api.dependencies import Caller, Connection, requires
from app.api.period import From, To, as_of_day, period_of
from app.api.route import router as routes
from app.api.schemas.movement import LoyaltyView, RfmMigrationView
from app.domain.access import Scope
from app.domain.period import DEFAULT_DAYS, Period
from app.domain.tenant import Tenant
from app.repositories import job, movement, population
from app.repositories.movement import Moves, Standing

router = routes("analytics", "/api/analytics")

Analyst = Annotated[Caller, requires(Scope.ANALYTICS_READ)]

_LONGEST = 1097


@router.get("/rfm/migration")
async def get_rfm_migration(
    caller: Analyst, connection: Connection, first: From = None, last: To = None
) -> RfmMigrationView:
    """How many customers moved from which RFM segment to which, between the ends of two days.

    By default the 30 days up to the last full run, whose moves that run has counted. Another pair
    of days is counted for the first who asks.
    """
    period = await _period(connection, caller.tenant, first, last)
    moves = await _moves(connection, caller.tenant, Standing.SEGMENT, period)
    return RfmMigrationView.of(moves, period, caller.tenant)


@router.get("/loyalty")
async def get_loyalty(
    caller: Analyst, connection: Connection, first: From = None, last: To = None
) -> LoyaltyView:
    """Membership tiers with their points and revenue now, and the moves between two days."""
    tenant = caller.tenant
    period = await _period(connection, tenant, first, last)
    found = await population.list_totals(connection, tenant.id, "tier")
    moves = await _moves(connection, tenant, Standing.TIER, period)
    as_of = await population.find_as_of(connection, tenant.id)
    return LoyaltyView.of(found["tier"], moves, period, tenant.currency, as_of)


async def _period(
    connection: db.Connection, tenant: Tenant, first: date | None, last: date | None
) -> Period:
    until = as_of_day(tenant)
    if last is None:
        run = await job.find_last_full(connection, tenant.id)
        last = until if run is None else min(tenant.local_day(run.as_of), until)
    return period_of(first, last, until=until, longest=_LONGEST, days=DEFAULT_DAYS + 1)


async def _moves(
    connection: db.Connection, tenant: Tenant, standing: Standing, period: Period
) -> Moves:
    """What moved; a count from before the last day ended, or was last scored in full, is old."""
    over_at = tenant.end_of(period.last)
    not_before = over_at if over_at <= tenant.as_of(datetime.now(UTC)) else _EVER
    run = await job.find_last_full(connection, tenant.id, as_of_before=over_at)
    if run is not None:
        not_before = max(not_before, run.started_at)
    return await movement.get_moves(
        connection, tenant.id, standing, period.first, period.last, not_before=not_before
    )


_EVER = datetime.min.replace(tzinfo=UTC)
