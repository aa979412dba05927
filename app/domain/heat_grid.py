"""The grid of a heat map: squares on the screen, 32 on each side of a Web Mercator tile.

Such a square is itself a tile, five zoom levels on. What lies beyond the map's 85.05 degrees of
latitude is counted in its last row.
"""

import math
from dataclasses import dataclass

from app.domain.geometry import Box

#: A tile has 2^5 = 32 squares on each side, of 8 pixels each.
LEVELS_BELOW_TILE = 5
DEEPEST_TILE = 22

#: A screen of 1920 by 1080 pixels has 32,400.
MOST_CELLS = 32_768

#: Where the map, 360 degrees wide, is as high.
LAST_LATITUDE = math.degrees(math.atan(math.sinh(math.pi)))


@dataclass(frozen=True, slots=True)
class Grid:
    """2^level by 2^level squares around the world, columns from 180° W, rows from the north."""

    level: int

    @property
    def side(self) -> int:
        """How many columns there are, and rows."""
        return 1 << self.level

    def cell_at(self, latitude: float, longitude: float) -> tuple[int, int]:
        """Column and row of a place."""
        bounded = max(-LAST_LATITUDE, min(LAST_LATITUDE, latitude))
        x = (longitude + 180) / 360
        y = (1 - math.asinh(math.tan(math.radians(bounded))) / math.pi) / 2
        return self._bounded(x), self._bounded(y)

    def _bounded(self, share: float) -> int:
        return min(max(math.floor(share * self.side), 0), self.side - 1)

    def centre_of(self, column: int, row: int) -> tuple[float, float]:
        """Latitude and longitude of the middle of a square, as it is on the screen."""
        longitude = (column + 0.5) / self.side * 360 - 180
        y = math.pi * (1 - 2 * (row + 0.5) / self.side)
        return math.degrees(math.atan(math.sinh(y))), longitude

    def squares_in(self, box: Box) -> int:
        """How many squares a box touches."""
        count = 0
        for part in box.parts():
            west, north = self.cell_at(part.north, part.west)
            east, south = self.cell_at(part.south, part.east)
            count += (east - west + 1) * (south - north + 1)
        return count


def grid_for(zoom: int, box: Box) -> Grid:
    """The grid of a map at `zoom` that shows `box`, or the finest with `MOST_CELLS` there."""
    level = zoom + LEVELS_BELOW_TILE
    while Grid(level).squares_in(box) > MOST_CELLS:
        level -= 1
    return Grid(level)
