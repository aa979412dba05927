"""Trend, rhythm and preference."""

import pytest

from app.domain.behaviour import days_between_orders, preferred, trend


@pytest.mark.parametrize(
    ("month", "quarter", "expected"),
    [
        (0, 0, None),
        (0, -5, None),
        (5, -5, None),
        (0, 1, "decreasing"),
        (1, 6, "stable"),
        (1, 7, "decreasing"),
        (3, 6, "stable"),
        (4, 6, "increasing"),
        (2, 2, "increasing"),
        (-1, 6, "decreasing"),
    ],
)
def test_trend(month: float, quarter: float, expected: str | None) -> None:
    assert trend(month, quarter) == expected


@pytest.mark.parametrize(
    ("days", "orders", "expected"),
    [(0, 0, None), (0, 1, None), (0, 2, 0.0), (30, 2, 30.0), (30, 4, 10.0)],
)
def test_days_between_orders(days: int, orders: int, expected: float | None) -> None:
    assert days_between_orders(days, orders) == expected


def test_preferred() -> None:
    assert preferred([]) is None
    assert preferred([3, 3, 1]) == 3
    assert preferred([5, 2, 5, 2, 9]) == 2
    assert preferred(["qris", "cash"]) == "cash"
