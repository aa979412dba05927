"""Importing files of customers, orders, invoice lines, captured places and behaviour events.

A file is read, checked and written in chunks, one transaction each; while PostgreSQL writes one
chunk, the next is parsed. What was written stays whatever happens later in the file. Reading it
again changes nothing, because every row ends up under the same id.
"""

import asyncio
import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from pydantic import ValidationError

from app.database import Database, Session
from app.domain.errors import InvalidInput, UnreadableFile
from app.domain.order import OrderStatus
from app.domain.tenant import Tenant
from app.repositories import order as orders
from app.repositories import statistics
from app.repositories.order import IncomingOrder, InvoiceLine
from app.services.capturing import record_captures
from app.services.customer_records import record_imported_customers
from app.services.event_recording import record_event_batch
from app.services.file_columns import (
    EVENT_COLUMNS,
    LINE_COLUMNS,
    LOCATION_COLUMNS,
    ORDER_COLUMNS,
    DayOrder,
    ReadDate,
    customer_columns,
    date_reader,
    map_columns,
    plain_number,
)
from app.services.ingestion import OrderRules, learn_sizes, record_orders, record_staged_orders
from app.services.outcomes import ItemError, Rejected
from app.services.records import (
    CaptureRecord,
    CustomerRecord,
    EventRecord,
    OrderLineRecord,
    OrderRecord,
    Record,
    first_problem,
)
from app.services.repetition import SeenIds
from app.services.tabular import Row, Table, open_table

_CHUNK_ROWS = 10_000
_WRITERS = 2
_CUSTOMER_CHUNK_ROWS = 2_000
_LINE_CHUNK_LINES = 10_000
_CAPTURE_CHUNK_ROWS = 5_000
_EVENT_CHUNK_ROWS = 5_000

#: Told now and then how much of the file has been read, of how much.
Progress = Callable[[int, int], None]
T = TypeVar("T")


@dataclass(slots=True)
class ImportReport:
    """What became of a file.

    `rows` were read. The other counts are of orders or customers, `rejected` is of rows. `error`
    says why reading stopped before the end of the file, where it did. `columns` has the header
    that each field was read from.
    """

    columns: dict[str, str]
    rows: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    stale: int = 0
    rejected: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class FileFormat:
    """How a file is written, where that is not to be found out: see `open_table`.

    `columns` has the header of a field. `date_format` is d/m/y, m/d/y or as in `strptime`.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    delimiter: str | None = None
    encoding: str | None = None
    date_format: str | None = None


class RejectsFile:
    """The rows that were refused: number, reason, and the columns as they came."""

    def __init__(self, path: Path | None, header: Sequence[str]) -> None:
        self._file = None
        if path is not None:
            # What could not be decoded goes out as the same bytes.
            self._file = path.open("w", encoding="utf-8", errors="surrogateescape", newline="")
            self._writer = csv.writer(self._file)
            self._writer.writerow(["row", "reason", *header])

    def add(self, row: Row, reason: str) -> None:
        """Write one row."""
        if self._file is not None:
            self._writer.writerow([row.number, reason, *row.cells])

    def __enter__(self) -> "RejectsFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()


class _Import:
    """One file on its way in: its table, its columns, what is to be reported."""

    def __init__(
        self,
        table: Table,
        places: Mapping[str, int],
        rejects: RejectsFile,
        progress: Progress | None,
    ) -> None:
        self.table = table
        self.places = places
        self.rejects = rejects
        self.report = ImportReport({each: table.header[at] for each, at in places.items()})
        self._progress = progress

    def reject(self, row: Row, reason: str) -> None:
        """Count and write down a refused row."""
        self.report.rejected += 1
        self.rejects.add(row, reason)

    def count(self, statuses: Counter[str], rows: int) -> None:
        """Add up what became of a chunk, and tell how far the file has been read."""
        self.report.rows += rows
        self.report.created += statuses["created"]
        self.report.updated += statuses["updated"]
        self.report.unchanged += statuses["unchanged"]
        self.report.stale += statuses["stale"]
        if self._progress is not None:
            self._progress(*self.table.progress)

    def values(self, row: Row) -> dict[str, Any]:
        """The row's cells by field; empty ones are left out."""
        cells = row.cells
        return {
            name: cell
            for name, place in self.places.items()
            if (cell := cells[place]) is not None and cell != ""
        }


