"""When the periodic runs are due: recent scores each full hour, all scores each night.

The night is the tenant's: a run is due once its local clock has passed 02:00, however the zone lies
and whatever daylight saving does to that hour.
"""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

NIGHTLY_AT = time(2, 0)


def last_night(timezone: str, now: datetime) -> datetime:
    """The latest nightly instant not after `now`, in UTC."""
    zone = ZoneInfo(timezone)
    today = now.astimezone(zone).date()
    candidates = (
        datetime.combine(today - timedelta(days=back), NIGHTLY_AT, zone).astimezone(UTC)
        for back in range(3)
    )
    return next(instant for instant in candidates if instant <= now)


def next_night(timezone: str, now: datetime) -> datetime:
    """The earliest nightly instant after `now`, in UTC."""
    zone = ZoneInfo(timezone)
    today = now.astimezone(zone).date()
    candidates = (
        datetime.combine(today + timedelta(days=ahead), NIGHTLY_AT, zone).astimezone(UTC)
        for ahead in range(3)
    )
    return next(instant for instant in candidates if instant > now)


def this_hour(now: datetime) -> datetime:
    """The full hour at or before `now`."""
    return now.replace(minute=0, second=0, microsecond=0)


def next_hour(now: datetime) -> datetime:
    """The next full hour after `now`."""
    return this_hour(now) + timedelta(hours=1)
