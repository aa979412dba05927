"""DBSCAN (Ester, Kriegel, Sander, Xu 1996) of places on the globe, in metres.

Places are points in space (`geodesy.geocentric`), sorted into cubes whose diagonal is the radius.
So all in one cube are neighbours, and a cube of enough of them needs no distance at all: that is
what keeps a city where everybody is everybody's neighbour from taking the square of its people.
Between cubes distances are computed for many pairs at a time.
"""

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from app.domain.geodesy import Floats, geocentric

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

#: Below it the cubes around the earth outnumber what one integer can name.
LEAST_RADIUS_METRES = 20.0

#: Beyond it a straight line is no longer a distance on the ground.
MOST_RADIUS_METRES = 100_000.0

NOISE = -1

#: Pairs of places that are measured at a time.
_PAIRS_AT_A_TIME = 2_000_000

#: Pairs of cubes with more pairs of places are measured one by one, if they still have to be.
_MANY_PAIRS = 4_096

_BITS = 21
_REACH = range(-2, 3)

#: Where neighbours can be, seen from a cube, the nearest cubes first.
_AROUND: list[tuple[int, int, int]] = sorted(
    (step for step in itertools.product(_REACH, _REACH, _REACH) if any(step)),
    key=lambda step: sum(max(abs(each) - 1, 0) ** 2 for each in step),
)


def cluster(latitudes: Floats, longitudes: Floats, radius: float, minimum: int) -> Integers:
    """The number of each place's cluster, or NOISE. Degrees and metres.

    A core place has at least `minimum` places within `radius`, itself and the edge included. Core
    places within the radius of each other are in one cluster, and so is any other place with the
    core place nearest to it within the radius (of several at the same distance, the first given).
    Clusters are numbered by size, the largest 0, and equal ones in the order given.
    """
    if len(latitudes) == 0:
        return np.empty(0, dtype=np.int64)
    cubes = _Cubes(geocentric(latitudes, longitudes), radius)
    core = _core(cubes, minimum)
    labels = np.full(len(latitudes), NOISE, dtype=np.int64)
    if core.any():
        _label(cubes, core, labels)
    # From the order of the cubes back to the order given.
    found = np.empty_like(labels)
    found[cubes.order] = labels
    return _by_size(found)


class _Cubes:
    """Places in the order of their cubes: the places of cube c begin at `starts[c]`."""

    def __init__(self, points: Floats, radius: float) -> None:
        # A place may lie on the edge of two cubes, so the diagonal stays a little shorter.
        side = radius / np.sqrt(3) * (1 - 1e-9)
        steps = np.floor(points / side).astype(np.int64)
        steps -= steps.min(axis=0) - 2
        keys = _key(steps)
        self.order = np.argsort(keys, kind="stable")
        self.points = points[self.order]
        self.square = radius * radius
        self.keys, self.starts, self.counts = np.unique(
            keys[self.order], return_index=True, return_counts=True
        )
        self.cube_of = np.repeat(np.arange(len(self.keys)), self.counts)

    def beside(self, cubes: Integers, step: tuple[int, int, int]) -> tuple[Integers, Integers]:
        """Those of `cubes` that have a cube so many steps away, and these."""
        wanted = self.keys[cubes] + _key(np.array([step]))[0]
        at = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        there = self.keys[at] == wanted
        return cubes[there], at[there]

    def near(self, left: Integers, right: Integers) -> tuple[Flags, Floats]:
        """Which pairs of places are within the radius, and their squared distances."""
        squares = ((self.points[left] - self.points[right]) ** 2).sum(axis=1)
        return squares <= self.square, squares


def _key(steps: Integers) -> Integers:
    key: Integers = (steps[:, 0] << (2 * _BITS)) + (steps[:, 1] << _BITS) + steps[:, 2]
    return key