@dataclass(slots=True)
class _Chunk:
    """Rows that become one transaction, and those that were refused before."""

    rows: int = 0
    orders: dict[str, IncomingOrder] = field(default_factory=dict)
    sources: dict[str, Row] = field(default_factory=dict)
    rejected: list[tuple[Row, str]] = field(default_factory=list)


async def import_orders(
    database: Database,
    tenant: Tenant,
    path: Path,
    *,
    format: FileFormat = FileFormat(),  # noqa: A002 - an immutable value
    create_customers: bool = True,
    rejects: Path | None = None,
    progress: Progress | None = None,
    actor: str | None = None,
) -> ImportReport:
    """Import a file with a row for each order. The caller scores the tenant afterwards.

    A file without order ids gets ids that are the same each time: a digest of the row's cells, and
    of how many rows before it were the same. Raises UnreadableFile and InvalidInput where not one
    row can be read.
    """
    with open_table(path, delimiter=format.delimiter, encoding=format.encoding) as table:
        places = map_columns(
            table.header,
            ORDER_COLUMNS,
            format.columns,
            required=("customerId", "orderedAt", "totalAmount"),
        )
        read_date = await asyncio.to_thread(_dates_of, path, places["orderedAt"], format)
        with RejectsFile(rejects, table.header) as rejects_file:
            job = _Import(table, places, rejects_file, progress)
            chunks = _order_chunks(job, OrderRules(tenant, datetime.now(UTC)), read_date)

            async def write(chunk: _Chunk) -> None:
                await _write_orders(
                    database, tenant, job, chunk, create_customers=create_customers, actor=actor
                )

            await _side_by_side(_ahead(job, chunks), write)
            return job.report


async def _side_by_side(chunks: AsyncIterator[T], write: Callable[[T], Awaitable[None]]) -> None:
    """Write the chunks in two transactions at a time, so that one computes while one waits."""
    turn = asyncio.Lock()

    async def write_on() -> None:
        while True:
            async with turn:
                chunk = await anext(chunks, None)
            if chunk is None:
                return
            await write(chunk)

    writers = [asyncio.create_task(write_on()) for _ in range(_WRITERS)]
    try:
        await asyncio.gather(*writers)
    finally:
        for writer in writers:
            writer.cancel()
        await asyncio.wait(writers)


async def _write_orders(
    database: Database,
    tenant: Tenant,
    job: _Import,
    chunk: _Chunk,
    *,
    create_customers: bool,
    actor: str | None,
) -> None:
    statuses: Counter[str] = Counter()
    rejected = chunk.rejected
    if chunk.orders:
        outcome = await record_staged_orders(
            database, tenant, chunk.orders, create_customers=create_customers, actor=actor
        )
        await learn_sizes(database)
        statuses = outcome.statuses
        rejected += [
            (chunk.sources[order_id], _sentence(error))
            for order_id, error in outcome.refused.items()
        ]
    for row, reason in sorted(rejected, key=_by_row):
        job.reject(row, reason)
    job.count(statuses, chunk.rows)


def _order_chunks(job: _Import, rules: OrderRules, read_date: ReadDate) -> Iterator[_Chunk]:
    seen = SeenIds()
    identify = None if "id" in job.places else _ContentIds(job)
    for rows in job.table.blocks(_CHUNK_ROWS):
        chunk = _Chunk(rows=len(rows))
        identities = [None] * len(rows) if identify is None else identify.of(rows)
        for row, identity in zip(rows, identities, strict=True):
            try:
                order = rules.order(_order_record(job, row, identity, read_date))
            except Rejected as rejected:
                chunk.rejected.append((row, _sentence(rejected.error)))
                continue
            if order.id in chunk.orders:
                chunk.rejected.append((row, _REPEATED))
            else:
                chunk.orders[order.id] = order
                chunk.sources[order.id] = row
        ids = list(chunk.orders)
        for order_id, again in zip(ids, seen.repeated(ids), strict=True):
            if again:
                del chunk.orders[order_id]
                chunk.rejected.append((chunk.sources.pop(order_id), _REPEATED))
        yield chunk


