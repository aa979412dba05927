"""Contacts: messages, calls and visits to customers."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.contact import Channel, Purpose
from app.domain.errors import NotFound
from app.repositories import owner
from app.repositories.owner import Locked


class ContactRow(NamedTuple):
    """A contact as it is or is to be stored."""

    id: str
    customer_sk: int
    channel: str
    purpose: str
    sent_at: datetime
    responded_at: datetime | None
    converted: bool
    source_updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class Contact:
    """One contact, with the external id of its customer."""

    sk: int
    id: str
    customer_id: str
    channel: Channel
    purpose: Purpose
    sent_at: datetime
    responded_at: datetime | None
    converted: bool
    source_updated_at: datetime | None
    recorded_at: datetime


_LOCK = owner.lock_statement("contacts")

_FIND_MANY = """
SELECT c.id, c.customer_sk, c.channel, c.purpose, c.sent_at, c.responded_at, c.converted,
       c.source_updated_at
FROM unnest($2::text[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT * FROM contacts
    WHERE tenant_id = (SELECT $1::integer) AND id BETWEEN wanted.id AND wanted.id
    ORDER BY id LIMIT 1
) AS c
"""

# Owners in $2 are locked by this transaction; a contact of anybody else is left alone.
_UPSERT = """
INSERT INTO contacts AS c (
    tenant_id, id, customer_sk, channel, purpose, sent_at, responded_at, converted,
    source_updated_at
)
SELECT $1, incoming.*
FROM unnest(
    $3::text[], $4::bigint[], $5::text[], $6::text[], $7::timestamptz[], $8::timestamptz[],
    $9::boolean[], $10::timestamptz[]
) AS incoming (
    id, customer_sk, channel, purpose, sent_at, responded_at, converted, source_updated_at
)
ORDER BY incoming.id
ON CONFLICT (tenant_id, id) DO UPDATE SET
    customer_sk = excluded.customer_sk,
    channel = excluded.channel,
    purpose = excluded.purpose,
    sent_at = excluded.sent_at,
    responded_at = excluded.responded_at,
    converted = excluded.converted,
    source_updated_at = excluded.source_updated_at,
    recorded_at = now()
WHERE c.customer_sk IN (SELECT unnest($2::bigint[]))
RETURNING c.id
"""

_CONTACT = """
SELECT o.sk, o.id, c.id AS customer_id, o.channel, o.purpose, o.sent_at, o.responded_at,
       o.converted, o.source_updated_at, o.recorded_at
FROM contacts o
JOIN customers c ON c.tenant_id = o.tenant_id AND c.sk = o.customer_sk
"""
_GET = _CONTACT + "WHERE o.tenant_id = (SELECT $1::integer) AND o.id = $2"
_LIST_OF_CUSTOMER = (
    _CONTACT
    + """
WHERE o.tenant_id = (SELECT $1::integer) AND o.customer_sk = $2 AND (o.sent_at, o.sk) < ($3, $4)
ORDER BY o.sent_at DESC, o.sk DESC
LIMIT $5
"""
)


async def lock(
    connection: AsyncConnection,
    tenant_id: int,
    customer_ids: Collection[str],
    store_ids: Collection[str],
    ids: Collection[str],
) -> Locked:
    """Lock the named customers and the present owners of the named contacts, in key order."""
    return await owner.lock(connection, _LOCK, tenant_id, customer_ids, store_ids, list(ids))


async def find_many(
    connection: AsyncConnection, tenant_id: int, ids: Collection[str]
) -> dict[str, ContactRow]:
    """The stored ones of these contacts, by id."""
    result = await connection.exec_driver_sql(_FIND_MANY, (tenant_id, list(ids)))
    return {row[0]: ContactRow._make(row) for row in result}


async def upsert_many(
    connection: AsyncConnection,
    tenant_id: int,
    locked_customer_sks: Collection[int],
    contacts: Sequence[ContactRow],
) -> frozenset[str]:
    """Write contacts with distinct ids, in the order of their ids; returns the ids written.

    Left alone: one that belongs to a customer who is not among the locked ones.
    """
    columns = map(list, zip(*contacts, strict=True))
    result = await connection.exec_driver_sql(
        _UPSERT, (tenant_id, list(locked_customer_sks), *columns)
    )
    return frozenset(result.scalars())


async def get(connection: AsyncConnection, tenant_id: int, contact_id: str) -> Contact:
    """The contact called `contact_id`. Raises NotFound."""
    result = await connection.exec_driver_sql(_GET, (tenant_id, contact_id))
    row = result.one_or_none()
    if row is None:
        raise NotFound("contact", contact_id)
    return _read(row)


async def list_of_customer(
    connection: AsyncConnection,
    tenant_id: int,
    customer_sk: int,
    *,
    before: tuple[datetime, int],
    limit: int,
) -> list[Contact]:
    """The customer's contacts before a time and a key, newest first."""
    result = await connection.exec_driver_sql(
        _LIST_OF_CUSTOMER, (tenant_id, customer_sk, *before, limit)
    )
    return [_read(row) for row in result]


def _read(row: Row[Any]) -> Contact:
    values = dict(row._mapping)
    values["channel"] = Channel(values["channel"])
    values["purpose"] = Purpose(values["purpose"])
    return Contact(**values)
