"""Influence: a weighted mean of capped ratios."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.influence import InfluenceRules, influence

RULES = InfluenceRules()
rates = st.none() | st.floats(0, 1)


@pytest.mark.parametrize(
    ("referred", "revenue", "rate", "score"),
    [
        (0, 0, None, 0),
        (20, 100_000_000, 1.0, 100),
        (40, 900_000_000, 1.0, 100),
        (23, 50_000_000, 0.8, 40 + 20 + 16),
        (5, -7, None, 10),
    ],
)
def test_the_parts_add_up(referred: int, revenue: float, rate: float | None, score: float) -> None:
    found = influence(
        RULES, referred_customers=referred, referral_revenue=revenue, response_rate=rate
    )
    assert found == pytest.approx(score)


@given(st.integers(0, 10**6), st.floats(-1e12, 1e12), rates)
def test_it_lies_between_0_and_100_and_another_referral_never_lowers_it(
    referred: int, revenue: float, rate: float | None
) -> None:
    found = [
        influence(RULES, referred_customers=n, referral_revenue=revenue, response_rate=rate)
        for n in (referred, referred + 1)
    ]
    assert 0 <= found[0] <= found[1] <= 100.000001