def _order_record(job: _Import, row: Row, identity: str | None, read_date: ReadDate) -> OrderRecord:
    values = _cells(job, row, numbers=_ORDER_NUMBERS)
    if identity is not None:
        values["id"] = identity
    if "orderedAt" in values:
        values["orderedAt"] = read_date(values["orderedAt"])
    if "status" not in values and str(values.get("totalAmount", "")).startswith("-"):
        values["status"] = OrderStatus.REFUNDED
    return _validated(OrderRecord, values)


class _ContentIds:
    """Ids for rows that have none: what the row says, and how often it was said before."""

    def __init__(self, job: _Import) -> None:
        self._places = [job.places[name] for name in sorted(job.places)]
        self._seen = SeenIds()
        self._repeats: dict[str, int] = {}

    def of(self, rows: Sequence[Row]) -> list[str]:
        """The id of each row; a row that was there before gets a number of its own."""
        digests = [self._digest(row) for row in rows]
        identities = []
        for digest, again in zip(digests, self._seen.repeated(digests), strict=True):
            if again:
                count = self._repeats[digest] = self._repeats.get(digest, 1) + 1
                identities.append(f"{digest}-{count}")
            else:
                identities.append(digest)
        return identities

    def _digest(self, row: Row) -> str:
        cells = (str(row.cells[place]) for place in self._places if place < len(row.cells))
        content = "\x1f".join(cells).encode(errors="surrogateescape")
        return hashlib.blake2b(content, digest_size=12).hexdigest()


async def import_customers(
    database: Database,
    tenant: Tenant,
    path: Path,
    *,
    format: FileFormat = FileFormat(),  # noqa: A002 - an immutable value
    rejects: Path | None = None,
    progress: Progress | None = None,
    actor: str | None = None,
) -> ImportReport:
    """Import a file with a row for each customer; columns it lacks stay as they are.

    Raises UnreadableFile and InvalidInput where not one row can be read.
    """
    known = customer_columns(
        str(each.alias) for each in CustomerRecord.model_fields.values() if each.alias
    )
    with open_table(path, delimiter=format.delimiter, encoding=format.encoding) as table:
        places = map_columns(table.header, known, format.columns, required=("id",))
        birth = places.get("dateOfBirth")
        read_date = (
            None if birth is None else await asyncio.to_thread(_dates_of, path, birth, format)
        )
        with RejectsFile(rejects, table.header) as rejects_file:
            job = _Import(table, places, rejects_file, progress)
            async for chunk in _ahead(job, _customer_chunks(job, read_date)):
                statuses: Counter[str] = Counter()
                outcomes = await record_imported_customers(
                    database, tenant, [record for _, record in chunk.records], actor=actor
                )
                await learn_sizes(database)
                for outcome in outcomes:
                    if outcome.error is None:
                        statuses[outcome.status] += 1
                    else:
                        row = chunk.records[outcome.index][0]
                        chunk.rejected.append((row, _sentence(outcome.error)))
                for row, reason in sorted(chunk.rejected, key=_by_row):
                    job.reject(row, reason)
                job.count(statuses, chunk.rows)
            return job.report


@dataclass(slots=True)
class _CustomerChunk:
    rows: int
    records: list[tuple[Row, CustomerRecord]] = field(default_factory=list)
    rejected: list[tuple[Row, str]] = field(default_factory=list)


def _customer_chunks(job: _Import, read_date: ReadDate | None) -> Iterator[_CustomerChunk]:
    seen = SeenIds()
    for rows in job.table.blocks(_CUSTOMER_CHUNK_ROWS):
        chunk = _CustomerChunk(len(rows))
        read: list[tuple[Row, CustomerRecord]] = []
        for row in rows:
            try:
                read.append((row, _customer_record(job, row, read_date)))
            except Rejected as rejected:
                chunk.rejected.append((row, _sentence(rejected.error)))
        repeated = seen.repeated([record.id for _, record in read])
        for each, again in zip(read, repeated, strict=True):
            if again:
                chunk.rejected.append((each[0], _REPEATED))
            else:
                chunk.records.append(each)
        yield chunk


