"""Months of cohorts."""

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from app.domain.cohort import month_of, months_before, months_between

DAYS = st.dates(date(1970, 1, 1), date(2090, 12, 31))


@given(DAYS, st.integers(0, 600))
def test_going_back_and_counting_agree(day: date, months: int) -> None:
    before = months_before(day, months)
    assert before.day == 1
    assert months_between(before, day) == months


@given(DAYS)
def test_a_month_begins_with_its_first_day(day: date) -> None:
    assert months_before(day, 0) == month_of(day) == day.replace(day=1)
