"""A stretch of the tenant's calendar, and the one just before it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

#: What is shown where nobody says from when: a month whatever its length.
DEFAULT_DAYS = 30


@dataclass(frozen=True, slots=True)
class Period:
    """The days from `first` to `last`, both included."""

    first: date
    last: date

    @property
    def days(self) -> int:
        """How many days it has."""
        return (self.last - self.first).days + 1

    @property
    def previous(self) -> "Period":
        """As many days, ending the day before."""
        length = timedelta(days=self.days)
        return Period(self.first - length, self.last - length)

    def __iter__(self) -> Iterator[date]:
        return (self.first + timedelta(days=number) for number in range(self.days))
