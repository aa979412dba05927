"""One run of the scores: for which customers, and for which instant."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from app.domain.behaviour import WINDOWS
from app.domain.tenant import Tenant


class RunMode(StrEnum):
    """Full: everybody, and new cutoffs. Recent: whoever changed lately, on the stored cutoffs."""

    FULL = "full"
    RECENT = "recent"


@dataclass(frozen=True, slots=True)
class RunClock:
    """The instant scored for and where each window begins; all in UTC but the local day."""

    as_of: datetime
    as_of_day: date
    since_30d: datetime
    since_90d: datetime
    since_180d: datetime
    since_365d: datetime
    rfm_since: datetime


def run_clock(tenant: Tenant, as_of: datetime) -> RunClock:
    """The clock of a run: a window of N days begins N days earlier on the tenant's wall clock."""
    zone = ZoneInfo(tenant.timezone)
    local = as_of.astimezone(zone)

    def days_earlier(days: int) -> datetime:
        # Subtracting from the aware local time moves the calendar, not the hours elapsed.
        return (local - timedelta(days=days)).astimezone(UTC)

    return RunClock(
        as_of.astimezone(UTC),
        local.date(),
        *(days_earlier(days) for days in (*WINDOWS, tenant.profile.window_days)),
    )
