"""`?from=&to=&store=`: the days and the store that a figure is for."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from fastapi import Query

from app.api.errors import bad_parameter
from app.database import Connection
from app.domain.errors import NotFound
from app.domain.period import DEFAULT_DAYS, Period
from app.domain.tenant import Tenant
from app.repositories import store as stores

From = Annotated[
    date | None,
    Query(
        alias="from", description="First day, by the tenant's calendar.", examples=["2026-01-31"]
    ),
]
To = Annotated[
    date | None,
    Query(alias="to", description="Last day, by the tenant's calendar.", examples=["2026-03-01"]),
]

_EARLIEST = date(1970, 1, 1)


def as_of_day(tenant: Tenant) -> date:
    """The tenant's today; the pinned day of one whose log is closed."""
    return tenant.local_day(tenant.as_of(datetime.now(UTC)))


def period_of(
    first: date | None, last: date | None, *, until: date, longest: int, days: int = DEFAULT_DAYS
) -> Period:
    """The period asked for: by default the `days` up to `until`, the last day that there is.

    Refuses days out of order, after `until` or before 1970, and more than `longest` of them.
    """
    last = until if last is None else last
    if last > until:
        raise bad_parameter("query", "to", f"must not be after {until}, the last day there is")
    if last < _EARLIEST:
        raise bad_parameter("query", "to", f"must not be before {_EARLIEST}")
    if first is None:
        first = max(last - timedelta(days=days - 1), _EARLIEST)
    if first > last:
        raise bad_parameter("query", "from", f"must not be after {last}, the last day asked for")
    if first < _EARLIEST:
        raise bad_parameter("query", "from", f"must not be before {_EARLIEST}")
    period = Period(first, last)
    if period.days > longest:
        raise bad_parameter("query", "from", f"must lie at most {longest} days before the last day")
    return period


StoreId = Annotated[
    str | None, Query(max_length=255, description="Only what belongs to this store.")
]


async def find_store(connection: Connection, tenant: Tenant, store_id: str | None) -> int | None:
    """The sk of the store asked for; None where none was. Refuses one that there is not."""
    if store_id is None:
        return None
    try:
        return (await stores.get(connection, tenant.id, store_id)).sk
    except NotFound as error:
        raise bad_parameter("query", "store", str(error)) from None
