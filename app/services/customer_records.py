"""Taking in customers and their addresses: what a source states, who brought in whom.

Locks are taken in the order that `ingestion` names. A customer whose referrer changes is written
together with the old and the new one, whose figures change as well: all three are locked.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from app.database import Connection, Database
from app.domain.errors import AlreadyExists, Conflict, NotFound
from app.domain.money import to_minor
from app.domain.referral import closing_circles
from app.domain.search import terms
from app.domain.tenant import Tenant
from app.repositories import address as addresses
from app.repositories import customer as customers
from app.repositories import former
from app.repositories.customer import ChangedCustomer, LockedCustomer, NewCustomer, References
from app.services.former_ids import with_present_ids
from app.services.outcomes import (
    ATTEMPTS,
    ItemError,
    ItemOutcome,
    Rejected,
    distinct,
    invalid,
    is_newer,
)
from app.services.records import (
    AddressPatch,
    AddressRecord,
    CustomerAttributes,
    CustomerPatch,
    CustomerRecord,
    ServiceArea,
)
from app.services.scoring import refresh_customers
from app.services.wall_clock import zoned

_CIRCLE = ItemError(
    "/referredByCustomerId", "must not be somebody the customer brought in, directly or not"
)


async def record_customers(
    connection: Connection,
    tenant: Tenant,
    records: Sequence[CustomerRecord],
    *,
    actor: str | None,
) -> list[ItemOutcome]:
    """Create or change each customer that can be, and say what became of each, in order.

    What a record leaves out stays as it is. A record may name as its referrer a customer that an
    earlier record of the batch brings. Who is new or changed in a way that shows in scores is
    scored before this returns, and so are the referrers they have and had.
    """
    outcomes, written = await _record(connection, tenant, records, actor=actor, live=True)
    await refresh_customers(
        connection,
        tenant,
        written.touched,
        now=datetime.now(UTC),
        cuts_needed=False,
        also_changed=written.changed,
    )
    return outcomes


async def record_imported_customers(
    database: Database,
    tenant: Tenant,
    records: Sequence[CustomerRecord],
    *,
    actor: str | None,
) -> list[ItemOutcome]:
    """`record_customers` in a transaction of its own, for a file, which a scoring run follows."""
    async with database.tenant_transaction(tenant.id) as connection:
        outcomes, written = await _record(connection, tenant, records, actor=actor, live=False)
    if written.former_referrers:
        # Nothing of theirs tells the run any more that they changed. They were not locked above.
        async with database.tenant_transaction(tenant.id) as connection:
            await customers.touch(connection, tenant.id, sorted(written.former_referrers))
    return outcomes


async def _record(
    connection: Connection,
    tenant: Tenant,
    records: Sequence[CustomerRecord],
    *,
    actor: str | None,
    live: bool,
) -> tuple[list[ItemOutcome], "_Written"]:
    """Write what can be written; with `live`, all whose figures change are locked."""
    outcomes: dict[int, ItemOutcome] = {}
    records, gone = await with_present_ids(connection, tenant, records)
    stated = distinct(records, outcomes)
    for index, (pointer, reason) in gone.items():
        stated.pop(records[index].id, None)
        error = ItemError(pointer, reason)
        outcomes[index] = ItemOutcome(index, records[index].id, "rejected", error)
    found = await _find_references(connection, tenant, stated)
    documents: dict[str, dict[str, Any]] = {}
    names: dict[str, str] = {}
    for identity, (index, record) in stated.items():
        try:
            _check_references(identity, record, found, documents)
            documents[identity] = {"id": identity, **_document(record, tenant)}
        except Rejected as rejected:
            outcomes[index] = ItemOutcome(index, identity, "rejected", rejected.error)
            continue
        if record.code is not None:
            found.codes.setdefault(record.code, identity)
        if identity not in found.customers:
            names[identity] = record.name or identity
    written = await _write(connection, tenant, documents, names, actor, live=live)
    for identity, status in written.statuses.items():
        index = stated[identity][0]
        outcomes[index] = ItemOutcome(index, identity, status)
    for identity, error in written.refused.items():
        index = stated[identity][0]
        outcomes[index] = ItemOutcome(index, identity, "rejected", error)
    return [outcomes[index] for index in range(len(records))], written


async def create_customer(
    connection: Connection, tenant: Tenant, record: CustomerRecord, *, actor: str | None
) -> None:
    """Create one customer. Raises AlreadyExists, and InvalidInput where a value will not do."""
    [outcome] = await record_customers(connection, tenant, [record], actor=actor)
    if outcome.error is not None:
        raise invalid(outcome.error)
    if outcome.status != "created":
        # The transaction ends with the error, and takes back what was changed.
        raise AlreadyExists("customer", record.id)


async def change_customer(
    connection: Connection,
    tenant: Tenant,
    customer_id: str,
    patch: CustomerPatch,
    *,
    actor: str | None,
) -> None:
    """Change one customer. Raises NotFound, InvalidInput, and Conflict where `updatedAt` is old."""
    found = await customers.find_references(
        connection, tenant.id, customer_ids=[customer_id], store_ids=[], codes=[]
    )
    if customer_id not in found.customers:
        present_id = await former.find_present_id(connection, tenant.id, customer_id)
        if present_id is None:
            raise NotFound("customer", customer_id)
        customer_id = present_id
    record = CustomerRecord.model_construct(
        patch.model_fields_set | {"id"}, **{**dict(patch), "id": customer_id}
    )
    [outcome] = await record_customers(connection, tenant, [record], actor=actor)
    if outcome.error is not None:
        raise invalid(outcome.error)
    if outcome.status == "stale":
        raise Conflict("The customer was changed after the time in updatedAt.")


async def _find_references(
    connection: Connection,
    tenant: Tenant,
    stated: Mapping[str, tuple[int, CustomerRecord]],
) -> References:
    records = [record for _, record in stated.values()]
    codes = [record.code for record in records if record.code is not None]
    if codes:
        await customers.lock_codes(connection, tenant.id)
    referrers = [record.referred_by_customer_id for record in records]
    if any(referrers):
        await customers.lock_referrers(connection, tenant.id)
    return await customers.find_references(
        connection,
        tenant.id,
        customer_ids={*stated, *(each for each in referrers if each is not None)},
        store_ids={record.home_store_id for record in records if record.home_store_id is not None},
        codes=codes,
    )


def _check_references(
    identity: str, record: CustomerRecord, found: References, accepted: Collection[str]
) -> None:
    if "name" in record.model_fields_set and record.name is None:
        raise Rejected("/name", "must not be null")
    if identity not in found.customers and record.name is None:
        raise Rejected("/name", "is required for a new customer")
    if record.home_store_id is not None and record.home_store_id not in found.stores:
        raise Rejected("/homeStoreId", "is not the id of a store")
    referrer = record.referred_by_customer_id
    if referrer == identity:
        raise Rejected("/referredByCustomerId", "must be another customer")
    if referrer is not None and referrer not in found.customers and referrer not in accepted:
        raise Rejected("/referredByCustomerId", "is not the id of a customer")
    if record.code is not None and found.codes.get(record.code, identity) != identity:
        raise Rejected("/code", "belongs to another customer")


_MONEY_FIELDS = {"credit_limit": "/creditLimit", "credit_used": "/creditUsed"}
_COLUMNS = {"updated_at": "source_updated_at"}


def _document(record: CustomerAttributes, tenant: Tenant) -> dict[str, Any]:
    """What the record names, by column, as JSON values. Raises Rejected."""
    return {
        _COLUMNS.get(name, name): _json_value(name, getattr(record, name), tenant)
        for name in record.model_fields_set
    }


def _json_value(name: str, value: Any, tenant: Tenant) -> Any:
    if isinstance(value, Decimal):
        try:
            return to_minor(value, tenant.currency)
        except ValueError as error:
            raise Rejected(_MONEY_FIELDS[name], str(error)) from error
    if isinstance(value, datetime):
        return zoned(value, ZoneInfo(tenant.timezone)).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, ServiceArea):
        return value.model_dump()
    return value


@dataclass(slots=True)
class _Written:
    """What was done: statuses and refusals by id, and whose figures may be others now, by key."""

    statuses: dict[str, str] = field(default_factory=dict)
    refused: dict[str, ItemError] = field(default_factory=dict)
    touched: set[int] = field(default_factory=set)
    changed: set[int] = field(default_factory=set)
    former_referrers: set[int] = field(default_factory=set)


async def _write(
    connection: Connection,
    tenant: Tenant,
    documents: Mapping[str, Mapping[str, Any]],
    names: Mapping[str, str],
    actor: str | None,
    *,
    live: bool,
) -> _Written:
    written = _Written()
    if not documents:
        return written
    created, locked = await _add_and_lock(connection, tenant, documents, names, actor, live=live)
    stale = {
        identity
        for identity, document in documents.items()
        if is_newer(locked[identity].source_updated_at, _moment(document.get("source_updated_at")))
    }
    written.refused = await _refuse_circles(
        connection,
        tenant,
        {identity: each for identity, each in documents.items() if identity not in stale},
    )
    accepted = [each for identity, each in documents.items() if identity not in written.refused]
    changed = await customers.change_many(connection, tenant.id, accepted, actor)
    findable = {
        customer.sk: terms(texts=[names[customer.id], customer.id], phone=None)
        for customer in created
    } | {customer.sk: _terms(customer) for customer in changed}
    if findable:
        await customers.replace_terms(connection, tenant.id, findable)
    is_new = {customer.id for customer in created}
    is_changed = {customer.id for customer in changed}
    for document in accepted:
        identity = document["id"]
        if identity in is_new:
            written.statuses[identity] = "created"
        elif identity in is_changed:
            written.statuses[identity] = "updated"
        else:
            written.statuses[identity] = "stale" if identity in stale else "unchanged"
    written.touched = _touched(created, changed)
    written.changed = {customer.sk for customer in changed}
    written.former_referrers = {
        customer.former_referred_by_sk
        for customer in changed
        if customer.former_referred_by_sk not in (None, customer.referred_by_sk)
    }
    return written


async def _add_and_lock(
    connection: Connection,
    tenant: Tenant,
    documents: Mapping[str, Mapping[str, Any]],
    names: Mapping[str, str],
    actor: str | None,
    *,
    live: bool,
) -> tuple[list[NewCustomer], dict[str, LockedCustomer]]:
    """Add who is new, and lock all that are stated; with `live` also the referrers of these."""
    wanted = dict.fromkeys(documents, live)
    changing: list[str] = []
    if live:
        for identity, document in documents.items():
            if "referred_by_customer_id" in document:
                changing.append(identity)
                if document["referred_by_customer_id"] is not None:
                    wanted.setdefault(document["referred_by_customer_id"], True)
    # Referrers seen once stay among the locked, so the set only grows and soon has all it needs.
    referrers: set[int] = set()
    for _ in range(ATTEMPTS):
        savepoint = await connection.begin_nested()
        created = await customers.add_missing(connection, tenant.id, names, actor)
        locked = await customers.lock(connection, tenant.id, wanted, referrers)
        now_referring = {locked[identity].referred_by_sk for identity in changing}
        if now_referring <= {None, *(customer.sk for customer in locked.values())}:
            await savepoint.commit()
            return created, locked
        await savepoint.rollback()
        referrers |= {sk for sk in now_referring if sk is not None}
    raise Conflict("The referrers of the customers keep changing; send them again.")


async def _refuse_circles(
    connection: Connection, tenant: Tenant, documents: Mapping[str, Mapping[str, Any]]
) -> dict[str, ItemError]:
    """Whose stated referrers will not do, because they would close a circle.

    Never a new customer: whoever makes a circle of referrals to new ones is stated after them.
    """
    stated: dict[str, str | None] = {
        identity: document["referred_by_customer_id"]
        for identity, document in documents.items()
        if "referred_by_customer_id" in document
    }
    referrers = {referrer for referrer in stated.values() if referrer is not None}
    if not referrers:
        return {}
    present = await customers.list_referrers(connection, tenant.id, referrers)
    return dict.fromkeys(closing_circles(present, stated), _CIRCLE)


def _touched(created: Sequence[NewCustomer], changed: Sequence[ChangedCustomer]) -> set[int]:
    """The customers whose scores may be others now: they, and who brought or had brought them."""
    touched = {customer.sk for customer in created}
    for customer in changed:
        if customer.rescored:
            touched.add(customer.sk)
        if customer.referred_by_sk != customer.former_referred_by_sk:
            referrers = (customer.referred_by_sk, customer.former_referred_by_sk)
            touched.update(sk for sk in referrers if sk is not None)
    return touched


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _terms(customer: ChangedCustomer) -> set[str]:
    return terms(
        texts=[
            customer.name,
            customer.company_name,
            customer.email,
            customer.code,
            customer.id,
        ],
        phone=customer.phone,
    )


async def add_address(
    connection: Connection, tenant: Tenant, customer_id: str, record: AddressRecord
) -> str:
    """Add an address to a customer; returns its id. Raises NotFound and AlreadyExists."""
    customer_sk = await _lock_one(connection, tenant, customer_id)
    address_id = record.id or str(uuid4())
    added = await addresses.add(
        connection,
        tenant.id,
        customer_sk,
        address_id,
        label=record.label,
        line=record.line,
        city=record.city,
        postal_code=record.postal_code,
        longitude=record.longitude,
        latitude=record.latitude,
        is_primary=record.is_primary,
    )
    if not added:
        raise AlreadyExists("address", address_id)
    return address_id


async def change_address(
    connection: Connection, tenant: Tenant, customer_id: str, address_id: str, patch: AddressPatch
) -> None:
    """Change what the patch names. Raises NotFound."""
    customer_sk = await _lock_one(connection, tenant, customer_id)
    address = await addresses.get(connection, tenant.id, customer_sk, address_id)
    stated = {name: getattr(patch, name) for name in patch.model_fields_set}
    values = {name: stated.get(name, getattr(address, name)) for name in AddressPatch.model_fields}
    await addresses.change(connection, tenant.id, customer_sk, address_id, **values)


async def remove_address(
    connection: Connection, tenant: Tenant, customer_id: str, address_id: str
) -> None:
    """Remove an address of a customer. Raises NotFound."""
    customer_sk = await _lock_one(connection, tenant, customer_id)
    await addresses.remove(connection, tenant.id, customer_sk, address_id)


async def _lock_one(connection: Connection, tenant: Tenant, customer_id: str) -> int:
    locked = await customers.lock(connection, tenant.id, {customer_id: False}, ())
    if customer_id not in locked:
        present_id = await former.find_present_id(connection, tenant.id, customer_id)
        if present_id is None:
            raise NotFound("customer", customer_id)
        return await _lock_one(connection, tenant, present_id)
    return locked[customer_id].sk
