"""Forgetting faces: decided in one transaction here, carried out step by step elsewhere.

Deciding marks the person as leaving, so that no search finds them any more, and queues a job in the
same transaction. The job forgets at the provider, in the photo store and here, in that order, and
notes each step that is done. Every step may be repeated, so a job that was killed goes on wherever
it was. What it needs is in its own row, which outlives the customer.
"""

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from app.database import Connection, Database
from app.domain.errors import NotFound
from app.domain.face import ConsentPurpose, ErasureReason, must_be_erased, next_attempt
from app.domain.tenant import Tenant
from app.gateways.face import FaceError, FaceProviderFailed
from app.gateways.object_store import ObjectStoreError
from app.repositories import consent as consents
from app.repositories import customer as customers
from app.repositories import face as faces
from app.repositories import face_erasure as erasures
from app.repositories import former, job
from app.repositories.face import FaceUser
from app.repositories.face_erasure import FaceErasure
from app.services.face_backend import FaceBackend, settings_of
from app.services.scoring import refresh_customers

log = logging.getLogger(__name__)

JOB = "erase_face"
#: How often faces that come again while they are being deleted are deleted again.
_ROUNDS = 3


async def lock_customer(connection: Connection, tenant: Tenant, customer_id: str) -> int | None:
    """Lock the customer called so now or before a merge; its key, None where there is none."""
    sk = await former.find_sk(connection, tenant.id, customer_id)
    if sk is None or not await lock_customer_key(connection, tenant, sk):
        return None
    return sk


async def lock_customer_key(connection: Connection, tenant: Tenant, customer_sk: int) -> bool:
    """Lock a customer by key; False where it has gone."""
    return bool(await customers.lock(connection, tenant.id, {}, [customer_sk]))


# --- Deciding ---------------------------------------------------------------------------------


async def request_erasure(
    connection: Connection,
    tenant: Tenant,
    user_id: UUID,
    reason: ErasureReason,
    *,
    actor: str | None,
    erasure_id: UUID | None = None,
) -> UUID:
    """Mark the person as leaving and queue the erasure; the id of the receipt."""
    stored = await faces.list_of_user(connection, tenant.id, user_id)
    await faces.set_user_status(connection, tenant.id, user_id, "erasing")
    added = await erasures.add(
        connection,
        tenant.id,
        erasure_id=erasure_id,
        user_id=user_id,
        face_ids=[face.face_id for face in stored if face.face_id is not None],
        reason=reason,
        actor=actor,
    )
    await _enqueue(connection, tenant, added)
    return added


async def after_ending(
    connection: Connection,
    tenant: Tenant,
    customer_sk: int,
    ended: Collection[ConsentPurpose],
    reason: ErasureReason,
    *,
    actor: str | None,
    now: datetime,
) -> UUID | None:
    """Do what follows from consents of a locked customer having ended.

    The receipt of the erasure, where there is nothing left that the face may be kept for.
    """
    user = await faces.find_active_user(connection, tenant.id, customer_sk)
    if user is None:
        return None
    if ConsentPurpose.ATTRIBUTES in ended:
        await _forget_estimates(connection, tenant, user, now)
    remaining = await consents.in_force(connection, tenant.id, customer_sk, now=now)
    if not must_be_erased(ended, remaining):
        return None
    if ConsentPurpose.ATTRIBUTES not in ended:
        await _forget_estimates(connection, tenant, user, now)
    return await request_erasure(connection, tenant, user.user_id, reason, actor=actor)


async def _forget_estimates(
    connection: Connection, tenant: Tenant, user: FaceUser, now: datetime
) -> None:
    await faces.forget_sightings_of(connection, tenant.id, user.customer_sk)
    if await faces.clear_attributes(connection, tenant.id, user.user_id, user.customer_sk):
        await refresh_customers(connection, tenant, {user.customer_sk}, now=now, cuts_needed=False)


