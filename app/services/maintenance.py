"""What has to be done now and then so that everything else can go on."""

from datetime import date

from app.database import Connection
from app.repositories import idempotency, partition

#: Partitions exist for the present month and this many after it.
MONTHS_AHEAD = 3


async def make_partitions_ahead(connection: Connection, today: date) -> int:
    """Make the monthly partitions of the months to come; how many were missing."""
    made = 0
    for table in partition.PARTITIONED:
        for ahead in range(MONTHS_AHEAD + 1):
            months = today.year * 12 + today.month - 1 + ahead
            made += await partition.ensure(
                connection, table, date(months // 12, months % 12 + 1, 1)
            )
    return made


async def forget_old_answers(connection: Connection) -> int:
    """Drop the answers kept for idempotency keys of more than a day ago; how many."""
    return await idempotency.purge(connection)
