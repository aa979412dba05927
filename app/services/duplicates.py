"""Finding customers who may be one person."""

from datetime import datetime

from app.database import Connection
from app.domain.duplicate import WEIGHTS
from app.domain.tenant import Tenant
from app.repositories import duplicate


async def find_duplicates(
    connection: Connection, tenant: Tenant, *, changed_since: datetime | None = None
) -> bool:
    """Compare all customers of the tenant and keep the pairs that have something in common.

    With `changed_since`, only if a customer has changed after that; whether it was done.
    """
    if changed_since is not None and not await duplicate.has_changed(
        connection, tenant.id, changed_since
    ):
        return False
    await duplicate.refresh(
        connection, tenant.id, {reason.value: weight for reason, weight in WEIGHTS.items()}
    )
    return True
