"""The audit trail of reads: noted in memory at once, written each second.

A read must not wait for a write of its own, so what was read is kept in the process for a moment
and written together. A process that dies loses what it noted in its last second; one that is told
to stop writes it. An export is another matter: it is written before its first byte is sent.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import NamedTuple

from app.database import Connection, Database, DatabaseUnavailableError, StatementTimeoutError
from app.domain.privacy import pseudonym
from app.repositories import access
from app.repositories import tenant as tenants
from app.repositories.access import NewAccess

log = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0
#: So many notes are written without waiting for the second to end.
FLUSH_ROWS = 500
#: More than this is not kept while the database is away: no read succeeds then, either.
MOST_KEPT = 100_000
KEPT_FOR = timedelta(days=400)


class Read(NamedTuple):
    """An answer that told of customers; `customer_id` where it was about one."""

    at: datetime
    tenant_id: int
    key_id: str
    operation: str
    customer_id: str | None
    customers: int
    anonymized: bool
    request_id: str | None


class AccessLog:
    """The reads that one process has noted and not written yet."""

    def __init__(self) -> None:
        self._noted: list[Read] = []
        self._full = asyncio.Event()
        self._stopping = False

    def note(self, read: Read) -> None:
        """Keep `read` for the next flush."""
        if len(self._noted) >= MOST_KEPT:
            log.error("the audit trail cannot be written; a read of %s is lost", read.tenant_id)
            return
        self._noted.append(read)
        if len(self._noted) >= FLUSH_ROWS:
            self._full.set()

    async def flush(self, database: Database) -> None:
        """Write what was noted: one statement for each tenant. What cannot be written is kept."""
        noted, self._noted = self._noted, []
        self._full.clear()
        by_tenant: dict[int, list[Read]] = defaultdict(list)
        for read in noted:
            by_tenant[read.tenant_id].append(read)
        for tenant_id, reads in by_tenant.items():
            try:
                async with database.tenant_transaction(tenant_id) as connection:
                    await write_reads(connection, tenant_id, reads)
            except (DatabaseUnavailableError, StatementTimeoutError) as error:
                log.warning("the audit trail waits for the database (%s)", error)
                self._noted = (reads + self._noted)[:MOST_KEPT]

    async def run(self, database: Database) -> None:
        """Flush each second, and sooner when much was noted, until told to stop."""
        while not self._stopping:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), FLUSH_SECONDS)
            await self._flush_or_report(database)
        await self._flush_or_report(database)

    async def _flush_or_report(self, database: Database) -> None:
        try:
            await self.flush(database)
        except Exception:
            log.exception("reads could not be written to the audit trail")

    def stop(self) -> None:
        """Let `run` end after everything was written."""
        self._stopping = True
        self._full.set()


async def write_reads(connection: Connection, tenant_id: int, reads: Iterable[Read]) -> None:
    """Write reads of one tenant, with pseudonyms for the customers."""
    key = await tenants.get_pseudonym_key(connection)
    await access.add_many(
        connection,
        tenant_id,
        [
            NewAccess(
                read.at,
                read.key_id,
                read.operation,
                None if read.customer_id is None else pseudonym(key, read.customer_id),
                read.customers,
                read.anonymized,
                read.request_id,
            )
            for read in reads
        ],
    )


async def write_export(database: Database, read: Read) -> None:
    """Write that an export begins, in a transaction of its own, before its first byte."""
    async with database.tenant_transaction(read.tenant_id) as connection:
        await write_reads(connection, read.tenant_id, [read])


async def forget_old_reads(connection: Connection, today: date) -> int:
    """Drop the months of the audit trail that ended more than 400 days ago; how many."""
    return await access.drop_before(connection, today - KEPT_FOR)
