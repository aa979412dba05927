"""Churn of all customers: how many are at risk, and why."""

from typing import Annotated

from app.api.dependencies import Caller, Connection, requires
from app.api.route import router as routes
from app.api.schemas.churn import ChurnFactorsView, ChurnOverviewView
from app.domain.access import Scope
from app.repositories import population

router = routes("analytics", "/api/analytics/churn")

Analyst = Annotated[Caller, requires(Scope.ANALYTICS_READ)]


@router.get("/overview")
async def get_churn_overview(caller: Analyst, connection: Connection) -> ChurnOverviewView:
    """Every band: how many customers, what is at stake, how many decline."""
    found = await population.list_totals(connection, caller.tenant.id, "band", "lifecycle")
    as_of = await population.find_as_of(connection, caller.tenant.id)
    customers = sum(each.customers for each in found["lifecycle"])
    return ChurnOverviewView.of(found["band"], customers, caller.tenant, as_of)


@router.get("/factors")
async def get_churn_factors(caller: Analyst, connection: Connection) -> ChurnFactorsView:
    """Why customers are at risk: reasons by frequency, with the value that they touch."""
    found = await population.list_totals(connection, caller.tenant.id, "reason", "band")
    as_of = await population.find_as_of(connection, caller.tenant.id)
    rated = sum(each.churn_rated for each in found["band"])
    return ChurnFactorsView.of(found["reason"], rated, caller.tenant.currency, as_of)
