"""Rules of captures: what is a place, what is suspicious, which one is the last."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.capture import (
    Fix,
    Flag,
    Place,
    flags_of,
    is_suspected_swap,
    last_known,
    read_place,
)
from app.domain.geodesy import great_circle_metres

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
JAKARTA = Place(-6.2088, 106.8456)
LONDON = Place(51.5074, -0.1278)
STILL = Fix(JAKARTA, 10.0, NOON, "gps", None)


@pytest.mark.parametrize(
    ("latitude", "longitude", "place", "swapped"),
    [
        (-6.2, 106.8, (-6.2, 106.8), False),
        (106.8, -6.2, (-6.2, 106.8), True),
        (-106.8, 6.2, (6.2, -106.8), True),
        (90, 10, (90, 10), False),
        (-90, 0, (-90, 0), False),
        (0, 180, (0, 180), False),
        (0, -180, (0, 180), False),
        (-180, 5, (5, 180), True),
        (180, -90, (-90, 180), True),
    ],
)
def test_a_place_is_read_either_way_round(
    latitude: float, longitude: float, place: tuple[float, float], swapped: bool
) -> None:
    assert read_place(latitude, longitude) == (place, swapped)


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [(91, 91), (-106.8, 106.8), (0, 180.1), (181, 0), (0, -200), (math.nan, 0), (0, math.nan)],
)
def test_what_is_no_place_either_way_round_is_refused(latitude: float, longitude: float) -> None:
    with pytest.raises(ValueError, match="between -90 and 90"):
        read_place(latitude, longitude)


@pytest.mark.parametrize(
    ("one", "other", "metres"),
    [
        (Place(0, 179.5), Place(0, -179.5), 111_195),
        (Place(90, 0), Place(90, 120), 0),
        (Place(89.5, 0), Place(89.5, 180), 111_195),
        (Place(0, 0), Place(0, 180), 20_015_115),
        (JAKARTA, JAKARTA, 0),
    ],
)
def test_distances_hold_at_the_edges_of_the_map(one: Place, other: Place, metres: float) -> None:
    assert great_circle_metres(*one, *other) == pytest.approx(metres, rel=1e-4, abs=1e-3)


def _flags(fix: Fix, **known: object) -> list[Flag]:
    return flags_of(
        fix,
        **{"ahead": timedelta(0), "swapped": False, "references": (), "before": None} | known,  # type: ignore[arg-type]
    )


def test_each_flag_has_its_bound() -> None:
    assert _flags(STILL) == []
    assert _flags(STILL, ahead=timedelta(minutes=5)) == []
    assert _flags(STILL, ahead=timedelta(minutes=5, seconds=1)) == [Flag.CLOCK_AHEAD]
    assert _flags(STILL._replace(accuracy=1000.0)) == []
    assert _flags(STILL._replace(accuracy=5000.0)) == [Flag.LOW_ACCURACY]
    assert _flags(STILL._replace(place=Place(0.000001, -0.000001))) == [Flag.NULL_ISLAND]
    assert _flags(STILL._replace(place=Place(0.0001, 0))) == []
    assert _flags(STILL, swapped=True) == [Flag.SWAPPED]


def test_nobody_is_faster_than_an_aeroplane() -> None:
    before = Fix(Place(-6.2088, 105.8456), 10.0, NOON - timedelta(minutes=10), "gps", None)
    assert _flags(STILL, before=before) == []  # 110 km in ten minutes: an aeroplane
    sooner = before._replace(at=NOON - timedelta(minutes=5))
    assert _flags(STILL, before=sooner) == [Flag.IMPOSSIBLE_SPEED]
    later = before._replace(at=NOON + timedelta(minutes=5))
    assert _flags(STILL, before=later) == [Flag.IMPOSSIBLE_SPEED]
    vague = sooner._replace(accuracy=100_000.0)
    assert _flags(STILL, before=vague) == []
    assert _flags(STILL, before=sooner._replace(at=None)) == []


def test_a_swap_is_suspected_by_what_is_known_of_the_customer() -> None:
    turned = Place(LONDON.longitude, LONDON.latitude)
    assert is_suspected_swap(turned, [LONDON])
    assert not is_suspected_swap(LONDON, [LONDON])
    assert not is_suspected_swap(turned, [])
    # Somebody may be far away, but not where the other way round would be at home.
    assert not is_suspected_swap(Place(40.7, -74.0), [LONDON])
    # Near one of its addresses is near.
    assert not is_suspected_swap(turned, [LONDON, turned])
    # Jakarta the other way round is no place at all.
    assert not is_suspected_swap(JAKARTA, [LONDON])


degrees = st.sampled_from([-6.3, -6.2, 0.0, 51.5])
fixes = st.builds(
    Fix,
    place=st.builds(Place, degrees, degrees),
    accuracy=st.sampled_from([None, 5.0, 20.0, 999.0, 5000.0, 20_000.0]),
    at=st.integers(0, 5).map(lambda minutes: NOON + timedelta(minutes=minutes)),
    source=st.sampled_from(["gps", "network"]),
    captured_by=st.sampled_from([None, "emp-1", "emp-2"]),
)


@given(st.data(), st.lists(fixes, min_size=1, max_size=12))
def test_order_repetition_and_batches_make_no_difference(
    data: st.DataObject, captured: list[Fix]
) -> None:
    at_once = last_known(None, captured)
    sent = data.draw(st.permutations(captured + data.draw(st.lists(st.sampled_from(captured)))))
    known: Fix | None = None
    while sent:
        size = data.draw(st.integers(1, len(sent)))
        known, sent = last_known(known, sent[:size]), sent[size:]
    assert known == at_once


@given(st.lists(fixes, min_size=1, max_size=12))
def test_the_last_known_place_is_the_latest_that_is_not_rough(captured: list[Fix]) -> None:
    known = last_known(None, captured)
    assert known is not None
    fine = [each for each in captured if each.accuracy is None or each.accuracy <= 1000]
    assert known.at == max(each.at for each in fine or captured if each.at is not None)
    assert known in (fine or captured)


def test_a_declared_place_without_a_time_gives_way_to_any() -> None:
    declared = Fix(LONDON, None, None, None, None)
    assert last_known(declared, [STILL]) == STILL
    assert last_known(declared, []) == declared
    assert last_known(None, []) is None
