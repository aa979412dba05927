"""Who the customers are, and how they answer."""

from typing import Annotated

from app.api.dependencies import Caller, Connection, requires
from app.api.route import router as routes
from app.api.schemas.population import DemographicsView, EngagementView
from app.domain.access import Scope
from app.repositories import population

router = routes("analytics", "/api/analytics")

Analyst = Annotated[Caller, requires(Scope.ANALYTICS_READ)]


@router.get("/demographics")
async def get_demographics(caller: Analyst, connection: Connection) -> DemographicsView:
    """The matrix of age group by gender, with what each is worth."""
    found = await population.list_totals(connection, caller.tenant.id, "demographics")
    as_of = await population.find_as_of(connection, caller.tenant.id)
    return DemographicsView.of(found["demographics"], caller.tenant.currency, as_of)


@router.get("/engagement")
async def get_engagement(caller: Analyst, connection: Connection) -> EngagementView:
    """The matrix of response by spending, with the names of its quadrants."""
    found = await population.list_totals(connection, caller.tenant.id, "engagement")
    as_of = await population.find_as_of(connection, caller.tenant.id)
    return EngagementView.of(found["engagement"], caller.tenant.currency, as_of)
