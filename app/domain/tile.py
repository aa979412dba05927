"""Tiles of the Web Mercator map, as in the Mapbox Vector Tile specification 2.1.

At zoom z the map of the world is a square of 2^z by 2^z tiles, column 0 at the antimeridian and row
0 at the northern edge. A tile has 4,096 by 4,096 units, the first of them in its north-west.
"""

import math
from dataclasses import dataclass

from app.domain.geometry import Box

EXTENT = 4096

#: How far beyond the edges of its tile an area is drawn, in units, so that no seam shows.
BUFFER = 64

MAX_ZOOM = 22

#: The map ends here; it would be infinitely high otherwise.
MAX_LATITUDE = 85.0511287798066

#: From here on customers are points; before, they are counted by the cells of a grid.
POINTS_FROM_ZOOM = 14

#: So few customers are points at any zoom.
FEW_POINTS = 500

#: More than these are counted at any zoom, as for instance a thousand at the address of a mall.
MOST_POINTS = 5_000

#: A tile is divided into so many cells by so many, at most.
CELLS_A_SIDE = 64

#: The grids on which the customers of a tenant are added up as they come and go.
GRIDS = (10, 14, 18)

#: A grid for a tile has at least so many cells a side within it, as a power of two.
_FINER = 5


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile. Raises ValueError where the map has none such."""

    zoom: int
    x: int
    y: int

    def __post_init__(self) -> None:
        if not 0 <= self.zoom <= MAX_ZOOM:
            raise ValueError(f"zoom {self.zoom} is not among 0 to {MAX_ZOOM}")
        last = (1 << self.zoom) - 1
        for name, value in (("x", self.x), ("y", self.y)):
            if not 0 <= value <= last:
                raise ValueError(f"{name} {value} is not among 0 to {last}, as zoom {self.zoom} is")

    def box(self, buffer: int = 0) -> Box:
        """What the tile covers, with `buffer` more units on each side; nothing beyond the world."""
        size = 1 << self.zoom
        margin = buffer / EXTENT
        return Box(
            max((self.x - margin) / size * 360 - 180, -180.0),
            _latitude((self.y + 1 + margin) / size),
            min((self.x + 1 + margin) / size * 360 - 180, 180.0),
            _latitude((self.y - margin) / size),
        )

    @property
    def grid(self) -> int | None:
        """The zoom of the grid that its customers are counted by; None where it is too fine."""
        return next((grid for grid in GRIDS if grid >= self.zoom + _FINER), None)

    def codes(self, grid: int) -> tuple[int, int]:
        """The cells of `grid` within the tile: from the first on the Z-order curve up to the last.

        The second is one beyond it.
        """
        cells = 2 * (grid - self.zoom)
        code = z_order(self.x, self.y)
        return code << cells, (code + 1) << cells


def z_order(x: int, y: int) -> int:
    """The place of a cell on the Z-order curve: the bits of x and y in turn, those of x lowest."""
    return sum(
        ((x >> bit & 1) | (y >> bit & 1) << 1) << 2 * bit for bit in range(max(x, y).bit_length())
    )


def grid_box(grid: int, west: int, north: int, east: int, south: int) -> Box:
    """What the cells of a grid from (`west`, `north`) to (`east`, `south`) cover together."""
    size = 1 << grid
    return Box(
        west / size * 360 - 180,
        _latitude((south + 1) / size),
        (east + 1) / size * 360 - 180,
        _latitude(north / size),
    )


#: The antimeridian and the southern edge belong to the last tile before them.
_LAST = math.nextafter(1.0, 0.0)


def units_in(tile: Tile, latitude: float, longitude: float) -> tuple[int, int] | None:
    """Where in the tile a place is drawn, from the west and from the north; None outside of it."""
    if not abs(latitude) < MAX_LATITUDE:
        return None
    size = 1 << tile.zoom
    right = min((longitude + 180) / 360, _LAST)
    down = 0.5 - math.asinh(math.tan(math.radians(latitude))) / (2 * math.pi)
    x = math.floor((right * size - tile.x) * EXTENT)
    y = math.floor((min(max(down, 0.0), _LAST) * size - tile.y) * EXTENT)
    return (x, y) if 0 <= x < EXTENT and 0 <= y < EXTENT else None


def _latitude(down: float) -> float:
    """The latitude so far down the map, which is 0 at its northern edge and 1 at its southern."""
    return math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * down))))
