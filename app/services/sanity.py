"""Verifying that the rows of truth are what the sources say."""

from dataclasses import replace
from datetime import datetime

from app.database import Database
from app.domain import money
from app.domain.rfm import Cutoffs
from app.domain.sanity import VERIFICATIONS, passed
from app.domain.tenant import Tenant
from app.repositories import cutoffs, sanity
from app.repositories.sanity import SanityResult


async def check_tenant(database: Database, tenant: Tenant, *, now: datetime) -> SanityResult:
    """Run every verification over the whole tenant and keep the result.

    Orders are never locked: each verification reads both of its sides at one instant.
    """
    async with database.tenant_transaction(tenant.id) as connection:
        stored = await cutoffs.find_latest(connection, tenant.id)
        found = await sanity.list_checks(
            connection,
            tenant.id,
            now=tenant.as_of(now),
            model_version=tenant.profile.version,
            segments=[segment.code for segment in tenant.profile.segments],
            cutoffs=_fixed_cutoffs(tenant) or (stored.cutoffs if stored else None),
        )
        by_name = {check.name: check for check in found}
        checks = [by_name[each.name] for each in VERIFICATIONS]
        return await sanity.add(connection, tenant.id, passed=passed(checks), checks=checks)


def _fixed_cutoffs(tenant: Tenant) -> Cutoffs | None:
    """The cutoffs that the profile fixes, monetary ones in minor units."""
    fixed = tenant.profile.fixed_cutoffs
    if fixed is None:
        return None
    unit = 10 ** money.decimals(tenant.currency)
    return replace(fixed, monetary=tuple(bound * unit for bound in fixed.monetary))
