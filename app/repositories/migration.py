"""Which revision of the schema the database is at."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_REVISION = text("SELECT version_num FROM alembic_version")
_EXISTS = text("SELECT to_regclass('alembic_version') IS NOT NULL")


async def find_revision(connection: AsyncConnection) -> str | None:
    """The revision, or None for a database that was never migrated."""
    if not await connection.scalar(_EXISTS):
        return None
    revision: str | None = await connection.scalar(_REVISION)
    return revision
