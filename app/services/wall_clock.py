"""The times that records state, by the wall clock of a tenant and by ours."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from app.domain.order import MAX_AHEAD
from app.domain.tenant import Tenant
from app.services.outcomes import Rejected

#: What happened before this is a mistake of a clock.
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


def zoned(moment: datetime, zone: ZoneInfo) -> datetime:
    """`moment` with a zone: `zone`, where it has none."""
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


class WallClock:
    """Reads times that records state, the tenant's wall clock's where they are without a zone."""

    def __init__(self, tenant: Tenant, now: datetime) -> None:
        self.now = now
        self._zone = ZoneInfo(tenant.timezone)

    def instant(self, stated: datetime) -> datetime:
        """The time with a zone."""
        return zoned(stated, self._zone)

    def past(
        self, stated: datetime | None, pointer: str, *, ahead: timedelta = MAX_AHEAD
    ) -> datetime:
        """A time that may have been, for all that clocks differ, in UTC; now, where none is stated.

        Raises Rejected before 1970, and more than `ahead` in the future.
        """
        if stated is None:
            return self.now
        # What compares, counts and sends it is quicker with times of one zone.
        moment = _in_utc(zoned(stated, self._zone))
        if moment < EARLIEST:
            raise Rejected(pointer, "must not lie before 1970")
        if moment > self.now + ahead:
            words = f"{ahead.days} days" if ahead.days > 1 else "24 hours"
            raise Rejected(pointer, f"must not lie more than {words} in the future")
        return moment


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        # On the calendar's first or last day, and refused as any other that far off.
        return moment
