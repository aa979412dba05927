"""Opening a business, handing out its keys, changing its clock and its scoring profile."""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from app.database import Connection, set_tenant
from app.domain.access import NewKey, Scope, new_key
from app.domain.errors import AlreadyExists, InvalidInput, NotFound
from app.domain.profile import Profile
from app.domain.scoring_run import RunMode
from app.domain.tenant import Tenant
from app.repositories import owner
from app.repositories import tenant as tenants
from app.repositories.tenant import ApiKey
from app.services.scoring import request_run

_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_CURRENCY = re.compile(r"[A-Z]{3}")


async def create_tenant(
    connection: Connection,
    slug: str,
    *,
    name: str,
    timezone: str,
    currency: str,
    profile: Mapping[str, Any],
) -> Tenant:
    """Open a tenant and make this transaction its own.

    `profile` is a profile document, such as `{"preset": "retail"}`. Raises InvalidInput and
    AlreadyExists.
    """
    if not _SLUG.fullmatch(slug):
        raise InvalidInput(
            "slug", "must be 1 to 63 lower-case letters, digits and hyphens, not led by a hyphen"
        )
    if not name.strip():
        raise InvalidInput("name", "must not be empty")
    if not _CURRENCY.fullmatch(currency):
        raise InvalidInput("currency", "must be an ISO 4217 code of three capital letters")
    _check_timezone(timezone)
    rules = Profile.from_document(profile)
    if any(tenant.slug == slug for tenant in await tenants.list_all(connection)):
        raise AlreadyExists("tenant", slug)
    tenant_id = await tenants.next_id(connection)
    await set_tenant(connection, tenant_id)
    tenant = Tenant(tenant_id, slug, name, timezone, currency, rules)
    await tenants.add(connection, tenant)
    return tenant


async def get_tenant(connection: Connection, tenant_id: int) -> Tenant:
    """The tenant that this transaction belongs to. Raises NotFound."""
    return await tenants.get(connection, tenant_id)


async def list_tenants(connection: Connection) -> list[Tenant]:
    """Every tenant, oldest first."""
    return await tenants.list_all(connection)


async def enter_tenant(connection: Connection, slug: str) -> Tenant:
    """The tenant called `slug`, with this transaction made its own. Raises NotFound."""
    for tenant in await tenants.list_all(connection):
        if tenant.slug == slug:
            await set_tenant(connection, tenant.id)
            return tenant
    raise NotFound("tenant", slug)


async def create_key(
    connection: Connection,
    tenant: Tenant,
    *,
    name: str,
    scopes: Collection[Scope],
    expires_at: datetime | None = None,
) -> NewKey:
    """A new key of `tenant`, whose transaction this must be. Its token is known only now."""
    if not scopes:
        raise InvalidInput("scopes", "a key without a scope opens nothing")
    key = new_key()
    await tenants.add_key(
        connection, tenant.id, key, name=name, scopes=sorted(scopes), expires_at=expires_at
    )
    return key


async def list_keys(connection: Connection) -> list[ApiKey]:
    """The keys of the transaction's tenant, oldest first, without their secrets."""
    return await tenants.list_keys(connection)


async def revoke_key(connection: Connection, key_id: str) -> None:
    """Make the key useless at once. Raises NotFound where the tenant has no such key."""
    await tenants.revoke_key(connection, key_id)


async def change_profile(
    connection: Connection, tenant: Tenant, document: Mapping[str, Any]
) -> Tenant:
    """Score by `document`; a run of everybody is queued. Raises InvalidInput under `profile`."""
    try:
        rules = Profile.from_document(document)
    except InvalidInput as error:
        raise InvalidInput(f"profile.{error.field}", error.reason) from error
    await tenants.change(connection, tenant.id, {"profile": rules.document()})
    await request_run(connection, tenant, RunMode.FULL, requested_by="profile")
    return replace(tenant, profile=rules)


async def change_name(connection: Connection, tenant: Tenant, name: str) -> Tenant:
    """Call the business `name`."""
    await tenants.change(connection, tenant.id, {"name": name})
    return replace(tenant, name=name)


async def change_timezone(connection: Connection, tenant: Tenant, timezone: str) -> Tenant:
    """Move the tenant to another zone, and with it the local time of all it has."""
    _check_timezone(timezone)
    # Writers of orders and feedback share this lock: those before it are waited for, those after it
    # read the new zone.
    await owner.lock_clock(connection, tenant.id)
    await tenants.change(connection, tenant.id, {"timezone": timezone})
    await tenants.relocate(connection, tenant.id, timezone)
    await request_run(connection, tenant, RunMode.FULL, requested_by="timezone")
    return replace(tenant, timezone=timezone)


def _check_timezone(timezone: str) -> None:
    # ZoneInfo alone would also take paths and zones of one machine only, such as "localtime".
    if timezone not in available_timezones() or timezone == "localtime":
        raise InvalidInput("timezone", "must be an IANA time zone, such as Asia/Jakarta")
    ZoneInfo(timezone)
