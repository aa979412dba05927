"""What is worth knowing about one customer, and each score by itself."""

from datetime import UTC, datetime
from typing import Annotated

from app.api.dependencies import Caller, Connection, PathId, requires
from app.api.disclosure import Disclosed
from app.api.route import router as routes
from app.api.schemas.insight import (
    CustomerChurnView,
    CustomerClvView,
    CustomerRfmView,
    InsightsView,
)
from app.domain.access import Scope
from app.repositories import analytics, cutoffs, journey

router = routes("insights", "/api/customers")

Reader = Annotated[Caller, requires(Scope.CUSTOMERS_READ)]

_SHOWN_CHANGES = 12


@router.get("/{id}/insights")
async def list_customer_insights(
    id: PathId, caller: Reader, connection: Connection, disclosure: Disclosed
) -> InsightsView:
    """What stands out about the customer today, the weightiest first, and what to do about it."""
    profile = await analytics.get_profile(connection, caller.tenant.id, id)
    return InsightsView.of(
        profile.customer, profile.analytics, caller.tenant, datetime.now(UTC), disclosure
    )


@router.get("/{id}/rfm")
async def get_customer_rfm(
    id: PathId, caller: Reader, connection: Connection, disclosure: Disclosed
) -> CustomerRfmView:
    """The RFM scores, the cutoffs they follow from, and the last changes of standing."""
    tenant = caller.tenant
    profile = await analytics.get_profile(connection, tenant.id, id)
    return CustomerRfmView.of(
        profile.customer,
        profile.analytics,
        await cutoffs.find_latest(connection, tenant.id),
        await journey.list_standing_changes(
            connection, tenant.id, profile.customer.sk, limit=_SHOWN_CHANGES
        ),
        tenant,
        datetime.now(UTC),
        disclosure,
    )


@router.get("/{id}/clv")
async def get_customer_clv(
    id: PathId, caller: Reader, connection: Connection, disclosure: Disclosed
) -> CustomerClvView:
    """The lifetime value of the customer by the profile's method."""
    profile = await analytics.get_profile(connection, caller.tenant.id, id)
    return CustomerClvView.of(
        profile.customer, profile.analytics, caller.tenant, datetime.now(UTC), disclosure
    )


@router.get("/{id}/churn")
async def get_customer_churn(
    id: PathId, caller: Reader, connection: Connection, disclosure: Disclosed
) -> CustomerChurnView:
    """The risk of losing the customer, with its reasons."""
    profile = await analytics.get_profile(connection, caller.tenant.id, id)
    return CustomerChurnView.of(
        profile.customer, profile.analytics, caller.tenant, datetime.now(UTC), disclosure
    )
