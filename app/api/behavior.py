"""What customers did: the summary of one, funnels and retention of many."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import Query

from app import database as db
from app.api.audit import note_subject
from app.api.dependencies import Caller, Connection, PathId, UserId, check_user_id, requires
from app.api.disclosure import Disclosed
from app.api.errors import bad_parameter
from app.api.period import From, To, as_of_day, period_of
from app.api.route import router as routes
from app.api.schemas.behavior import BehaviorView, FunnelView, RetentionView, SessionsView
from app.domain.access import Scope
from app.domain.errors import NotFound
from app.domain.event import PURCHASE, Bucket, CohortBasis
from app.domain.period import DEFAULT_DAYS
from app.domain.tenant import Tenant
from app.repositories import behavior
from app.repositories import customer as customers
from app.repositories import segment as segments

router = routes("behavior", "/api/segmentation")

Analyst = Annotated[Caller, requires(Scope.ANALYTICS_READ)]

#: Sessions of a customer are told of so many days.
_SESSION_DAYS = 30
_MAX_STEPS = 10
_LONGEST_DAYS = 366
_LONGEST_WITHIN = timedelta(days=366)
#: A cohort is shown bucket by bucket, so there may be as many times as many.
_MAX_BUCKETS = 92

Segment = Annotated[
    str | None,
    Query(
        max_length=255,
        description="Only customers who are in this segment now: an RFM segment by its code, or a "
        "segment by its id.",
    ),
]


@router.get("/customers/{id}/behavior")
async def get_customer_behavior(
    id: PathId,
    caller: Annotated[Caller, requires(Scope.CUSTOMERS_READ)],
    connection: Connection,
    disclosure: Disclosed,
    user_id: UserId = None,
) -> BehaviorView:
    """What all events of a customer come to; zeros for one without any.

    Totals are of all time, also where older events are no longer kept.
    """
    check_user_id(caller, user_id)
    tenant = caller.tenant
    customer = await customers.get(connection, tenant.id, id)
    note_subject(customer.id)
    summary = await behavior.find(connection, tenant.id, customer.sk)
    now = tenant.as_of(datetime.now(UTC))
    today = tenant.local_day(now)
    days = await behavior.list_session_days(
        connection,
        tenant,
        first=today - timedelta(days=_SESSION_DAYS - 1),
        last=today,
        customer_sk=customer.sk,
    )
    sessions = SessionsView.of(_SESSION_DAYS, days)
    return BehaviorView.of(disclosure.id(customer.id), summary, sessions, tenant, now)


@router.get("/funnel")
async def get_funnel(
    caller: Analyst,
    connection: Connection,
    steps: Annotated[
        str,
        Query(
            description="Two to ten event types in their order, with commas between them.",
            examples=["product_view,add_to_cart,purchase"],
            max_length=3_000,
        ),
    ],
    within: Annotated[
        timedelta,
        Query(
            gt=timedelta(0),
            le=_LONGEST_WITHIN,
            description="From the first step to the last, as an ISO 8601 duration.",
            examples=["P7D"],
        ),
    ] = timedelta(days=7),
    segment: Segment = None,
    from_: From = None,
    to: To = None,
    user_id: UserId = None,
) -> FunnelView:
    """How many customers take each of some steps, one after the other.

    The first step is taken on a day from `from` to `to`; the others may come later. A customer
    counts once, with the chain that came furthest.
    """
    check_user_id(caller, user_id)
    tenant = caller.tenant
    names = _steps(steps)
    segment_key = await _segment_key(connection, tenant, segment)
    period = period_of(from_, to, until=as_of_day(tenant), longest=_LONGEST_DAYS, days=DEFAULT_DAYS)
    found = await behavior.list_funnel_steps(
        connection,
        tenant.id,
        names,
        within=within,
        since=tenant.end_of(period.first - timedelta(days=1)),
        until=tenant.end_of(period.last),
        segment=segment_key,
    )
    return FunnelView.of(
        names, found, first=period.first, last=period.last, within=within, segment=segment
    )


@router.get("/retention")
async def get_retention(
    caller: Analyst,
    connection: Connection,
    by: Annotated[
        CohortBasis, Query(description="What a customer's cohort begins with.")
    ] = CohortBasis.FIRST_EVENT,
    bucket: Bucket = Bucket.WEEK,
    event: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=255,
            description="The type of event that counts as coming back. Any by default; purchases "
            "for cohorts by first purchase.",
        ),
    ] = None,
    segment: Segment = None,
    from_: From = None,
    to: To = None,
    user_id: UserId = None,
) -> RetentionView:
    """How many of those who began in the same day, week or month are seen again later.

    Buckets are of the tenant's calendar; the first one is that of the first event itself.
    """
    check_user_id(caller, user_id)
    tenant = caller.tenant
    segment_key = await _segment_key(connection, tenant, segment)
    if event is not None:
        event = event.strip().lower()
    elif by is CohortBasis.FIRST_PURCHASE:
        event = PURCHASE
    today = as_of_day(tenant)
    period = period_of(from_, to, until=today, longest=_longest(bucket), days=_longest(bucket) // 8)
    first = bucket.first_day(period.first)
    since = tenant.end_of(first - timedelta(days=1))
    until = tenant.end_of(period.last)
    sizes = await behavior.list_cohort_sizes(
        connection,
        tenant.id,
        basis=by,
        bucket=bucket,
        timezone=tenant.timezone,
        since=since,
        until=until,
        segment=segment_key,
    )
    cells = await behavior.list_retention(
        connection,
        tenant.id,
        basis=by,
        bucket=bucket,
        timezone=tenant.timezone,
        since=since,
        until=until,
        event_type=event,
        segment=segment_key,
    )
    return RetentionView.of(
        sizes,
        cells,
        first=first,
        last=period.last,
        today=today,
        by=by,
        bucket=bucket,
        event=event,
        segment=segment,
    )


def _longest(bucket: Bucket) -> int:
    """The most days that fall into buckets which can be shown."""
    return {Bucket.DAY: 1, Bucket.WEEK: 7, Bucket.MONTH: 28}[bucket] * _MAX_BUCKETS


def _steps(given: str) -> list[str]:
    names = [name.strip().lower() for name in given.split(",")]
    if not all(names):
        raise bad_parameter("query", "steps", "must not have an empty step")
    if not 2 <= len(names) <= _MAX_STEPS:
        raise bad_parameter("query", "steps", f"must be 2 to {_MAX_STEPS} event types")
    return names


async def _segment_key(
    connection: db.Connection, tenant: Tenant, segment: str | None
) -> behavior.SegmentKey | None:
    """How the repository knows a segment; an RFM code is taken for one. Raises
    RequestValidationError.
    """
    codes = [each.code for each in tenant.profile.segments]
    if segment is None or segment in codes:
        return segment
    try:
        return (await segments.get(connection, tenant.id, segment)).sk
    except NotFound:
        reason = f"must be one of {', '.join(codes)}, or the id of a segment"
        raise bad_parameter("query", "segment", reason) from None
