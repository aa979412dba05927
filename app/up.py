"""`bps up`: database, API and worker of one machine, started and stopped in order."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import NoReturn

import uvicorn
import uvloop

from app.database import Connection, Database
from app.domain.access import ROLES, parse_key
from app.domain.demo.options import DemoOptions
from app.domain.errors import DomainError
from app.domain.scoring_run import RunMode
from app.domain.tenant import Tenant
from app.embedded import Cluster, EmbeddedError
from app.migration import migrate
from app.repositories import customer as customers
from app.services import demo as demo_data
from app.services import scoring, tenancy

log = logging.getLogger(__name__)

DEMO_TENANT = "demo"

_STOP_SECONDS = 10
_LONGEST_RESTART_DELAY_SECONDS = 30.0
_STEADY_AFTER_SECONDS = 60  # a worker that ran this long is restarted at once
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class PortTakenError(DomainError):
    """The address to serve on is not free."""


class ServerFailedError(DomainError):
    """The API ended by itself."""


def serve(
    *,
    database_url: str | None,
    data_dir: Path,
    host: str,
    port: int,
    demo: bool,
    ready: Callable[[dict[str, str]], None],
) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP, then stop worker, API and the cluster started here.

    `ready` gets the addresses, and the demo key where there is one, once the API answers.

    Raises PortTakenError and the errors of `embedded`.
    """
    with listen(host, port) as listener, _stop_by_interrupt():
        cluster = None if database_url else Cluster(data_dir)
        try:
            url = database_url or _start(cluster)
            # The API and the worker read it as if the operator had set it.
            os.environ["DATABASE_URL"] = url
            os.environ["DATA_DIR"] = str(data_dir)
            log.info("database at revision %s", migrate(url))
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                key = None
                if demo:
                    remembered = _recall(data_dir / "demo-key")
                    key = runner.run(_prepare_demo(url, remembered))
                    if key and key != remembered:
                        _remember(data_dir / "demo-key", key)
                addresses = _addresses(host, port, key)
                runner.run(_run(listener, url, cluster, lambda: _announce(addresses, ready)))
        except KeyboardInterrupt:
            log.info("stopped before serving")
        finally:
            # From here on one more Ctrl-C must not leave the database behind.
            for each in _SIGNALS:
                signal.signal(each, signal.SIG_IGN)
            if cluster:
                cluster.stop()


