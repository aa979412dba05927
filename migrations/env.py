"""Alembic's entry: online only, over asyncpg, in one transaction that every revision shares."""

import asyncio

from alembic import context
from geoalchemy2 import alembic_helpers
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.sql.schema import SchemaItem

from app.database import asyncpg_url
from app.repositories.tables import metadata
from app.settings import Settings
from migrations.spatial import LEAKPROOF

# Two deployments that start at once must not both migrate; the second waits and finds nothing left.
MIGRATION_LOCK = 0x6270735F6D6967


def belongs_to_us(
    item: SchemaItem,
    name: str | None,
    kind: str,
    reflected: bool,
    compare_to: SchemaItem | None,
) -> bool:
    """Leave out PostGIS's own tables and the monthly partitions, which the worker makes."""
    if kind == "table" and reflected and compare_to is None:
        parent = (name or "").rsplit("_", 1)[0]
        if parent in metadata.tables and metadata.tables[parent].dialect_options["postgresql"].get(
            "partition_by"
        ):
            return False
    return bool(alembic_helpers.include_object(item, name, kind, reflected, compare_to))  # type: ignore[no-untyped-call]


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_object=belongs_to_us,
        compare_server_default=False,
    )
    with context.begin_transaction():
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
        context.run_migrations()
        connection.exec_driver_sql(LEAKPROOF)


async def run_online() -> None:
    url = context.config.get_main_option("sqlalchemy.url") or Settings().database_url
    if not url:
        raise SystemExit("Set DATABASE_URL to the database to migrate.")
    engine = create_async_engine(asyncpg_url(url))
    async with engine.connect() as connection:
        await connection.run_sync(run)
    await engine.dispose()


asyncio.run(run_online())
