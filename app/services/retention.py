"""Deleting captures and events that are past what their tenants keep.

Whole months go by dropping their partitions, once no tenant keeps them; of a month that another
tenant still keeps, rows are deleted. Each step is a transaction of its own, so that a run may be
killed at any time, and goes on with what is left the next time.
"""

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from app.database import Connection, Database, DatabaseUnavailableError
from app.domain.order import MAX_AHEAD
from app.domain.tenant import Tenant
from app.repositories import retention
from app.repositories.retention import Retention

log = logging.getLogger(__name__)

#: So many rows are deleted in one transaction.
STEP_ROWS = 5_000

_KINDS = {"location_history": "capture", "behavior_events": "event"}


async def change_retention(connection: Connection, tenant: Tenant, wanted: Retention) -> Retention:
    """Keep captures and events for so long from now on; what is older is not told of any more."""
    await retention.change(connection, tenant.id, wanted)
    return await retention.get(connection, tenant.id)


async def drop_expired_months(database: Database) -> int:
    """Drop the months that no tenant keeps; how many. Those in use wait for the next time."""
    dropped = 0
    for parent in _KINDS:
        try:
            async with database.transaction() as connection:
                dropped += await retention.drop_partitions(connection, parent)
        except DatabaseUnavailableError as error:
            log.warning("old months of %s are in use (%s)", parent, error)
    return dropped


async def delete_expired(database: Database, tenant: Tenant, *, now: datetime) -> int:
    """Delete what the tenant does not keep any longer, and clear such last known places; how many.

    Ids are forgotten once nothing can be kept that was received under them.
    """
    async with database.tenant_transaction(tenant.id) as connection:
        kept = await retention.get(connection, tenant.id)
    days = {"location_history": kept.location_days, "behavior_events": kept.event_days}
    deleted = 0
    for table, kept_days in days.items():
        if kept_days is None:
            continue
        before = now - timedelta(days=kept_days)
        deleted += await _in_steps(database, tenant, _deletion(tenant, table, before))
        # A clock ahead of ours stated a time later than that of its receipt.
        received_before = before - MAX_AHEAD
        await _in_steps(database, tenant, _forgetting(tenant, _KINDS[table], received_before))
    if kept.location_days is not None:
        before = now - timedelta(days=kept.location_days)
        deleted += await _clear_places(database, tenant, before)
    return deleted


_Step = Callable[[Connection], Awaitable[int]]


def _deletion(tenant: Tenant, table: str, before: datetime) -> _Step:
    async def delete(connection: Connection) -> int:
        return await retention.delete_older(connection, tenant.id, table, before, limit=STEP_ROWS)

    return delete


def _forgetting(tenant: Tenant, kind: str, before: datetime) -> _Step:
    async def forget(connection: Connection) -> int:
        return await retention.forget_received(connection, tenant.id, kind, before, limit=STEP_ROWS)

    return forget


async def _in_steps(database: Database, tenant: Tenant, step: _Step) -> int:
    """Repeat a step, each in its own transaction, until it leaves nothing to do."""
    total = 0
    while True:
        async with database.tenant_transaction(tenant.id) as connection:
            done = await step(connection)
        total += done
        if done < STEP_ROWS:
            return total


async def _clear_places(database: Database, tenant: Tenant, before: datetime) -> int:
    cleared = 0
    last: int | None = 0
    while last is not None:
        async with database.tenant_transaction(tenant.id) as connection:
            last, some = await retention.clear_places(
                connection, tenant.id, before, after=last, limit=STEP_ROWS
            )
        cleared += some
    return cleared
