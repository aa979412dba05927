"""What recognises faces and keeps photos, for all requests and jobs of a process."""

import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from app.database import Connection, Database
from app.domain.tenant import Tenant
from app.gateways.face import (
    FaceError,
    FaceProvider,
    FaceProviderNotConfigured,
    FaceProviderUnavailable,
)
from app.gateways.object_store import ObjectStore
from app.repositories import face as faces
from app.repositories.face import FaceSettings
from app.services.tenancy import list_tenants

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FaceBackend:
    """A provider and a store, and which collections are known to be there."""

    provider: FaceProvider
    store: ObjectStore
    known: set[str] = field(default_factory=set)

    @property
    def configured(self) -> bool:
        """Whether there is a provider at all."""
        return self.provider.name != "none"

    def check_configured(self) -> None:
        """Raise FaceProviderNotConfigured where nobody recognises faces."""
        if not self.configured:
            raise FaceProviderNotConfigured

    @asynccontextmanager
    async def collection(self, tenant: Tenant, settings: FaceSettings) -> AsyncIterator[str]:
        """The tenant's collection, which is created where nobody has seen it yet.

        Should it turn out to be missing, the next one to ask creates it.
        """
        collection_id = settings.collection_id
        try:
            if collection_id not in self.known:
                await self.provider.ensure_collection(collection_id, tenant_id=tenant.id)
                self.known.add(collection_id)
            yield collection_id
        except FaceProviderUnavailable:
            self.known.discard(collection_id)
            raise

    async def close(self) -> None:
        """Give the connections of both back."""
        await self.provider.close()
        await self.store.close()


async def settings_of(connection: Connection, tenant: Tenant) -> FaceSettings:
    """How the tenant searches; what is usual, where it has not said.

    The name of a collection has a random part, so that two installations which share an account
    never take each other's faces for left-overs.
    """
    found = await faces.find_settings(connection, tenant.id)
    if found is None:
        name = f"bps-{tenant.slug}-{secrets.token_hex(4)}"
        await faces.add_settings(connection, tenant.id, name)
        found = await faces.find_settings(connection, tenant.id)
        assert found is not None
    return found


async def prepare_collections(database: Database, backend: FaceBackend) -> None:
    """Create the missing collections of all tenants; what cannot be done now is done when needed.

    For the start of a process, which must not fail because the provider is away.
    """
    if not backend.configured:
        return
    try:
        async with database.transaction() as connection:
            tenants = await list_tenants(connection)
        for tenant in tenants:
            async with database.tenant_transaction(tenant.id) as connection:
                settings = await settings_of(connection, tenant)
            async with backend.collection(tenant, settings):
                pass
    except FaceError as error:
        log.warning("collections of faces were not checked: %s", error)
    except Exception:
        log.exception("collections of faces were not checked")
