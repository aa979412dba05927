"""Outlines of places."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.hull import Position, hull

_DEGREES = st.integers(-40, 40)


def _covers(ring: list[Position], at: Position) -> bool:
    """Whether a convex, counter-clockwise ring holds a place."""
    return all(
        (b[0] - a[0]) * (at[1] - a[1]) - (b[1] - a[1]) * (at[0] - a[0]) >= 0
        for a, b in itertools.pairwise(ring)
    )


@given(st.lists(st.tuples(_DEGREES, _DEGREES), min_size=1, max_size=30))
def test_it_holds_every_place_and_has_its_corners_among_them(
    places: list[tuple[int, int]],
) -> None:
    found = hull([(float(lon), float(lat)) for lon, lat in places], 0.0)
    coordinates: Any = found["coordinates"]
    if found["type"] == "Point":
        assert {tuple(coordinates)} == set(places)
    elif found["type"] == "LineString":
        assert {tuple(each) for each in coordinates} <= set(places)
        assert len(coordinates) == 2
    else:
        assert found["type"] == "Polygon"
        [ring] = coordinates
        assert ring[0] == ring[-1]
        assert {tuple(each) for each in ring} <= set(places)
        assert all(_covers(ring, place) for place in places)


def test_it_is_cut_at_the_antimeridian() -> None:
    found = hull([(179.0, 0.0), (-179.0, 0.0), (179.0, 2.0), (-179.0, 2.0)], 180.0)
    assert found["type"] == "MultiPolygon"
    rings = sorted(sorted(map(tuple, ring[0][:-1])) for ring in found["coordinates"])
    assert rings == [
        [(-180.0, 0.0), (-180.0, 2.0), (-179.0, 0.0), (-179.0, 2.0)],
        [(179.0, 0.0), (179.0, 2.0), (180.0, 0.0), (180.0, 2.0)],
    ]


@pytest.mark.parametrize("middle", [-180.0, 180.0])
def test_a_line_across_the_antimeridian_is_two(middle: float) -> None:
    found = hull([(179.0, 0.0), (-179.0, 1.0)], middle)
    assert found["type"] == "MultiLineString"
    assert sorted(sorted(part) for part in found["coordinates"]) == [
        [[-180.0, 0.5], [-179.0, 1.0]],
        [[179.0, 0.0], [180.0, 0.5]],
    ]


@pytest.mark.parametrize("longitude", [-180.0, 180.0])
def test_one_place_at_the_antimeridian_is_a_point(longitude: float) -> None:
    found = hull([(longitude, 5.0)] * 3, longitude)
    assert found["type"] == "Point"
    assert abs(found["coordinates"][0]) == 180


def test_an_edge_along_the_antimeridian_is_not_cut() -> None:
    found = hull([(180.0, 0.0), (180.0, 2.0), (179.0, 1.0)], 179.5)
    assert found["type"] == "Polygon"
