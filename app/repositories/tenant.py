"""Tenants and their API keys."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import RowMapping, bindparam, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database import Database, fetch_row
from app.domain.access import NewKey, PresentedKey, Scope
from app.domain.errors import NotFound
from app.domain.profile import Profile
from app.domain.tenant import Tenant
from app.repositories.tables import api_keys, feedback, orders, tenants


@dataclass(frozen=True, slots=True)
class Credential:
    """What is stored of the key that somebody presented, and whose it is."""

    tenant: Tenant
    key_id: str
    secret_sha256: bytes
    scopes: frozenset[Scope]
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as its owner may see it: everything but the secret."""

    id: str
    name: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


_AUTHENTICATE = "SELECT * FROM authenticate($1, $2, true)"

#: Opens a `Database.reading`: the session belongs to the key's tenant, or to nobody. Its arguments
#: are the id and the digest of the presented key.
AUTHENTICATE_READER = "SELECT * FROM authenticate($1, $2, false)"
_AUTHENTICATE_MANY = """
SELECT presented.id AS key_id, presented.secret AS presented_sha256, found.*
FROM unnest($1::text[], $2::bytea[]) AS presented (id, secret)
CROSS JOIN LATERAL authenticate(presented.id, presented.secret, true) AS found
"""
_DIRECTORY = text("SELECT * FROM tenant_directory()")
_NEXT_ID = text("SELECT nextval(pg_get_serial_sequence('tenants', 'id'))::integer")

_KEY_COLUMNS = [
    column for column in api_keys.c if column.name not in ("tenant_id", "secret_sha256")
]

# A change of zone moves everything to another hour, weekday or day of its tenant.
_RELOCATE = [
    update(table)
    .where(table.c.tenant_id == bindparam("tenant"))
    .values(local_at=func.timezone(bindparam("zone"), instant))
    for table, instant in ((orders, orders.c.ordered_at), (feedback, feedback.c.given_at))
]


async def authenticate(connection: AsyncConnection, presented: PresentedKey) -> Credential | None:
    """The stored side of `presented`, or None for an unknown key.

    Where the secret is the stored one, the rest of the transaction belongs to the key's tenant.
    The caller still has to ask `key_holds`.
    """
    row = await fetch_row(connection, _AUTHENTICATE, presented.id, presented.secret_sha256)
    return None if row is None else read_credential(presented, row)


async def authenticate_many(
    database: Database, presented: Sequence[PresentedKey]
) -> list[Credential | None]:
    """The stored sides of several keys in their order, by one statement that leaves no tenant."""
    distinct = list(dict.fromkeys(presented))
    rows = await database.rows(
        _AUTHENTICATE_MANY,
        [each.id for each in distinct],
        [each.secret_sha256 for each in distinct],
    )
    found = {}
    for row in rows:
        key = PresentedKey(row["key_id"], bytes(row["presented_sha256"]))
        found[key] = read_credential(key, row)
    return [found.get(each) for each in presented]


def read_credential(presented: PresentedKey, row: Mapping[str, Any]) -> Credential:
    """The stored side of `presented` from a row of `authenticate`."""
    return Credential(
        _tenant(
            tenant_id=row["tenant_id"],
            slug=row["slug"],
            name=row["name"],
            timezone=row["timezone"],
            currency=row["currency"],
            profile=row["profile"],
        ),
        presented.id,
        row["secret_sha256"],
        _scopes(tuple(row["scopes"])),
        row["expires_at"],
        row["revoked_at"],
    )


# The same few tenants and roles come with every request; reading a profile is worth keeping.
@lru_cache(maxsize=1024)
def _tenant(
    *, tenant_id: int, slug: str, name: str, timezone: str, currency: str, profile: str
) -> Tenant:
    return Tenant(
        tenant_id, slug, name, timezone, currency, Profile.from_document(json.loads(profile))
    )


@lru_cache(maxsize=1024)
def _scopes(names: tuple[str, ...]) -> frozenset[Scope]:
    return frozenset(map(Scope, names))


async def list_all(connection: AsyncConnection) -> list[Tenant]:
    """Every tenant of the database, oldest first; needs no tenant to be set."""
    rows = (await connection.execute(_DIRECTORY)).mappings()
    return [_read(row) for row in rows]


async def get(connection: AsyncConnection, tenant_id: int) -> Tenant:
    """The tenant of this transaction. Raises NotFound for any other."""
    rows = await connection.execute(select(tenants).where(tenants.c.id == tenant_id))
    row = rows.mappings().first()
    if row is None:
        raise NotFound("tenant", str(tenant_id))
    return _read(row)


async def get_pseudonym_key(connection: AsyncConnection) -> bytes:
    """The secret by which the present tenant's customers get their pseudonyms."""
    return bytes((await connection.execute(select(tenants.c.pseudonym_key))).scalar_one())


def _read(row: RowMapping) -> Tenant:
    return _tenant(
        tenant_id=row["id"],
        slug=row["slug"],
        name=row["name"],
        timezone=row["timezone"],
        currency=row["currency"],
        profile=json.dumps(row["profile"], sort_keys=True),
    )


async def next_id(connection: AsyncConnection) -> int:
    """An id no tenant has had; the transaction takes it on before it inserts the tenant."""
    return int(await connection.scalar(_NEXT_ID) or 0)


async def add(connection: AsyncConnection, tenant: Tenant) -> None:
    """Insert `tenant` under the id that this transaction has taken on."""
    await connection.execute(
        insert(tenants).values(
            id=tenant.id,
            slug=tenant.slug,
            name=tenant.name,
            timezone=tenant.timezone,
            currency=tenant.currency,
            profile=tenant.profile.document(),
        )
    )


async def change(connection: AsyncConnection, tenant_id: int, changes: Mapping[str, Any]) -> None:
    """Set the named columns of the tenant."""
    await connection.execute(
        update(tenants).where(tenants.c.id == tenant_id).values(**changes, updated_at=func.now())
    )


async def relocate(connection: AsyncConnection, tenant_id: int, timezone: str) -> None:
    """Read the wall clock of every order and of all feedback again, in `timezone`."""
    for statement in _RELOCATE:
        await connection.execute(statement, {"tenant": tenant_id, "zone": timezone})


async def add_key(
    connection: AsyncConnection,
    tenant_id: int,
    key: NewKey,
    *,
    name: str,
    scopes: Sequence[Scope],
    expires_at: datetime | None,
) -> None:
    """Store the digest of a new key."""
    await connection.execute(
        insert(api_keys).values(
            tenant_id=tenant_id,
            id=key.id,
            name=name,
            secret_sha256=key.secret_sha256,
            scopes=[str(scope) for scope in scopes],
            expires_at=expires_at,
        )
    )


async def list_keys(connection: AsyncConnection) -> list[ApiKey]:
    """The keys of the transaction's tenant, oldest first."""
    rows = await connection.execute(
        select(*_KEY_COLUMNS).order_by(api_keys.c.created_at, api_keys.c.id)
    )
    return [ApiKey(**{**row._mapping, "scopes": _scopes(tuple(row.scopes))}) for row in rows]


async def revoke_key(connection: AsyncConnection, key_id: str) -> None:
    """Stop `key_id` from working from the end of this transaction on. Raises NotFound."""
    result = await connection.execute(
        update(api_keys)
        .where(api_keys.c.id == key_id)
        .values(revoked_at=func.coalesce(api_keys.c.revoked_at, func.now()))
    )
    if result.rowcount == 0:
        raise NotFound("key", key_id)
