"""Clusters by density, held against a plain implementation that measures every pair."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.dbscan import NOISE, cluster
from app.domain.geodesy import Floats, geocentric

#: Where degrees of longitude are long, short, interrupted and meaningless.
ORIGINS = [(-6.2, 106.8), (61.0, 179.9995), (-16.8, -180.0), (89.9995, 10.0), (-90.0, 0.0)]


def _plain(points: Floats, radius: float, minimum: int) -> tuple[list[set[int]], list[bool]]:
    """The core places of each cluster, and which places are core."""
    squares = ((points[:, None, :] - points[None, :, :]) ** 2).sum(axis=2)
    near = squares <= radius * radius
    core = near.sum(axis=1) >= minimum
    clusters: list[set[int]] = []
    seen: set[int] = set()
    for first in np.flatnonzero(core).tolist():
        if first in seen:
            continue
        members, waiting = {first}, [first]
        while waiting:
            for other in np.flatnonzero(near[waiting.pop()] & core).tolist():
                if other not in members:
                    members.add(other)
                    waiting.append(other)
        seen |= members
        clusters.append(members)
    return clusters, core.tolist()


@st.composite
def _places(draw: st.DrawFn) -> tuple[Floats, Floats]:
    latitude, longitude = draw(st.sampled_from(ORIGINS))
    seed = draw(st.integers(0, 2**32 - 1))
    count = draw(st.integers(0, 90))
    spread = draw(st.sampled_from([0.0, 0.001, 0.005, 0.02]))
    random = np.random.default_rng(seed)
    # Some stand at the same address.
    offsets = random.choice(np.round(random.normal(0, 1, (max(count // 2, 1), 2)), 2), count)
    latitudes = np.clip(latitude + spread * offsets[:, 0], -90, 90)
    longitudes = (longitude + spread * offsets[:, 1] + 180) % 360 - 180
    return latitudes, longitudes


@settings(max_examples=150, deadline=None)
@given(_places(), st.sampled_from([20.0, 120.0, 500.0, 3000.0]), st.integers(1, 12))
def test_it_is_dbscan(places: tuple[Floats, Floats], radius: float, minimum: int) -> None:
    labels = cluster(*places, radius, minimum).tolist()
    points = geocentric(*places)
    clusters, core = _plain(points, radius, minimum)
    assert {frozenset(members) for members in clusters} == {
        frozenset(i for i, label in enumerate(labels) if label == number and core[i])
        for number in set(labels) - {NOISE}
    }
    squares = ((points[:, None, :] - points[None, :, :]) ** 2).sum(axis=2)
    for index in np.flatnonzero(~np.array(core, dtype=bool)).tolist():
        reached = [i for i, is_core in enumerate(core) if is_core]
        nearest = min(reached, key=lambda i: (squares[index, i], i), default=None)
        if nearest is None or squares[index, nearest] > radius * radius:
            assert labels[index] == NOISE
        else:
            assert labels[index] == labels[nearest]
    sizes = np.bincount(np.array([each for each in labels if each != NOISE], dtype=np.int64))
    assert list(sizes) == sorted(sizes, reverse=True)


def test_places_on_both_sides_of_the_antimeridian_are_neighbours() -> None:
    longitudes = np.array([179.9999, -179.9999, 180.0, -180.0, 0.0])
    assert cluster(np.zeros(5), longitudes, 50, 4).tolist() == [0, 0, 0, 0, NOISE]


def test_metres_are_metres_in_the_far_north() -> None:
    # A degree of longitude is 1.9 km there, so these are 19 m apart; on a map of degrees 1.1 km.
    longitudes = np.linspace(0, 0.05, 6)
    assert cluster(np.full(6, 89.0), longitudes, 25, 3).tolist() == [0] * 6
    assert cluster(np.zeros(6), longitudes, 25, 3).tolist() == [NOISE] * 6


@pytest.mark.parametrize("spread", [0.0, 0.002])
def test_a_crowd_within_one_radius_is_one_cluster(spread: float) -> None:
    """20,000 places that are all neighbours: 200 million pairs, which are not measured."""
    offsets = np.random.default_rng(3).uniform(-spread, spread, (2, 20_000))
    labels = cluster(-6.2 + offsets[0], 106.8 + offsets[1], 1000, 10)
    assert set(labels.tolist()) == {0}


def test_nobody_is_in_no_cluster() -> None:
    assert cluster(np.empty(0), np.empty(0), 100, 2).tolist() == []
