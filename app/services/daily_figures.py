"""Adding up what each day came to: each night the days that are missing, any day when asked."""

from datetime import UTC, date, datetime, timedelta

from app.database import Connection, Database
from app.domain.period import Period
from app.domain.tenant import Tenant
from app.repositories import job, performance, population

#: A night that was missed is made up for as long as this.
MADE_UP_DAYS = 30


async def keep_missing_days(database: Database, tenant: Tenant) -> int:
    """Add up the days up to yesterday that were not yet; how many. A transaction for each.

    Days of a closed log end with the day it was closed on.
    """
    yesterday = tenant.local_day(tenant.as_of(datetime.now(UTC))) - timedelta(days=1)
    period = Period(yesterday - timedelta(days=MADE_UP_DAYS - 1), yesterday)
    async with database.tenant_transaction(tenant.id) as connection:
        kept = await performance.list_kept(connection, tenant.id, period.first, period.last)
    missing = [day for day in period if day not in kept]
    await _keep(database, tenant, missing)
    return len(missing)


async def keep_days(database: Database, tenant: Tenant, period: Period) -> None:
    """Add up every day of a period anew, a transaction for each."""
    await _keep(database, tenant, list(period))


async def request_days(connection: Connection, tenant: Tenant, period: Period) -> None:
    """Have the days of a period added up anew soon."""
    payload: dict[str, object] = {
        "tenant_id": tenant.id,
        "first": period.first.isoformat(),
        "last": period.last.isoformat(),
    }
    await job.enqueue_once(
        connection, "keep_days", f"keep_days-{tenant.id}-{period.first}-{period.last}", payload
    )


async def _keep(database: Database, tenant: Tenant, days: list[date]) -> None:
    for day in days:
        async with database.tenant_transaction(tenant.id) as connection:
            await population.read_everybody(connection)
            await performance.keep_day(connection, tenant, day)