async def forget_customer(
    connection: Connection, tenant: Tenant, customer_id: str, *, actor: str | None
) -> UUID:
    """End every consent of the customer and erase the faces; the id of the receipt.

    Asked again, it is the same receipt. Raises NotFound for a customer who never had a face.
    """
    now = datetime.now(UTC)
    sk = await lock_customer(connection, tenant, customer_id)
    if sk is None:
        raise NotFound("customer", customer_id)
    latest = await faces.find_latest_user(connection, tenant.id, sk)
    if latest is None:
        raise NotFound("face of a customer", customer_id)
    ended = await consents.end(
        connection, tenant.id, sk, None, ended_as="withdrawn", actor=actor, now=now
    )
    receipt = await after_ending(
        connection,
        tenant,
        sk,
        {*ended, ConsentPurpose.ENROL},
        ErasureReason.REQUESTED,
        actor=actor,
        now=now,
    )
    if receipt is None:
        receipt = await erasures.find_latest(connection, tenant.id, latest.user_id)
        assert receipt is not None, "who is leaving or gone has a receipt"
    return receipt


async def erase_with_customer(
    connection: Connection,
    tenant: Tenant,
    customer_sk: int,
    *,
    receipt_id: UUID,
    actor: str | None,
) -> None:
    """Queue the erasure of the faces of a customer whose rows are about to be deleted.

    It has the receipt's id, so that one number leads to both.
    """
    user = await faces.find_active_user(connection, tenant.id, customer_sk)
    if user is not None:
        await request_erasure(
            connection,
            tenant,
            user.user_id,
            ErasureReason.PRIVACY,
            actor=actor,
            erasure_id=receipt_id,
        )


async def merge_faces(
    connection: Connection, tenant: Tenant, *, duplicate: int, target: int, actor: str | None
) -> Mapping[str, int]:
    """Give the target the duplicate's consents and faces; how many rows of each table moved.

    Where both have faces, those of the duplicate are erased: two persons who are one would be each
    other's runner-up in every search.
    """
    moved_consents = await consents.move(connection, tenant.id, duplicate=duplicate, target=target)
    own = await faces.find_active_user(connection, tenant.id, target)
    other = await faces.find_active_user(connection, tenant.id, duplicate)
    if own is not None and other is not None:
        await request_erasure(connection, tenant, other.user_id, ErasureReason.MERGED, actor=actor)
    moved_faces = await faces.move(connection, tenant.id, duplicate=duplicate, target=target)
    if own is not None or other is not None:
        await after_ending(
            connection,
            tenant,
            target,
            (),
            ErasureReason.MERGED,
            actor=actor,
            now=datetime.now(UTC),
        )
    moved = {"face_consents": moved_consents, "faces": moved_faces}
    return {table: rows for table, rows in moved.items() if rows}


# --- Carrying out -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Work:
    """One erasure and what it is carried out with."""

    database: Database
    backend: FaceBackend
    tenant: Tenant
    collection_id: str
    erasure: FaceErasure

    @property
    def user_id(self) -> str:
        """The opaque id, as the provider and the photo store know it."""
        return str(self.erasure.user_id)


async def run_erasure(
    database: Database, backend: FaceBackend, tenant: Tenant, erasure_id: UUID
) -> bool:
    """Carry out what is left of an erasure; whether it is complete.

    What cannot be done now is tried again later, and says why. Raises NotFound.
    """
    async with database.tenant_transaction(tenant.id) as connection:
        erasure = await erasures.get(connection, tenant.id, erasure_id)
        settings = await settings_of(connection, tenant)
    if erasure.completed_at is not None:
        return True
    try:
        async with backend.collection(tenant, settings) as collection_id:
            work = _Work(database, backend, tenant, collection_id, erasure)
            for name, carry_out in STEPS.items():
                if name not in erasure.steps:
                    await _note(work, name, await carry_out(work))
    except (FaceError, ObjectStoreError) as error:
        attempts = erasure.attempts + 1
        log.error("erasure %s of a face failed %d times: %s", erasure_id, attempts, error)
        async with database.tenant_transaction(tenant.id) as connection:
            await erasures.fail(
                connection,
                tenant.id,
                erasure_id,
                error=f"{type(error).__name__}: {error}",
                next_attempt_at=next_attempt(attempts, datetime.now(UTC)),
            )
        return False
    async with database.tenant_transaction(tenant.id) as connection:
        await erasures.complete(connection, tenant.id, erasure_id)
    return True


