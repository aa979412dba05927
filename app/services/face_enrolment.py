"""Enrolling a face: consent, one person in the photo, then everywhere or nowhere.

No transaction is open while others work, so a pending row comes first and says what may be left
behind; the last transaction makes it a stored one. Whoever is killed in between leaves the row, and
what hangs on it is found and removed within a day (`face_reconciliation`).
"""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid4

from app.database import Connection, Database
from app.domain.errors import InvalidInput
from app.domain.face import (
    ConsentPurpose,
    ConsentRequired,
    ErasureReason,
    SeveralFaces,
    estimated_age,
)
from app.domain.tenant import Tenant
from app.gateways.face import DetectedFace, FaceError, IndexedFace, IndexResult, NoFace
from app.gateways.object_store import ObjectStoreError
from app.gateways.photo import Photo, prepare_photo
from app.repositories import consent as consents
from app.repositories import face as faces
from app.repositories import former
from app.repositories.face import Face, FaceSettings, FaceUser
from app.services.face_backend import FaceBackend, settings_of
from app.services.face_erasure import (
    lock_customer,
    lock_customer_key,
    photo_key,
    request_erasure,
)
from app.services.face_limit import check_daily_limit
from app.services.scoring import refresh_customers

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The face that was stored, or was there already; `estimates` where any were asked for."""

    user: FaceUser
    face: Face
    is_new: bool
    estimates: DetectedFace | None
    estimates_written: bool


@dataclass(frozen=True, slots=True)
class _Enrolment:
    """What one enrolment is made with, and under which ids."""

    database: Database
    backend: FaceBackend
    tenant: Tenant
    photo: Photo
    collection_id: str
    user_id: UUID
    face: UUID
    with_attributes: bool
    actor: str | None

    @property
    def key(self) -> str:
        """Where the photo is kept."""
        return photo_key(self.collection_id, self.user_id, self.face)


async def enrol_face(
    database: Database,
    backend: FaceBackend,
    tenant: Tenant,
    customer_id: str,
    body: bytes,
    *,
    actor: str | None,
) -> Enrolled:
    """Store the face in a photo as one of the customer's.

    Raises InvalidInput for an unknown customer, ConsentRequired, SeveralFaces, and the errors of
    photos, providers and stores.
    """
    backend.check_configured()
    async with database.tenant_transaction(tenant.id) as connection:
        sk = await former.find_sk(connection, tenant.id, customer_id)
        if sk is None:
            raise InvalidInput("customerId", "is not the id of a customer")
        agreed = await _check_consent(connection, tenant, sk)
        settings = await settings_of(connection, tenant)
        await check_daily_limit(
            connection, tenant, settings.rules.indexes_per_day, faces.count_since
        )
    photo = await prepare_photo(body)
    async with backend.collection(tenant, settings) as collection_id:
        found = await backend.provider.detect(photo.data, tenant_id=tenant.id, attributes=False)
        if not found:
            raise NoFace
        if len(found) > 1:
            raise SeveralFaces(len(found))
        user_id, face = await _announce(database, tenant, customer_id, settings, actor)
        enrolment = _Enrolment(
            database,
            backend,
            tenant,
            photo,
            collection_id,
            user_id,
            face,
            settings.rules.attributes_on and ConsentPurpose.ATTRIBUTES in agreed,
            actor,
        )
        indexed, model_version = await _store_outside(enrolment)
    return await _conclude(enrolment, indexed, model_version)


async def _check_consent(
    connection: Connection, tenant: Tenant, customer_sk: int
) -> frozenset[ConsentPurpose]:
    agreed = await consents.in_force(connection, tenant.id, customer_sk, now=datetime.now(UTC))
    if ConsentPurpose.ENROL not in agreed:
        raise ConsentRequired(ConsentPurpose.ENROL)
    return agreed


async def _announce(
    database: Database,
    tenant: Tenant,
    customer_id: str,
    settings: FaceSettings,
    actor: str | None,
) -> tuple[UUID, UUID]:
    """Write the pending row; the opaque id of the person, and the id of the face."""
    async with database.tenant_transaction(tenant.id) as connection:
        sk = await lock_customer(connection, tenant, customer_id)
        if sk is None:
            raise InvalidInput("customerId", "is not the id of a customer")
        await _check_consent(connection, tenant, sk)
        user = await faces.find_active_user(connection, tenant.id, sk)
        user_id = uuid4() if user is None else user.user_id
        if user is None:
            await faces.add_user(connection, tenant.id, user_id, sk)
        face = uuid4()
        await faces.add_pending(
            connection,
            tenant.id,
            face,
            customer_sk=sk,
            user_id=user_id,
            photo_key=photo_key(settings.collection_id, user_id, face),
            actor=actor,
        )
        return user_id, face


async def _store_outside(enrolment: _Enrolment) -> tuple[IndexedFace, str]:
    """Keep the photo, index the face, join it to the person; all of it taken back on failure."""
    provider, tenant_id = enrolment.backend.provider, enrolment.tenant.id
    result: IndexResult | None = None
    try:
        photo = enrolment.photo
        await enrolment.backend.store.put(enrolment.key, photo.data, photo.media_type)
        result = await provider.index(
            enrolment.collection_id,
            photo.data,
            tenant_id=tenant_id,
            external_id=str(enrolment.user_id),
            attributes=enrolment.with_attributes,
        )
        if not result.faces:
            raise NoFace([reason for each in result.unindexed for reason in each.reasons])
        indexed = result.faces[0]
        await provider.join_user(
            enrolment.collection_id,
            str(enrolment.user_id),
            [indexed.face_id],
            tenant_id=tenant_id,
        )
    except (FaceError, ObjectStoreError):
        await _take_back(enrolment, result.faces if result else [])
        raise
    return indexed, result.model_version


async def _take_back(enrolment: _Enrolment, indexed: list[IndexedFace]) -> None:
    """Remove what an enrolment that failed has left. What cannot be removed now is found later."""
    tenant_id = enrolment.tenant.id
    try:
        async with enrolment.database.tenant_transaction(tenant_id) as connection:
            # The same photo as before: its face is a stored one, whatever became of this attempt.
            known = await faces.list_known_face_ids(
                connection, tenant_id, [each.face_id for each in indexed]
            )
        ours = [each.face_id for each in indexed if each.face_id not in known]
        if ours:
            await enrolment.backend.provider.delete_faces(
                enrolment.collection_id, ours, tenant_id=tenant_id
            )
        await enrolment.backend.store.delete(enrolment.key)
    except (FaceError, ObjectStoreError) as error:
        log.warning("an enrolment that failed is cleared away later: %s", error)
        return
    async with enrolment.database.tenant_transaction(tenant_id) as connection:
        await faces.remove(connection, tenant_id, enrolment.face)


async def _conclude(enrolment: _Enrolment, indexed: IndexedFace, model_version: str) -> Enrolled:
    """Make the pending face a stored one, unless the customer has thought better of it."""
    tenant = enrolment.tenant
    async with enrolment.database.tenant_transaction(tenant.id) as connection:
        user = await _lock_active(connection, tenant, enrolment.user_id)
        agreed: frozenset[ConsentPurpose] = frozenset()
        if user is not None:
            agreed = await consents.in_force(
                connection, tenant.id, user.customer_sk, now=datetime.now(UTC)
            )
        if user is None or ConsentPurpose.ENROL not in agreed:
            # An erasure may have looked before this face was there.
            await request_erasure(
                connection,
                tenant,
                enrolment.user_id,
                ErasureReason.ABANDONED,
                actor=enrolment.actor,
            )
            concluded = None
        else:
            concluded = await _write(
                connection, enrolment, user, indexed, agreed=agreed, model_version=model_version
            )
    if concluded is None:
        raise ConsentRequired(ConsentPurpose.ENROL)
    if not concluded.is_new:
        await _drop_second_photo(enrolment)
    return concluded


async def _lock_active(connection: Connection, tenant: Tenant, user_id: UUID) -> FaceUser | None:
    """The person, if still active, with the customer locked, who may be another one by now."""
    known = (await faces.list_users(connection, tenant.id, [user_id])).get(user_id)
    if known is None or not await lock_customer_key(connection, tenant, known.customer_sk):
        return None
    user = await faces.find_active_user(connection, tenant.id, known.customer_sk)
    return user if user is not None and user.user_id == user_id else None


async def _write(
    connection: Connection,
    enrolment: _Enrolment,
    user: FaceUser,
    indexed: IndexedFace,
    *,
    agreed: frozenset[ConsentPurpose],
    model_version: str,
) -> Enrolled:
    tenant, now = enrolment.tenant, datetime.now(UTC)
    detail = indexed.detail
    same = await faces.find_by_face_id(connection, tenant.id, indexed.face_id)
    if same is not None:
        await faces.remove(connection, tenant.id, enrolment.face)
    else:
        await faces.mark_stored(
            connection,
            tenant.id,
            enrolment.face,
            face_id=indexed.face_id,
            brightness=detail.brightness,
            sharpness=detail.sharpness,
            confidence=detail.confidence,
            model_version=model_version,
            now=now,
        )
    estimates = enrolment.with_attributes and ConsentPurpose.ATTRIBUTES in agreed
    written = estimates and await _write_estimates(connection, enrolment, user, detail)
    if written:
        await refresh_customers(connection, tenant, {user.customer_sk}, now=now, cuts_needed=False)
    face = await faces.find(connection, tenant.id, same.id if same else enrolment.face)
    assert face is not None
    return Enrolled(user, face, same is None, detail if estimates else None, written)


async def _write_estimates(
    connection: Connection, enrolment: _Enrolment, user: FaceUser, detail: DetectedFace
) -> bool:
    low, high = detail.age_low, detail.age_high
    has_age = low is not None and high is not None
    return await faces.write_attributes(
        connection,
        enrolment.tenant.id,
        user.user_id,
        user.customer_sk,
        age_low=low if has_age else None,
        age_high=high if has_age else None,
        age_estimate=estimated_age(low, high) if low is not None and high is not None else None,
        gender=detail.gender,
        gender_confidence=(
            None if detail.gender_confidence is None else detail.gender_confidence / 100
        ),
        actor=enrolment.actor,
    )


async def _drop_second_photo(enrolment: _Enrolment) -> None:
    try:
        await enrolment.backend.store.delete(enrolment.key)
    except ObjectStoreError as error:
        log.warning("a photo that was sent twice is cleared away later: %s", error)