def _customer_record(job: _Import, row: Row, read_date: ReadDate | None) -> CustomerRecord:
    values = _cells(job, row, numbers=("creditLimit", "creditUsed"))
    if read_date is not None and "dateOfBirth" in values:
        born = read_date(values["dateOfBirth"])
        values["dateOfBirth"] = born.date() if isinstance(born, datetime) else born
    for name in ("communityTags", "socialConnections"):
        if isinstance(values.get(name), str):
            values[name] = [tag for tag in re.split(r"\s*[;|]\s*", values[name]) if tag]
    if isinstance(values.get("serviceArea"), str):
        try:
            values["serviceArea"] = json.loads(values["serviceArea"])
        except ValueError:
            raise Rejected("/serviceArea", "is not valid GeoJSON") from None
    return _validated(CustomerRecord, values)


async def import_events(
    database: Database,
    tenant: Tenant,
    path: Path,
    *,
    format: FileFormat = FileFormat(),  # noqa: A002 - an immutable value
    rejects: Path | None = None,
    progress: Progress | None = None,
    actor: str | None = None,
) -> ImportReport:
    """Import a file with a row for each behaviour event of known customers.

    A file without ids gets ids that are the same each time, so that importing it again changes
    nothing. Raises UnreadableFile and InvalidInput where not one row can be read.
    """
    with open_table(path, delimiter=format.delimiter, encoding=format.encoding) as table:
        places = map_columns(
            table.header,
            EVENT_COLUMNS,
            format.columns,
            required=("customerId", "eventType", "occurredAt"),
        )
        read_date = await asyncio.to_thread(_dates_of, path, places["occurredAt"], format)
        with RejectsFile(rejects, table.header) as rejects_file:
            job = _Import(table, places, rejects_file, progress)
            async for chunk in _ahead(job, _event_chunks(job, read_date)):
                async with database.tenant_transaction(tenant.id) as connection:
                    outcomes = await record_event_batch(
                        connection, tenant, [record for _, record in chunk.records]
                    )
                await learn_sizes(database)
                statuses: Counter[str] = Counter()
                for outcome in outcomes:
                    if outcome.error is None:
                        statuses[_STATUS_OF_EVENT[outcome.status]] += 1
                    else:
                        row = chunk.records[outcome.index][0]
                        chunk.rejected.append((row, _sentence(outcome.error)))
                for row, reason in sorted(chunk.rejected, key=_by_row):
                    job.reject(row, reason)
                job.count(statuses, chunk.rows)
            return job.report


_STATUS_OF_EVENT = {"created": "created", "duplicate": "unchanged"}


@dataclass(slots=True)
class _EventChunk:
    rows: int
    records: list[tuple[Row, EventRecord]] = field(default_factory=list)
    rejected: list[tuple[Row, str]] = field(default_factory=list)


def _event_chunks(job: _Import, read_date: ReadDate) -> Iterator[_EventChunk]:
    identify = None if "eventId" in job.places else _ContentIds(job)
    for rows in job.table.blocks(_EVENT_CHUNK_ROWS):
        chunk = _EventChunk(len(rows))
        identities = [None] * len(rows) if identify is None else identify.of(rows)
        for row, identity in zip(rows, identities, strict=True):
            try:
                chunk.records.append((row, _event_record(job, row, identity, read_date)))
            except Rejected as rejected:
                chunk.rejected.append((row, _sentence(rejected.error)))
        yield chunk


def _event_record(job: _Import, row: Row, identity: str | None, read_date: ReadDate) -> EventRecord:
    values = _cells(job, row, numbers=("eventValue", "latitude", "longitude"))
    if identity is not None:
        values["eventId"] = identity
    if "occurredAt" in values:
        values["occurredAt"] = read_date(values["occurredAt"])
    place = {name: values.pop(name) for name in _PLACE_OF_EVENT if name in values}
    if place:
        values["location"] = place
    if isinstance(values.get("eventProperties"), str):
        try:
            values["eventProperties"] = json.loads(values["eventProperties"])
        except (ValueError, RecursionError):
            raise Rejected("/eventProperties", "is not valid JSON") from None
    return _validated(EventRecord, values)