def _runs(lengths: Integers) -> Iterator[slice]:
    """Slices of about `_PAIRS_AT_A_TIME` in sum, each of at least one."""
    ends = np.cumsum(lengths)
    first = 0
    while first < len(lengths):
        before = ends[first - 1] if first else 0
        last = int(np.searchsorted(ends, before + _PAIRS_AT_A_TIME, side="right"))
        yield slice(first, max(last, first + 1))
        first = max(last, first + 1)


def _spread(starts: Integers, counts: Integers) -> Integers:
    """The places of several cubes, one cube after the other."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    spread: Integers = np.arange(total) + np.repeat(starts - (ends - counts), counts)
    return spread


def _core(cubes: _Cubes, minimum: int) -> Flags:
    """Which places have enough neighbours."""
    neighbours = cubes.counts[cubes.cube_of]
    for step in _AROUND:
        # Only places that have not got enough of them yet.
        open_places = np.flatnonzero(neighbours < minimum)
        if len(open_places) == 0:
            break
        open_cubes = np.unique(cubes.cube_of[open_places])
        own, other = cubes.beside(open_cubes, step)
        if len(own) == 0:
            continue
        beside = np.full(len(cubes.keys), -1, dtype=np.int64)
        beside[own] = other
        places = open_places[beside[cubes.cube_of[open_places]] >= 0]
        others = beside[cubes.cube_of[places]]
        for run in _runs(cubes.counts[others]):
            counts = cubes.counts[others[run]]
            left = np.repeat(places[run], counts)
            near, _ = cubes.near(left, _spread(cubes.starts[others[run]], counts))
            neighbours[places[run]] += np.bincount(
                np.repeat(np.arange(len(counts)), counts), weights=near, minlength=len(counts)
            ).astype(np.int64)
    enough: Flags = neighbours >= minimum
    return enough


class _CorePlaces:
    """The core places in the order of their cubes: those of cube c begin at `starts[c]`."""

    def __init__(self, cubes: _Cubes, core: Flags) -> None:
        self.places = np.flatnonzero(core)
        self.counts = np.bincount(cubes.cube_of[self.places], minlength=len(cubes.keys))
        self.starts = np.cumsum(self.counts) - self.counts

    def of(self, cube: int) -> Integers:
        """Those of one cube."""
        return self.places[self.starts[cube] : self.starts[cube] + self.counts[cube]]

    def pairs(self, a: Integers, b: Integers) -> tuple[Integers, Integers, Integers]:
        """Every pair of one of a cube of `a` and one of the cube of `b`, and of which cubes."""
        lefts = _spread(self.starts[a], self.counts[a])
        per_left = np.repeat(self.counts[b], self.counts[a])
        right = _spread(np.repeat(self.starts[b], self.counts[a]), per_left)
        pair = np.repeat(np.repeat(np.arange(len(a)), self.counts[a]), per_left)
        return self.places[np.repeat(lefts, per_left)], self.places[right], pair


def _label(cubes: _Cubes, core: Flags, labels: Integers) -> None:
    """Give every place its cluster; clusters are named by a cube of theirs."""
    cores = _CorePlaces(cubes, core)
    parents = np.arange(len(cubes.keys))
    with_core = np.flatnonzero(cores.counts)
    for step in _AROUND:
        if step < (0, 0, 0):  # the pair was seen from the other side
            continue
        own, other = cubes.beside(with_core, step)
        apart = (cores.counts[other] > 0) & (_roots(parents, own) != _roots(parents, other))
        own, other = own[apart], other[apart]
        few = cores.counts[own] * cores.counts[other] <= _MANY_PAIRS
        _join_few(cubes, cores, own[few], other[few], parents)
        for a, b in zip(own[~few].tolist(), other[~few].tolist(), strict=True):
            if _root(parents, a) != _root(parents, b) and _touch(cubes, cores.of(a), cores.of(b)):
                _union(parents, a, b)
    labels[cores.places] = _roots(parents, cubes.cube_of[cores.places])
    _label_border(cubes, cores, np.flatnonzero(~core), labels)


def _join_few(
    cubes: _Cubes, cores: _CorePlaces, own: Integers, other: Integers, parents: Integers
) -> None:
    """Join the pairs of cubes that have core places within the radius, all distances computed."""
    for run in _runs(cores.counts[own] * cores.counts[other]):
        a, b = own[run], other[run]
        left, right, pair = cores.pairs(a, b)
        near, _ = cubes.near(left, right)
        for index in np.unique(pair[near]).tolist():
            _union(parents, int(a[index]), int(b[index]))


def _touch(cubes: _Cubes, a: Integers, b: Integers) -> bool:
    """Whether a place of one cube is within the radius of one of the other."""
    first, second = cubes.points[a], cubes.points[b]
    # Only those that reach the box around the others, the nearest to it first.
    first = _reaching(first, second, cubes.square)
    second = _reaching(second, first, cubes.square) if len(first) else first
    if len(second) == 0:
        return False
    rows = max(1, _PAIRS_AT_A_TIME // len(second))
    for start in range(0, len(first), rows):
        apart = first[start : start + rows, None, :] - second[None, :, :]
        if ((apart**2).sum(axis=2) <= cubes.square).any():
            return True
    return False


def _reaching(points: Floats, others: Floats, square: float) -> Floats:
    low, high = others.min(axis=0), others.max(axis=0)
    outside = np.maximum(np.maximum(low - points, points - high), 0)
    squares = (outside**2).sum(axis=1)
    within = squares <= square
    reaching: Floats = points[within][np.argsort(squares[within], kind="stable")]
    return reaching


def _label_border(cubes: _Cubes, cores: _CorePlaces, outer: Integers, labels: Integers) -> None:
    """Give each place of `outer` the cluster of the core place nearest to it, if any."""
    best = np.full(len(outer), np.inf)
    given = np.full(len(outer), np.iinfo(np.int64).max)
    for step in [(0, 0, 0), *_AROUND]:
        wanted = cubes.keys[cubes.cube_of[outer]] + _key(np.array([step]))[0]
        at = np.minimum(np.searchsorted(cubes.keys, wanted), len(cubes.keys) - 1)
        there = np.flatnonzero((cubes.keys[at] == wanted) & (cores.counts[at] > 0))
        for run in _runs(cores.counts[at[there]]):
            index, cube = there[run], at[there[run]]
            seen = np.repeat(index, cores.counts[cube])
            right = cores.places[_spread(cores.starts[cube], cores.counts[cube])]
            near, squares = cubes.near(outer[seen], right)
            seen, right, squares = seen[near], right[near], squares[near]
            # The nearest of each, of equally near ones the first given.
            by_distance = np.lexsort((cubes.order[right], squares, seen))
            seen, first = np.unique(seen[by_distance], return_index=True)
            right, squares = right[by_distance][first], squares[by_distance][first]
            earlier = cubes.order[right]
            better = (squares < best[seen]) | ((squares == best[seen]) & (earlier < given[seen]))
            best[seen[better]] = squares[better]
            given[seen[better]] = earlier[better]
            labels[outer[seen[better]]] = labels[right[better]]


def _root(parents: Integers, cube: int) -> int:
    while parents[cube] != cube:
        parents[cube] = parents[parents[cube]]
        cube = int(parents[cube])
    return cube


def _roots(parents: Integers, cubes: Integers) -> Integers:
    """The names of the clusters that cubes are in so far."""
    roots = parents[cubes]
    while (parents[roots] != roots).any():
        roots = parents[roots]
    return roots


def _union(parents: Integers, a: int, b: int) -> None:
    a, b = sorted((_root(parents, a), _root(parents, b)))
    parents[b] = a


def _by_size(labels: Integers) -> Integers:
    """The same clusters, numbered by size."""
    names, firsts, sizes = np.unique(labels, return_index=True, return_counts=True)
    clusters = np.flatnonzero(names != NOISE)
    ranked = clusters[np.lexsort((firsts[clusters], -sizes[clusters]))]
    numbers = np.full(len(names), NOISE, dtype=np.int64)
    numbers[ranked] = np.arange(len(ranked))
    return numbers[np.searchsorted(names, labels)]
