"""Ages and their groups."""

from datetime import date

import pytest

from app.domain.demographics import age, age_group


@pytest.mark.parametrize(
    ("day", "born", "years"),
    [
        (date(2026, 3, 20), date(2000, 3, 20), 26),
        (date(2026, 3, 19), date(2000, 3, 20), 25),
        (date(2026, 2, 28), date(2008, 2, 29), 17),
        (date(2026, 3, 1), date(2008, 2, 29), 18),
        (date(2028, 2, 29), date(2008, 2, 29), 20),
    ],
)
def test_birthdays(day: date, born: date, years: int) -> None:
    assert age(day, born, 99) == years


def test_the_estimate_stands_in_for_an_unknown_birthday() -> None:
    assert age(date(2026, 1, 1), None, 33) == 33
    assert age(date(2026, 1, 1), None, None) is None


@pytest.mark.parametrize(
    ("years", "group"),
    [
        (None, None),
        (-1, None),
        (0, "under_18"),
        (17, "under_18"),
        (18, "18-25"),
        (25, "18-25"),
        (26, "26-35"),
        (36, "36-45"),
        (45, "36-45"),
        (46, "46+"),
        (101, "46+"),
    ],
)
def test_groups_have_no_gap(years: int | None, group: str | None) -> None:
    assert age_group(years) == group
