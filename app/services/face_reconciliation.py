"""Once a day: what may not be kept any longer goes, and what was left lying about is found.

Three places have to agree: the provider's collection, the photo store, and the tables here, which
decide. A listing comes before the question what is known, so that whoever enrols meanwhile, and
writes a row first, is never taken for left over.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from app.database import Database
from app.domain.face import ConsentPurpose, ErasureReason
from app.domain.tenant import Tenant
from app.gateways.face import StoredFace
from app.gateways.object_store import PhotoNotFound
from app.repositories import consent as consents
from app.repositories import face as faces
from app.repositories import face_search as searches
from app.repositories.face import PENDING_FOR, Face
from app.services.face_backend import FaceBackend, settings_of
from app.services.face_erasure import after_ending, lock_customer_key

log = logging.getLogger(__name__)

#: The sightings that figures by store and day are made of are kept for so long.
SIGHTINGS_KEPT = timedelta(days=90)
_PAGE = 500
_FIRST = UUID(int=0)


# --- Expiry -----------------------------------------------------------------------------------


async def expire_faces(database: Database, tenant: Tenant, *, now: datetime) -> int:
    """End what has expired, and queue the erasures that follow; how many customers it concerned.

    Consents end at their own time; a face with which nothing has happened goes after the tenant's
    retention.
    """
    async with database.tenant_transaction(tenant.id) as connection:
        rules = (await settings_of(connection, tenant)).rules
        kept_since = now - timedelta(days=rules.retention_days)
        await faces.forget_sightings(
            connection, tenant.id, before=tenant.local_day(now - SIGHTINGS_KEPT)
        )
        await searches.forget_old(connection, tenant.id, before=kept_since)
    concerned = 0
    while True:
        async with database.tenant_transaction(tenant.id) as connection:
            expired = await consents.list_expired(connection, tenant.id, now=now)
        for sk in expired:
            async with database.tenant_transaction(tenant.id) as connection:
                if await lock_customer_key(connection, tenant, sk):
                    ended = await consents.expire(connection, tenant.id, sk, now=now)
                    await after_ending(
                        connection, tenant, sk, ended, ErasureReason.EXPIRED, actor=None, now=now
                    )
        concerned += len(expired)
        if not expired:
            break
    while True:
        async with database.tenant_transaction(tenant.id) as connection:
            unheard = await faces.list_without_interaction(connection, tenant.id, before=kept_since)
        for sk in unheard:
            async with database.tenant_transaction(tenant.id) as connection:
                if await lock_customer_key(connection, tenant, sk):
                    ended = await consents.end(
                        connection, tenant.id, sk, None, ended_as="expired", actor=None, now=now
                    )
                    await after_ending(
                        connection,
                        tenant,
                        sk,
                        {*ended, ConsentPurpose.ENROL},
                        ErasureReason.RETENTION,
                        actor=None,
                        now=now,
                    )
        concerned += len(unheard)
        if not unheard:
            return concerned


# --- Reconciliation ---------------------------------------------------------------------------


@dataclass(slots=True)
class Reconciled:
    """What was found where it does not belong, or missing where it does, and put right."""

    faces_removed: int = 0
    persons_removed: int = 0
    photos_removed: int = 0
    enrolments_given_up: int = 0
    faces_indexed_again: int = 0
    faces_lost: int = 0
    persons_joined_again: int = 0
    photos_missing: int = 0


async def reconcile_faces(
    database: Database, backend: FaceBackend, tenant: Tenant, *, now: datetime
) -> Reconciled:
    """Bring collection, photo store and tables together again.

    Raises the errors of providers and stores; what was put right by then stays so.
    """
    async with database.tenant_transaction(tenant.id) as connection:
        settings = await settings_of(connection, tenant)
    done = Reconciled()
    async with backend.collection(tenant, settings) as collection_id:
        work = _Work(database, backend, tenant, collection_id, now, done)
        face_ids = await work.remove_unknown_faces()
        persons = await work.remove_unknown_persons()
        keys = await work.remove_unknown_photos()
        await work.restore(face_ids, persons, keys)
    return done


@dataclass(frozen=True, slots=True)
class _Work:
    """One reconciliation under way."""

    database: Database
    backend: FaceBackend
    tenant: Tenant
    collection_id: str
    now: datetime
    done: Reconciled

    async def remove_unknown_faces(self) -> set[str]:
        """Delete what the collection has of nobody; the ids of all that are left."""
        kept: set[str] = set()
        provider, tenant_id = self.backend.provider, self.tenant.id
        unknown: list[str] = []
        async for page in provider.list_faces(self.collection_id, tenant_id=tenant_id):
            orphans = await self._unknown(page)
            unknown += orphans
            kept.update(each.face_id for each in page)
        kept.difference_update(unknown)
        if unknown:
            left = await provider.delete_faces(self.collection_id, unknown, tenant_id=tenant_id)
            self.done.faces_removed += len(unknown) - len(left)
        return kept

    async def _unknown(self, page: Collection[StoredFace]) -> list[str]:
        owners = {each.face_id: _uuid(each.external_id) for each in page}
        async with self.database.tenant_transaction(self.tenant.id) as connection:
            # In this order: an enrolment stops being pending in the moment it becomes known.
            enrolling = await faces.list_enrolling(
                connection,
                self.tenant.id,
                {owner for owner in owners.values() if owner is not None},
                since=self.now - PENDING_FOR,
            )
            known = await faces.list_known_face_ids(connection, self.tenant.id, list(owners))
        return [
            face_id
            for face_id, owner in owners.items()
            if face_id not in known and owner not in enrolling
        ]

    async def remove_unknown_persons(self) -> set[UUID]:
        """Delete the persons who are nobody's; the ids of those who are left."""
        kept: set[UUID] = set()
        provider, tenant_id = self.backend.provider, self.tenant.id
        unknown: list[str] = []
        async for page in provider.list_users(self.collection_id, tenant_id=tenant_id):
            ids = {name: _uuid(name) for name in page}
            async with self.database.tenant_transaction(tenant_id) as connection:
                users = await faces.list_users(
                    connection, tenant_id, [each for each in ids.values() if each is not None]
                )
            for name, user_id in ids.items():
                if user_id is not None and user_id in users:
                    kept.add(user_id)
                else:
                    unknown.append(name)
        for name in unknown:
            await provider.delete_user(self.collection_id, name, tenant_id=tenant_id)
        self.done.persons_removed += len(unknown)
        return kept

    async def remove_unknown_photos(self) -> set[str]:
        """Delete the photos of no face; the keys of those that are left."""
        kept: set[str] = set()
        async for page in self.backend.store.list_keys(f"{self.collection_id}/"):
            named = {key: _face_of(key) for key in page}
            async with self.database.tenant_transaction(self.tenant.id) as connection:
                known = await faces.list_known_keys(
                    connection,
                    self.tenant.id,
                    {key: face for key, face in named.items() if face is not None},
                )
            for key in page:
                if key in known:
                    kept.add(key)
                else:
                    await self.backend.store.delete(key)
                    self.done.photos_removed += 1
        return kept

    async def restore(
        self, face_ids: Collection[str], persons: Collection[UUID], keys: Collection[str]
    ) -> None:
        """Walk the faces here: give up what has been pending for long, bring back what is lost."""
        after = _FIRST
        joined: set[UUID] = set()
        while True:
            async with self.database.tenant_transaction(self.tenant.id) as connection:
                page = await faces.list_page(connection, self.tenant.id, after=after, limit=_PAGE)
                users = await faces.list_users(
                    connection, self.tenant.id, {face.user_id for face in page}
                )
            for face in page:
                if users[face.user_id].status != "active":
                    continue  # an erasure is at work on it
                if face.status == "pending":
                    if face.created_at < self.now - PENDING_FOR:
                        await self._give_up(face)
                    continue
                if face.indexed_at is None or face.indexed_at > self.now:
                    continue  # stored after the listings
                if face.photo_key is not None and face.photo_key not in keys:
                    await self._forget_photo(face)
                if face.face_id not in face_ids:
                    await self._index_again(face)
                elif face.user_id not in persons and face.user_id not in joined:
                    await self._join_again(face.user_id, face_ids)
                    joined.add(face.user_id)
            if len(page) < _PAGE:
                return
            after = page[-1].id

    async def _give_up(self, face: Face) -> None:
        if face.photo_key is not None:
            await self.backend.store.delete(face.photo_key)
        await self._remove(face)
        self.done.enrolments_given_up += 1

    async def _remove(self, face: Face) -> None:
        async with self.database.tenant_transaction(self.tenant.id) as connection:
            await faces.remove(connection, self.tenant.id, face.id)

    async def _forget_photo(self, face: Face) -> None:
        async with self.database.tenant_transaction(self.tenant.id) as connection:
            await faces.forget_photo(connection, self.tenant.id, face.id)
        self.done.photos_missing += 1

    async def _index_again(self, face: Face) -> None:
        """Index a face anew that the collection has lost, from its photo; without one it is lost.

        Only while the customer still agrees to it.
        """
        photo = None
        if face.photo_key is not None:
            try:
                photo = await self.backend.store.get(face.photo_key)
            except PhotoNotFound:
                photo = None
        if photo is None:
            log.error("face %s is in the collection no more, and its photo is gone", face.id)
            await self._remove(face)
            self.done.faces_lost += 1
            return
        async with self.database.tenant_transaction(self.tenant.id) as connection:
            user = (await faces.list_users(connection, self.tenant.id, [face.user_id])).get(
                face.user_id
            )
            agreed = (
                frozenset()
                if user is None or user.status != "active"
                else await consents.in_force(
                    connection, self.tenant.id, user.customer_sk, now=datetime.now(UTC)
                )
            )
        if ConsentPurpose.ENROL not in agreed:
            return
        provider, tenant_id = self.backend.provider, self.tenant.id
        result = await provider.index(
            self.collection_id,
            photo,
            tenant_id=tenant_id,
            external_id=str(face.user_id),
            attributes=False,
        )
        if not result.faces:
            log.error("the photo of face %s has no face that can be indexed again", face.id)
            return
        indexed = result.faces[0]
        await provider.join_user(
            self.collection_id, str(face.user_id), [indexed.face_id], tenant_id=tenant_id
        )
        async with self.database.tenant_transaction(tenant_id) as connection:
            await faces.mark_stored(
                connection,
                tenant_id,
                face.id,
                face_id=indexed.face_id,
                brightness=indexed.detail.brightness,
                sharpness=indexed.detail.sharpness,
                confidence=indexed.detail.confidence,
                model_version=result.model_version,
                now=datetime.now(UTC),
            )
        self.done.faces_indexed_again += 1

    async def _join_again(self, user_id: UUID, face_ids: Collection[str]) -> None:
        async with self.database.tenant_transaction(self.tenant.id) as connection:
            own = await faces.list_of_user(connection, self.tenant.id, user_id)
        present = [face.face_id for face in own if face.face_id in face_ids and face.face_id]
        await self.backend.provider.join_user(
            self.collection_id, str(user_id), present, tenant_id=self.tenant.id
        )
        self.done.persons_joined_again += 1


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text or "")
    except ValueError:
        return None


def _face_of(key: str) -> UUID | None:
    """The face whose photo has this key, by its name."""
    return _uuid(key.rpartition("/")[2].removesuffix(".jpg"))
