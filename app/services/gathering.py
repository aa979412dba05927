"""Gathering what concurrent requests ask for into one piece of work.

A commit waits for the disk, and a round trip for the network, however little it carries. So the
first to come is served at once, and those who come meanwhile wait in line and are served together
next. Nobody is answered before the work that holds his part is done: for a write, committed.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from app.database import (
    Connection,
    Database,
    DatabaseUnavailableError,
    StatementTimeoutError,
)
from app.domain.tenant import Tenant

log = logging.getLogger(__name__)

#: So many are served together at most, which bounds a statement and its locks.
MOST_TOGETHER = 500
#: So many writes share a commit at most. Were all who send at the same time to share one, the
#: process would have nothing to do until they are written, and then the database until they are
#: answered.
MOST_A_COMMIT = 20
#: One piece of work is put into words while the database is busy with the others.
AT_ONCE = 3
#: For so few another piece is not worth its commit, while there is one under way.
WORTH_ANOTHER = 4
#: So many wait in one line at most: more than the database takes in while a client is patient.
MOST_WAITING = 5_000

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class LineFull(DatabaseUnavailableError):
    """More is waiting to be written than the database takes in; later there may be room."""

    def __init__(self) -> None:
        super().__init__("Too much is waiting for the database; send the request again soon.")


class Line(Generic[Item, Outcome]):
    """Those who wait for the same work, in the order they came.

    At most `at_once` pieces of work are under way. While there is one, another begins when enough
    wait to be worth it.

    `work` gets some items and answers with an outcome for each, in their order. Where it fails for
    many, each is tried alone, so that a bad one fails by itself; unless it is the database that is
    away or slow, which is told to all of them.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Awaitable[Sequence[Outcome]]],
        *,
        at_once: int = 1,
        most_together: int = MOST_TOGETHER,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._work = work
        self._at_once = at_once
        self._most_together = most_together
        self._most_waiting = most_waiting
        self._waiting: deque[tuple[Item, asyncio.Future[Outcome]]] = deque()
        self._serving: set[asyncio.Task[None]] = set()

    async def join(self, item: Item) -> Outcome:
        """Wait for the outcome of `item`, and no longer than the caller does.

        Whoever is cancelled while waiting is not served; what has begun is finished. Raises
        LineFull and whatever the work raises.
        """
        if len(self._waiting) >= self._most_waiting:
            raise LineFull
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, outcome))
        if not self._serving or (len(self._serving) < self._at_once and self._is_worth_another()):
            self._serving.add(asyncio.create_task(self._serve()))
        return await outcome

    async def drain(self) -> None:
        """Wait until everybody has been served."""
        while self._serving:
            await asyncio.wait(self._serving)

    def _is_worth_another(self) -> bool:
        return len(self._waiting) >= WORTH_ANOTHER

    async def _serve(self) -> None:
        this = asyncio.current_task()
        assert this is not None
        try:
            while self._waiting and (len(self._serving) == 1 or self._is_worth_another()):
                # Whoever is ready to join already does so first.
                await asyncio.sleep(0)
                await self._serve_together(self._next())
        except BaseException:
            # Only a loop that is going down ends this task early.
            while self._waiting:
                self._waiting.popleft()[1].cancel()
            raise
        finally:
            self._serving.discard(this)

    def _next(self) -> list[tuple[Item, asyncio.Future[Outcome]]]:
        served: list[tuple[Item, asyncio.Future[Outcome]]] = []
        while self._waiting and len(served) < self._most_together:
            item, outcome = self._waiting.popleft()
            if not outcome.done():
                served.append((item, outcome))
        return served

    async def _serve_together(self, served: list[tuple[Item, asyncio.Future[Outcome]]]) -> None:
        if not served:
            return
        try:
            outcomes = await self._work([item for item, _ in served])
        except (DatabaseUnavailableError, StatementTimeoutError) as error:
            for _, outcome in served:
                _fail(outcome, error)
        except Exception as error:
            if len(served) == 1:
                _fail(served[0][1], error)
                return
            log.exception("%d requests could not be served together; each is tried", len(served))
            for each in served:
                await self._serve_together([each])
        except asyncio.CancelledError:
            for _, outcome in served:
                outcome.cancel()
            raise
        else:
            for (_, outcome), result in zip(served, outcomes, strict=True):
                if not outcome.done():
                    outcome.set_result(result)


def _fail(outcome: asyncio.Future[Outcome], error: Exception) -> None:
    if not outcome.done():
        outcome.set_exception(error)


class Gathering(Generic[Item, Outcome]):
    """Single writes of many requests of a tenant, gathered into few commits.

    `write` writes items in the transaction given and says what became of each, in their order; an
    item that is refused has that for its outcome. Every outcome is handed out after the commit.
    """

    def __init__(
        self,
        write: Callable[[Connection, Tenant, Sequence[Item]], Awaitable[Sequence[Outcome]]],
        *,
        most_together: int = MOST_A_COMMIT,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self.write = write
        self._most_together = most_together
        self._most_waiting = most_waiting
        # One line a tenant, kept: there are as many as tenants.
        self._lines: dict[int, Line[tuple[Tenant, Item], Outcome]] = {}

    async def submit(self, database: Database, tenant: Tenant, item: Item) -> Outcome:
        """What became of `item`, once it is committed.

        Raises LineFull, DatabaseUnavailableError, StatementTimeoutError, and what `write` raises
        for this item alone.
        """
        line = self._lines.get(tenant.id)
        if line is None:
            line = self._lines[tenant.id] = self._line(database)
        return await line.join((tenant, item))

    async def drain(self) -> None:
        """Wait until everything that was submitted is written."""
        for line in list(self._lines.values()):
            await line.drain()

    def _line(self, database: Database) -> Line[tuple[Tenant, Item], Outcome]:
        async def write(submitted: Sequence[tuple[Tenant, Item]]) -> Sequence[Outcome]:
            # The settings of a tenant may change while its line is never empty.
            tenant = submitted[-1][0]
            async with database.tenant_transaction(tenant.id) as connection:
                return await self.write(connection, tenant, [item for _, item in submitted])

        return Line(
            write,
            at_once=AT_ONCE,
            most_together=self._most_together,
            most_waiting=self._most_waiting,
        )
