"""What each day came to: of the whole business, or of one segment."""

from datetime import date, timedelta
from typing import Annotated

from fastapi import Body, Query
from pydantic import ConfigDict

from app.api.dependencies import Caller, Connection, UserId, check_user_id, requires
from app.api.period import as_of_day
from app.api.route import router as routes
from app.api.schemas.performance import (
    BusinessDayView,
    Days,
    FullBusinessDayView,
    FullSegmentDayView,
    SegmentDayView,
)
from app.domain.access import Scope
from app.domain.errors import InvalidInput
from app.domain.period import Period
from app.repositories import performance
from app.repositories import segment as segments
from app.services import daily_figures
from app.services.records import Record

router = routes("segmentation", "/api/segmentation/analytics")

_LONGEST_DAYS = 1100
_MOST_REFILLED = 400


@router.get("")
async def get_segmentation_analytics(
    caller: Annotated[Caller, requires(Scope.ANALYTICS_READ)],
    connection: Connection,
    user_id: UserId = None,
    segment_id: Annotated[str | None, Query(alias="segmentId", max_length=255)] = None,
    days: Annotated[int, Query(ge=1, le=_LONGEST_DAYS)] = 30,
    full: Annotated[bool, Query(description="Answer with everything that is kept.")] = False,
) -> (
    Days[FullSegmentDayView]
    | Days[FullBusinessDayView]
    | Days[SegmentDayView]
    | Days[BusinessDayView]
):
    """The last days up to yesterday, oldest first; of the members of a segment, where one is given.

    Days are added up each night, and can be added up again (`POST …/refill`).
    """
    check_user_id(caller, user_id)
    tenant = caller.tenant
    last = as_of_day(tenant) - timedelta(days=1)
    first = last - timedelta(days=days - 1)
    if segment_id is None:
        found = await performance.list_business_days(connection, tenant.id, first, last)
        business = FullBusinessDayView if full else BusinessDayView
        shown = [business.of(each, tenant.currency) for each in found]
        return Days[business](data=shown, total=len(shown))  # type: ignore[valid-type]
    segment = await segments.get(connection, tenant.id, segment_id)
    of_segment = await performance.list_segment_days(connection, tenant.id, segment.sk, first, last)
    view = FullSegmentDayView if full else SegmentDayView
    told = [view.of(each, tenant.currency) for each in of_segment]
    return Days[view](data=told, total=len(told))  # type: ignore[valid-type]


class Refill(Record):
    """Days to be added up again, both ends included."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"firstDay": "2026-01-01", "lastDay": "2026-01-31"}}
    )

    first_day: date
    last_day: date


@router.post("/refill", status_code=202)
async def refill_analytics(
    refill: Annotated[Refill, Body()],
    caller: Annotated[Caller, requires(Scope.SEGMENTS_WRITE)],
    connection: Connection,
) -> Refill:
    """Have past days added up again, from the orders, events and memberships that there are now."""
    if refill.first_day > refill.last_day:
        raise InvalidInput("firstDay", "must not be after lastDay")
    if refill.last_day >= as_of_day(caller.tenant):
        raise InvalidInput("lastDay", "must be a day that is over")
    period = Period(refill.first_day, refill.last_day)
    if period.days > _MOST_REFILLED:
        raise InvalidInput("firstDay", f"must lie less than {_MOST_REFILLED} days before lastDay")
    await daily_figures.request_days(connection, caller.tenant, period)
    return refill
