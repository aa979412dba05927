"""The ground that measurements stand on: a durable cluster, and a made-up business in a database.

fsync is on for both sides of every ratio. Autovacuum is off, because a round that it happens to hit
says nothing; `settle` does its work between rounds instead.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import asyncpg
from sqlalchemy import make_url

from app.database import Database
from app.domain.access import ROLES
from app.domain.demo.options import DemoOptions
from app.domain.tenant import Tenant
from app.migration import migrate
from app.services import demo, tenancy
from tests.bench.ratio import say, seconds_of

SLUG = "bench"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured: the issue's sizes unless an option says otherwise."""

    customers: int
    many_customers: int
    orders: int
    streamed_orders: int
    pandas_rows: int
    updated_rows: int
    face_photos: int
    load_seconds: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Business:
    """One tenant with customers and orders in a database of its own."""

    url: str
    database: Database
    owner: asyncpg.Connection
    tenant: Tenant
    token: str
    options: DemoOptions

    def day(self, number: int) -> datetime:
        """Midnight, on the tenant's clock, `number` days after its last order could be."""
        midnight = datetime.combine(
            self.options.as_of + timedelta(days=number), datetime.min.time()
        )
        return midnight.replace(tzinfo=ZoneInfo(self.tenant.timezone)).astimezone(UTC)

    async def settle(self) -> None:
        """Give both sides the same start: no dead rows, fresh statistics, nothing to write."""
        await self.owner.execute("VACUUM ANALYZE")
        await self.owner.execute("CHECKPOINT")


async def forbid_autovacuum(cluster_url: str) -> None:
    """Leave vacuuming to `Business.settle`."""
    await _on_cluster(cluster_url, "ALTER SYSTEM SET autovacuum = off", "SELECT pg_reload_conf()")


@asynccontextmanager
async def business(cluster_url: str, name: str, customers: int) -> AsyncIterator[Business]:
    """A tenant with so many customers, ten orders each, in a database that goes afterwards."""
    await _on_cluster(cluster_url, f"CREATE DATABASE {name}")
    url = make_url(cluster_url).set(database=name).render_as_string(hide_password=False)
    await asyncio.to_thread(migrate, url)
    database = Database(url, pool_size=4, statement_timeout=None)
    owner = await asyncpg.connect(url)
    try:
        async with database.transaction() as connection:
            tenant = await tenancy.create_tenant(
                connection,
                SLUG,
                name="Kidz Jakarta",
                timezone="Asia/Jakarta",
                currency="IDR",
                profile={"preset": "retail"},
            )
            key = await tenancy.create_key(connection, tenant, name="bench", scopes=ROLES["admin"])
        options = DemoOptions(
            as_of=tenant.local_day(datetime.now(UTC)),
            customers=customers,
            with_items=False,
            with_engagement=False,
            with_places=False,
            with_events=False,
        )
        taken = await seconds_of(demo.load_demo(database, tenant.id, options))
        # The worker makes partitions ahead; without one a process makes each month's but once.
        for month in (options.as_of, options.as_of + timedelta(days=31)):
            await owner.execute("SELECT ensure_partition('score_history', $1)", month)
        say(f"  {customers:,} customers with their orders loaded in {taken:.1f} s")
        yield Business(url, database, owner, tenant, key.token, options)
    finally:
        await owner.close()
        await database.close()
        await _on_cluster(cluster_url, f"DROP DATABASE {name} WITH (FORCE)")


async def _on_cluster(cluster_url: str, *statements: str) -> None:
    connection = await asyncpg.connect(cluster_url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
