"""Making cohorts, and adding up their months."""

from datetime import UTC, date, datetime
from typing import Any
from uuid import uuid4

from app.database import Connection
from app.domain.cohort import CohortType
from app.domain.criteria import clock_of
from app.domain.criteria_document import parse_criteria
from app.domain.tenant import Tenant
from app.repositories import cohort as cohorts
from app.repositories import population
from app.services.segmentation import check_references


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
    actor: str | None,
) -> str:
    """Make a cohort and return its id; one with criteria gets its members at once.

    Raises AlreadyExists, and InvalidInput where the criteria will not do.
    """
    cohort_id = cohort_id or str(uuid4())
    parsed = None if criteria is None else parse_criteria(criteria, tenant)
    compiler = None if parsed is None else await check_references(connection, tenant, parsed)
    cohort_sk = await cohorts.insert(
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
    if parsed is not None and compiler is not None:
        await population.read_everybody(connection)
        await cohorts.add_members(
            connection,
            tenant.id,
            cohort_sk,
            criteria=parsed,
            compiler=compiler,
            clock=clock_of(tenant, datetime.now(UTC)),
        )
    return cohort_id


async def retire_cohort(connection: Connection, tenant: Tenant, cohort_id: str) -> None:
    """Take a cohort out of the lists. Raises NotFound."""
    await cohorts.retire(connection, tenant.id, cohort_id)
