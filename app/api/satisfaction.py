"""What customers answered to surveys, month by month."""

from datetime import date, timedelta
from typing import Annotated

from fastapi import Query

from app.api.dependencies import Caller, Connection, requires
from app.api.errors import bad_parameter
from app.api.period import From, StoreId, To, as_of_day, find_store, period_of
from app.api.route import router as routes
from app.api.schemas.satisfaction import SatisfactionMonthView, SatisfactionView
from app.domain.access import Scope
from app.repositories import satisfaction
from app.repositories.satisfaction import Breakdown

router = routes("analytics", "/api/analytics")

Analyst = Annotated[Caller, requires(Scope.ANALYTICS_READ)]

_DEFAULT_MONTHS = 12
_LONGEST = 3660
_UNKNOWN = "unknown"


@router.get("/satisfaction")
async def get_satisfaction(
    caller: Analyst,
    connection: Connection,
    first: From = None,
    last: To = None,
    by: Annotated[Breakdown, Query(description="What to split each month by.")] = Breakdown.NONE,
    store: StoreId = None,
    segment: Annotated[
        str | None,
        Query(
            max_length=100,
            description="Only answers of customers in this RFM segment; `unknown` for those who"
            " were in none.",
            examples=["champion"],
        ),
    ] = None,
) -> SatisfactionView:
    """NPS, CSAT, reviews and complaints of the months that the days lie in; 12 by default."""
    tenant = caller.tenant
    if segment is not None and segment not in _segments(caller):
        raise bad_parameter("query", "segment", f"must be one of {', '.join(_segments(caller))}")
    period = period_of(
        _months_earlier(last or as_of_day(tenant)) if first is None else first,
        last,
        until=as_of_day(tenant),
        longest=_LONGEST,
    )
    found = await satisfaction.list_months(
        connection,
        tenant.id,
        first=period.first,
        last=period.last,
        by=by,
        store_sk=await find_store(connection, tenant, store),
        segment=segment,
    )
    return SatisfactionView(
        from_month=period.first.replace(day=1),
        to_month=period.last.replace(day=1),
        by=by,
        items=[SatisfactionMonthView.of(each, by) for each in found],
    )


def _segments(caller: Caller) -> list[str]:
    return [*(segment.code for segment in caller.tenant.profile.segments), _UNKNOWN]


def _months_earlier(last: date) -> date:
    """The first day of the month that begins a year of months ending with that of `last`."""
    month = last.replace(day=1)
    for _ in range(_DEFAULT_MONTHS - 1):
        if month > date(1970, 1, 31):
            month = (month - timedelta(days=1)).replace(day=1)
    return month
