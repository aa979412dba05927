"""Lifetime value by both methods, and how far to believe it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.clv import (
    TIERS,
    RetentionClv,
    SimpleClv,
    bucket,
    bucket_bounds,
    confidence,
    lifetime_value,
    tier,
)


def test_simple_extrapolates_the_rhythm() -> None:
    value = lifetime_value(
        SimpleClv(), average_order_value=1000, purchase_frequency_days=36.5, orders_per_month=9
    )
    assert value.one_year == pytest.approx(1000 * 10 * 0.3)
    assert value.three_years == pytest.approx(9000)
    assert value.lifetime == pytest.approx(9000)


def test_simple_counts_a_first_order_once_a_year() -> None:
    value = lifetime_value(
        SimpleClv(margin=1.0),
        average_order_value=1000,
        purchase_frequency_days=None,
        orders_per_month=1,
    )
    assert value.one_year == 1000
    assert value.lifetime == 3000


@pytest.mark.parametrize("gap", [0, 0.5, 7])
def test_simple_floors_the_rhythm_at_a_week(gap: float) -> None:
    value = lifetime_value(
        SimpleClv(margin=1.0, years=1),
        average_order_value=7,
        purchase_frequency_days=gap,
        orders_per_month=30,
    )
    assert value.lifetime == pytest.approx(365)


def test_retention_by_hand() -> None:
    value = lifetime_value(
        RetentionClv(), average_order_value=1000, purchase_frequency_days=15, orders_per_month=2
    )
    # 600 a month, kept with probability 0.5 + 0.1 x 2 = 0.7.
    assert value.lifetime == pytest.approx(12 * 600 * 0.7 / (1 + 0.1 - 0.7))
    assert value.one_year == pytest.approx(12 * 600 * 0.7)
    assert value.three_years == pytest.approx(36 * 600 * 0.49)


@pytest.mark.parametrize(("per_month", "retention"), [(4.5, 0.95), (30, 0.95), (0.1, 0.51)])
def test_retention_is_clipped(per_month: float, retention: float) -> None:
    value = lifetime_value(
        RetentionClv(margin=1.0),
        average_order_value=100,
        purchase_frequency_days=None,
        orders_per_month=per_month,
    )
    assert value.one_year == pytest.approx(12 * 100 * per_month * retention)


@given(
    st.sampled_from([SimpleClv(), RetentionClv()]),
    st.floats(0, 1e12),
    st.none() | st.floats(0, 1e4),
    st.floats(0, 1e3),
)
def test_a_value_is_never_negative_and_grows_with_the_basket(
    rules: SimpleClv | RetentionClv, basket: float, gap: float | None, per_month: float
) -> None:
    def value(basket: float) -> float:
        return lifetime_value(
            rules,
            average_order_value=basket,
            purchase_frequency_days=gap,
            orders_per_month=per_month,
        ).lifetime

    assert 0 <= value(basket) <= value(basket * 2)


@pytest.mark.parametrize(
    ("orders", "months", "expected"),
    [(1, 1.0, 52), (1, 2.0, 53), (10, 12.0, 76), (25, 0.0, 100), (500, 100.0, 100), (1, 1.99, 52)],
)
def test_confidence(orders: int, months: float, expected: int) -> None:
    assert confidence(orders, months) == expected


@pytest.mark.parametrize(
    ("percentile", "code"),
    [(None, None), (0, "bronze"), (49, "bronze"), (50, "silver"), (94, "gold"), (95, "platinum")],
)
def test_a_tier_begins_at_its_percentile(percentile: int | None, code: str | None) -> None:
    assert tier(TIERS, percentile) == code


@given(st.integers(-(10**15), 10**17), st.sampled_from([0, 2, 3]))
def test_a_value_lies_within_the_bounds_of_its_bucket(value: int, decimals: int) -> None:
    low, high = bucket_bounds(bucket(value, decimals))
    assert low is None or low * 10**decimals <= value
    assert high is None or value < high * 10**decimals
