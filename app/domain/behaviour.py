"""How a customer buys: trend, rhythm and preference, as rules over counts.

The scoring expressions read the same thresholds; tests hold both to the same answers.
"""

from collections import Counter
from collections.abc import Iterable
from typing import TypeVar

Value = TypeVar("Value", int, str)

#: Mean length of a month in days (365.25 / 12, rounded as the field does).
DAYS_PER_MONTH = 30.44

#: Lengths in days of the windows in which orders and revenue are counted.
WINDOWS = (30, 90, 180, 365)

#: A month under half (over one and a half times) the mean month of the quarter is a trend.
FALLING_SHARE = 0.5
RISING_SHARE = 1.5
MONTHS_PER_QUARTER = 3

#: How many preferred categories and brands are kept.
TOP_PREFERENCES = 3

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

INCREASING, STABLE, DECREASING = "increasing", "stable", "decreasing"


def trend(last_30_days: float, last_90_days: float) -> str | None:
    """Whether the last month departs from the mean month of its quarter; None without a quarter."""
    if last_90_days <= 0:
        return None
    mean_month = last_90_days / MONTHS_PER_QUARTER
    if last_30_days < mean_month * FALLING_SHARE:
        return DECREASING
    if last_30_days > mean_month * RISING_SHARE:
        return INCREASING
    return STABLE


def days_between_orders(days_from_first_to_last: int, orders: int) -> float | None:
    """Mean days from one counted order to the next; None before the second order."""
    if orders < 2:
        return None
    return days_from_first_to_last / (orders - 1)


def preferred(values: Iterable[Value]) -> Value | None:
    """The most frequent value, the smallest of equally frequent ones; None where there is none."""
    counts = Counter(values)
    return min(counts, key=lambda value: (-counts[value], value), default=None)
