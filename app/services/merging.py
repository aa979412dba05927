"""Joining a duplicate to the customer it is a duplicate of: history moves, nothing counts twice."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from app.database import Connection
from app.domain.errors import Conflict, InvalidInput, NotFound, RunInProgress
from app.domain.search import terms
from app.domain.tenant import Tenant
from app.repositories import customer as customers
from app.repositories import former, merge, owner
from app.services.face_erasure import merge_faces
from app.services.scoring import refresh_customers


@dataclass(frozen=True, slots=True)
class Merged:
    """The id that stays, the id that leads to it from now on, and the rows moved by table."""

    customer_id: str
    former_id: str
    moved: Mapping[str, int]


async def merge_customers(
    connection: Connection,
    tenant: Tenant,
    *,
    target_id: str,
    duplicate_id: str,
    actor: str | None,
) -> Merged:
    """Join the customer called `duplicate_id` to the one called `target_id`, who is scored anew.

    Raises NotFound for the target, InvalidInput for the duplicate, Conflict where both are one
    customer already, and RunInProgress while scores are being computed.
    """
    if target_id == duplicate_id:
        raise InvalidInput("duplicateId", "must be another customer")
    # Writers of orders have their shares of this lock, and so does every other merge.
    await owner.lock_clock(connection, tenant.id)
    # Referrals move: nobody else may set one meanwhile, or the two would close a circle.
    await customers.lock_referrers(connection, tenant.id)
    if not await former.try_lock_leaving(connection, tenant.id):
        raise RunInProgress(tenant.slug)
    target = await former.find_sk(connection, tenant.id, target_id)
    if target is None:
        raise NotFound("customer", target_id)
    duplicate = await former.find_sk(connection, tenant.id, duplicate_id)
    if duplicate is None:
        raise InvalidInput("duplicateId", "is not the id of a customer")
    if duplicate == target:
        raise Conflict("Both ids belong to one customer already.")
    await former.lock_leaving(connection, tenant.id, leaving=duplicate, others=[target])
    referrers = await merge.list_referrers(connection, tenant.id, target)
    referrers_of_duplicate = await merge.list_referrers(connection, tenant.id, duplicate)
    referrer = _referrer(target, duplicate, referrers, referrers_of_duplicate)
    moved = await merge.move_history(connection, tenant.id, duplicate=duplicate, target=target)
    moved |= await merge_faces(connection, tenant, duplicate=duplicate, target=target, actor=actor)
    await merge.delete_computed(connection, tenant.id, duplicate)
    former_id = await merge.absorb(
        connection,
        tenant.id,
        duplicate=duplicate,
        target=target,
        referrer=referrer,
        actor=actor,
    )
    await merge.add_alias(connection, tenant.id, former_id, target=target, merged_by=actor)
    texts, phone = await merge.list_words_of(connection, tenant.id, target)
    await customers.replace_terms(
        connection, tenant.id, {target: terms(texts=[*texts, former_id], phone=phone)}
    )
    touched = {target, *referrers[:1], *referrers_of_duplicate[:1]} - {duplicate}
    await refresh_customers(connection, tenant, touched, now=datetime.now(UTC))
    present_id = await former.find_present_id(connection, tenant.id, former_id)
    assert present_id is not None
    return Merged(present_id, former_id, moved)


def _referrer(
    target: int, duplicate: int, of_target: list[int], of_duplicate: list[int]
) -> int | None:
    """Who brought in the two as one: the target's referrer, else the duplicate's.

    A referrer whom one of the two had brought in, however remotely, would close a circle.
    """
    if of_target and duplicate not in of_target:
        return of_target[0]
    if of_duplicate and target not in of_duplicate:
        return of_duplicate[0]
    return None
