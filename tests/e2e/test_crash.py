"""What a process loses that is killed in the middle of its work: nothing that it acknowledged."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import asyncpg
import pytest

from app.database import Database
from app.domain.demo.options import DemoOptions
from app.domain.scoring_run import RunMode
from app.embedded import Cluster
from app.services import demo, scoring
from tests.e2e.test_up import ROOT, data_dir, database_of, port, status, up
from tests.factories import make_customer, make_key, make_tenant

__all__ = ["data_dir", "port"]  # fixtures that the tests below ask for

pytestmark = pytest.mark.e2e

CUSTOMERS = 40
CONNECTIONS = 8
POSTS = 10_000


@dataclass(frozen=True, slots=True)
class Answer:
    """The status and the media type of an answer."""

    status: int
    media_type: str


@dataclass(slots=True)
class Load:
    """Orders posted over keep-alive connections, and what came back."""

    port: int
    token: str
    acknowledged: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    async def post_all(self, *, posts: int) -> None:
        """Post that many orders; a connection that breaks ends its share of them."""
        numbers = iter(range(posts))
        await asyncio.gather(*(self._post_some(numbers) for _ in range(CONNECTIONS)))

    async def _post_some(self, numbers: Iterator[int]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for number in numbers:
                order_id = f"ord-{number}"
                writer.write(self._request(order_id, number))
                answer = await _read_answer(reader)
                self.answers.append(answer)
                if answer.status < 300:
                    self.acknowledged.append(order_id)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the server was killed
        finally:
            writer.close()

    def _request(self, order_id: str, number: int) -> bytes:
        order = {
            "id": order_id,
            "customerId": f"cus-{number % CUSTOMERS}",
            "orderedAt": "2026-03-02T03:30:00Z",
            "totalAmount": f"{1 + number % 900}000.00",
        }
        body = json.dumps(order).encode()
        head = (
            f"POST /api/orders HTTP/1.1\r\nHost: bps\r\nAuthorization: Bearer {self.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


async def _read_answer(reader: asyncio.StreamReader) -> Answer:
    status_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().splitlines()
    headers = dict(line.split(": ", 1) for line in lines if line)
    await reader.readexactly(int(headers["content-length"]))
    return Answer(int(status_line.split()[1]), headers["content-type"])


@contextmanager
def cluster(data_dir: Path) -> Iterator[str]:
    """The database of `bps up`, which outlives every kill of the server."""
    with Cluster(data_dir) as url:
        yield url


@asynccontextmanager
async def till(url: str) -> AsyncIterator[str]:
    """The key of a tenant with customers who have not bought anything yet."""
    database = Database(url)
    try:
        tenant = await make_tenant(database)
        for number in range(CUSTOMERS):
            await make_customer(database, tenant, f"cus-{number}")
        yield await make_key(database, tenant)
    finally:
        await database.close()


async def assert_all_there(url: str, acknowledged: list[str]) -> None:
    """Every acknowledged order is stored, and the figures are those of the stored orders."""
    connection = await asyncpg.connect(url)
    try:
        stored = {row["id"] for row in await connection.fetch("SELECT id FROM orders")}
        assert set(acknowledged) <= stored
        wrong = await connection.fetch(
            """
            SELECT customer_sk, count(o.sk), sum(o.net_amount), a.counted_orders, a.revenue
            FROM customer_analytics a FULL JOIN orders o USING (tenant_id, customer_sk)
            GROUP BY customer_sk, a.counted_orders, a.revenue
            HAVING (count(o.sk), coalesce(sum(o.net_amount), 0))
                   IS DISTINCT FROM (a.counted_orders, a.revenue)
            """
        )
        assert wrong == []
    finally:
        await connection.close()


async def test_a_killed_server_loses_no_acknowledged_order(data_dir: Path, port: int) -> None:
    with cluster(data_dir) as url:
        with up(data_dir, port) as process:
            async with till(url) as token:
                load = Load(port, token)
                posting = asyncio.create_task(load.post_all(posts=POSTS))
                while len(load.acknowledged) < POSTS // 5:
                    assert not posting.done()
                    await asyncio.sleep(0.01)
                process.kill()
                await posting
        assert len(load.acknowledged) < POSTS
        with up(data_dir, port):
            assert status(port, "/readyz") == 200
            await assert_all_there(url, load.acknowledged)


async def test_a_killed_database_is_a_503_until_it_is_back(data_dir: Path, port: int) -> None:
    with cluster(data_dir) as url, up(data_dir, port):
        async with till(url) as token:
            load = Load(port, token)
            posting = asyncio.create_task(load.post_all(posts=POSTS))
            while len(load.acknowledged) < 200:
                assert not posting.done()
                await asyncio.sleep(0.01)
            _kill_database(data_dir)
            await _recovered(load, posting)
            posting.cancel()
            await asyncio.gather(posting, return_exceptions=True)
        refused = [answer for answer in load.answers if answer.status >= 300]
        assert refused
        assert {(answer.status, answer.media_type) for answer in refused} == {
            (503, "application/problem+json")
        }
        await assert_all_there(url, load.acknowledged)


def _kill_database(data_dir: Path) -> None:
    server = database_of(data_dir)
    assert server is not None
    processes = [server, *server.children()]
    for process in processes:
        process.kill()


async def _recovered(load: Load, posting: asyncio.Task[None]) -> None:
    """Wait until orders are refused, and then until some are taken again."""
    async with asyncio.timeout(30):
        while load.answers[-1].status < 300:
            assert not posting.done()
            await asyncio.sleep(0.01)
        taken = len(load.acknowledged)
        while len(load.acknowledged) < taken + 50:
            assert not posting.done()
            await asyncio.sleep(0.01)


async def test_a_killed_run_leaves_the_scores_before_it(
    fresh_database: Database, fresh_database_url: str
) -> None:
    tenant = await make_tenant(fresh_database)
    options = DemoOptions(
        as_of=date(2026, 3, 1),
        customers=300,
        with_items=False,
        with_engagement=False,
        with_places=False,
        with_events=False,
    )
    await demo.load_demo(fresh_database, tenant.id, options)
    await scoring.run_scores(
        fresh_database, tenant, mode=RunMode.FULL, as_of=datetime(2026, 3, 2, tzinfo=UTC)
    )
    watcher = await asyncpg.connect(fresh_database_url)
    holder = await asyncpg.connect(fresh_database_url)
    try:
        before = await _scores(watcher)
        # Rows are written in key order: held up at the last that changes, a run has written the
        # others.
        held = holder.transaction()
        await held.start()
        await holder.execute(
            """
            SELECT FROM customer_analytics WHERE counted_orders > 0
            ORDER BY customer_sk DESC LIMIT 1 FOR UPDATE
            """
        )
        with _scoring(fresh_database_url) as process:
            backend = await _waiting_backend(watcher)
            process.kill()
        await held.rollback()
        await _gone(watcher, backend)
        assert await _scores(watcher) == before

        with _scoring(fresh_database_url) as process:
            assert process.wait(timeout=30) == 0
        assert await _scores(watcher) != before
        runs = await watcher.fetch("SELECT status FROM job_runs ORDER BY requested_at")
        assert [run["status"] for run in runs] == ["succeeded", "failed", "succeeded"]
    finally:
        await holder.close()
        await watcher.close()


@contextmanager
def _scoring(url: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "app.cli", "score", "--tenant", "kidz"]
    with subprocess.Popen(
        [*command, "--as-of", "2026-03-09"],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": url},
        stdout=subprocess.DEVNULL,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def _scores(connection: asyncpg.Connection) -> list[asyncpg.Record]:
    rows: list[asyncpg.Record] = await connection.fetch(
        "SELECT * FROM customer_analytics ORDER BY customer_sk"
    )
    return rows


async def _waiting_backend(connection: asyncpg.Connection) -> int:
    """The backend that waits for a row while it writes scores."""
    async with asyncio.timeout(30):
        while True:
            pid = await connection.fetchval(
                """
                SELECT pid FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'
                """
            )
            if pid is not None:
                return int(pid)
            await asyncio.sleep(0.05)


async def _gone(connection: asyncpg.Connection, pid: int) -> None:
    """Wait until the backend has noticed that nobody is there to tell its result to."""
    running = "SELECT true FROM pg_stat_activity WHERE pid = $1"
    async with asyncio.timeout(30):
        while await connection.fetchval(running, pid):  # noqa: ASYNC110 - the server offers no event
            await asyncio.sleep(0.05)
