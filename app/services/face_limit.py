"""How often a tenant lets its faces be enrolled and searched in a day."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from app.database import Connection
from app.domain.tenant import Tenant
from app.gateways.face import FaceLimitReached


async def check_daily_limit(
    connection: Connection,
    tenant: Tenant,
    limit: int | None,
    count_since: Callable[[Connection, int, datetime], Awaitable[int]],
) -> None:
    """Raise FaceLimitReached, until the tenant's midnight, where `limit` is used up."""
    if limit is None:
        return
    now = datetime.now(UTC)
    today = tenant.local_day(now)
    midnight = tenant.end_of(today - timedelta(days=1))
    if await count_since(connection, tenant.id, midnight) >= limit:
        left = tenant.end_of(today) - now
        raise FaceLimitReached(int(left.total_seconds()) + 1)
