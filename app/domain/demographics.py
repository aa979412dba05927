"""Age groups: by the date of birth, else by the estimate."""

from datetime import date
from enum import StrEnum


class AgeGroup(StrEnum):
    """Completed years of life."""

    UNDER_18 = "under_18"
    YOUNG = "18-25"
    PRIME = "26-35"
    MATURE = "36-45"
    SENIOR = "46+"


#: The first age of each group, descending.
AGE_GROUPS: tuple[tuple[int, AgeGroup], ...] = (
    (46, AgeGroup.SENIOR),
    (36, AgeGroup.MATURE),
    (26, AgeGroup.PRIME),
    (18, AgeGroup.YOUNG),
)


def age(day: date, date_of_birth: date | None, estimate: int | None) -> int | None:
    """Completed years on `day`; a birthday on 29 February is kept on 1 March."""
    if date_of_birth is None:
        return estimate
    before_birthday = (day.month, day.day) < (date_of_birth.month, date_of_birth.day)
    return day.year - date_of_birth.year - before_birthday


def age_group(age: int | None) -> AgeGroup | None:
    """None for an unknown age, and for one that has not begun."""
    if age is None or age < 0:
        return None
    return next((group for first, group in AGE_GROUPS if age >= first), AgeGroup.UNDER_18)
