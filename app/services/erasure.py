"""Erasing a customer: nothing that names the person stays, and the person does not come back.

**Faces.** The rows about them go with the others; a job that is queued here removes them from where
else they are, and has a receipt of the same number.

**What stays.** The sums of past sales and of past answers, which name nobody; a keyed hash of each
id, by which later records of the person are refused; a receipt with numbers of rows.

**Why nobody is brought back.** Writers of orders share a lock that an erasure has for itself, and
others wait for the customer's row. Whoever comes later finds the hash; a writer that had asked for
it before the erasure was committed is stopped by a trigger.
"""

from datetime import UTC, datetime
from uuid import uuid4

from app.database import Connection
from app.domain.errors import NotFound, RunInProgress
from app.domain.privacy import id_hash
from app.domain.tenant import Tenant
from app.repositories import erasure, former, owner
from app.repositories import tenant as tenants
from app.repositories.erasure import Erasure
from app.services.face_erasure import erase_with_customer
from app.services.scoring import refresh_customers


async def erase_customer(
    connection: Connection, tenant: Tenant, customer_id: str, *, actor: str | None
) -> Erasure:
    """Erase the customer called `customer_id` from every table; the receipt.

    A former id of a merged customer erases the whole customer. Raises NotFound, and RunInProgress
    while scores are being computed.
    """
    connected = await _list_connected(connection, tenant, customer_id)
    await owner.lock_clock(connection, tenant.id)
    if not await former.try_lock_leaving(connection, tenant.id):
        raise RunInProgress(tenant.slug)
    sk = await former.find_sk(connection, tenant.id, customer_id)
    if sk is None:
        raise NotFound("customer", customer_id)
    await former.lock_leaving(connection, tenant.id, leaving=sk, others=connected)
    ids = await erasure.list_ids(connection, tenant.id, sk)
    referrer = await erasure.find_referrer(connection, tenant.id, sk)
    key = await tenants.get_pseudonym_key(connection)
    await erasure.forget_referrer(connection, tenant.id, sk)
    await erasure.forget_connections(connection, tenant.id, ids, connected)
    await erasure.retain_totals(connection, tenant.id, sk)
    receipt_id = uuid4()
    await erase_with_customer(connection, tenant, sk, receipt_id=receipt_id, actor=actor)
    removed = await erasure.delete_everything(connection, tenant.id, sk)
    named = await erasure.delete_answers(connection, tenant.id, ids)
    if named:
        removed["idempotency_keys"] = named
    receipt = await erasure.add(
        connection,
        tenant.id,
        id_hashes=[id_hash(key, each) for each in ids],
        receipt_id=receipt_id,
        erased_by=actor,
        removed=removed,
    )
    if referrer is not None:
        await refresh_customers(connection, tenant, {referrer}, now=datetime.now(UTC))
    return receipt


async def _list_connected(connection: Connection, tenant: Tenant, customer_id: str) -> list[int]:
    """Who names the customer as a connection: reads everybody, so before others have to wait."""
    sk = await former.find_sk(connection, tenant.id, customer_id)
    if sk is None:
        raise NotFound("customer", customer_id)
    ids = await erasure.list_ids(connection, tenant.id, sk)
    return await erasure.list_connected(connection, tenant.id, ids)
