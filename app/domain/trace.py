"""The way a customer took: cut at gaps and at the antimeridian, simplified, and where it paused."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from app.domain.geodesy import EARTH_RADIUS_METRES, great_circles_metres

Floats = npt.NDArray[np.float64]


class Point(NamedTuple):
    """A fix of a trace. `step` is the way from the one before it in metres, where there is one."""

    longitude: float
    latitude: float
    at: datetime
    accuracy: float | None
    step: float | None


def split_at_gaps(points: Sequence[Point], gap: timedelta) -> list[list[Point]]:
    """The points in parts, between which more than `gap` went by."""
    parts: list[list[Point]] = []
    for point in points:
        if parts and point.at - parts[-1][-1].at <= gap:
            parts[-1].append(point)
        else:
            parts.append([point])
    return parts


def length_metres(parts: Sequence[Sequence[Point]]) -> float:
    """The length of the parts; what was passed in the gaps between them is not known."""
    return sum(point.step or 0.0 for part in parts for point in part[1:])


def simplify(part: Sequence[Point], tolerance_metres: float) -> list[Point]:
    """The part without the points that lie within the tolerance of the line that is left.

    Douglas and Peucker's algorithm on the sphere: distances are from great circles, so that it
    holds across the antimeridian and at the poles. The first and the last point stay.
    """
    if len(part) < 3 or tolerance_metres <= 0:
        return list(part)
    vectors = _unit_vectors(part)
    kept = np.zeros(len(part), dtype=bool)
    kept[[0, -1]] = True
    waiting = [(0, len(part) - 1)]
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:
            continue
        away = _metres_from_arc(vectors[first], vectors[last], vectors[first + 1 : last])
        farthest = int(away.argmax())
        if away[farthest] > tolerance_metres:
            middle = first + 1 + farthest
            kept[middle] = True
            waiting += [(first, middle), (middle, last)]
    return [point for point, stays in zip(part, kept, strict=True) if stays]


def _unit_vectors(points: Sequence[Point]) -> Floats:
    longitude = np.radians(np.array([point.longitude for point in points]))
    latitude = np.radians(np.array([point.latitude for point in points]))
    return np.stack(
        [
            np.cos(latitude) * np.cos(longitude),
            np.cos(latitude) * np.sin(longitude),
            np.sin(latitude),
        ],
        axis=1,
    )


def _metres_from_arc(start: Floats, end: Floats, points: Floats) -> Floats:
    """How far each point is from the shortest arc between two points."""
    ends: Floats = np.minimum(_angles(points, start), _angles(points, end))
    normal = np.cross(start, end)
    size = float(np.linalg.norm(normal))
    if size < 1e-12:  # the ends are one place, or opposite ones
        return ends * EARTH_RADIUS_METRES
    normal /= size
    across: Floats = np.abs(np.arcsin(np.clip(points @ normal, -1.0, 1.0)))
    beside = (points @ np.cross(normal, start) >= 0) & (points @ np.cross(end, normal) >= 0)
    return np.where(beside, across, ends) * EARTH_RADIUS_METRES


def _angles(points: Floats, other: Floats) -> Floats:
    # From the chord, because the cosine of a small angle has no digits left.
    chords = np.linalg.norm(points - other, axis=1)
    angles: Floats = 2 * np.arcsin(np.clip(chords / 2, 0.0, 1.0))
    return angles


def cut_at_antimeridian(part: Sequence[Point]) -> list[list[Point]]:
    """The part in pieces that do not cross 180 degrees, as RFC 7946 3.1.9 wants lines.

    Where one ends the next begins, on the other edge of the map; the time there is between those
    of the fixes around it, and there is no accuracy.
    """
    pieces: list[list[Point]] = []
    for point in part:
        if not pieces:
            pieces.append([point])
            continue
        before = pieces[-1][-1]
        if abs(point.longitude - before.longitude) > 180:
            leaving, entering = _crossing(before, point)
            if before[:2] != leaving[:2]:
                pieces[-1].append(leaving)
            pieces.append([entering] if point[:2] != entering[:2] else [])
        pieces[-1].append(point)
    return pieces


def _crossing(before: Point, after: Point) -> tuple[Point, Point]:
    edge = 180.0 if before.longitude > 0 else -180.0
    whole = 360 - abs(after.longitude - before.longitude)
    share = 0.0 if whole == 0 else abs(edge - before.longitude) / whole
    latitude = before.latitude + share * (after.latitude - before.latitude)
    at = before.at + share * (after.at - before.at)
    return Point(edge, latitude, at, None, None), Point(-edge, latitude, at, None, None)


def bounds(points: Sequence[Point]) -> tuple[float, float, float, float] | None:
    """West, south, east, north of all points; the west is beyond the east across 180 degrees."""
    if not points:
        return None
    latitudes = [point.latitude for point in points]
    longitude = west = east = points[0].longitude
    for point in points[1:]:
        # The shorter way round from the one before, whatever the map's edge.
        longitude = point.longitude + 360 * round((longitude - point.longitude) / 360)
        west, east = min(west, longitude), max(east, longitude)
    if east - west >= 360:
        return -180.0, min(latitudes), 180.0, max(latitudes)
    return _on_map(west), min(latitudes), _on_map(east), max(latitudes)


def _on_map(longitude: float) -> float:
    if -180 <= longitude <= 180:
        return longitude
    return longitude - math.copysign(360, longitude)


@dataclass(frozen=True, slots=True)
class Stay:
    """The fixes from `first` up to, and without, `end`, during which a place was not left."""

    first: int
    end: int
    latitude: float
    longitude: float


def find_stays(
    points: Sequence[Point], *, metres: float, duration: timedelta, gap: timedelta
) -> list[Stay]:
    """Where one stayed within `metres` of the place of arrival for `duration` or longer.

    The stay points of Li, Zheng and others (Mining user similarity based on location history,
    2008). A fix that may be off as far as it lies outside does not end a stay, and neither does a
    single one between two inside. A gap does: who was away meanwhile is not known. The centre
    weighs each fix by its accuracy.
    """
    stays: list[Stay] = []
    begin = 0
    for part in split_at_gaps(points, gap):
        stays += [
            Stay(begin + stay.first, begin + stay.end, stay.latitude, stay.longitude)
            for stay in _stays_of_part(part, metres, duration)
        ]
        begin += len(part)
    return stays


def _stays_of_part(points: Sequence[Point], metres: float, duration: timedelta) -> list[Stay]:
    longitude = np.array([point.longitude for point in points])
    latitude = np.array([point.latitude for point in points])
    radius = metres + np.array([min(point.accuracy or 0.0, metres) for point in points])
    stays: list[Stay] = []
    first = 0
    while first < len(points):
        end = _end_of_stay(first, longitude, latitude, radius)
        if points[end - 1].at - points[first].at >= duration:
            stays.append(_stay(points, first, end))
            first = end
        else:
            first += 1
    return stays


def _end_of_stay(first: int, longitude: Floats, latitude: Floats, radius: Floats) -> int:
    """The first fix after `first` with which the place was left."""
    count = len(longitude)
    begin, size = first + 1, 32
    while begin < count:
        # One more than is judged: whether an outlier is one, the next fix tells.
        window = slice(begin, min(count, begin + size + 1))
        inside = (
            great_circles_metres(
                latitude[first], longitude[first], latitude[window], longitude[window]
            )
            <= radius[window]
        )
        judged = len(inside) if window.stop == count else len(inside) - 1
        follows = np.append(inside[1:], False)
        left = np.flatnonzero(~(inside | follows)[:judged])
        if len(left):
            return begin + int(left[0])
        begin += judged
        size *= 2
    return count


#: What a fix without an accuracy is taken to have, and the least that one is believed.
_USUAL_METRES = 30.0
_LEAST_METRES = 3.0


def _stay(points: Sequence[Point], first: int, end: int) -> Stay:
    there = points[first:end]
    weights = np.array(
        [max(_LEAST_METRES, point.accuracy or _USUAL_METRES) ** -2.0 for point in there]
    )
    # The middle of vectors, which holds across the antimeridian.
    x, y, z = np.average(_unit_vectors(there), axis=0, weights=weights)
    return Stay(
        first,
        end,
        float(np.degrees(np.arctan2(z, np.hypot(x, y)))),
        float(np.degrees(np.arctan2(y, x))),
    )
