"""What the planner knows about the tables."""

from sqlalchemy.ext.asyncio import AsyncConnection


async def learn_sizes(connection: AsyncConnection) -> None:
    """Analyze tables that were small when last looked at and are not any more; else do nothing.

    Call it between the transactions of a bulk load, in one of its own.
    """
    await connection.exec_driver_sql("SELECT learn_sizes()")
