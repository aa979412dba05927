"""Recording behaviour events, each once, with what they add to the summaries.

A write takes two statements, however many events it has. The first keeps the customers from leaving
and remembers the ids; the second writes the events that were not there and adds to the summaries of
their customers. Both are part of the caller's transaction: an event is remembered, stored and
counted, or nothing of it is.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

from pydantic_core import to_json

from app.database import Connection
from app.domain.device import truncated_address
from app.domain.event import totals_by_customer
from app.domain.money import to_minor
from app.domain.tenant import Tenant
from app.repositories import event as events
from app.repositories.event import NewEvent
from app.repositories.received_id import digest_of
from app.services.former_ids import explain_missing
from app.services.outcomes import (
    NO_CUSTOMER,
    ItemError,
    ItemOutcome,
    Rejected,
)
from app.services.records import EventRecord
from app.services.user_agent import Client, read_user_agent
from app.services.wall_clock import WallClock

#: Longer properties are a document, not an event.
MAX_PROPERTIES_BYTES = 16_384

# What JSON may say and PostgreSQL cannot keep: an escaped NUL, unless its backslash is escaped.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_UNKNOWN = Client(None, None, None, None)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of each event, in the order given, and whose events were new, by key."""

    outcomes: list[ItemOutcome]
    touched: frozenset[int]


class _Incoming(NamedTuple):
    """An event that keeps the rules, and its place; `digest` stands for the id it came with."""

    place: int
    customer_id: str
    digest: str | None
    event: NewEvent


async def record_events(
    connection: Connection, tenant: Tenant, records: Sequence[EventRecord]
) -> Recorded:
    """Record each event that can be recorded, and count it in its customer's summary.

    An event that was there before, or comes twice here, is a `duplicate`: the first one stays.
    """
    rules = _Rules(tenant, datetime.now(UTC))
    outcomes: dict[int, ItemOutcome] = {}
    incoming: list[_Incoming] = []
    for index, record in enumerate(records):
        try:
            incoming.append(rules.event(index, record))
        except Rejected as rejected:
            outcomes[index] = ItemOutcome(index, record.id, "rejected", rejected.error)
    touched = await _write(connection, tenant, incoming, outcomes)
    return Recorded([outcomes[index] for index in range(len(records))], touched)


async def record_event_batch(
    connection: Connection, tenant: Tenant, records: Sequence[EventRecord]
) -> list[ItemOutcome]:
    """`record_events`, for whoever wants to know of the events alone."""
    return (await record_events(connection, tenant, records)).outcomes


async def _write(
    connection: Connection,
    tenant: Tenant,
    incoming: Sequence[_Incoming],
    outcomes: dict[int, ItemOutcome],
) -> frozenset[int]:
    """Write what is new of known customers, and note what became of everything."""
    stranded, touched = await _write_of_known(connection, tenant, incoming, outcomes)
    if not stranded:
        return touched
    missing = await explain_missing(connection, tenant, {each.customer_id for each in stranded})
    moved: list[_Incoming] = []
    for each in stranded:
        if each.customer_id in missing.merged:
            moved.append(each._replace(customer_id=missing.merged[each.customer_id]))
        else:
            reason = missing.erased.get(each.customer_id, NO_CUSTOMER.reason)
            error = ItemError(NO_CUSTOMER.pointer, reason)
            outcomes[each.place] = ItemOutcome(each.place, each.event.id, "rejected", error)
    # A customer may have been erased since, and is then as unknown as any.
    gone, touched_too = await _write_of_known(connection, tenant, moved, outcomes)
    for each in gone:
        outcomes[each.place] = ItemOutcome(each.place, each.event.id, "rejected", NO_CUSTOMER)
    return touched | touched_too


