"""The fixtures: a real PostgreSQL, a database cloned per worker, a rollback per test.

The server is `DATABASE_URL`'s if that is set, else a throw-away cluster of our own.
"""

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import IO

import asyncpg
import httpx
import pytest
from alembic import command
from alembic.config import Config
from fastapi import FastAPI
from sqlalchemy import URL, make_url, text

import migrations
from app.database import Connection, Database, fetch_row, fetch_rows
from app.domain.tenant import Tenant
from app.embedded import Cluster
from app.main import create_app
from app.settings import Settings
from tests.factories import make_key, make_tenant

ROOT = Path(migrations.__file__).parent.parent


class _EndOfTest(Exception):
    """Rolls back what a test has done."""


class RolledBackDatabase(Database):
    """A database whose transactions are savepoints of one connection that is rolled back.

    Transactions of the code under test take turns on it, so what depends on two of them at the
    same time is tested against `fresh_database` instead.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def transaction(self, tenant_id: int | None = None) -> AsyncIterator[Connection]:
        async with self._turn, self.connection.begin_nested():
            # What is local to a transaction outlives a savepoint that is kept.
            await self.connection.execute(
                text("SELECT set_config('app.tenant_id', :tenant, true)"),
                {"tenant": "" if tenant_id is None else str(tenant_id)},
            )
            yield self.connection

    @asynccontextmanager
    async def reading(
        self, opening: str, *arguments: object
    ) -> AsyncIterator[tuple[Connection, asyncpg.Record | None]]:
        async with self.transaction() as connection:
            yield connection, await fetch_row(connection, opening, *arguments)

    async def rows(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        async with self.transaction() as connection:
            return await fetch_rows(connection, statement, *arguments)

    async def close(self) -> None:
        """The fixture closes the connection."""


@contextmanager
def _locked(file: Path, kind: int = fcntl.LOCK_EX) -> Iterator[IO[str]]:
    with file.open("w") as lock:
        fcntl.flock(lock, kind)
        yield lock


def _run(server: URL, *statements: str) -> None:
    """Run statements that cannot run in a transaction, such as CREATE DATABASE."""

    async def execute() -> None:
        connection = await asyncpg.connect(server.render_as_string(hide_password=False))
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    # The session's event loop may be running in this thread.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, execute()).result()


@contextmanager
def _cloned(server: URL, template: str, name: str, run_directory: Path) -> Iterator[str]:
    with _locked(run_directory / "template.lock"):  # it must not be in use while it is copied
        _run(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    yield server.set(database=name).render_as_string(hide_password=False)
    _run(server, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def run_directory(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A directory that the workers of this test run share."""
    own = tmp_path_factory.getbasetemp()
    return own if worker_id == "master" else own.parent


@pytest.fixture(scope="session")
def run_name(testrun_uid: str) -> str:
    """A name that the workers of this test run share and no other run has."""
    return f"bps_test_{testrun_uid[:12]}"


@pytest.fixture(scope="session")
def server(run_name: str) -> Iterator[URL]:
    """A PostgreSQL server to create databases in, the same for all workers."""
    given = os.environ.get("DATABASE_URL")
    if given:
        yield make_url(given).set(drivername="postgresql")
        return
    directory = Path(tempfile.gettempdir()) / run_name
    directory.mkdir(mode=0o711, exist_ok=True)
    with Cluster(directory, durable=False) as url:
        yield make_url(url)
    if not (directory / "postgres" / "postmaster.pid").exists():  # the last worker out
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def template(server: URL, run_name: str, run_directory: Path) -> Iterator[str]:
    """The name of a migrated, empty database: the first worker makes it, the last one drops it."""
    name = f"{run_name}_template"
    made = run_directory / "template.made"
    making = run_directory / "template.lock"
    with _locked(run_directory / "template.users", fcntl.LOCK_SH) as users:
        with _locked(making):
            if not made.exists():
                _run(server, f'CREATE DATABASE "{name}"')
                config = Config(str(ROOT / "alembic.ini"))
                url = server.set(database=name).render_as_string(hide_password=False)
                config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
                with ThreadPoolExecutor(1) as pool:
                    pool.submit(command.upgrade, config, "head").result()
                made.touch()
        yield name
        with _locked(making), suppress(BlockingIOError):
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            made.unlink()
            _run(server, f'DROP DATABASE "{name}"')


@pytest.fixture(scope="session")
def database_url(
    server: URL, template: str, run_name: str, worker_id: str, run_directory: Path
) -> Iterator[str]:
    """The migrated database of this worker. What a test commits here, it must not leave behind."""
    with _cloned(server, template, f"{run_name}_{worker_id}", run_directory) as url:
        yield url


@pytest.fixture
def fresh_database_url(
    server: URL, template: str, run_name: str, worker_id: str, run_directory: Path
) -> Iterator[str]:
    """A migrated database for one test that commits."""
    with _cloned(server, template, f"{run_name}_{worker_id}_fresh", run_directory) as url:
        yield url


@pytest.fixture
async def fresh_database(fresh_database_url: str) -> AsyncIterator[Database]:
    """A pool on `fresh_database_url`, for tests of transactions that meet each other."""
    database = Database(fresh_database_url)
    yield database
    await database.close()


@pytest.fixture(scope="session")
async def pool(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, pool_size=2)
    yield database
    await database.close()


@pytest.fixture
async def database(pool: Database) -> AsyncIterator[Database]:
    """The database of one test, as empty as the migrations left it."""
    with suppress(_EndOfTest):
        async with pool.transaction() as connection:
            yield RolledBackDatabase(connection)
            raise _EndOfTest


@pytest.fixture(autouse=True)
def forgotten_months(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process remembers the partitions of its database; here databases and partitions vanish."""
    monkeypatch.setattr("app.services.scoring._known_months", set())


@pytest.fixture
async def tenant(database: Database) -> Tenant:
    """A retail tenant in Jakarta that counts in rupiah."""
    return await make_tenant(database)


@pytest.fixture
async def connection(database: Database, tenant: Tenant) -> AsyncIterator[Connection]:
    """A transaction of `tenant`. Not together with `client`: both would wait for their turn."""
    async with database.tenant_transaction(tenant.id) as connection:
        yield connection


@pytest.fixture
def app(database: Database) -> FastAPI:
    """The whole service over the database of this test."""
    app = create_app(Settings(_env_file=None))
    app.state.database = database
    return app


@pytest.fixture
async def anonymous(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.fixture
async def client(
    app: FastAPI, database: Database, tenant: Tenant
) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a key of `tenant` that has every scope."""
    token = await make_key(database, tenant)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport,
        base_url="http://test",
        headers={"Authorization": f"Bearer {token}"},
    ) as client:
        yield client
