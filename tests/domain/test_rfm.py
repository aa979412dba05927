"""Recency, frequency, monetary value: scores, percentiles, and the segment of every cell."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import rfm
from app.domain.profile import PRESETS, Profile
from app.domain.rfm import PERCENTILES, QUINTILES

CELLS = list(product(range(1, 6), repeat=3))
PROFILES = pytest.mark.parametrize("profile", PRESETS.values(), ids=PRESETS.keys())

values = st.integers(-(10**9), 10**9)
populations = st.lists(values, min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("value", "expected"), [(9, 1), (10, 1), (11, 2), (20, 2), (30, 3), (40, 4), (41, 5)]
)
def test_a_score_counts_the_cutoffs_strictly_below(value: int, expected: int) -> None:
    assert rfm.score_high(value, (10, 20, 30, 40)) == expected
    assert rfm.score_low(value, (10, 20, 30, 40)) == 6 - expected


@given(populations)
def test_more_is_never_scored_worse_and_ties_share_a_score(population: list[int]) -> None:
    cutoffs = np.quantile(population, QUINTILES).tolist()
    ascending = sorted(population)
    high = [rfm.score_high(value, cutoffs) for value in ascending]
    low = [rfm.score_low(value, cutoffs) for value in ascending]
    assert high == sorted(high)
    assert low == sorted(low, reverse=True)
    assert {*high, *low} <= {1, 2, 3, 4, 5}
    by_value = {value: {rfm.score_high(value, cutoffs)} for value in ascending}
    assert all(len(scores) == 1 for scores in by_value.values())


def test_a_hundred_different_buyers_fall_into_equal_fifths() -> None:
    buyers = range(1, 101)
    cutoffs = np.quantile(buyers, QUINTILES).tolist()
    scores = [rfm.score_high(buyer, cutoffs) for buyer in buyers]
    assert [scores.count(score) for score in range(1, 6)] == [20] * 5


def test_where_everybody_ties_everybody_is_scored_alike() -> None:
    cutoffs = np.quantile([7] * 9, QUINTILES).tolist()
    assert rfm.score_high(7, cutoffs) == 1
    assert rfm.score_low(7, cutoffs) == 5


@given(populations)
def test_the_best_of_either_direction_has_the_highest_percentile(population: list[int]) -> None:
    bounds = np.quantile(population, PERCENTILES).tolist()
    assert rfm.percentile_high(max(population), bounds) == 100
    assert rfm.percentile_low(min(population), bounds) == 100
    for value in population:
        assert 0 <= rfm.percentile_high(value, bounds) <= 100
        assert 0 <= rfm.percentile_low(value, bounds) <= 100


def test_a_percentile_says_how_many_are_no_better() -> None:
    bounds = np.quantile([1] * 60 + [2] * 30 + [3] * 10, PERCENTILES).tolist()
    assert [rfm.percentile_high(value, bounds) for value in (0, 1, 2, 3)] == [0, 59, 89, 100]
    assert [rfm.percentile_low(value, bounds) for value in (1, 2, 3, 4)] == [100, 40, 10, 0]


@PROFILES
def test_every_cell_has_a_segment_of_its_profile_and_every_segment_a_cell(
    profile: Profile,
) -> None:
    reached = {rfm.segment(profile.segment_rules, *cell) for cell in CELLS}
    assert reached == {segment.code for segment in profile.segments}


@PROFILES
def test_every_rule_is_the_first_to_match_some_cell(profile: Profile) -> None:
    first = [
        next(i for i, rule in enumerate(profile.segment_rules) if rule.matches(*cell))
        for cell in CELLS
    ]
    assert set(first) == set(range(len(profile.segment_rules)))


@PROFILES
def test_segments_are_declared_best_first_and_once(profile: Profile) -> None:
    assert [s.priority for s in profile.segments] == list(range(1, len(profile.segments) + 1))
    assert len({s.code for s in profile.segments}) == len(profile.segments)
    assert len({s.name for s in profile.segments}) == len(profile.segments)


@PROFILES
def test_the_extremes_are_where_anybody_expects_them(profile: Profile) -> None:
    assert rfm.segment(profile.segment_rules, 5, 5, 5).startswith("champion")
    worst = profile.segment(rfm.segment(profile.segment_rules, 1, 1, 1))
    assert worst.value_tier == "recovery"


@pytest.mark.parametrize(
    ("cell", "segment"),
    [
        ("555", "champions"),
        ("554", "champions"),
        ("454", "loyal_customers"),
        ("543", "potential_loyalists"),
        ("533", "recent_customers"),
        ("332", "promising"),
        ("311", "new_customers"),
        ("211", "hibernating"),
        ("112", "at_risk"),
        ("111", "lost"),
    ],
)
def test_the_ten_named_codes_of_ticketing(cell: str, segment: str) -> None:
    assert rfm.segment(PRESETS["ticketing"].segment_rules, *map(int, cell)) == segment


@pytest.mark.parametrize(
    ("cell", "segment"),
    [
        ("444", "champion"),
        ("435", "champion"),
        ("341", "loyal"),
        ("541", "loyal"),
        ("335", "at_risk"),
        ("244", "at_risk"),
        ("411", "promising"),
        ("331", "hibernating"),
        ("111", "hibernating"),
    ],
)
def test_cells_of_retail(cell: str, segment: str) -> None:
    assert rfm.segment(PRESETS["retail"].segment_rules, *map(int, cell)) == segment


def test_a_code_is_the_three_digits() -> None:
    assert rfm.code(5, 4, 1) == "541"
