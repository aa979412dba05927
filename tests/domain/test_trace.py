"""Traces: gaps, lengths, simplification, the antimeridian, and stays."""

import math
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.geodesy import great_circle_metres
from app.domain.trace import (
    Point,
    bounds,
    cut_at_antimeridian,
    find_stays,
    length_metres,
    simplify,
    split_at_gaps,
)

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
GAP = timedelta(minutes=30)
METRE = 1 / 111_195  # degrees of latitude


def _points(places: Iterable[tuple[float, float]], *, seconds: float = 60) -> list[Point]:
    return [
        Point(longitude, latitude, NOON + timedelta(seconds=seconds * number), 5.0, 1.0)
        for number, (longitude, latitude) in enumerate(places)
    ]


def test_a_gap_is_longer_than_allowed() -> None:
    points = _points([(0, 0)] * 3, seconds=1800)
    assert [len(part) for part in split_at_gaps(points, timedelta(minutes=30))] == [3]
    parts = split_at_gaps(points, timedelta(minutes=29))
    assert [len(part) for part in parts] == [1, 1, 1]
    assert length_metres(parts) == 0
    assert length_metres([points]) == 2
    assert split_at_gaps([], timedelta(minutes=1)) == []


places = st.lists(
    st.tuples(st.floats(-180, 180), st.floats(-90, 90)), min_size=2, max_size=40, unique=True
)


@given(places, st.floats(1, 1e6))
def test_a_simplified_line_keeps_its_ends_and_its_order(
    stated: list[tuple[float, float]], tolerance: float
) -> None:
    part = _points(stated)
    kept = simplify(part, tolerance)
    assert (kept[0], kept[-1]) == (part[0], part[-1])
    assert [point for point in part if point in kept] == kept
    assert simplify(part, 0) == part


def test_simplification_is_in_metres_wherever_it_is() -> None:
    for latitude in (0.0, 60.0, -80.0):
        east = METRE / math.cos(math.radians(latitude))
        for longitude in (106.8, 180.0):
            line = [
                ((longitude + 180 + step * 10 * east) % 360 - 180, latitude)
                for step in range(-5, 6)
            ]
            line[5] = (line[5][0], latitude + 4 * METRE)
            part = _points(line)
            assert len(simplify(part, 5)) == 2
            assert len(simplify(part, 3)) > 2
            assert part[5] in simplify(part, 3)


def test_a_line_across_the_antimeridian_is_cut() -> None:
    pieces = cut_at_antimeridian(_points([(179.0, 0.0), (-179.0, 2.0), (-178.0, 2.0)]))
    assert [[point[:2] for point in piece] for piece in pieces] == [
        [(179.0, 0.0), (180.0, 1.0)],
        [(-180.0, 1.0), (-179.0, 2.0), (-178.0, 2.0)],
    ]
    assert pieces[0][-1].at == pieces[1][0].at == NOON + timedelta(seconds=30)


def test_an_end_on_the_antimeridian_needs_no_cut_of_its_own() -> None:
    pieces = cut_at_antimeridian(_points([(179.0, 0.0), (180.0, 0.0), (-179.0, 0.0)]))
    assert [[point[:2] for point in piece] for piece in pieces] == [
        [(179.0, 0.0), (180.0, 0.0)],
        [(-180.0, 0.0), (-179.0, 0.0)],
    ]


@given(places)
def test_no_piece_crosses_and_none_of_the_way_is_lost(stated: list[tuple[float, float]]) -> None:
    part = _points(stated)
    pieces = cut_at_antimeridian(part)
    for piece in pieces:
        for one, other in pairwise(piece):
            assert abs(one.longitude - other.longitude) <= 180
            assert one.at <= other.at
    assert [point for piece in pieces for point in piece if point in part] == part


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ([(1, 2), (3, -4)], (1, -4, 3, 2)),
        ([(179, 0), (-179, 1)], (179, 0, -179, 1)),
        ([(-179, 0), (179, 1), (178, 1)], (178, 0, -179, 1)),
        ([(5, 5)], (5, 5, 5, 5)),
        ([(each, 0) for each in (0, 120, -120, 0, 120)], (-180, 0, 180, 0)),
    ],
)
def test_the_box_of_a_trace(
    stated: list[tuple[float, float]], expected: tuple[float, float, float, float]
) -> None:
    assert bounds(_points(stated)) == pytest.approx(expected)


def test_nothing_has_no_box() -> None:
    assert bounds([]) is None


def _stay(at: tuple[float, float], count: int, seed: int = 1) -> list[tuple[float, float]]:
    chance = random.Random(seed)
    return [
        (at[0] + chance.uniform(-20, 20) * METRE, at[1] + chance.uniform(-20, 20) * METRE)
        for _ in range(count)
    ]


HOME, SHOP = (106.8, -6.2), (106.8, -6.2 + 1000 * METRE)
WAY = [(106.8, -6.2 + each * METRE) for each in range(150, 900, 150)]


def test_a_stay_is_where_nobody_left_for_long_enough() -> None:
    points = _points(_stay(HOME, 12) + WAY + _stay(SHOP, 15))
    stays = find_stays(points, metres=100, duration=timedelta(minutes=10), gap=GAP)
    assert [(stay.first, stay.end) for stay in stays] == [(0, 12), (17, 32)]
    for stay, there in zip(stays, (HOME, SHOP), strict=True):
        assert great_circle_metres(stay.latitude, stay.longitude, *there[::-1]) < 20
    assert find_stays(points, metres=100, duration=timedelta(minutes=20), gap=GAP) == []
    assert find_stays([], metres=100, duration=timedelta(minutes=1), gap=GAP) == []


def test_neither_an_outlier_nor_a_rough_fix_ends_a_stay() -> None:
    points = _points(_stay(HOME, 15))
    outlier = points[7]._replace(latitude=-6.2 + 500 * METRE)
    rough = points[10]._replace(latitude=-6.2 + 190 * METRE, accuracy=100.0)
    there = [*points[:7], outlier, *points[8:10], rough, *points[11:]]
    stays = find_stays(there, metres=100, duration=timedelta(minutes=10), gap=GAP)
    assert [(stay.first, stay.end) for stay in stays] == [(0, 15)]


def test_a_stay_on_the_antimeridian_is_one() -> None:
    points = _points([(180 - 5 * METRE, 0.0), (-180 + 5 * METRE, 0.0)] * 8)
    (stay,) = find_stays(points, metres=100, duration=timedelta(minutes=10), gap=GAP)
    assert (stay.first, stay.end) == (0, 16)
    assert abs(stay.longitude) == pytest.approx(180, abs=1e-4)
    assert stay.latitude == pytest.approx(0, abs=1e-6)


def test_a_long_stay_among_many_fixes_is_found_whole() -> None:
    points = _points(_stay(HOME, 500) + WAY, seconds=10)
    stays = find_stays(points, metres=100, duration=timedelta(minutes=10), gap=GAP)
    assert [(stay.first, stay.end) for stay in stays] == [(0, 500)]


def test_a_gap_ends_a_stay() -> None:
    before, after = _points(_stay(HOME, 12)), _points(_stay(HOME, 12))
    for gap, expected in ((30, [(0, 24)]), (31, [(0, 12), (12, 24)])):
        later = timedelta(minutes=11 + gap)
        points = before + [point._replace(at=point.at + later) for point in after]
        stays = find_stays(points, metres=100, duration=timedelta(minutes=10), gap=GAP)
        assert [(stay.first, stay.end) for stay in stays] == expected
