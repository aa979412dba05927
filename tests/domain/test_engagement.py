"""Levels of response and spending, and the quadrants they make."""

import pytest

from app.domain.engagement import EngagementRules, SpendingLevel, quadrant, spending_level

RULES = EngagementRules()


@pytest.mark.parametrize(
    ("rate", "level"),
    [
        (None, None),
        (0.0, "low"),
        (0.2999, "low"),
        (0.3, "medium"),
        (0.7, "medium"),
        (0.7001, "high"),
        (1.0, "high"),
    ],
)
def test_a_rate_on_a_bound_is_medium(rate: float | None, level: str | None) -> None:
    assert RULES.response_level(rate) == level


def test_spending_is_high_above_the_median_only() -> None:
    assert spending_level(100, 100.0) == "low"
    assert spending_level(101, 100.0) == "high"
    assert spending_level(101, None) is None


@pytest.mark.parametrize(
    ("spending", "rate", "expected"),
    [
        ("high", 0.9, "engaged_champion"),
        ("high", 0.1, "passive_buyer"),
        ("low", 0.9, "potential"),
        ("low", 0.1, "cold"),
        ("high", 0.5, None),
        ("low", None, None),
    ],
)
def test_quadrants(spending: str, rate: float | None, expected: str | None) -> None:
    assert quadrant(SpendingLevel(spending), RULES.response_level(rate)) == expected
