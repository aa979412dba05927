"""How long captures and events are kept, and deleting what is older, some rows at a time."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Retention:
    """Days for which captures and events are kept; None keeps them for good."""

    location_days: int | None
    event_days: int | None


_GET = text(
    "SELECT location_retention_days, event_retention_days FROM tenants WHERE id = :tenant_id"
)
_CHANGE = text("""
    UPDATE tenants
    SET location_retention_days = :location_days, event_retention_days = :event_days,
        updated_at = now()
    WHERE id = :tenant_id
""")


async def get(connection: AsyncConnection, tenant_id: int) -> Retention:
    """The tenant's settings."""
    row = (await connection.execute(_GET, {"tenant_id": tenant_id})).one()
    return Retention(row.location_retention_days, row.event_retention_days)


async def change(connection: AsyncConnection, tenant_id: int, retention: Retention) -> None:
    """Set both of the tenant's settings."""
    await connection.execute(
        _CHANGE,
        {
            "tenant_id": tenant_id,
            "location_days": retention.location_days,
            "event_days": retention.event_days,
        },
    )


# Dropping a partition waits for whoever reads the table, and lets nobody else read meanwhile.
_LOCK_TIMEOUT = text("SELECT set_config('lock_timeout', '5s', true)")
_DROP_PARTITIONS = text("SELECT drop_expired_partitions(:parent)")


async def drop_partitions(connection: AsyncConnection, parent: str) -> int:
    """Drop the months of `parent` that no tenant keeps any more; how many.

    Gives up after five seconds where somebody reads the table.
    """
    await connection.execute(_LOCK_TIMEOUT)
    return int(await connection.scalar(_DROP_PARTITIONS, {"parent": parent}) or 0)


def _delete(table: str, at: str) -> str:
    return f"""
        DELETE FROM {table} USING (
            SELECT {at} AS at, id FROM {table}
            WHERE tenant_id = :tenant_id AND {at} < :before
            ORDER BY {at}, id LIMIT :limit
        ) AS old
        WHERE {table}.tenant_id = :tenant_id AND {table}.{at} = old.at AND {table}.id = old.id
    """


#: The tables that are kept by the month, and how one is emptied of what is too old.
_DELETE = {
    "location_history": text(_delete("location_history", "captured_at")),
    "behavior_events": text(_delete("behavior_events", "occurred_at")),
}


async def delete_older(
    connection: AsyncConnection, tenant_id: int, table: str, before: datetime, *, limit: int
) -> int:
    """Delete up to `limit` rows of before the instant, the oldest first; how many there were."""
    result = await connection.execute(
        _DELETE[table], {"tenant_id": tenant_id, "before": before, "limit": limit}
    )
    return result.rowcount


_FORGET_RECEIVED = text("""
    DELETE FROM received_ids USING (
        SELECT digest FROM received_ids
        WHERE tenant_id = :tenant_id AND kind = :kind AND received_at < :before
        LIMIT :limit
    ) AS old
    WHERE received_ids.tenant_id = :tenant_id AND received_ids.kind = :kind
      AND received_ids.digest = old.digest
""")


async def forget_received(
    connection: AsyncConnection, tenant_id: int, kind: str, before: datetime, *, limit: int
) -> int:
    """Forget up to `limit` ids that were received before the instant; how many there were."""
    result = await connection.execute(
        _FORGET_RECEIVED,
        {"tenant_id": tenant_id, "kind": kind, "before": before, "limit": limit},
    )
    return result.rowcount


_CLEAR_PLACES = text("""
    WITH page AS MATERIALIZED (
        SELECT sk, last_location_captured_at AS at FROM customers
        WHERE tenant_id = :tenant_id AND sk > :after
        ORDER BY sk LIMIT :limit
    ), old AS MATERIALIZED (
        -- In key order, like every writer.
        SELECT c.sk FROM page CROSS JOIN LATERAL (
            SELECT sk FROM customers
            WHERE tenant_id = :tenant_id AND sk = page.sk AND last_location_captured_at < :before
            FOR NO KEY UPDATE
        ) AS c
        WHERE page.at < :before
    ), cleared AS (
        UPDATE customers c
        SET last_known_latitude = NULL, last_known_longitude = NULL,
            last_location_accuracy = NULL, last_location_source = NULL,
            last_location_captured_at = NULL, last_location_captured_by = NULL,
            updated_at = now()
        FROM old
        WHERE c.tenant_id = :tenant_id AND c.sk = old.sk
        RETURNING c.sk
    )
    SELECT (SELECT max(sk) FROM page) AS last, (SELECT count(*) FROM cleared) AS cleared
""")


async def clear_places(
    connection: AsyncConnection, tenant_id: int, before: datetime, *, after: int, limit: int
) -> tuple[int | None, int]:
    """Clear last known places of before the instant among the `limit` customers after a key.

    Returns the key of the last of these customers, None where there are none, and how many places
    were cleared.
    """
    row = (
        await connection.execute(
            _CLEAR_PLACES,
            {"tenant_id": tenant_id, "before": before, "after": after, "limit": limit},
        )
    ).one()
    return row.last, row.cleared
