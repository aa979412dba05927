"""Cohorts: customers who began at the same time, or were alike at one, and what became of them."""

from datetime import date
from enum import StrEnum


class CohortType(StrEnum):
    """What the customers of a cohort have in common."""

    ACQUISITION = "acquisition"
    BEHAVIORAL = "behavioral"
    VALUE = "value"
    ENGAGEMENT = "engagement"


def month_of(day: date) -> date:
    """The first day of the month of `day`."""
    return day.replace(day=1)


def months_between(first: date, last: date) -> int:
    """How many months `last` lies after `first`; both are any days of their months."""
    return (last.year - first.year) * 12 + last.month - first.month


def months_before(month: date, months: int) -> date:
    """The first day of the month so many months before that of `month`."""
    count = month.year * 12 + month.month - 1 - months
    return date(count // 12, count % 12 + 1, 1)
