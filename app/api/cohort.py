"""Cohorts: made, listed, and followed month by month."""

from datetime import date
from typing import Annotated

from fastapi import Body, Query

from app.api.dependencies import Caller, Connection, PathId, UserId, check_user_id, requires
from app.api.disclosure import Disclosed
from app.api.errors import BadCursor, bad_parameter, problems
from app.api.pagination import (
    DEFAULT_LIMIT,
    Cursor,
    Limit,
    Page,
    decode,
    decode_sk,
    encode,
    page_of,
)
from app.api.period import as_of_day
from app.api.route import router as routes
from app.api.schemas.cohort import (
    EXAMPLE,
    CohortAnalysisView,
    CohortMemberView,
    CohortView,
    NewCohort,
)
from app.domain.access import Scope
from app.domain.cohort import CohortType, month_of, months_before, months_between
from app.repositories import cohort as cohorts
from app.services import cohorting

router = routes("segmentation", "/api/segmentation/cohorts")

Reader = Annotated[Caller, requires(Scope.SEGMENTS_READ)]
Writer = Annotated[Caller, requires(Scope.SEGMENTS_WRITE)]

_LONGEST_MONTHS = 120
_DEFAULT_MONTHS = 12

Month = Annotated[
    str | None,
    Query(pattern=r"^(19[7-9]\d|20\d\d)-(0[1-9]|1[0-2])$", examples=["2026-01"]),
]


@router.post("", status_code=201, responses=problems(409))
async def create_cohort(
    new: Annotated[NewCohort, Body(examples=[EXAMPLE])], caller: Writer, connection: Connection
) -> CohortView:
    """Make a cohort: of whoever first buys in a range of days, or of who meets criteria now."""
    check_user_id(caller, new.user_id)
    cohort_id = await cohorting.create_cohort(
        connection,
        caller.tenant,
        cohort_id=new.id,
        name=new.cohort_name,
        description=new.description,
        cohort_type=new.cohort_type,
        acquisition=new.acquisition,
        criteria=new.criteria,
        actor=caller.key_id,
    )
    return CohortView.of(await cohorts.get(connection, caller.tenant.id, cohort_id))


@router.get("")
async def list_cohorts(
    caller: Reader,
    connection: Connection,
    user_id: UserId = None,
    type: Annotated[CohortType | None, Query()] = None,
    include_inactive: Annotated[bool, Query(alias="includeInactive")] = False,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[CohortView]:
    """Cohorts in the order in which they were made."""
    check_user_id(caller, user_id)
    found = await cohorts.list_page(
        connection,
        caller.tenant.id,
        cohort_type=type,
        with_inactive=include_inactive,
        after=decode_sk(cursor),
        limit=limit + 1,
    )
    shown, next_cursor = page_of(found, limit, lambda cohort: encode(cohort.sk))
    return Page(items=[CohortView.of(each) for each in shown], next_cursor=next_cursor)


@router.get("/analysis")
async def get_cohort_analysis(
    caller: Reader,
    connection: Connection,
    user_id: UserId = None,
    first: Annotated[Month, Query(alias="from", description="First cohort.")] = None,
    last: Annotated[Month, Query(alias="to", description="Last cohort.")] = None,
) -> CohortAnalysisView:
    """Monthly cohorts by the first counted order: who came back, and with how much, by month.

    Without `from`, the twelve cohorts up to the last one.
    """
    check_user_id(caller, user_id)
    until = month_of(as_of_day(caller.tenant)) if last is None else _day(last)
    since = months_before(until, _DEFAULT_MONTHS - 1) if first is None else _day(first)
    if since > until:
        raise bad_parameter("query", "from", f"must not be after {until:%Y-%m}")
    if months_between(since, until) >= _LONGEST_MONTHS:
        raise bad_parameter(
            "query", "from", f"must lie less than {_LONGEST_MONTHS} months before the last cohort"
        )
    months = await cohorts.list_months(connection, caller.tenant.id, since, until)
    return CohortAnalysisView.of(months, caller.tenant.currency)


@router.get("/{id}")
async def get_cohort(id: PathId, caller: Reader, connection: Connection) -> CohortView:
    """One cohort."""
    return CohortView.of(await cohorts.get(connection, caller.tenant.id, id))


@router.delete("/{id}", status_code=204)
async def retire_cohort(id: PathId, caller: Writer, connection: Connection) -> None:
    """Take a cohort out of the lists. It can still be read, and whatever names it goes on."""
    await cohorting.retire_cohort(connection, caller.tenant, id)


@router.get("/{id}/members")
async def list_cohort_members(
    id: PathId,
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[CohortMemberView]:
    """The customers of a cohort: by the day of their first order, or as they were recorded."""
    cohort = await cohorts.get(connection, caller.tenant.id, id)
    found = await cohorts.list_members(
        connection,
        caller.tenant.id,
        cohort,
        caller.tenant.timezone,
        after=_position(cursor),
        limit=limit + 1,
    )
    shown, next_cursor = page_of(
        found, limit, lambda each: encode(each.joined_on.isoformat(), each.sk)
    )
    currency = caller.tenant.currency
    return Page(
        items=[CohortMemberView.of(each, currency, disclosure) for each in shown],
        next_cursor=next_cursor,
    )


def _day(month: str) -> date:
    return date.fromisoformat(f"{month}-01")


def _position(cursor: str | None) -> tuple[date, int] | None:
    if cursor is None:
        return None
    day, sk = decode(cursor, str, int)
    try:
        return date.fromisoformat(day), sk
    except ValueError:
        raise BadCursor from None
