"""Load a made-up business into a tenant, or write its orders to a file."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from app.database import Connection, Database
from app.domain.cohort import CohortType
from app.domain.demo import geography
from app.domain.demo.business import Chunk, generate
from app.domain.demo.columns import Column, Columns
from app.domain.demo.options import DemoOptions
from app.domain.demo.sales import MINOR_UNITS
from app.domain.event import totals_by_customer
from app.domain.search import terms
from app.domain.tenant import Tenant
from app.repositories import event, received_id, tables
from app.repositories.bulk import BulkWriter, points
from app.repositories.event import NewEvent
from app.services import cohorting, segmentation, zoning
from app.services.segment_records import SegmentRecord
from app.services.zoning import ServiceAreasRecord

log = logging.getLogger(__name__)

Keys = NDArray[np.int64]

WRITERS = 2
"""Connections a large load writes with: PostgreSQL's time goes to foreign keys, one core each."""


EVENTS_A_STATEMENT = 5_000


@dataclass(slots=True)
class DemoLoaded:
    """Rows written, by noun."""

    stores: int = 0
    customers: int = 0
    addresses: int = 0
    orders: int = 0
    order_items: int = 0
    contacts: int = 0
    feedback: int = 0
    locations: int = 0
    events: int = 0

    def add(self, other: "DemoLoaded") -> None:
        """Count the rows of `other` too."""
        for noun in fields(self):
            setattr(self, noun.name, getattr(self, noun.name) + getattr(other, noun.name))


async def load_demo(database: Database, tenant_id: int, options: DemoOptions) -> DemoLoaded:
    """Write the business of `options` into a tenant that has no customers yet.

    Each chunk of customers, with all that is theirs, is one transaction: up to `CHUNK`
    customers appear at once or not at all, and of a larger business a killed load leaves whole
    chunks. `WRITERS` transactions run side by side. Raises sqlalchemy's IntegrityError if ids of
    the business are taken already.
    """
    chunks = generate(options)
    loaded = DemoLoaded()
    async with _writing(database, tenant_id) as write:
        stores, loaded.stores = await _write_stores(write)
        loaded.add(await _write_chunk(write, next(chunks), stores))

    turn = asyncio.Lock()

    async def write_on() -> None:
        while True:
            async with turn:
                chunk = await asyncio.to_thread(next, chunks, None)
            if chunk is None:
                return
            async with _writing(database, tenant_id) as write:
                written = await _write_chunk(write, chunk, stores)
            loaded.add(written)
            log.info("demo: %d of %d customers", loaded.customers, options.customers)

    async with asyncio.TaskGroup() as group:
        for _ in range(WRITERS):
            group.create_task(write_on())
    return loaded


#: What planners and marketing of such a business begin with.
_SEGMENTS: tuple[dict[str, Any], ...] = (
    {
        "name": "Good customers who stay away",
        "description": "Bought often, and not for a month: worth a call.",
        "segmentType": "behavioral",
        "criteria": {"daysInactive": 30, "minPreviousPurchases": 5},
    },
    {
        "name": "Left a cart",
        "description": "Put something in the cart in the last fortnight and bought nothing since.",
        "segmentType": "behavioral",
        "criteria": {
            "all": [
                {"events": {"type": "add_to_cart", "count": {"gte": 1}, "within": "P14D"}},
                {"not": {"orders": {"count": {"gte": 1}, "within": "P14D"}}},
            ]
        },
    },
    {
        "name": "Around Grand Indonesia",
        "description": "Last seen within three kilometres of the store.",
        "segmentType": "demographic",
        "criteria": {
            "place": {"within": {"latitude": -6.1952, "longitude": 106.8203, "metres": 3000}}
        },
    },
    {
        "name": "The most valuable",
        "segmentType": "value-based",
        "criteria": {"field": "clvPercentile", "gte": 90},
    },
)


async def plan_demo(connection: Connection, tenant: Tenant) -> None:
    """Give the business of `load_demo` the service areas of its stores, segments and a cohort."""
    await zoning.propose_service_areas(
        connection, tenant, ServiceAreasRecord.model_validate({"save": True})
    )
    for segment in _SEGMENTS:
        await segmentation.create_segment(
            connection, tenant, SegmentRecord.model_validate(segment), actor=None
        )
    today = tenant.local_day(datetime.now(UTC))
    await cohorting.create_cohort(
        connection,
        tenant,
        cohort_id=f"customers-of-{today.year}",
        name=f"Customers of {today.year}",
        description="Bought for the first time this year.",
        cohort_type=CohortType.ACQUISITION,
        acquisition=(date(today.year, 1, 1), date(today.year, 12, 31)),
        criteria=None,
        actor=None,
    )