async def _note(work: _Work, step: str, result: Mapping[str, object]) -> None:
    at = datetime.now(UTC).isoformat()
    async with work.database.tenant_transaction(work.tenant.id) as connection:
        await erasures.note_step(
            connection, work.tenant.id, work.erasure.id, step, {**result, "at": at}
        )


async def _delete_user(work: _Work) -> Mapping[str, object]:
    await work.backend.provider.delete_user(
        work.collection_id, work.user_id, tenant_id=work.tenant.id
    )
    return {}


async def _delete_faces(work: _Work) -> Mapping[str, object]:
    await _delete(work, work.erasure.face_ids)
    return {"faces": len(work.erasure.face_ids)}


async def _delete(work: _Work, face_ids: Collection[str]) -> None:
    if not face_ids:
        return
    left = await work.backend.provider.delete_faces(
        work.collection_id, list(face_ids), tenant_id=work.tenant.id
    )
    if left:
        raise FaceProviderFailed


async def _verify(work: _Work) -> Mapping[str, object]:
    """Look through the collection for faces of the person, such as one stored meanwhile."""
    found_late = 0
    for _ in range(_ROUNDS):
        left = []
        async for page in work.backend.provider.list_faces(
            work.collection_id, tenant_id=work.tenant.id
        ):
            left += [
                face.face_id for face in page if work.user_id in (face.external_id, face.user_id)
            ]
        if not left:
            return {"foundLate": found_late}
        found_late += len(left)
        await _delete_user(work)
        await _delete(work, left)
    raise FaceProviderFailed


async def _delete_photos(work: _Work) -> Mapping[str, object]:
    deleted = 0
    async for page in work.backend.store.list_keys(photo_folder(work.collection_id, work.user_id)):
        for key in page:
            await work.backend.store.delete(key)
            deleted += 1
    return {"photos": deleted}


async def _delete_rows(work: _Work) -> Mapping[str, object]:
    async with work.database.tenant_transaction(work.tenant.id) as connection:
        user_id = work.erasure.user_id
        removed = await faces.remove_of_user(connection, work.tenant.id, user_id)
        await faces.set_user_status(connection, work.tenant.id, user_id, "erased")
    return {"rows": removed}


#: What is done, in this order.
STEPS: Mapping[str, Callable[[_Work], Awaitable[Mapping[str, object]]]] = {
    "user": _delete_user,
    "faces": _delete_faces,
    "verified": _verify,
    "photos": _delete_photos,
    "rows": _delete_rows,
}


def photo_folder(collection_id: str, user_id: str | UUID) -> str:
    """What the keys of a person's photos begin with."""
    return f"{collection_id}/{user_id}/"


def photo_key(collection_id: str, user_id: UUID, face: UUID) -> str:
    """Where the photo of a face is kept. It tells of nobody."""
    return f"{photo_folder(collection_id, user_id)}{face}.jpg"


async def enqueue_due(connection: Connection, tenant: Tenant, *, now: datetime) -> int:
    """Queue what is to be tried again, and what lost its job; how many."""
    due = await erasures.list_due(connection, tenant.id, now=now)
    for erasure_id in due:
        await _enqueue(connection, tenant, erasure_id)
    return len(due)


async def _enqueue(connection: Connection, tenant: Tenant, erasure_id: UUID) -> None:
    payload: dict[str, object] = {"tenant_id": tenant.id, "erasure_id": str(erasure_id)}
    await job.enqueue_once(connection, JOB, f"{JOB}:{erasure_id}", payload)
