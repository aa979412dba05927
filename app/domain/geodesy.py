"""Distances on a sphere, and on WGS 84 where an index knows them on a sphere only."""

import math
from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: The mean radius of WGS 84, (2a + b) / 3. Distances on such a sphere are within 0.6 % of true
#: ones.
EARTH_RADIUS_METRES = 6_371_008.8

#: Half of the way around the earth, rounded down: nothing is farther away.
FARTHEST_METRES = 20_000_000.0

#: By how much a distance on the ellipsoid may fall short of the one on the sphere that PostGIS
#: orders by: at the equator, northwards, it is 0.56 %.
SPHERE_EXCESS = 0.006

_SEMI_MAJOR_METRES = 6_378_137.0
_ECCENTRICITY_SQUARED = 0.00669437999014


class Measured(Protocol):
    """Something found around a point: true metres, metres on the sphere, and what breaks a tie."""

    @property
    def sk(self) -> int: ...
    @property
    def distance(self) -> float: ...
    @property
    def sphere(self) -> float: ...


Found = TypeVar("Found", bound=Measured)


def great_circle_metres(
    latitude: float, longitude: float, other_latitude: float, other_longitude: float
) -> float:
    """The way between two places on a sphere, by the haversine formula. Degrees in, metres out."""
    phi, other_phi = math.radians(latitude), math.radians(other_latitude)
    half_chord_squared = (
        math.sin((other_phi - phi) / 2) ** 2
        + math.cos(phi)
        * math.cos(other_phi)
        * math.sin(math.radians(other_longitude - longitude) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_METRES * math.asin(math.sqrt(min(1.0, half_chord_squared)))


def great_circles_metres(
    latitude: float, longitude: float, latitudes: Floats, longitudes: Floats
) -> Floats:
    """`great_circle_metres` from one place to each of many."""
    half_north = np.radians(latitudes - latitude) / 2
    half_east = np.radians(longitudes - longitude) / 2
    half_chords_squared = (
        np.sin(half_north) ** 2
        + np.cos(np.radians(latitude)) * np.cos(np.radians(latitudes)) * np.sin(half_east) ** 2
    )
    metres: Floats = (
        2 * EARTH_RADIUS_METRES * np.arcsin(np.sqrt(np.clip(half_chords_squared, 0.0, 1.0)))
    )
    return metres


def in_order(found: Sequence[Found]) -> list[Found]:
    """By true distance; at the same distance by sk."""
    return sorted(found, key=lambda each: (each.distance, each.sk))


def is_settled(ordered: Sequence[Measured], wanted: int) -> bool:
    """Whether nothing unseen can be among the first `wanted` by true distance.

    `ordered` are the nearest on the sphere, at least `wanted` of them, by true distance; whatever
    was not found is as far on the sphere as the farthest of them, or farther.
    """
    reach = max(each.sphere for each in ordered) * (1 - SPHERE_EXCESS)
    return ordered[wanted - 1].distance < reach


def geocentric(latitudes: Floats, longitudes: Floats) -> Floats:
    """Places on the ellipsoid, in degrees, as metres from the middle of the earth: (n, 3).

    Two of them d metres apart on the ground are d (1 - d² / 24 r²) apart in a straight line: at
    10 km a millimetre less, at 100 km a metre, and no antimeridian or pole lies between them.
    """
    phi, lam = np.radians(latitudes), np.radians(longitudes)
    normal = _SEMI_MAJOR_METRES / np.sqrt(1 - _ECCENTRICITY_SQUARED * np.sin(phi) ** 2)
    return np.column_stack(
        (
            normal * np.cos(phi) * np.cos(lam),
            normal * np.cos(phi) * np.sin(lam),
            normal * (1 - _ECCENTRICITY_SQUARED) * np.sin(phi),
        )
    )


def centre_of(latitudes: Floats, longitudes: Floats) -> tuple[float, float]:
    """Latitude and longitude of the middle of places, wherever on the globe they lie.

    The mean of the directions from the middle of the earth; of places all around it, the first.
    """
    phi, lam = np.radians(latitudes), np.radians(longitudes)
    x = float(np.mean(np.cos(phi) * np.cos(lam)))
    y = float(np.mean(np.cos(phi) * np.sin(lam)))
    z = float(np.mean(np.sin(phi)))
    if x * x + y * y + z * z < 1e-18:
        return float(latitudes[0]), float(longitudes[0])
    return float(np.degrees(np.arctan2(z, np.hypot(x, y)))), float(np.degrees(np.arctan2(y, x)))
