"""The risk of losing a customer: points, tiers, bands, reasons and sentences."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.behaviour import DECREASING, STABLE
from app.domain.churn import (
    ChurnBand,
    ChurnBands,
    ChurnFacts,
    ChurnReason,
    ComponentChurn,
    Drop,
    TieredChurn,
    risk,
    sentence,
)

LOYAL = ChurnFacts(
    days_since_last_order=5,
    orders_30d=3,
    orders_90d=9,
    orders_365d=36,
    revenue_30d=300,
    revenue_90d=900,
    order_frequency_trend=STABLE,
    spend_trend=STABLE,
)
facts = st.builds(
    ChurnFacts,
    days_since_last_order=st.integers(0, 1000),
    orders_30d=st.integers(0, 10),
    orders_90d=st.integers(0, 30),
    orders_365d=st.integers(0, 100),
    revenue_30d=st.integers(-1000, 1000),
    revenue_90d=st.integers(-1000, 3000),
    order_frequency_trend=st.sampled_from([None, "increasing", STABLE, DECREASING]),
    spend_trend=st.sampled_from([None, "increasing", STABLE, DECREASING]),
)
rules = st.sampled_from([TieredChurn(), ComponentChurn()])


@given(rules, facts)
def test_a_risk_lies_between_0_and_1_with_at_most_three_reasons(
    rules: TieredChurn | ComponentChurn, facts: ChurnFacts
) -> None:
    found = risk(rules, facts)
    assert 0 <= found.score <= 1
    assert len(found.reasons) <= 3
    assert len(set(found.reasons)) == len(found.reasons)


@given(rules, facts, st.integers(1, 500))
def test_a_longer_absence_never_lowers_the_risk(
    rules: TieredChurn | ComponentChurn, facts: ChurnFacts, days: int
) -> None:
    longer = replace(facts, days_since_last_order=facts.days_since_last_order + days)
    assert risk(rules, longer).score >= risk(rules, facts).score


@pytest.mark.parametrize(
    ("days", "score"),
    [(0, 0.1), (30, 0.1), (31, 0.2), (60, 0.2), (61, 0.4), (90, 0.4), (91, 0.6), (181, 0.8)],
)
def test_tiers_of_absence(days: int, score: float) -> None:
    found = risk(TieredChurn(), replace(LOYAL, days_since_last_order=days, orders_365d=1))
    assert found.score == score


@pytest.mark.parametrize(
    ("orders", "score"), [(0, 0.8), (2, 0.8), (3, 0.56), (4, 0.56), (5, 0.4), (50, 0.4)]
)
def test_frequent_buyers_get_a_discount(orders: int, score: float) -> None:
    found = risk(TieredChurn(), replace(LOYAL, days_since_last_order=365, orders_365d=orders))
    assert found.score == score


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({}, []),
        ({"days_since_last_order": 30}, []),
        ({"days_since_last_order": 31}, ["long_absence"]),
        ({"orders_365d": 2}, ["rare_buyer"]),
        ({"orders_365d": 3}, []),
        ({"order_frequency_trend": DECREASING}, ["falling_trend"]),
        ({"spend_trend": DECREASING}, []),
        (
            {"days_since_last_order": 90, "orders_365d": 1, "order_frequency_trend": DECREASING},
            ["long_absence", "rare_buyer", "falling_trend"],
        ),
    ],
)
def test_tiered_reasons(changes: dict[str, object], reasons: list[str]) -> None:
    assert list(risk(TieredChurn(), replace(LOYAL, **changes)).reasons) == reasons  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "score", "reasons"),
    [
        ({}, 0.01, []),
        ({"days_since_last_order": 0}, 0.0, []),
        # 59 days are 19.67 points: cut to whole points in the sum, and not yet a reason.
        ({"days_since_last_order": 59}, 0.19, []),
        ({"days_since_last_order": 60}, 0.20, ["long_absence"]),
        ({"days_since_last_order": 90}, 0.30, ["long_absence"]),
        ({"days_since_last_order": 91}, 0.30, ["long_absence"]),
        ({"days_since_last_order": 0, "orders_30d": 1}, 0.15, []),
        ({"days_since_last_order": 0, "orders_30d": 0}, 0.20, ["fewer_orders"]),
        ({"days_since_last_order": 0, "orders_30d": 0, "orders_90d": 0}, 0.30, ["fewer_orders"]),
        ({"days_since_last_order": 0, "revenue_30d": 149}, 0.10, []),
        ({"days_since_last_order": 0, "revenue_30d": 150}, 0.0, []),
        ({"days_since_last_order": 0, "revenue_30d": 0}, 0.15, ["less_spending"]),
        ({"days_since_last_order": 0, "revenue_30d": -1}, 0.10, []),
        (
            {"days_since_last_order": 0, "revenue_30d": 0, "revenue_90d": 0},
            0.25,
            ["less_spending"],
        ),
        (
            {"days_since_last_order": 0, "order_frequency_trend": DECREASING},
            0.15,
            ["falling_trend"],
        ),
        ({"days_since_last_order": 0, "spend_trend": DECREASING}, 0.10, ["falling_trend"]),
        (
            {
                "days_since_last_order": 0,
                "order_frequency_trend": DECREASING,
                "spend_trend": DECREASING,
            },
            0.15,
            ["falling_trend"],
        ),
    ],
)
def test_component_points(changes: dict[str, object], score: float, reasons: list[str]) -> None:
    found = risk(ComponentChurn(), replace(LOYAL, **changes))  # type: ignore[arg-type]
    assert found.score == score
    assert list(found.reasons) == reasons


def test_all_components_together_make_one_and_name_the_three_weightiest() -> None:
    gone = ChurnFacts(
        days_since_last_order=400,
        orders_30d=0,
        orders_90d=0,
        orders_365d=0,
        revenue_30d=0,
        revenue_90d=0,
        order_frequency_trend=DECREASING,
        spend_trend=DECREASING,
    )
    found = risk(ComponentChurn(), gone)
    assert found.score == 1.0
    assert list(found.reasons) == ["long_absence", "fewer_orders", "less_spending"]


@pytest.mark.parametrize(
    ("month", "quarter", "points"),
    [(0, 0, 9), (0, 5, 6), (1, 6, 0), (1, 7, 3), (2, 2, 0), (5, 0, 0)],
)
def test_a_drop(month: int, quarter: int, points: int) -> None:
    assert Drop(9, 6, 3).points(month, quarter) == points


@pytest.mark.parametrize(
    ("score", "lower", "upper"),
    [
        (0.0, "low", "low"),
        (0.29, "low", "low"),
        (0.3, "medium", "low"),
        (0.31, "medium", "medium"),
        (0.6, "high", "medium"),
        (0.61, "high", "high"),
        (0.8, "critical", "high"),
        (0.81, "critical", "critical"),
        (1.0, "critical", "critical"),
    ],
)
def test_a_score_on_a_bound(score: float, lower: str, upper: str) -> None:
    assert ChurnBands((0.3, 0.6, 0.8)).of(score) == lower
    assert ChurnBands((0.3, 0.6, 0.8), upper_inclusive=True).of(score) == upper


@given(st.floats(0, 1), st.floats(0, 1), st.booleans())
def test_a_higher_score_is_never_in_a_lower_band(a: float, b: float, inclusive: bool) -> None:
    bands = ChurnBands((0.25, 0.5, 0.75), upper_inclusive=inclusive)
    order = list(ChurnBand)
    assert order.index(bands.of(min(a, b))) <= order.index(bands.of(max(a, b)))


def _sentence(reason: ChurnReason) -> str:
    return sentence(
        reason,
        days_since_last_order=74,
        orders_30d=0,
        orders_90d=1,
        orders_365d=12,
        spend_30d="IDR 0.00",
        spend_90d="IDR 1,250.00",
        contacts=8,
        responses=1,
        complaints_90d=2,
        satisfaction_score=3.5,
    )


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("long_absence", "No order for 74 days."),
        ("fewer_orders", "Placed no order in the last 30 days, 1 order in the last 90."),
        ("less_spending", "Spent IDR 0.00 in the last 30 days, IDR 1,250.00 in the last 90."),
        ("rare_buyer", "Placed 12 orders in the last 365 days."),
        ("complaints", "Complained twice in the last 90 days."),
        ("low_satisfaction", "Satisfaction is 3.5 of 10."),
        ("low_response", "Answered 1 of 8 contacts."),
    ],
)
def test_sentences_carry_the_customers_own_numbers(reason: str, expected: str) -> None:
    assert _sentence(ChurnReason(reason)) == expected


def test_a_falling_trend_names_both_what_fell_and_from_where() -> None:
    found = _sentence(ChurnReason.FALLING_TREND)
    assert "(no order, IDR 0.00)" in found
    assert "(1 order, IDR 1,250.00)" in found


@pytest.mark.parametrize("reason", list(ChurnReason))
def test_every_reason_has_a_sentence(reason: ChurnReason) -> None:
    assert _sentence(reason).endswith(".")
    assert "{" not in _sentence(reason)