async def _write_of_known(
    connection: Connection,
    tenant: Tenant,
    incoming: Sequence[_Incoming],
    outcomes: dict[int, ItemOutcome],
) -> tuple[list[_Incoming], frozenset[int]]:
    """Write what is new; those of customers who were not found, and the keys of those touched."""
    if not incoming:
        return [], frozenset()
    received = await events.receive(
        connection,
        tenant.id,
        customer_ids={each.customer_id for each in incoming},
        named=[(each.digest, each.customer_id) for each in incoming if each.digest is not None],
        months=_months(incoming),
    )
    stranded: list[_Incoming] = []
    new: list[tuple[int, NewEvent]] = []
    fresh = set(received.fresh)
    for each in incoming:
        sk = received.customers.get(each.customer_id)
        if sk is None:
            stranded.append(each)
        elif each.digest is None or each.digest in fresh:
            if each.digest is not None:
                fresh.remove(each.digest)
            new.append((sk, each.event))
            outcomes[each.place] = ItemOutcome(each.place, each.event.id, "created")
        else:
            outcomes[each.place] = ItemOutcome(each.place, each.event.id, "duplicate")
    if not new:
        return stranded, frozenset()
    totals = totals_by_customer(new)
    await events.insert_many(connection, tenant.id, new, totals)
    return stranded, frozenset(totals)


def _months(incoming: Sequence[_Incoming]) -> list[date]:
    months = {(each.event.occurred_at.year, each.event.occurred_at.month) for each in incoming}
    # Everybody makes what is missing in one order, and nobody waits in a circle.
    return [date(*month, 1) for month in sorted(months)]


class _Rules:
    """Turns records into events, by the currency and the clock of a tenant."""

    def __init__(self, tenant: Tenant, now: datetime) -> None:
        self._tenant = tenant
        self._currency = tenant.currency
        self._clock = WallClock(tenant, now)

    def event(self, index: int, record: EventRecord) -> _Incoming:
        """The event that the record states. Raises Rejected."""
        if record.user_id is not None and not self._tenant.is_named(record.user_id):
            raise Rejected("/userId", "names another tenant than the key's")
        client = _UNKNOWN if record.user_agent is None else read_user_agent(record.user_agent)
        place = record.location
        return _Incoming(
            index,
            record.customer_id,
            digest_of(record.id) if record.is_named else None,
            NewEvent(
                record.id,
                self._clock.past(record.occurred_at, "/occurredAt"),
                record.event_type,
                record.event_category,
                record.product_id,
                record.product_name,
                record.product_category,
                self._value(record),
                _properties(record),
                record.page_url,
                record.referrer_url,
                _network(record.ip_address),
                client.software,
                record.device_type or client.device_type,
                record.browser or client.browser,
                record.os or client.os,
                None if place is None else place.latitude,
                None if place is None else place.longitude,
                None if place is None else place.country,
                None if place is None else place.city,
                record.session_id,
            ),
        )

    def _value(self, record: EventRecord) -> int | None:
        if record.event_value is None:
            return None
        try:
            return to_minor(record.event_value, self._currency)
        except ValueError as error:
            raise Rejected("/eventValue", str(error)) from error


def _network(address: str | None) -> str | None:
    if address is None:
        return None
    try:
        return truncated_address(address.strip())
    except ValueError:
        raise Rejected("/ipAddress", "must be an IPv4 or IPv6 address") from None


def _properties(record: EventRecord) -> str | None:
    if record.event_properties is None:
        return None
    try:
        text = to_json(record.event_properties)
    except ValueError:
        raise Rejected("/eventProperties", "must be JSON") from None
    if len(text) > MAX_PROPERTIES_BYTES:
        raise Rejected("/eventProperties", f"must not be longer than {MAX_PROPERTIES_BYTES} bytes")
    if b"\\u0000" in text and _NUL.search(text):
        raise Rejected("/eventProperties", "must not hold a NUL character")
    if (b"NaN" in text or b"Infinity" in text) and not _is_finite(record.event_properties):
        raise Rejected("/eventProperties", "must have finite numbers only")
    return text.decode()


def _is_finite(properties: dict[str, Any]) -> bool:
    try:
        json.dumps(properties, allow_nan=False)
    except ValueError:
        return False
    return True
