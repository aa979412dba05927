"""The monthly partitions of the tables that grow with time."""

from datetime import date

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

PARTITIONED = ("location_history", "behavior_events", "score_history", "access_log")

_ENSURE = text("SELECT ensure_partition(:parent, :month)")


async def ensure(connection: AsyncConnection, parent: str, month: date) -> bool:
    """Make the partition of `month` where it is missing; whether it was."""
    made = await connection.execute(_ENSURE, {"parent": parent, "month": month})
    return bool(made.scalar_one())
