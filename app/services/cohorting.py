"""Making cohorts, and adding up their months."""

from datetime import date
from typing import Any
from uuid import uuid4

from app.database import Connection
from app.domain.cohort import CohortType
from app.domain.tenant import Tenant
from app.repositories import cohort as cohorts


async def create_cohort(
    connection: Connection,
    tenant: Tenant,
    *,
    cohort_id: str | None,
    name: str,
    description: str | None,
    cohort_type: CohortType,
    acquisition: tuple[date, date] | None,
    criteria: dict[str, Any] | None,
    actor: str,
) -> str:
    """Make a cohort and return its id; one with criteria gets its members at once.

    Raises AlreadyExists, and InvalidCriteria where the criteria will not do.
    """
    cohort_id = cohort_id or str(uuid4())
    await cohorts.insert(
        connection,
        tenant.id,
        cohort_id=cohort_id,
        name=name,
        description=description,
        cohort_type=cohort_type,
        acquisition=acquisition,
        criteria=criteria,
        created_by=actor,
    )
    return cohort_id


async def retire_cohort(connection: Connection, tenant: Tenant, cohort_id: str) -> None:
    """Take a cohort out of the lists. Raises NotFound."""
    await cohorts.retire(connection, tenant.id, cohort_id)
