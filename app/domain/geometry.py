"""Boxes on the map and cells of the geohash grid. Degrees are WGS 84, longitude before latitude."""

import math
from dataclasses import dataclass

import geohash as grid

#: About 150 m by 150 m at the equator: a building and what stands around it.
DEFAULT_PRECISION = 7

#: What the service stores: about 5 m by 5 m.
FINEST_PRECISION = 9

GEOHASH_ALPHABET = "0123456789bcdefghjkmnpqrstuvwxyz"

#: Sorts after every character of the alphabet, so that a range up to it holds a whole cell.
AFTER_GEOHASH = "~"


@dataclass(frozen=True, slots=True)
class Box:
    """From `west` eastwards to `east` and from `south` to `north`, the edges included.

    A box that runs across the antimeridian has its west beyond its east, as in RFC 7946.
    """

    west: float
    south: float
    east: float
    north: float

    def parts(self) -> list["Box"]:
        """The box itself, or the two that it falls into at the antimeridian."""
        if self.west <= self.east:
            return [self]
        return [
            Box(self.west, self.south, 180.0, self.north),
            Box(-180.0, self.south, self.east, self.north),
        ]


def parse_box(text: str) -> Box:
    """The box of `west,south,east,north`.

    Raises ValueError for anything but four finite degrees, for a south above the north, and for
    what is not on the map.
    """
    try:
        west, south, east, north = (float(each) for each in text.split(","))
    except ValueError:
        raise ValueError("has to be four numbers: west,south,east,north") from None
    if not all(math.isfinite(each) for each in (west, south, east, north)):
        raise ValueError("has to be four finite numbers: west,south,east,north")
    if south > north:
        raise ValueError(f"begins in the north: {south:g} is above {north:g}")
    if not (south >= -90 and north <= 90):
        raise ValueError("has latitudes beyond 90 degrees; the order is west,south,east,north")
    if not (-180 <= west <= 180 and -180 <= east <= 180):
        raise ValueError("has longitudes beyond 180 degrees; the order is west,south,east,north")
    return Box(west, south, east, north)


def parse_geohash(text: str) -> str:
    """A geohash or the beginning of one, in small letters.

    Raises ValueError where it is empty, finer than the service stores, or no geohash.
    """
    cell = text.lower()
    if not 1 <= len(cell) <= FINEST_PRECISION:
        raise ValueError(f"has to have 1 to {FINEST_PRECISION} characters")
    if strange := sorted(set(cell) - set(GEOHASH_ALPHABET)):
        raise ValueError(f"holds {', '.join(strange)}, which no geohash does")
    return cell


def geohash_of(latitude: float, longitude: float, precision: int = DEFAULT_PRECISION) -> str:
    """The cell of a place. The poles and the antimeridian belong to the last cell before them."""
    # The library knows half-open ranges; 180 degrees east and the pole are beyond them.
    return str(
        grid.encode(
            min(_settled(latitude), _LAST_LATITUDE),
            min(_settled(longitude), _LAST_LONGITUDE),
            precision,
        )
    )


def _settled(degrees: float) -> float:
    # The library takes the bits of the number apart, and gets those of tiny ones wrong.
    return 0.0 if abs(degrees) < _NOTHING else degrees


_NOTHING = 1e-12
_LAST_LATITUDE = math.nextafter(90.0, 0.0)
_LAST_LONGITUDE = math.nextafter(180.0, 0.0)


def cell_box(cell: str) -> Box:
    """What a geohash covers."""
    edges = grid.bbox(cell)
    return Box(edges["w"], edges["s"], edges["e"], edges["n"])


def cell_centre(cell: str) -> tuple[float, float]:
    """Latitude and longitude of the middle of a geohash."""
    box = cell_box(cell)
    return (box.south + box.north) / 2, (box.west + box.east) / 2
