"""What is kept of the totals for later: after each full run, and each minute."""

from datetime import datetime, timedelta

from app.database import Connection
from app.domain.period import DEFAULT_DAYS
from app.domain.tenant import Tenant
from app.repositories import cohort, influence, movement, population, satisfaction, tile

#: Kept totals and counted moves are dropped after two years and a bit.
KEPT_DAYS = 800


async def after_full_run(connection: Connection, tenant: Tenant, as_of: datetime) -> None:
    """Keep what a full run as of `as_of` made of everybody; in a transaction of its own.

    Answers find their segments, the totals of the day are kept for comparisons, large referral
    networks and monthly cohorts are added up, and the moves of the last days are counted, so that
    nobody has to wait for that. The run is over by then: its transaction keeps orders waiting, this
    one does not.
    """
    day = tenant.local_day(as_of)
    await population.read_everybody(connection)
    await satisfaction.place_answers(connection, tenant.id)
    await population.keep_totals(connection, tenant.id, day)
    await influence.keep_networks(connection, tenant.id)
    await cohort.keep_months(connection, tenant.id)
    await movement.count_moves(connection, tenant.id, day - timedelta(days=DEFAULT_DAYS), day)


async def compact(connection: Connection, tenant: Tenant) -> None:
    """Add up what was appended to the totals since the last time."""
    await population.compact(connection, tenant.id)
    await tile.compact(connection, tenant.id)


async def forget_old(connection: Connection, tenant: Tenant, *, now: datetime) -> int:
    """Drop what was kept longer ago than `KEPT_DAYS`; how many rows.

    The totals of a closed log are as old as its last day says, not as the calendar does.
    """
    age = timedelta(days=KEPT_DAYS)
    before = tenant.local_day(tenant.as_of(now)) - age
    kept = await population.forget_kept_totals(connection, tenant.id, before)
    return kept + await movement.forget_moves(connection, tenant.id, now - age)
