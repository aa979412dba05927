"""When nights and hours begin, wherever the tenant lives."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.schedule import last_night, next_hour, next_night

ZONES = [
    "UTC",
    "Pacific/Tongatapu",
    "America/Los_Angeles",
    "Asia/Kolkata",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Asia/Jakarta",
    "Asia/Kathmandu",
    "America/Santiago",
]
instants = st.datetimes(
    datetime(2024, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    datetime(2027, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@given(st.sampled_from(ZONES), instants)
def test_nights_enclose_every_instant(zone: str, now: datetime) -> None:
    last, following = last_night(zone, now), next_night(zone, now)
    assert last <= now < following
    assert timedelta(hours=22) < following - last < timedelta(hours=26)
    assert last_night(zone, following) == following
    assert next_night(zone, last) == following


@given(st.sampled_from(ZONES), instants)
def test_a_night_is_at_two_on_the_local_clock_or_where_two_was_skipped(
    zone: str, now: datetime
) -> None:
    local = next_night(zone, now).astimezone(ZoneInfo(zone))
    assert local.strftime("%H:%M") in {"02:00", "02:30", "03:00"}
    if local.hour != 2 or local.minute:
        before = (local - timedelta(hours=3)).utcoffset()
        assert before != local.utcoffset()


@pytest.mark.parametrize(
    ("zone", "now", "last", "following"),
    [
        # UTC+13: two in the morning is the afternoon before in UTC.
        ("Pacific/Tongatapu", "2026-03-10T12:59", "2026-03-09T13:00", "2026-03-10T13:00"),
        ("Pacific/Tongatapu", "2026-03-10T13:00", "2026-03-10T13:00", "2026-03-11T13:00"),
        # UTC-8: a night begins ten hours into the day in UTC.
        ("America/Los_Angeles", "2026-01-10T09:59", "2026-01-09T10:00", "2026-01-10T10:00"),
        ("America/Los_Angeles", "2026-01-10T10:00", "2026-01-10T10:00", "2026-01-11T10:00"),
        # Half-hour zones.
        ("Asia/Kolkata", "2026-01-10T20:29", "2026-01-09T20:30", "2026-01-10T20:30"),
        ("Asia/Kolkata", "2026-01-10T20:30", "2026-01-10T20:30", "2026-01-11T20:30"),
        # Clocks go forward: there is no two o'clock, the run is due when they jump over it.
        ("America/Los_Angeles", "2026-03-08T09:59", "2026-03-07T10:00", "2026-03-08T10:00"),
        ("America/Los_Angeles", "2026-03-08T10:00", "2026-03-08T10:00", "2026-03-09T09:00"),
        ("Europe/Berlin", "2026-03-29T00:59", "2026-03-28T01:00", "2026-03-29T01:00"),
        ("Europe/Berlin", "2026-03-29T01:00", "2026-03-29T01:00", "2026-03-30T00:00"),
        # Clocks go back: two o'clock comes twice in Berlin, and the first of them counts.
        ("Europe/Berlin", "2026-10-24T23:59", "2026-10-24T00:00", "2026-10-25T00:00"),
        ("Europe/Berlin", "2026-10-25T00:30", "2026-10-25T00:00", "2026-10-26T01:00"),
        ("Europe/Berlin", "2026-10-25T01:30", "2026-10-25T00:00", "2026-10-26T01:00"),
        ("America/Los_Angeles", "2026-11-01T09:59", "2026-10-31T09:00", "2026-11-01T10:00"),
        ("America/Los_Angeles", "2026-11-01T10:00", "2026-11-01T10:00", "2026-11-02T10:00"),
        # Lord Howe moves by half an hour at two: +11 to +10:30 in April, back in October.
        ("Australia/Lord_Howe", "2026-04-04T15:29", "2026-04-03T15:00", "2026-04-04T15:30"),
        ("Australia/Lord_Howe", "2026-04-04T15:30", "2026-04-04T15:30", "2026-04-05T15:30"),
        ("Australia/Lord_Howe", "2026-10-03T15:30", "2026-10-03T15:30", "2026-10-04T15:00"),
    ],
)
def test_nights(zone: str, now: str, last: str, following: str) -> None:
    assert last_night(zone, utc(now)) == utc(last)
    assert next_night(zone, utc(now)) == utc(following)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-03-10T12:00", "2026-03-10T13:00"),
        ("2026-03-10T12:59:59.999999", "2026-03-10T13:00"),
        ("2026-12-31T23:30", "2027-01-01T00:00"),
    ],
)
def test_next_hour(now: str, expected: str) -> None:
    assert next_hour(utc(now)) == utc(expected)