def write_orders_csv(path: Path, options: DemoOptions) -> int:
    """Write the orders of the business as a CSV file with a header, and return how many.

    Columns: order_id, customer_id, ordered_at (ISO 8601, UTC), status, total_amount and
    discount_amount (decimals), payment_method, store_id, item_count.
    """
    orders = 0
    with path.open("wb") as file:
        for number, chunk in enumerate(generate(_orders_only(options))):
            rows = pa.table(_order_fields(chunk))
            csv.write_csv(rows, file, csv.WriteOptions(include_header=number == 0))
            orders += rows.num_rows
    return orders


def write_orders_ndjson(path: Path, options: DemoOptions) -> int:
    """Write the orders as one JSON object a line, in the shape of the API, and return how many.

    Members: id, customerId, orderedAt, status, totalAmount and discountAmount (decimals as
    strings), paymentMethod, storeId (null for online orders), itemCount.
    """
    orders = 0
    with path.open("wb") as file:
        for chunk in generate(_orders_only(options)):
            member = _order_fields(chunk)
            lines = pc.binary_join_element_wise(
                '{"id":"', member["order_id"],
                '","customerId":"', member["customer_id"],
                '","orderedAt":"', member["ordered_at"],
                '","status":"', member["status"],
                '","totalAmount":"', member["total_amount"],
                '","discountAmount":"', member["discount_amount"],
                '","paymentMethod":"', member["payment_method"],
                '","storeId":', _quoted(member["store_id"]),
                ',"itemCount":', member["item_count"].cast(pa.string()),
                "}\n", "",
            )  # fmt: skip
            # The values of a text array lie one after the other: they are the file already.
            file.write(_text(lines))
            orders += len(lines)
    return orders


def _orders_only(options: DemoOptions) -> DemoOptions:
    return replace(
        options, with_items=False, with_engagement=False, with_places=False, with_events=False
    )


def _order_fields(chunk: Chunk) -> dict[str, pa.Array]:
    orders = chunk.orders
    instants = pa.array(orders["ordered_at"]).cast(pa.string())
    return {
        "order_id": pa.array(orders["id"]),
        "customer_id": pa.array(chunk.customers["id"][orders["customer_no"]]),
        "ordered_at": pc.binary_join_element_wise(
            pc.replace_substring(instants, " ", "T"), "Z", ""
        ),
        "status": pa.array(orders["status"]),
        "total_amount": _decimal(orders["total_amount"]),
        "discount_amount": _decimal(orders["discount_amount"]),
        "payment_method": pa.array(orders["payment_method"]),
        "store_id": pa.array(
            geography.STORE_IDS[np.ma.filled(orders["store_no"], 0)],
            mask=np.ma.getmaskarray(orders["store_no"]),
        ),
        "item_count": pa.array(orders["item_count"]),
    }


def _quoted(texts: pa.Array) -> pa.Array:
    """JSON strings, null where there is none. The texts hold nothing that JSON would escape."""
    return pc.fill_null(pc.binary_join_element_wise('"', texts, '"', ""), "null")


def _text(lines: pa.Array) -> memoryview:
    _, offsets, values = lines.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32)
    return memoryview(values)[ends[lines.offset] : ends[lines.offset + len(lines)]]


def _decimal(minor: Column) -> pa.Array:
    """Amounts in minor units as decimals with two places."""
    whole, cents = np.divmod(minor, MINOR_UNITS)
    return pc.binary_join_element_wise(
        pa.array(whole).cast(pa.string()),
        pc.utf8_lpad(pa.array(cents).cast(pa.string()), 2, "0"),
        ".",
    )


@asynccontextmanager
async def _writing(database: Database, tenant_id: int) -> AsyncIterator[BulkWriter]:
    """One transaction that may take as long as it needs."""
    async with database.tenant_transaction(tenant_id) as connection:
        write = BulkWriter(connection, tenant_id)
        await write.allow_long_statements()
        yield write


async def _write_stores(write: BulkWriter) -> tuple[Keys, int]:
    stores = _with_point(geography.stores())
    sks = await write.allocate(tables.stores, len(stores["id"]))
    return sks, await write.insert(tables.stores, {"sk": sks, **stores})


