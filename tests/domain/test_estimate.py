"""What a sample says of everybody."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.estimate import estimated_count


def test_the_interval_is_wilsons() -> None:
    # 10 of 100: 0.0552 to 0.1744, as statsmodels and R's binom.wilson have it.
    assert estimated_count(10, 100, 1_000_000) == (100_000, 55_229, 174_366)


def test_nobody_found_is_not_nobody() -> None:
    likeliest, lowest, highest = estimated_count(0, 20_000, 1_000_000)
    assert (likeliest, lowest) == (0, 0)
    assert 100 < highest < 250


def test_nobody_asked_says_nothing() -> None:
    assert estimated_count(0, 0, 7) == (0, 0, 7)


@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 5_000))
def test_the_number_lies_within_what_is_possible(found: int, others: int, unasked: int) -> None:
    sampled, everybody = found + others, found + others + unasked
    likeliest, lowest, highest = estimated_count(found, sampled, everybody)
    assert found <= lowest <= highest <= found + unasked
    if sampled:
        assert lowest - 1 <= likeliest <= highest + 1
    if not unasked:
        assert lowest == highest == found


@pytest.mark.parametrize("numbers", [(2, 1, 5), (1, 5, 4), (-1, 5, 6)])
def test_more_found_than_asked_is_a_mistake(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="more were found"):
        estimated_count(*numbers)