_PLACE_OF_EVENT = ("latitude", "longitude", "country", "city")


async def import_locations(
    database: Database,
    tenant: Tenant,
    path: Path,
    *,
    format: FileFormat = FileFormat(),  # noqa: A002 - an immutable value
    rejects: Path | None = None,
    progress: Progress | None = None,
    actor: str | None = None,
) -> ImportReport:
    """Import a file with a row for each capture; what was received before counts as unchanged.

    A file without capture ids gets ids as `import_orders` gives them. Raises UnreadableFile and
    InvalidInput where not one row can be read. `actor` is not noted: a capture says who made it.
    """
    del actor
    with open_table(path, delimiter=format.delimiter, encoding=format.encoding) as table:
        places = map_columns(
            table.header,
            LOCATION_COLUMNS,
            format.columns,
            required=("customerId", "latitude", "longitude", "capturedAt"),
        )
        read_date = await asyncio.to_thread(_dates_of, path, places["capturedAt"], format)
        with RejectsFile(rejects, table.header) as rejects_file:
            job = _Import(table, places, rejects_file, progress)
            async for chunk in _ahead(job, _capture_chunks(job, read_date)):
                await _write_captures(database, tenant, job, chunk)
            return job.report


@dataclass(slots=True)
class _CaptureChunk:
    rows: int
    records: list[tuple[Row, CaptureRecord]] = field(default_factory=list)
    rejected: list[tuple[Row, str]] = field(default_factory=list)


def _capture_chunks(job: _Import, read_date: ReadDate) -> Iterator[_CaptureChunk]:
    identify = None if "captureId" in job.places else _ContentIds(job)
    for rows in job.table.blocks(_CAPTURE_CHUNK_ROWS):
        chunk = _CaptureChunk(len(rows))
        identities = [None] * len(rows) if identify is None else identify.of(rows)
        for row, identity in zip(rows, identities, strict=True):
            try:
                values = _cells(job, row, numbers=_CAPTURE_NUMBERS)
                if identity is not None:
                    values["captureId"] = identity
                if "capturedAt" in values:
                    values["capturedAt"] = read_date(values["capturedAt"])
                chunk.records.append((row, _validated(CaptureRecord, values)))
            except Rejected as rejected:
                chunk.rejected.append((row, _sentence(rejected.error)))
        yield chunk


async def _write_captures(
    database: Database, tenant: Tenant, job: _Import, chunk: _CaptureChunk
) -> None:
    async with database.tenant_transaction(tenant.id) as connection:
        outcomes = await record_captures(
            connection, tenant, [record for _, record in chunk.records]
        )
    statuses: Counter[str] = Counter()
    for outcome in outcomes:
        if outcome.error is None:
            statuses["unchanged" if outcome.status == "duplicate" else outcome.status] += 1
        else:
            row = chunk.records[outcome.index][0]
            chunk.rejected.append((row, _sentence(outcome.error)))
    for row, reason in sorted(chunk.rejected, key=_by_row):
        job.reject(row, reason)
    job.count(statuses, chunk.rows)


async def import_order_lines(
    database: Database,
    tenant: Tenant,
    path: Path,
    *,
    format: FileFormat = FileFormat(),  # noqa: A002 - an immutable value
    create_customers: bool = True,
    rejects: Path | None = None,
    progress: Progress | None = None,
    actor: str | None = None,
) -> ImportReport:
    """Import a file with a row for each line of an order; lines of one id are one order.

    The lines may come in any order, so all are set aside before the first order is written. An
    order is refused with all its lines where one of them will not do. The total is the sum of
    quantity times price; an order with a negative one is a credit note. The caller scores the
    tenant afterwards. Raises UnreadableFile and InvalidInput where not one row can be read.
    """
    with open_table(path, delimiter=format.delimiter, encoding=format.encoding) as table:
        places = map_columns(
            table.header,
            LINE_COLUMNS,
            format.columns,
            required=("id", "customerId", "orderedAt", "productId", "quantity", "unitPrice"),
        )
        read_date = await asyncio.to_thread(_dates_of, path, places["orderedAt"], format)
        with RejectsFile(rejects, table.header) as rejects_file:
            job = _Import(table, places, rejects_file, progress)
            async with database.session() as session:
                await _set_lines_aside(session, tenant, job, read_date)
                await _write_set_aside(
                    session, tenant, job, create_customers=create_customers, actor=actor
                )
            return job.report


