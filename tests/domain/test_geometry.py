"""Boxes on the map and cells of the geohash grid."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.domain.geometry import (
    GEOHASH_ALPHABET,
    Box,
    cell_box,
    cell_centre,
    geohash_of,
    parse_box,
    parse_geohash,
)


def halved(latitude: float, longitude: float, precision: int) -> str:
    """A geohash by its definition: the halves a place is in, longitude first, five to a letter."""
    bits = []
    ranges = [[-180.0, 180.0], [-90.0, 90.0]]
    for turn in range(5 * precision):
        low, high = ranges[turn % 2]
        middle = (low + high) / 2
        upper = (longitude, latitude)[turn % 2] >= middle
        ranges[turn % 2][0 if upper else 1] = middle
        bits.append(upper)
    return "".join(
        GEOHASH_ALPHABET[sum(bit << (4 - place) for place, bit in enumerate(bits[at : at + 5]))]
        for at in range(0, len(bits), 5)
    )


@given(st.floats(-90, 90), st.floats(-180, 180), st.integers(1, 9))
@example(1.2e-22, 0.0, 9)
@example(0.0, -3e-16, 9)
@example(90.0, 180.0, 9)
@example(-90.0, -180.0, 9)
def test_a_geohash_is_what_its_definition_says(
    latitude: float, longitude: float, precision: int
) -> None:
    # A millionth of a millionth of a degree is on the equator, or on the meridian.
    settled = [0.0 if abs(degrees) < 1e-12 else degrees for degrees in (latitude, longitude)]
    assert geohash_of(latitude, longitude, precision) == halved(settled[0], settled[1], precision)


@given(st.floats(-89.9, 89.9), st.floats(-179.9, 179.9), st.integers(1, 9))
def test_the_middle_of_a_cell_is_in_it(latitude: float, longitude: float, precision: int) -> None:
    cell = geohash_of(latitude, longitude, precision)
    assert geohash_of(*cell_centre(cell), precision) == cell
    box = cell_box(cell)
    assert box.west - 1e-9 <= longitude <= box.east + 1e-9
    assert box.south - 1e-9 <= latitude <= box.north + 1e-9


def test_a_box_across_the_antimeridian_falls_into_two() -> None:
    box = parse_box("170,-20,-170,-10")
    assert box.parts() == [Box(170, -20, 180, -10), Box(-180, -20, -170, -10)]
    assert parse_box("106.7, -6.4, 107, -6.1").parts() == [Box(106.7, -6.4, 107, -6.1)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1,2,3", "four numbers"),
        ("1,2,3,4,5", "four numbers"),
        ("a,b,c,d", "four numbers"),
        ("nan,0,1,1", "finite"),
        ("0,0,inf,1", "finite"),
        ("0,5,1,4", "begins in the north"),
        ("-6.4,106.7,-6.1,107", "order is west,south,east,north"),
        ("181,0,182,1", "beyond 180"),
    ],
)
def test_what_is_no_box_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_box(text)


def test_a_geohash_is_read_in_small_letters() -> None:
    assert parse_geohash("QQGUW") == "qqguw"
    for text in ("", "qqguwqqguw", "qqa", "qq guw", "ü"):
        with pytest.raises(ValueError, match=r"has to have|holds"):
            parse_geohash(text)
