"""Tiles of the map and what they are made of."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.cover import ranges_over
from app.domain.geometry import Box, geohash_of
from app.domain.tile import (
    EXTENT,
    GRIDS,
    MAX_LATITUDE,
    MAX_ZOOM,
    Tile,
    grid_box,
    units_in,
    z_order,
)

latitudes = st.floats(-90, 90)
longitudes = st.floats(-180, 180)
zooms = st.integers(0, MAX_ZOOM)


@st.composite
def tiles(draw: st.DrawFn, most: int = MAX_ZOOM) -> Tile:
    zoom = draw(st.integers(0, most))
    last = (1 << zoom) - 1
    return Tile(zoom, draw(st.integers(0, last)), draw(st.integers(0, last)))


def test_the_world_is_one_tile() -> None:
    box = Tile(0, 0, 0).box()
    assert (box.west, box.east) == (-180, 180)
    assert (box.south, box.north) == pytest.approx((-MAX_LATITUDE, MAX_LATITUDE))


def test_a_tile_of_jakarta() -> None:
    # As every map has it: https://tile.openstreetmap.org/12/3263/2118.png shows Menteng.
    box = Tile(12, 3263, 2118).box()
    assert box.west < 106.8451 < box.east
    assert box.south < -6.2145 < box.north


@pytest.mark.parametrize(
    "place", [(-1, 0, 0), (MAX_ZOOM + 1, 0, 0), (3, 8, 0), (3, 0, 8), (3, -1, 0), (3, 0, -1)]
)
def test_there_is_no_tile_beyond_the_map(place: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="is not among"):
        Tile(*place)


@given(tiles())
def test_a_buffer_widens_the_box_within_the_world(tile: Tile) -> None:
    bare, wide = tile.box(), tile.box(64)
    assert -180 <= wide.west <= bare.west < bare.east <= wide.east <= 180
    assert -90 < wide.south < bare.south < bare.north < wide.north < 90


@given(tiles(most=12), st.data())
def test_the_cells_of_a_tile_follow_each_other(tile: Tile, data: st.DataObject) -> None:
    grid = tile.grid
    assert grid is not None
    finer = grid - tile.zoom
    cells = st.integers(0, (1 << finer) - 1)
    x = (tile.x << finer) + data.draw(cells)
    y = (tile.y << finer) + data.draw(cells)
    first, beyond = tile.codes(grid)
    assert first <= z_order(x, y) < beyond
    assert beyond - first == 4**finer


@given(tiles(most=12), tiles(most=12))
def test_other_tiles_have_other_cells(one: Tile, other: Tile) -> None:
    if one.zoom == other.zoom and one != other:
        (first, beyond), (other_first, other_beyond) = one.codes(18), other.codes(18)
        assert beyond <= other_first or other_beyond <= first


def test_every_zoom_before_points_has_a_grid() -> None:
    assert {zoom: Tile(zoom, 0, 0).grid for zoom in range(14)} == {
        zoom: min(grid for grid in GRIDS if grid >= zoom + 5) for zoom in range(14)
    }
    assert Tile(14, 0, 0).grid is None


@given(latitudes, longitudes, zooms)
def test_a_place_is_in_one_tile_of_a_zoom_or_off_the_map(
    latitude: float, longitude: float, zoom: int
) -> None:
    size = 1 << zoom
    column = min(int((longitude + 180) / 360 * size), size - 1)
    if abs(latitude) >= MAX_LATITUDE:
        assert units_in(Tile(zoom, column, 0), latitude, longitude) is None
        return
    down = 0.5 - math.asinh(math.tan(math.radians(latitude))) / (2 * math.pi)
    row = min(max(int(down * size), 0), size - 1)
    near = [
        Tile(zoom, x, y)
        for x in range(max(column - 1, 0), min(column + 2, size))
        for y in range(max(row - 1, 0), min(row + 2, size))
    ]
    found = [units for tile in near if (units := units_in(tile, latitude, longitude))]
    assert len(found) == 1
    assert all(0 <= x < EXTENT and 0 <= y < EXTENT for x, y in found)


def test_cells_of_a_grid_have_a_box() -> None:
    assert grid_box(1, 0, 0, 1, 1).west == -180
    box = grid_box(12, 3263, 2118, 3263, 2118)
    assert box == Tile(12, 3263, 2118).box()


@given(
    st.tuples(latitudes, latitudes), st.tuples(longitudes, longitudes), st.integers(1, 9), st.data()
)
def test_ranges_of_geohashes_hold_their_box(
    edges: tuple[float, float], sides: tuple[float, float], finest: int, data: st.DataObject
) -> None:
    box = Box(min(sides), min(edges), max(sides), max(edges))
    ranges = ranges_over(box, finest)
    assert ranges == sorted(ranges)
    latitude = data.draw(st.floats(box.south, box.north))
    longitude = data.draw(st.floats(box.west, box.east))
    cell = geohash_of(latitude, longitude, 9)
    assert len([1 for first, beyond in ranges if first <= cell < beyond]) == 1


def test_a_small_box_is_few_ranges() -> None:
    ranges = ranges_over(Box(106.8, -6.3, 106.9, -6.2), 9)
    assert 1 <= len(ranges) <= 64
    assert all(first.startswith("qq") for first, _ in ranges)


def test_ranges_never_divide_a_cell_that_is_to_stay_whole() -> None:
    ranges = ranges_over(Box(106.84, -6.21, 106.8401, -6.2099), 5)
    assert all(len(first) <= 5 for first, _ in ranges)


def test_a_box_across_the_antimeridian_has_both_sides() -> None:
    ranges = ranges_over(Box(179, -18, -179, -17), 5)
    for longitude in (179.5, -179.5):
        cell = geohash_of(-17.5, longitude, 9)
        assert any(first <= cell < beyond for first, beyond in ranges)