async def _write_chunk(write: BulkWriter, chunk: Chunk, store_sks: Keys) -> DemoLoaded:
    own = await write.allocate(tables.customers, len(chunk.customers["id"]))
    customers = _refer(chunk.customers, "store_no", "home_store_sk", store_sks)
    customers = _refer(customers, "referrer_no", "referred_by_sk", own)
    customers = {"sk": own, **customers}
    loaded = DemoLoaded(customers=await write.insert(tables.customers, customers))
    await write.insert(tables.customer_terms, _terms(customers))

    addresses = _refer(_with_point(chunk.addresses), "customer_no", "customer_sk", own)
    loaded.addresses = await write.insert(tables.addresses, addresses)

    order_sks = await write.allocate(tables.orders, len(chunk.orders["id"]))
    orders = _refer(chunk.orders, "customer_no", "customer_sk", own)
    orders = _refer(orders, "store_no", "store_sk", store_sks)
    loaded.orders = await write.insert_by_clock(
        tables.orders, {"sk": order_sks, **orders}, "ordered_at"
    )
    if chunk.order_items is not None:
        items = _refer(chunk.order_items, "order_no", "order_sk", order_sks)
        loaded.order_items = await write.insert(tables.order_items, items)
    if chunk.contacts is not None:
        contacts = _refer(chunk.contacts, "customer_no", "customer_sk", own)
        loaded.contacts = await write.insert(tables.contacts, contacts)
    if chunk.feedback is not None:
        feedback = _refer(chunk.feedback, "customer_no", "customer_sk", own)
        feedback = _refer(feedback, "store_no", "store_sk", store_sks)
        loaded.feedback = await write.insert_by_clock(tables.feedback, feedback, "given_at")
    if chunk.location_history is not None:
        fixes = _refer(_with_point(chunk.location_history), "customer_no", "customer_sk", own)
        await write.ensure_months(tables.location_history, fixes["captured_at"])
        loaded.locations = await write.insert(tables.location_history, fixes)
        await received_id.receive(
            write.connection, write.tenant_id, "capture", fixes["id"].tolist()
        )
    if chunk.events is not None:
        await write.ensure_months(tables.behavior_events, chunk.events["occurred_at"])
        loaded.events = await _write_events(write, chunk.events, own)
    return loaded


async def _write_events(write: BulkWriter, columns: Columns, customer_sks: Keys) -> int:
    """Write events with what they add to the summaries of their customers."""
    owners = customer_sks[columns["customer_no"]].tolist()
    named = {name: column.tolist() for name, column in columns.items() if name != "customer_no"}
    named["occurred_at"] = [moment.replace(tzinfo=UTC) for moment in named["occurred_at"]]
    blank = NewEvent(*[None] * len(NewEvent._fields))  # type: ignore[arg-type]
    rows = [
        (owner, blank._replace(**dict(zip(named, values, strict=True))))
        for owner, values in zip(owners, zip(*named.values(), strict=True), strict=True)
    ]
    for start in range(0, len(rows), EVENTS_A_STATEMENT):
        part = rows[start : start + EVENTS_A_STATEMENT]
        await event.insert_many(write.connection, write.tenant_id, part, totals_by_customer(part))
        await received_id.receive(
            write.connection, write.tenant_id, "event", [each.id for _, each in part]
        )
    return len(rows)


def _terms(customers: Columns) -> Columns:
    """The search terms of the customers, in index order."""
    names = ("id", "code", "name", "company_name", "email")
    texts = zip(*(customers[name].tolist() for name in names), strict=True)
    found = sorted(
        (term, sk)
        for sk, phone, known in zip(
            customers["sk"].tolist(), customers["phone"].tolist(), texts, strict=True
        )
        for term in terms(texts=known, phone=phone)
    )
    return {
        "term": np.array([term for term, _ in found], dtype=object),
        "customer_sk": np.array([sk for _, sk in found], dtype=np.int64),
    }


def _refer(columns: Columns, number: str, reference: str, sks: Keys) -> Columns:
    """The columns with the numbers of `number` replaced by surrogate keys under `reference`."""
    rest = {name: column for name, column in columns.items() if name != number}
    numbers = columns[number]
    if isinstance(numbers, np.ma.MaskedArray):
        present = np.ma.masked_array(sks[numbers.filled(0)], mask=np.ma.getmaskarray(numbers))
        return {**rest, reference: present}
    return {**rest, reference: sks[numbers]}


def _with_point(columns: Columns) -> Columns:
    """The columns with latitude and longitude replaced by a location."""
    rest = {
        name: column for name, column in columns.items() if name not in ("latitude", "longitude")
    }
    return {**rest, "location": points(columns["latitude"], columns["longitude"])}
