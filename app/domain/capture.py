"""Captures: where a customer was met or seen, what is suspicious about it, and what it moves.

Nothing is dropped for being suspicious. It is stored with flags that say what was noticed, and some
of them keep it from becoming the customer's last known place.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from app.domain.geodesy import great_circle_metres

#: A clock may be so far ahead of ours without a word.
CLOCK_TOLERANCE = timedelta(minutes=5)
#: A fix that may be farther off than this is told by a mast or an address, not by satellites.
ROUGH_METRES = 1_000.0
#: Faster than any aeroplane that carries passengers.
FASTEST_METRES_PER_SECOND = 300.0
#: About a metre: receivers that know nothing say zero and zero.
_NULL_DEGREES = 1e-5
_FAR_METRES = 1_000_000.0
_NEAR_METRES = 100_000.0


class Source(StrEnum):
    """How a place was found out."""

    GPS = "gps"
    NETWORK = "network"
    MANUAL = "manual"
    CHECKIN = "checkin"
    GEOCODED = "geocoded"


class VisitType(StrEnum):
    """What somebody was there for."""

    SALES_VISIT = "sales_visit"
    DELIVERY = "delivery"
    SURVEY = "survey"


class Flag(StrEnum):
    """What is suspicious about a capture."""

    #: Its time is more than five minutes ahead of ours; it counts as of its receipt.
    CLOCK_AHEAD = "clock_ahead"
    #: It may be more than a kilometre off.
    LOW_ACCURACY = "low_accuracy"
    #: The latitude was beyond 90 degrees: it came where the longitude belongs.
    SWAPPED = "swapped"
    #: Far from everything known of the customer, and near it with latitude and longitude swapped.
    SUSPECTED_SWAP = "suspected_swap"
    #: Zero degrees, zero degrees.
    NULL_ISLAND = "null_island"
    #: Nobody gets there so fast from the place known before.
    IMPOSSIBLE_SPEED = "impossible_speed"


#: With one of these it is not believed that the customer was there.
DISBELIEVED = frozenset({Flag.SUSPECTED_SWAP, Flag.NULL_ISLAND})


class Place(NamedTuple):
    """Degrees, WGS 84."""

    latitude: float
    longitude: float


class Fix(NamedTuple):
    """Where a customer was. `accuracy` in metres.

    `at` is the time of the capture, or of its receipt if that was earlier. Of a last known place
    that was declared by other means, time and source may not be known.
    """

    place: Place
    accuracy: float | None
    at: datetime | None
    source: str | None
    captured_by: str | None


def read_place(latitude: float, longitude: float) -> tuple[Place, bool]:
    """The place, and whether its two numbers came in the wrong order.

    The antimeridian is 180 degrees east, whichever side it was stated from. Raises ValueError for
    what is no place either way round.
    """
    swapped = abs(latitude) > 90
    if swapped:
        latitude, longitude = longitude, latitude
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):
        raise ValueError("must lie between -90 and 90, and longitude between -180 and 180")
    return Place(latitude, 180.0 if longitude == -180.0 else longitude), swapped


def may_be_swapped(place: Place) -> bool:
    """Whether the place could be in question at all: turned round it is one, and far away."""
    latitude, longitude = place
    return (
        abs(longitude) <= 90
        and great_circle_metres(latitude, longitude, longitude, latitude)
        > _FAR_METRES - _NEAR_METRES
    )


def is_suspected_swap(place: Place, references: Collection[Place]) -> bool:
    """Whether it is far from each reference, and near one of them when turned round."""
    if not references or not may_be_swapped(place):
        return False
    turned = Place(place.longitude, place.latitude)
    return all(great_circle_metres(*place, *each) > _FAR_METRES for each in references) and any(
        great_circle_metres(*turned, *each) < _NEAR_METRES for each in references
    )


def is_null_island(place: Place) -> bool:
    """Whether it is where the equator meets the prime meridian, within a metre."""
    return abs(place.latitude) < _NULL_DEGREES and abs(place.longitude) < _NULL_DEGREES


def is_rough(accuracy: float | None) -> bool:
    """Whether a place of such an accuracy only stands in for a better one."""
    return accuracy is not None and accuracy > ROUGH_METRES


def is_impossible_speed(fix: Fix, before: Fix | None) -> bool:
    """Whether nobody moves so fast between the two, even if both were off as far as they say."""
    if before is None or before.at is None or fix.at is None:
        return False
    metres = great_circle_metres(*fix.place, *before.place)
    metres -= (fix.accuracy or 0.0) + (before.accuracy or 0.0)
    seconds = max(1.0, abs((fix.at - before.at).total_seconds()))
    return metres / seconds > FASTEST_METRES_PER_SECOND


_NO_TIME = datetime.min.replace(tzinfo=UTC)


def _rank(known: Fix) -> tuple[bool, datetime, float, Place, str, str]:
    return (
        not is_rough(known.accuracy),
        known.at or _NO_TIME,
        -math.inf if known.accuracy is None else -known.accuracy,
        known.place,
        known.source or "",
        known.captured_by or "",
    )


def last_known(before: Fix | None, fixes: Iterable[Fix]) -> Fix | None:
    """The customer's last known place after `fixes` that are believed.

    The latest one; of two at the same instant the more accurate, and else an arbitrary but always
    the same one. A rough one stands in only until there is any other. So it does not matter in
    which order captures come, how often, or how many together.
    """
    known = list(fixes) if before is None else [before, *fixes]
    return max(known, key=_rank, default=None)


def flags_of(
    fix: Fix,
    *,
    ahead: timedelta,
    swapped: bool,
    references: Collection[Place],
    before: Fix | None,
) -> list[Flag]:
    """What is suspicious about a fix whose clock is `ahead` of ours, in alphabetical order."""
    found: list[Flag] = []
    if ahead > CLOCK_TOLERANCE:
        found.append(Flag.CLOCK_AHEAD)
    if is_impossible_speed(fix, before):
        found.append(Flag.IMPOSSIBLE_SPEED)
    if is_rough(fix.accuracy):
        found.append(Flag.LOW_ACCURACY)
    if is_null_island(fix.place):
        found.append(Flag.NULL_ISLAND)
    if is_suspected_swap(fix.place, references):
        found.append(Flag.SUSPECTED_SWAP)
    if swapped:
        found.append(Flag.SWAPPED)
    return found


def is_believed(flags: Sequence[Flag]) -> bool:
    """Whether a capture may become the last known place, and belongs to the trace."""
    return DISBELIEVED.isdisjoint(flags)