def listen(host: str, port: int) -> socket.socket:
    """The socket to serve on, held from the start so that nobody else takes it meanwhile."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except socket.gaierror as error:
        raise PortTakenError(f"Cannot listen on {host}: {error.strerror}.") from error
    except OSError as error:
        raise PortTakenError(
            f"Cannot listen on {host} port {port}: {os.strerror(error.errno or 0)}; "
            "stop what uses it, or choose another with --port."
        ) from error


def _start(cluster: Cluster | None) -> str:
    assert cluster is not None
    return cluster.start(exclusive=True)


@contextmanager
def _stop_by_interrupt() -> Iterator[None]:
    """Let every signal that means stop unwind the stack, as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = {each: signal.signal(each, interrupt) for each in _SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


# -- demo -------------------------------------------------------------------------------------


async def _prepare_demo(url: str, remembered: str | None) -> str | None:
    """Fill an empty database with demo data; return a key of the demo tenant, if there is one.

    `remembered` is the key that an earlier start showed, still good unless it was revoked.
    """
    database = Database(url, pool_size=4, statement_timeout=None)
    try:
        async with database.transaction() as connection:
            known = await tenancy.list_tenants(connection)
            if not known:
                known = [await _create_demo_tenant(connection)]
        tenant = next((each for each in known if each.slug == DEMO_TENANT), None)
        if tenant is None:
            return None
        await _fill_demo_tenant(database, tenant)
        async with database.tenant_transaction(tenant.id) as connection:
            shown = parse_key(remembered) if remembered else None
            for key in await tenancy.list_keys(connection):
                if shown and key.id == shown.id and key.revoked_at is None:
                    return remembered
            created = await tenancy.create_key(
                connection, tenant, name="demo", scopes=ROLES["admin"]
            )
        return created.token
    finally:
        await database.close()


async def _create_demo_tenant(connection: Connection) -> Tenant:
    return await tenancy.create_tenant(
        connection,
        DEMO_TENANT,
        name="Kidz Jakarta",
        timezone="Asia/Jakarta",
        currency="IDR",
        profile={"preset": "retail"},
    )


async def _fill_demo_tenant(database: Database, tenant: Tenant) -> None:
    """Load and score the demo business, unless an earlier start did; a killed start did not."""
    async with database.tenant_transaction(tenant.id) as connection:
        if await customers.has_any(connection, tenant.id):
            return
    log.info("loading demo data")
    now = datetime.now(UTC)
    options = DemoOptions(as_of=tenant.local_day(now))
    await demo_data.load_demo(database, tenant.id, options)
    log.info("scoring the demo customers")
    await scoring.run_scores(database, tenant, mode=RunMode.FULL, as_of=now, requested_by="demo")
    async with database.tenant_transaction(tenant.id) as connection:
        await demo_data.plan_demo(connection, tenant)


def _recall(file: Path) -> str | None:
    try:
        return file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None


def _remember(file: Path, key: str) -> None:
    """Keep the key where only the one who started us can read it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(f"{key}\n")


# -- serving ----------------------------------------------------------------------------------


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the order of stopping is ours."""

    def capture_signals(self) -> nullcontext[None]:  # type: ignore[override]
        return nullcontext()


async def _run(
    listener: socket.socket, url: str, cluster: Cluster | None, announce: Callable[[], None]
) -> None:
    server = _Server(
        uvicorn.Config(
            "app.main:create_app",
            factory=True,
            http="httptools",
            lifespan="on",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in _SIGNALS:
        loop.add_signal_handler(each, stop.set)

    api = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not api.done():  # noqa: ASYNC110 - uvicorn offers no event
        await asyncio.sleep(0.05)
    if api.done():
        raise ServerFailedError("The API did not start; the lines above say why.")

    helpers = [asyncio.create_task(_keep_worker(url))]
    if cluster:
        helpers.append(asyncio.create_task(_keep_cluster(cluster)))
    announce()

    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([stopping, api], return_when=asyncio.FIRST_COMPLETED)
    failed = api.done()
    log.info("stopping")
    for helper in helpers:
        helper.cancel()
    await asyncio.gather(*helpers, return_exceptions=True)
    server.should_exit = True
    await api
    stopping.cancel()
    if failed:
        raise ServerFailedError("The API ended by itself; the lines above say why.")


async def _keep_worker(url: str) -> None:
    """Run the worker until cancelled; start it again, ever more patiently, when it dies."""
    loop = asyncio.get_running_loop()
    delay = 1.0
    while True:
        started = loop.time()
        code = await _run_worker(url)
        delay = 1.0 if loop.time() - started > _STEADY_AFTER_SECONDS else delay
        log.error("the worker ended with code %s; starting it again in %.0f s", code, delay)
        await asyncio.sleep(delay)
        delay = min(2 * delay, _LONGEST_RESTART_DELAY_SECONDS)


async def _run_worker(url: str) -> int:
    """Run the worker to its end; cancelled, stop it in order."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "app.cli", "worker", "--with-parent"),
        stdin=asyncio.subprocess.PIPE,  # never written: its end tells the worker that we are gone
        stdout=asyncio.subprocess.DEVNULL,
        env=os.environ | {"DATABASE_URL": url},
        start_new_session=True,  # Ctrl-C in the terminal is for us, who stop it in order
    )
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _keep_cluster(cluster: Cluster) -> None:
    """Start the private PostgreSQL again when it dies under us; the API answers 503 meanwhile."""
    while True:
        await asyncio.sleep(1)
        try:
            if await asyncio.to_thread(cluster.ensure_running):
                log.error("PostgreSQL had died and was started again")
        except EmbeddedError as error:
            log.error("PostgreSQL died and does not start again: %s", error)


# -- telling ----------------------------------------------------------------------------------


def _addresses(host: str, port: int, key: str | None) -> dict[str, str]:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - only shown
    base = f"http://{shown}:{port}"
    addresses = {"url": f"{base}/", "docs": f"{base}/docs", "ready": f"{base}/readyz"}
    return addresses | ({"demo_key": key} if key else {})


def _announce(addresses: dict[str, str], ready: Callable[[dict[str, str]], None]) -> None:
    ready(addresses)
    words = {"url": "Open", "docs": "API reference", "ready": "Ready", "demo_key": "Demo key"}
    for name, value in addresses.items():
        print(f"{words[name]:14}{value}", file=sys.stderr, flush=True)  # noqa: T201 - for the person at the terminal
