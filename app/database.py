"""The engine and the transaction: one connection, one tenant, nothing else.

Every connection acts as `bps_app`, a role that owns nothing and cannot bypass row-level security,
whatever login the URL names. Whoever takes a connection from the pool first says whose rows it
sees: a transaction begins with nobody's, a read begins with the statement that finds out.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import asyncpg
from sqlalchemy import URL, ClauseElement, make_url, text
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.sql.compiler import SQLCompiler

#: What services and routes hold: they pass it on to repositories and never write SQL on it.
Connection = AsyncConnection

SERVICE_ROLE = "bps_app"

T = TypeVar("T")

# A read may have left its tenant on the connection.
_BEGIN = "BEGIN; SELECT set_config('app.tenant_id', '{tenant}', true)"

_OPEN_TENANT = "SELECT set_config('app.tenant_id', $1, false)"
_SET_TENANT = text("SELECT set_config('app.tenant_id', :tenant, true)")


def asyncpg_url(url: str) -> URL:
    """The SQLAlchemy URL of a libpq-style `postgresql://` address, always with asyncpg."""
    return make_url(url).set(drivername="postgresql+asyncpg")


class DatabaseUnavailableError(Exception):
    """PostgreSQL cannot be reached, is full or is going down; the same request may succeed soon."""


class StatementTimeoutError(Exception):
    """A statement ran longer than the service allows."""


class Database:
    """The pool of one process.

    `transaction()` is committed when its block ends and rolled back when it raises;
    `tenant_transaction()` is the same with the tenant set.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 8,
        pool_timeout: float = 5.0,
        statement_timeout: float | None = 30.0,
        application_name: str = "bps",
    ) -> None:
        server_settings = {
            "role": SERVICE_ROLE,
            "application_name": application_name,
            "TimeZone": "UTC",
            # Compiling a plan costs more than running it for every statement of this service.
            "jit": "off",
            # Statements come by the million and look rows up by key: they are planned once. A plan
            # made while a table was empty must not be one that reads the whole of it.
            "plan_cache_mode": "force_generic_plan",
            "enable_seqscan": "off",
        }
        if statement_timeout is not None:
            server_settings["statement_timeout"] = str(int(statement_timeout * 1000))
        self._pool_timeout = pool_timeout
        self._slots = asyncio.Semaphore(pool_size)
        # SQLAlchemy's own pool is made for threads and wraps each loan in new objects, which takes
        # longer than the statement of a small request. The one used last goes out first.
        self._idle: list[Connection] = []
        self._in_use = 0
        self.engine: AsyncEngine = create_async_engine(
            asyncpg_url(url),
            poolclass=NullPool,
            # `transaction()` begins and commits by itself.
            isolation_level="AUTOCOMMIT",
            connect_args={
                "server_settings": server_settings,
                "timeout": pool_timeout,
                "prepared_statement_cache_size": 500,
            },
        )

    @asynccontextmanager
    async def transaction(self, tenant_id: int | None = None) -> AsyncIterator[AsyncConnection]:
        """One transaction that sees the rows of `tenant_id`, or no tenant's.

        Raises DatabaseUnavailableError and StatementTimeoutError in place of the driver's own.
        """
        connection, driver = await self._begin(tenant_id)
        try:
            yield connection
            # A transaction in which a statement failed cannot be committed, whoever caught it.
            if await driver.execute("COMMIT") != "COMMIT":
                raise RuntimeError("the transaction had failed before it was to be committed")
        except (DBAPIError, *_DRIVER_ERRORS) as error:
            raise _plain(error) from error
        finally:
            await self._give_back(connection, driver)

    @asynccontextmanager
    async def reading(
        self, opening: str, *arguments: object
    ) -> AsyncIterator[tuple[Connection, asyncpg.Record | None]]:
        """A connection for a request that only reads, and the first row of `opening`.

        Each statement is a transaction of its own, which saves a request the way to the server and
        back for BEGIN and for COMMIT. `opening` has to set the session's tenant, or to clear it.
        """
        connection, driver, row = await self._open(
            lambda driver: driver.fetchrow(opening, *arguments)
        )
        try:
            yield connection, row
        except (DBAPIError, *_DRIVER_ERRORS) as error:
            raise _plain(error) from error
        finally:
            await self._give_back(connection, driver)

    @asynccontextmanager
    async def tenant_statements(self, tenant_id: int) -> AsyncIterator[Connection]:
        """A connection that sees and writes the rows of `tenant_id`, each statement by itself.

        For work of one or two statements, which spares it BEGIN and COMMIT as `reading` does.
        """
        async with self.reading(_OPEN_TENANT, str(int(tenant_id))) as (connection, _):
            yield connection

    async def rows(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """The rows of one statement that says itself whose rows it sees, until its own end."""
        rows: list[asyncpg.Record]
        connection, driver, rows = await self._open(
            lambda driver: driver.fetch(statement, *arguments)
        )
        await self._give_back(connection, driver)
        return rows

    async def _begin(self, tenant_id: int | None = None) -> tuple[Connection, asyncpg.Connection]:
        begin = _BEGIN.format(tenant="" if tenant_id is None else int(tenant_id))
        connection, driver, _ = await self._open(lambda driver: driver.execute(begin))
        return connection, driver

    async def _open(
        self, first: Callable[[asyncpg.Connection], Awaitable[T]]
    ) -> tuple[Connection, asyncpg.Connection, T]:
        """A connection, the driver beneath it, and what its first statement returned.

        A pooled connection may have died since its last use; nothing was done on it yet, so
        another one can take its place.
        """
        while True:
            connection = await self._connect()
            driver = driver_of(connection)
            try:
                result = await first(driver)
            except _DRIVER_ERRORS as error:
                driver.terminate()
                await self._give_back(connection, driver)
                if _sqlstate(error) not in _DEAD_CONNECTION:
                    raise _plain(error) from error
            except BaseException:
                await self._give_back(connection, driver)
                raise
            else:
                return connection, driver, result

    async def _connect(self) -> Connection:
        try:
            if self._slots.locked():
                await asyncio.wait_for(self._slots.acquire(), self._pool_timeout)
            else:
                await self._slots.acquire()
        except TimeoutError as error:
            raise DatabaseUnavailableError("Every connection is busy.") from error
        self._in_use += 1
        if self._idle:
            return self._idle.pop()
        try:
            return await self.engine.connect()
        except BaseException as error:
            self._release()
            if isinstance(error, (OSError, TimeoutError, DBAPIError, *_DRIVER_ERRORS)):
                raise DatabaseUnavailableError("The database cannot be reached.") from error
            raise

    async def _give_back(self, connection: Connection, driver: asyncpg.Connection) -> None:
        """Take a connection back without a transaction, or not at all."""
        try:
            if not driver.is_closed() and driver.is_in_transaction():
                try:
                    await driver.execute("ROLLBACK")
                except _DRIVER_ERRORS:
                    driver.terminate()
            if driver.is_closed():
                await connection.invalidate()
                await connection.close()
                return
            if connection.in_transaction():  # as far as SQLAlchemy knows; the server knows of none
                await connection.rollback()
            self._idle.append(connection)
        finally:
            self._release()

    def _release(self) -> None:
        self._in_use -= 1
        self._slots.release()

    @asynccontextmanager
    async def session(self) -> AsyncIterator["Session"]:
        """One connection for several transactions, for what they hand on in temporary tables."""
        connection, driver = await self._begin()
        try:
            await driver.execute("COMMIT")
            yield Session(connection, driver)
        except (DBAPIError, *_DRIVER_ERRORS) as error:
            raise _plain(error) from error
        finally:
            await self._give_back(connection, driver)

    @asynccontextmanager
    async def tenant_transaction(self, tenant_id: int) -> AsyncIterator[AsyncConnection]:
        """One transaction that sees and writes the rows of `tenant_id` only."""
        async with self.transaction(tenant_id) as connection:
            yield connection

    def connections_in_use(self) -> int:
        """How many connections of the pool are with a request or a job right now."""
        return self._in_use

    async def close(self) -> None:
        """Close every pooled connection."""
        while self._idle:
            await self._idle.pop().close()
        await self.engine.dispose()


class Session:
    """A connection that keeps its temporary tables from one transaction to the next."""

    def __init__(self, connection: Connection, driver: asyncpg.Connection) -> None:
        self._connection = connection
        self._driver = driver

    @asynccontextmanager
    async def tenant_transaction(self, tenant_id: int) -> AsyncIterator[Connection]:
        """One transaction that sees and writes the rows of `tenant_id` only."""
        async with self._driver.transaction():
            await set_tenant(self._connection, tenant_id)
            yield self._connection


async def set_tenant(connection: AsyncConnection, tenant_id: int) -> None:
    """Make the rows of `tenant_id` the only ones the rest of this transaction sees."""
    await connection.execute(_SET_TENANT, {"tenant": str(tenant_id)})


def driver_of(connection: Connection) -> asyncpg.Connection:
    """The asyncpg connection beneath, for BEGIN, COMMIT and COPY."""
    sync_connection = connection.sync_connection
    assert sync_connection is not None
    return sync_connection.connection.driver_connection


async def fetch_row(
    connection: Connection, statement: str, *arguments: object
) -> asyncpg.Record | None:
    """The first row of `statement`, with `$1`… for arguments, straight from the driver.

    For the few statements of every request: the way through SQLAlchemy costs eight times as much.
    """
    return await driver_of(connection).fetchrow(statement, *arguments)


async def fetch_rows(
    connection: Connection, statement: str, *arguments: object
) -> list[asyncpg.Record]:
    """All rows of `statement`, as `fetch_row` has the first."""
    rows: list[asyncpg.Record] = await driver_of(connection).fetch(statement, *arguments)
    return rows


def driver_sql(statement: ClauseElement) -> str:
    """`statement` for `fetch_row`: its parameters become `$1`… in the order of the text.

    To be called once, when a module is imported: building a statement takes longer than running it.
    """
    return str(statement.compile(dialect=asyncpg_dialect.dialect()))  # type: ignore[no-untyped-call]


def positional(statement: ClauseElement) -> tuple[str, list[str]]:
    """`statement` as `driver_sql` has it, and its parameters in the order of their numbers.

    For a long statement that is built once and run often: `exec_driver_sql` does not look at each
    of its parameters again.
    """
    compiled = statement.compile(dialect=asyncpg_dialect.dialect())  # type: ignore[no-untyped-call]
    assert isinstance(compiled, SQLCompiler)
    return str(compiled), list(compiled.positiontup or ())


# The last but one is what the driver raises on a connection that the server shut down while idle.
_DRIVER_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    ConnectionError,
)

# SQLSTATE classes of a server that is away or overloaded: connection exception, transaction
# rollback (deadlock, serialization), insufficient resources, operator intervention.
_PASSING_TROUBLE = ("08", "40", "53", "57", "55P03")
_QUERY_CANCELED = "57014"

# What a connection answers that the server has closed: shutdown, crash, nothing at all.
_DEAD_CONNECTION = ("57P01", "57P02", "57P05", "08003", "08006", "")


def _sqlstate(error: BaseException) -> str:
    return getattr(getattr(error, "orig", error), "sqlstate", None) or ""


def _plain(error: Exception) -> Exception:
    """What a failure of the driver means to a caller; the failure itself where it is a bug."""
    state = _sqlstate(error)
    if state == _QUERY_CANCELED:
        return StatementTimeoutError("The database took too long; the request was given up.")
    lost = getattr(error, "connection_invalidated", False) or isinstance(
        error, (asyncpg.InterfaceError, asyncpg.InternalClientError, ConnectionError)
    )
    if lost or state.startswith(_PASSING_TROUBLE):
        return DatabaseUnavailableError("The database dropped the request; send it again.")
    return error
