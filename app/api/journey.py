"""The journey of a customer: everything that happened, newest first."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import Query

from app.api.dependencies import Caller, Connection, PathId, requires
from app.api.disclosure import Disclosed
from app.api.errors import BadCursor, bad_parameter
from app.api.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, decode, encode, page_of
from app.api.route import router as routes
from app.api.schemas.journey import MomentView
from app.domain.access import Scope
from app.domain.journey import JourneyKind
from app.domain.tenant import Tenant
from app.repositories import customer as customers
from app.repositories import journey
from app.repositories.journey import JourneyFilter, Moment, Position

router = routes("journey", "/api/customers")

Reader = Annotated[Caller, requires(Scope.CUSTOMERS_READ)]

#: Whoever lives on the other side of the date line still finds a day of the calendar there.
EARLIEST = datetime(2, 1, 1, tzinfo=UTC)
LATEST = datetime(9998, 1, 1, tzinfo=UTC)

Kinds = Annotated[
    list[JourneyKind] | None, Query(description="One or more kinds; all without any choice.")
]
Since = Annotated[
    datetime | None,
    Query(alias="from", description="First instant; without an offset on the tenant's clock."),
]
Until = Annotated[datetime | None, Query(alias="to", description="The instant that ends it.")]


@router.get("/{id}/journey")
async def list_customer_journey(
    id: PathId,
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
    kinds: Kinds = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[MomentView]:
    """Orders, contacts, feedback, captures, events and changes of standing, newest first.

    A change of standing is known by its day: it stands at the beginning of it.
    """
    tenant = caller.tenant
    after = position_of(cursor)
    wanted = journey_filter(tenant, kinds or list(JourneyKind), since, until, after)
    customer = await customers.get(connection, tenant.id, id)
    found = await journey.list_page(
        connection, tenant.id, customer.sk, wanted, after=after, limit=limit + 1
    )
    shown, next_cursor = page_of(found, limit, cursor_of)
    return Page(
        items=[MomentView.of(moment, tenant.currency, disclosure) for moment in shown],
        next_cursor=next_cursor,
    )


def journey_filter(
    tenant: Tenant,
    kinds: Collection[JourneyKind],
    since: datetime | None,
    until: datetime | None,
    after: Position,
) -> JourneyFilter:
    """Which moments are asked for. Raises RequestValidationError."""
    first = instant_of(tenant, "from", since, EARLIEST)
    end = instant_of(tenant, "to", until, LATEST)
    if first >= end:
        raise bad_parameter("query", "to", "must be later than from")
    return JourneyFilter(
        kinds=kinds,
        since=first,
        until=end,
        timezone=tenant.timezone,
        first_day=tenant.local_day(first),
        last_day=tenant.local_day(min(end, after.at)),
    )


def instant_of(tenant: Tenant, name: str, given: datetime | None, default: datetime) -> datetime:
    """The instant `given` for a parameter. Raises RequestValidationError."""
    if given is None:
        return default
    try:
        local = given if given.tzinfo else given.replace(tzinfo=ZoneInfo(tenant.timezone))
        instant = local.astimezone(UTC)
    except OverflowError:
        instant = LATEST
    if not EARLIEST <= instant < LATEST:
        raise bad_parameter("query", name, "lies outside of the calendar")
    return instant


def cursor_of(moment: Moment) -> str:
    """The cursor of the page that begins after `moment`."""
    return encode(moment.at.isoformat(), moment.kind, moment.key)


def position_of(cursor: str | None) -> Position:
    """Where a page begins; before everything without a cursor. Raises BadCursor."""
    if cursor is None:
        return Position(LATEST, "", "")
    moment, kind, key = decode(cursor, str, str, str)
    try:
        at = datetime.fromisoformat(moment)
    except ValueError:
        raise BadCursor from None
    known = at.tzinfo is not None and kind in list(JourneyKind)
    if not known or not EARLIEST.year < at.year < LATEST.year:
        raise BadCursor
    return Position(at, kind, key)
