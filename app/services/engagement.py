"""Taking in contacts with customers, and what customers say.

Both are written under the locks of their customers, in the order that `ingestion` names, and the
figures of these customers are up to date afterwards.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from app.database import Connection
from app.domain.errors import Conflict, NotFound
from app.domain.tenant import Tenant
from app.repositories import contact as contacts
from app.repositories import feedback
from app.repositories.contact import ContactRow
from app.repositories.feedback import FeedbackRow
from app.repositories.owner import Locked
from app.services.former_ids import Owned, with_present_owners
from app.services.outcomes import (
    ATTEMPTS,
    NO_CUSTOMER,
    NO_STORE,
    ItemError,
    ItemOutcome,
    Rejected,
    distinct,
    invalid,
    is_newer,
)
from app.services.records import ContactPatch, ContactRecord, FeedbackRecord
from app.services.scoring import refresh_customers
from app.services.wall_clock import WallClock

Row = TypeVar("Row", ContactRow, FeedbackRow)


async def record_contacts(
    connection: Connection, tenant: Tenant, records: Sequence[ContactRecord]
) -> list[ItemOutcome]:
    """Write each contact that can be written and say what became of each, in the order given."""
    rules = _Rules(tenant, datetime.now(UTC))
    stated, outcomes = await _of_present_customers(connection, tenant, records)
    writing = {
        identity: _Stated(rules.updated_at(record), _contact_maker(rules, record))
        for identity, (_, record) in stated.items()
    }
    customer_ids = {record.customer_id for _, record in stated.values()}
    written = await _write(connection, tenant, _CONTACTS, writing, customer_ids=customer_ids)
    await _refresh(connection, tenant, written, rules.clock.now)
    return _answer(stated, written, outcomes, len(records))


async def record_contact(connection: Connection, tenant: Tenant, record: ContactRecord) -> bool:
    """Record one contact; True where it is new. Raises InvalidInput where a value will not do."""
    return _is_new(await record_contacts(connection, tenant, [record]))


async def change_contact(
    connection: Connection, tenant: Tenant, contact_id: str, patch: ContactPatch
) -> None:
    """Record what came of a contact.

    Raises NotFound, InvalidInput, and Conflict where `updatedAt` is older than the last change.
    """
    rules = _Rules(tenant, datetime.now(UTC))

    def make(stored: ContactRow | None, locked: Locked) -> ContactRow | None:
        return None if stored is None else rules.with_outcome(stored, patch)

    writing = {contact_id: _Stated(rules.updated_at(patch), make)}
    written = await _write(connection, tenant, _CONTACTS, writing)
    if contact_id in written.refused:
        raise invalid(written.refused[contact_id])
    if contact_id not in written.statuses:
        raise NotFound("contact", contact_id)
    if written.statuses[contact_id] == "stale":
        raise Conflict("The contact was changed after the time in updatedAt.")
    await _refresh(connection, tenant, written, rules.clock.now)


async def record_feedback(
    connection: Connection, tenant: Tenant, records: Sequence[FeedbackRecord]
) -> list[ItemOutcome]:
    """Write all feedback that can be written and say what became of each, in the order given."""
    rules = _Rules(tenant, datetime.now(UTC))
    stated, outcomes = await _of_present_customers(connection, tenant, records)
    writing = {
        identity: _Stated(rules.updated_at(record), _feedback_maker(rules, record))
        for identity, (_, record) in stated.items()
    }
    customer_ids = {record.customer_id for _, record in stated.values()}
    store_ids = {record.store_id for _, record in stated.values() if record.store_id is not None}
    written = await _write(
        connection, tenant, _FEEDBACK, writing, customer_ids=customer_ids, store_ids=store_ids
    )
    await _refresh(connection, tenant, written, rules.clock.now)
    return _answer(stated, written, outcomes, len(records))


async def record_one_feedback(
    connection: Connection, tenant: Tenant, record: FeedbackRecord
) -> bool:
    """Record feedback; True where it is new. Raises InvalidInput where a value will not do."""
    return _is_new(await record_feedback(connection, tenant, [record]))


async def _of_present_customers(
    connection: Connection, tenant: Tenant, records: Sequence[Owned]
) -> tuple[dict[str, tuple[int, Owned]], dict[int, ItemOutcome]]:
    """The records by id with their places, under present ids; and what is refused by now."""
    outcomes: dict[int, ItemOutcome] = {}
    records, gone = await with_present_owners(connection, tenant, records)
    stated = distinct(records, outcomes)
    for index, error in gone.items():
        stated.pop(records[index].id, None)
        outcomes[index] = ItemOutcome(index, records[index].id, "rejected", error)
    return stated, outcomes


class _Rules:
    """Turns records into rows, by the clock of a tenant."""

    def __init__(self, tenant: Tenant, now: datetime) -> None:
        self.clock = WallClock(tenant, now)

    def updated_at(self, record: ContactRecord | ContactPatch | FeedbackRecord) -> datetime | None:
        """When the source changed it, where it says so."""
        return record.updated_at and self.clock.instant(record.updated_at)

    def with_outcome(self, row: ContactRow, record: ContactRecord | ContactPatch) -> ContactRow:
        """The contact with the response and the conversion that are stated. Raises Rejected."""
        if "responded_at" in record.model_fields_set:
            responded_at = record.responded_at
            if responded_at is not None:
                responded_at = self.clock.past(responded_at, "/respondedAt")
            row = row._replace(responded_at=responded_at)
        if "converted" in record.model_fields_set:
            row = row._replace(converted=record.converted)
        if row.responded_at is not None and row.responded_at < row.sent_at:
            raise Rejected("/respondedAt", "must not lie before sentAt")
        return row


def _contact_maker(
    rules: _Rules, record: ContactRecord
) -> Callable[[ContactRow | None, Locked], ContactRow]:
    def make(stored: ContactRow | None, locked: Locked) -> ContactRow:
        if record.customer_id not in locked.customers:
            raise Rejected(NO_CUSTOMER.pointer, NO_CUSTOMER.reason)
        row = ContactRow(
            record.id,
            locked.customers[record.customer_id],
            record.channel.value,
            record.purpose.value,
            rules.clock.past(record.sent_at, "/sentAt"),
            stored.responded_at if stored else None,
            stored.converted if stored else False,
            None,
        )
        return rules.with_outcome(row, record)

    return make


def _feedback_maker(
    rules: _Rules, record: FeedbackRecord
) -> Callable[[FeedbackRow | None, Locked], FeedbackRow]:
    def make(stored: FeedbackRow | None, locked: Locked) -> FeedbackRow:
        if record.customer_id not in locked.customers:
            raise Rejected(NO_CUSTOMER.pointer, NO_CUSTOMER.reason)
        if record.store_id is not None and record.store_id not in locked.stores:
            raise Rejected(NO_STORE.pointer, NO_STORE.reason)
        return FeedbackRow(
            record.id,
            locked.customers[record.customer_id],
            None if record.store_id is None else locked.stores[record.store_id],
            record.kind.value,
            record.score,
            record.sentiment,
            record.comment,
            rules.clock.past(record.given_at, "/givenAt"),
            None,
        )

    return make


# --- writing ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Table(Generic[Row]):
    """Where rows of a kind are kept: the functions of its repository."""

    lock: Callable[..., Awaitable[Locked]]
    find_many: Callable[[Connection, int, Collection[str]], Awaitable[dict[str, Row]]]
    upsert_many: Callable[
        [Connection, int, Collection[int], Sequence[Row]], Awaitable[frozenset[str]]
    ]


_CONTACTS = _Table(contacts.lock, contacts.find_many, contacts.upsert_many)
_FEEDBACK = _Table(feedback.lock, feedback.find_many, feedback.upsert_many)


@dataclass(frozen=True, slots=True)
class _Stated(Generic[Row]):
    """When the source last changed a thing, and how to make its row of what is stored and known.

    Making it raises Rejected where a value will not do, and gives None where there is to be none.
    """

    updated_at: datetime | None
    make: Callable[[Row | None, Locked], Row | None]


@dataclass(slots=True)
class _Written:
    """What was done: statuses and refusals by id, and whose figures may be others now, by key."""

    statuses: dict[str, str] = field(default_factory=dict)
    refused: dict[str, ItemError] = field(default_factory=dict)
    touched: set[int] = field(default_factory=set)


async def _write(
    connection: Connection,
    tenant: Tenant,
    table: _Table[Row],
    stated: Mapping[str, _Stated[Row]],
    *,
    customer_ids: Collection[str] = (),
    store_ids: Collection[str] = (),
) -> _Written:
    """Write what refers to nothing unknown and is not older than what is stored."""
    if not stated:
        return _Written()
    # Owners seen once stay among the locked, so the set only grows and soon has all it needs.
    wanted = set(customer_ids)
    for _ in range(ATTEMPTS):
        savepoint = await connection.begin_nested()
        locked = await table.lock(connection, tenant.id, wanted, store_ids, stated)
        stored = await table.find_many(connection, tenant.id, stated)
        sks = frozenset(locked.customers.values())
        if all(row.customer_sk in sks for row in stored.values()):
            written, rows = _judge(stated, stored, locked)
            if not rows or len(await table.upsert_many(connection, tenant.id, sks, rows)) == len(
                rows
            ):
                await savepoint.commit()
                return written
        await savepoint.rollback()
        wanted.update(locked.customers)
    raise Conflict("These keep moving between customers; send them again.")


def _judge(
    stated: Mapping[str, _Stated[Row]], stored: Mapping[str, Row], locked: Locked
) -> tuple[_Written, list[Row]]:
    """What becomes of each, and the rows that have to be written for it."""
    written = _Written()
    rows: list[Row] = []
    for identity, each in stated.items():
        before = stored.get(identity)
        if before is not None and is_newer(before.source_updated_at, each.updated_at):
            written.statuses[identity] = "stale"
            continue
        try:
            row = each.make(before, locked)
        except Rejected as rejected:
            written.refused[identity] = rejected.error
            continue
        if row is None:
            continue
        updated_at = each.updated_at or (before.source_updated_at if before else None)
        row = row._replace(source_updated_at=updated_at)
        if row == before:
            written.statuses[identity] = "unchanged"
            continue
        written.statuses[identity] = "created" if before is None else "updated"
        written.touched.add(row.customer_sk)
        if before is not None:
            written.touched.add(before.customer_sk)
        rows.append(row)
    return written, rows


async def _refresh(
    connection: Connection, tenant: Tenant, written: _Written, now: datetime
) -> None:
    await refresh_customers(connection, tenant, written.touched, now=now, cuts_needed=False)


def _answer(
    stated: Mapping[str, tuple[int, Any]],
    written: _Written,
    outcomes: dict[int, ItemOutcome],
    count: int,
) -> list[ItemOutcome]:
    for identity, (index, _) in stated.items():
        if identity in written.refused:
            error = written.refused[identity]
            outcomes[index] = ItemOutcome(index, identity, "rejected", error)
        else:
            outcomes[index] = ItemOutcome(index, identity, written.statuses[identity])
    return [outcomes[index] for index in range(count)]


def _is_new(outcomes: Sequence[ItemOutcome]) -> bool:
    [outcome] = outcomes
    if outcome.error is not None:
        raise invalid(outcome.error)
    return outcome.status == "created"
