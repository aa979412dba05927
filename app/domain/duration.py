"""Durations of ISO 8601, counted back or ahead on a wall clock."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_PATTERN = re.compile(
    r"P(?=.)(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?=.)(?:(\d+)H)?(?:(\d+)M)?)?"
)
_MAX_DAYS = 36_525


@dataclass(frozen=True, slots=True)
class Duration:
    """Months and days of the calendar, and minutes of the clock; at most a hundred years."""

    months: int = 0
    days: int = 0
    minutes: int = 0

    def before(self, instant: datetime, zone: ZoneInfo) -> datetime:
        """The instant so long before: days of the wall clock of `zone`, however long."""
        return self._moved(instant, zone, -1)

    def after(self, instant: datetime, zone: ZoneInfo) -> datetime:
        """The instant so long after."""
        return self._moved(instant, zone, 1)

    def _moved(self, instant: datetime, zone: ZoneInfo, sign: int) -> datetime:
        local = instant.astimezone(zone)
        months = local.year * 12 + local.month - 1 + sign * self.months
        first = local.replace(year=months // 12, month=months % 12 + 1, day=1)
        # The 31st of a month of thirty days is its last.
        end = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
        moved = first.replace(day=min(local.day, end.day)) + sign * timedelta(days=self.days)
        return moved.astimezone(UTC) + sign * timedelta(minutes=self.minutes)

    def __str__(self) -> str:
        years, months = divmod(self.months, 12)
        hours, minutes = divmod(self.minutes, 60)
        calendar = "".join(
            f"{number}{unit}"
            for number, unit in ((years, "Y"), (months, "M"), (self.days, "D"))
            if number
        )
        clock = "".join(
            f"{number}{unit}" for number, unit in ((hours, "H"), (minutes, "M")) if number
        )
        return f"P{calendar}{f'T{clock}' if clock else ''}" if calendar or clock else "P0D"


def parse_duration(text: str) -> Duration:
    """`P30D`, `P1Y6M`, `P2W` or `PT12H`. Raises ValueError."""
    match = _PATTERN.fullmatch(text)
    if match is None or len(text) > 40:
        raise ValueError("must be an ISO 8601 duration such as P30D")
    years, months, weeks, days, hours, minutes = (int(each or 0) for each in match.groups())
    duration = Duration(years * 12 + months, weeks * 7 + days, hours * 60 + minutes)
    if duration.months * 30 + duration.days + duration.minutes / 1440 > _MAX_DAYS:
        raise ValueError("must not be longer than a hundred years")
    return duration
