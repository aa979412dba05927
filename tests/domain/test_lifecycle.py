"""Stages of life: boundaries are exceeded, not reached."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.lifecycle import LifecycleRules, LifecycleSegment, segment


def stage(
    days: int | None = 0, *, orders: int = 1, spend: float = 0, year: int = 0
) -> LifecycleSegment:
    return segment(
        LifecycleRules(),
        counted_orders=orders,
        days_since_last_order=days,
        spend=spend,
        orders_365d=year,
    )


def test_without_an_order_a_customer_is_new() -> None:
    assert stage(None, orders=0) == "new"


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (90, "occasional"),
        (91, "at_risk"),
        (180, "at_risk"),
        (181, "dormant"),
        (365, "dormant"),
        (366, "lost"),
    ],
)
def test_absence(days: int, expected: str) -> None:
    assert stage(days) == expected


@pytest.mark.parametrize(
    ("spend", "year", "expected"),
    [
        (0, 2, "occasional"),
        (0, 3, "regular"),
        (1_000_000, 4, "regular"),
        (1_000, 5, "regular"),
        (1_000.01, 5, "vip"),
        (1_000_000, 2, "occasional"),
    ],
)
def test_value(spend: float, year: int, expected: str) -> None:
    assert stage(90, orders=9, spend=spend, year=year) == expected


def test_absence_comes_before_value() -> None:
    assert stage(91, orders=50, spend=1_000_000, year=50) == "at_risk"


@given(st.integers(0, 2000), st.floats(0, 1e9), st.integers(0, 99))
def test_a_stage_of_absence_never_gets_better_by_waiting(
    days: int, spend: float, year: int
) -> None:
    absent = [LifecycleSegment.AT_RISK, LifecycleSegment.DORMANT, LifecycleSegment.LOST]
    stages = [stage(days + more, spend=spend, year=year) for more in range(0, 400, 40)]
    ranks = [absent.index(s) if s in absent else -1 for s in stages]
    assert all(earlier <= later for earlier, later in pairwise(ranks))