async def _set_lines_aside(
    session: Session, tenant: Tenant, job: _Import, read_date: ReadDate
) -> None:
    async with session.tenant_transaction(tenant.id) as connection:
        await orders.stage_lines(connection)
    async for chunk in _ahead(job, _line_chunks(job, read_date)):
        async with session.tenant_transaction(tenant.id) as connection:
            await orders.add_lines(connection, chunk.lines)
        for row, reason in chunk.rejected:
            job.reject(row, reason)
        job.count(Counter(), chunk.rows)
    async with session.tenant_transaction(tenant.id) as connection:
        await orders.index_lines(connection)


@dataclass(slots=True)
class _LineChunk:
    rows: int
    lines: list[InvoiceLine] = field(default_factory=list)
    rejected: list[tuple[Row, str]] = field(default_factory=list)


def _line_chunks(job: _Import, read_date: ReadDate) -> Iterator[_LineChunk]:
    for rows in job.table.blocks(_CHUNK_ROWS):
        chunk = _LineChunk(len(rows))
        for row in rows:
            try:
                values = _cells(job, row, numbers=_LINE_NUMBERS)
                if "orderedAt" in values:
                    values["orderedAt"] = read_date(values["orderedAt"])
                record = _validated(OrderLineRecord, values)
            except Rejected as rejected:
                chunk.rejected.append((row, _sentence(rejected.error)))
            else:
                document = json.dumps(
                    [
                        record.model_dump_json(by_alias=True, exclude_unset=True),
                        *map(str, row.cells),
                    ]
                )
                chunk.lines.append(InvoiceLine(record.id, row.number, document))
        yield chunk


async def _write_set_aside(
    session: Session,
    tenant: Tenant,
    job: _Import,
    *,
    create_customers: bool,
    actor: str | None,
) -> None:
    after = ""
    while True:
        async with session.tenant_transaction(tenant.id) as connection:
            lines = await orders.list_lines(connection, after=after, limit=_LINE_CHUNK_LINES)
            if not lines:
                break
            after = lines[-1].order_id
            sources = _by_order(lines)
            records: list[OrderRecord] = []
            refused: list[tuple[str, str]] = []
            for order_id, read in sources.items():
                try:
                    records.append(_order_of_lines(order_id, [record for record, _ in read]))
                except Rejected as rejected:
                    refused.append((order_id, _sentence(rejected.error)))
            outcomes = await record_orders(
                connection,
                tenant,
                records,
                create_customers=create_customers,
                actor=actor,
                score=False,
            )
        async with session.tenant_transaction(tenant.id) as connection:
            await statistics.learn_sizes(connection)
        statuses: Counter[str] = Counter()
        for outcome in outcomes:
            if outcome.error is None:
                statuses[outcome.status] += 1
            else:
                refused.append((records[outcome.index].id, _sentence(outcome.error)))
        for order_id, reason in refused:
            for _, row in sources[order_id]:
                job.reject(row, reason)
        job.count(statuses, 0)
    async with session.tenant_transaction(tenant.id) as connection:
        await orders.drop_lines(connection)


def _by_order(lines: Sequence[InvoiceLine]) -> dict[str, list[tuple[OrderLineRecord, Row]]]:
    sources: dict[str, list[tuple[OrderLineRecord, Row]]] = {}
    for line in lines:
        document, *cells = json.loads(line.document)
        record = OrderLineRecord.model_validate_json(document)
        sources.setdefault(line.order_id, []).append((record, Row(line.row_number, cells)))
    return sources


