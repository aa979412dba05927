"""Finding customers who may be one person."""

from app.database import Connection
from app.domain.duplicate import WEIGHTS
from app.domain.tenant import Tenant
from app.repositories import duplicate


async def find_duplicates(connection: Connection, tenant: Tenant) -> None:
    """Compare all customers of the tenant and keep the pairs that have something in common."""
    await duplicate.refresh(
        connection, tenant.id, {reason.value: weight for reason, weight in WEIGHTS.items()}
    )
