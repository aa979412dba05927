"""The next order: its day and how far to trust it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.next_purchase import next_purchase


def test_the_rhythm_goes_on() -> None:
    found = next_purchase(
        counted_orders=4, days_between_orders=30.0, interval_change=0.0, days_since_last_order=10
    )
    assert found is not None
    assert (found.in_days, found.confidence) == (20, 0.75)


def test_an_overdue_order_is_due_today_and_less_certain() -> None:
    found = next_purchase(
        counted_orders=2, days_between_orders=30.0, interval_change=-0.5, days_since_last_order=60
    )
    assert found is not None
    assert found.in_days == 0
    assert found.confidence == pytest.approx(0.5 * (1 / 1.5) * 0.5)


@pytest.mark.parametrize("gap", [None, 0.0])
def test_no_rhythm_no_prediction(gap: float | None) -> None:
    assert (
        next_purchase(
            counted_orders=3, days_between_orders=gap, interval_change=None, days_since_last_order=1
        )
        is None
    )


@given(
    st.integers(2, 1000),
    st.floats(0.01, 5000),
    st.none() | st.floats(-1, 100),
    st.integers(0, 5000),
)
def test_a_confidence_is_a_share(orders: int, gap: float, change: float | None, since: int) -> None:
    found = next_purchase(
        counted_orders=orders,
        days_between_orders=gap,
        interval_change=change,
        days_since_last_order=since,
    )
    assert found is not None
    assert 0 < found.confidence < 1
    assert found.in_days >= 0
