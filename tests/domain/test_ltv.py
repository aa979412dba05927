"""What a prediction of lifetime value promises."""

import pytest

from app.domain.ltv import growth, growth_potential


@pytest.mark.parametrize(
    ("current", "in_one_year", "potential"),
    [
        (125_000, 185_000, "high"),
        (100, 125, "high"),
        (100, 124, "medium"),
        (100, 105, "medium"),
        (100, 104, "low"),
        (100, 60, "low"),
        (0, 1, "high"),
        (0, 0, "low"),
        (-50, 0, "low"),
        (-50, 10, "high"),
    ],
)
def test_the_potential_follows_from_the_growth_of_a_year(
    current: int, in_one_year: int, potential: str
) -> None:
    assert growth_potential(current, in_one_year) == potential


def test_growth_is_a_share_of_today() -> None:
    assert growth(1_250, 1_850) == pytest.approx(0.48)
    assert growth(0, 10) is None
