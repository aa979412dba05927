"""Distances where an index knows them on a sphere only."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.geodesy import SPHERE_EXCESS, centre_of, geocentric, in_order, is_settled


@dataclass(frozen=True)
class _Found:
    sk: int
    distance: float
    sphere: float


@st.composite
def _everybody(draw: st.DrawFn) -> list[_Found]:
    """Things at distances that the sphere has right to half a per cent; some equally far."""
    number = draw(st.integers(1, 40))
    distances = draw(
        st.lists(
            st.sampled_from([0.0, 1.0, 100.0, 100.2, 100.4, 100.7, 250.0]),
            min_size=number,
            max_size=number,
        )
    )
    errors = draw(st.lists(st.floats(-0.0045, 0.0055), min_size=number, max_size=number))
    return [
        _Found(number - place, distance, distance * (1 + error))
        for place, (distance, error) in enumerate(zip(distances, errors, strict=True))
    ]


@given(_everybody(), st.integers(1, 20), st.integers(0, 10))
def test_what_is_settled_is_right(everybody: list[_Found], wanted: int, more: int) -> None:
    seen = sorted(everybody, key=lambda each: each.sphere)[: wanted + more]
    if len(seen) < wanted:
        return
    ordered = in_order(seen)
    if is_settled(ordered, wanted):
        assert ordered[:wanted] == in_order(everybody)[:wanted]


def test_places_far_apart_are_settled_and_equal_ones_are_not() -> None:
    apart = [_Found(1, 100.0, 100.0), _Found(2, 200.0, 200.0)]
    assert is_settled(apart, 1)
    assert not is_settled(apart, 2)
    assert not is_settled([_Found(1, 0.0, 0.0), _Found(2, 0.0, 0.0)], 1)
    assert not is_settled([_Found(1, 100.0, 100.0), _Found(2, 100.0, 100.5)], 1)
    assert SPHERE_EXCESS > 1 - 6_335_439 / 6_371_008.77


def test_space_is_measured_in_metres() -> None:
    points = geocentric(np.array([0.0, 90.0, -90.0]), np.array([0.0, 10.0, 77.0]))
    assert points[0] == pytest.approx([6_378_137.0, 0, 0])
    assert points[1] == pytest.approx([0, 0, 6_356_752.3142], abs=1e-3)
    assert points[2] == pytest.approx([0, 0, -6_356_752.3142], abs=1e-3)


def test_the_middle_of_places() -> None:
    latitude, longitude = centre_of(np.array([10.0, 10.0]), np.array([179.0, -179.0]))
    assert latitude == pytest.approx(10.0015, abs=1e-3)
    assert abs(longitude) == pytest.approx(180, abs=1e-9)
    # All around the earth there is no middle, so it is the first place.
    assert centre_of(np.array([0.0, 0.0]), np.array([0.0, 180.0])) == (0.0, 0.0)