def _order_of_lines(order_id: str, lines: Sequence[OrderLineRecord]) -> OrderRecord:
    """The order that the lines make up. Raises Rejected."""
    first = lines[0]
    if any(line.customer_id != first.customer_id for line in lines):
        raise Rejected("/customerId", f"differs between the lines of order {order_id}")
    total = sum(
        (line.quantity * line.unit_price - line.discount_amount for line in lines), Decimal(0)
    )
    status = OrderStatus.REFUNDED if total < 0 else first.status
    return _validated(
        OrderRecord,
        {
            "id": order_id,
            "customerId": first.customer_id,
            "storeId": first.store_id,
            "status": status or OrderStatus.COMPLETED,
            "orderedAt": min(line.ordered_at for line in lines),
            "paymentMethod": first.payment_method,
            "channel": first.channel,
            "items": [_item(line) for line in lines if line.quantity],
        },
    )


def _item(line: OrderLineRecord) -> dict[str, Any]:
    # A return is a line of its own, at a negative price: so many pieces came back.
    sign = -1 if line.quantity < 0 else 1
    return {
        "productId": line.product_id,
        "productName": line.product_name,
        "category": line.category,
        "brand": line.brand,
        "quantity": abs(line.quantity),
        "unitPrice": sign * line.unit_price,
        "discountAmount": line.discount_amount,
    }


_REPEATED = "id occurs in an earlier row already"
_ORDER_NUMBERS = ("totalAmount", "discountAmount", "refundAmount", "itemCount")
_CAPTURE_NUMBERS = ("latitude", "longitude", "accuracy", "altitude", "speed", "heading")
_LINE_NUMBERS = ("quantity", "unitPrice", "discountAmount")
_IDENTITIES = (
    "id",
    "captureId",
    "capturedBy",
    "deviceId",
    "customerId",
    "storeId",
    "productId",
    "code",
    "phone",
    "homeStoreId",
    "eventId",
    "sessionId",
)

R = TypeVar("R", bound=Record)


def _cells(job: _Import, row: Row, *, numbers: Sequence[str]) -> dict[str, Any]:
    """The cells of the row by field, with numbers and ids as text. Raises Rejected."""
    if row.problem is not None:
        raise Rejected("", row.problem)
    values = job.values(row)
    for name in numbers:
        if name in values:
            values[name] = plain_number(values[name])
    for name in _IDENTITIES:
        # A Parquet file may have numbers for ids, and a fraction where one is missing.
        cell = values.get(name)
        if isinstance(cell, float) and cell.is_integer():
            values[name] = str(int(cell))
        elif isinstance(cell, int):
            values[name] = str(cell)
    return values


def _validated(model: type[R], values: Mapping[str, Any]) -> R:
    try:
        return model.__pydantic_validator__.validate_python(values)  # type: ignore[no-any-return]
    except ValidationError as error:
        raise Rejected(*first_problem(error)) from None


def _sentence(error: ItemError) -> str:
    return f"{error.pointer.removeprefix('/').replace('/', '.')} {error.reason}".strip()


def _by_row(refused: tuple[Row, str]) -> int:
    return refused[0].number


def _dates_of(path: Path, place: int, format: FileFormat) -> ReadDate:  # noqa: A002 - as above
    """How to read the dates of a column, from as many of them as it takes to know."""
    stated = format.date_format
    if stated in ("d/m/y", "m/d/y"):
        return date_reader(day_first=stated == "d/m/y")
    if stated is not None:
        if "%" not in stated:
            raise InvalidInput("date-format", "must be d/m/y, m/d/y or as in %Y-%m-%d %H:%M")
        return date_reader(day_first=False, date_format=stated)
    order = DayOrder()
    with open_table(path, delimiter=format.delimiter, encoding=format.encoding) as table:
        try:
            for rows in table.blocks(_CHUNK_ROWS):
                order.learn(row.cells[place] for row in rows if row.problem is None)
                if not order.is_open:
                    break
        except UnreadableFile:
            pass  # said again, with what was imported before it, when the rows are read
    return date_reader(order.day_first)


async def _ahead(job: _Import, chunks: Iterator[T]) -> AsyncIterator[T]:
    """The chunks, each one read in a thread while the one before it is written."""
    upcoming = asyncio.create_task(asyncio.to_thread(next, chunks, None))
    try:
        while (chunk := await upcoming) is not None:
            upcoming = asyncio.create_task(asyncio.to_thread(next, chunks, None))
            yield chunk
    except UnreadableFile as error:
        job.report.error = str(error)
    finally:
        await asyncio.wait([upcoming])
