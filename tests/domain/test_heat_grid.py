"""The grid of a heat map."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.geometry import Box
from app.domain.heat_grid import LAST_LATITUDE, LEVELS_BELOW_TILE, MOST_CELLS, Grid, grid_for

LEVELS = st.integers(0, 27)


@given(st.floats(-90, 90), st.floats(-180, 180), LEVELS)
def test_a_place_is_in_the_square_around_the_middle(
    latitude: float, longitude: float, level: int
) -> None:
    grid = Grid(level)
    column, row = grid.cell_at(latitude, longitude)
    assert 0 <= column < grid.side
    assert 0 <= row < grid.side
    middle = grid.centre_of(column, row)
    assert grid.cell_at(*middle) == (column, row)
    assert abs(longitude - middle[1]) <= 180 / grid.side * (1 + 1e-9)


def test_north_is_up() -> None:
    assert Grid(1).cell_at(60, -90) == (0, 0)
    assert Grid(1).cell_at(-60, 90) == (1, 1)
    assert pytest.approx(85.0511287798, abs=1e-9) == LAST_LATITUDE
    assert math.isclose(Grid(0).centre_of(0, 0)[0], 0)


@given(st.floats(-180, 180), st.floats(-180, 180), st.floats(-90, 90), st.floats(-90, 90), LEVELS)
def test_a_box_never_has_more_squares_than_are_answered(
    west: float, east: float, a: float, b: float, level: int
) -> None:
    box = Box(west, min(a, b), east, max(a, b))
    zoom = min(level, 22)
    grid = grid_for(zoom, box)
    assert grid.squares_in(box) <= MOST_CELLS
    assert grid.level <= zoom + LEVELS_BELOW_TILE
    if grid.level < zoom + LEVELS_BELOW_TILE:
        assert Grid(grid.level + 1).squares_in(box) > MOST_CELLS
