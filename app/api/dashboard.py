"""The dashboard: one answer for one screen."""

from datetime import date
from typing import Annotated

from app import database as db
from app.api.dependencies import Caller, Connection, requires
from app.api.period import From, StoreId, To, as_of_day, find_store, period_of
from app.api.route import router as routes
from app.api.schemas.dashboard import DashboardView, Figures, Snapshot, dashboard
from app.domain.access import Scope
from app.domain.tenant import Tenant
from app.repositories import population, sales
from app.repositories import store as stores

router = routes("analytics", "/api/analytics")

Analyst = Annotated[Caller, requires(Scope.ANALYTICS_READ)]

_LONGEST = 366
_FIGURES = ("lifecycle", "band", "segment", "grid")


@router.get("/dashboard")
async def get_dashboard(
    caller: Analyst,
    connection: Connection,
    first: From = None,
    last: To = None,
    store: StoreId = None,
) -> DashboardView:
    """Totals, sales and new customers of a period, each beside the period before.

    By default the 30 days up to today, which for a closed log is its as-of. `store` narrows sales
    and new customers; what customers are is known of the whole business.
    """
    tenant = caller.tenant
    today = as_of_day(tenant)
    period = period_of(first, last, until=today, longest=_LONGEST)
    store_sk = await find_store(connection, tenant, store)
    totals = await population.list_totals(connection, tenant.id, *_FIGURES)
    ended = (
        Snapshot.now(today, totals, tenant)
        if period.last == today
        else await _kept(connection, tenant, period.last)
    )
    before = period.previous
    found_sales = await sales.get_sales(connection, tenant.id, period.first, period.last, store_sk)
    found_new = await population.get_new_customers(
        connection, tenant.id, period.first, period.last, store_sk
    )
    sold = {*found_sales.by_store, *found_new.by_store}
    figures = Figures(
        period=period,
        totals=totals,
        began=await _kept(connection, tenant, period.first),
        ended=ended,
        sales=found_sales,
        previous_sales=await sales.get_total(
            connection, tenant.id, before.first, before.last, store_sk
        ),
        new=found_new,
        previous_new=await population.count_new_customers(
            connection, tenant.id, before.first, before.last, store_sk
        ),
        stores=await stores.list_known(connection, tenant.id, sold),
        as_of=await population.find_as_of(connection, tenant.id),
    )
    return dashboard(figures, tenant, store)


async def _kept(connection: db.Connection, tenant: Tenant, day: date) -> Snapshot | None:
    kept = await population.find_kept_totals(connection, tenant.id, day, _FIGURES)
    return None if kept is None else Snapshot.of(*kept, tenant)
