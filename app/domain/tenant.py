"""A tenant: one business, and the clock it keeps."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from app.domain.profile import Profile


@dataclass(frozen=True, slots=True)
class Tenant:
    """One business. `timezone` is an IANA name, `currency` an ISO 4217 code."""

    id: int
    slug: str
    name: str
    timezone: str
    currency: str
    profile: Profile

    def is_named(self, user_id: str) -> bool:
        """Whether a source's `userId` means this tenant: its slug, or its id."""
        return user_id in (self.slug, str(self.id))

    def local_day(self, instant: datetime) -> date:
        """The tenant's calendar day at `instant`."""
        return self.local(instant).date()

    def local(self, instant: datetime) -> datetime:
        """The tenant's wall clock at `instant`, without a zone."""
        return instant.astimezone(ZoneInfo(self.timezone)).replace(tzinfo=None)

    def end_of(self, day: date) -> datetime:
        """The instant at which the tenant's `day` is over, in UTC."""
        midnight = datetime.combine(day + timedelta(days=1), time(), ZoneInfo(self.timezone))
        return midnight.astimezone(UTC)

    def as_of(self, now: datetime) -> datetime:
        """The instant to score for: the profile's pinned one for a closed log, else `now`."""
        return self.profile.as_of or now.astimezone(UTC)
