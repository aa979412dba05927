"""The part of the day in which somebody buys."""

import pytest

from app.domain.venue import purchase_time


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        (range(5, 12), "morning"),
        (range(12, 17), "afternoon"),
        ([17, 20, 23, 0, 1, 4], "evening"),
    ],
)
def test_every_hour_has_its_part_of_the_day(hours: list[int], expected: str) -> None:
    assert {purchase_time(hour) for hour in hours} == {expected}
