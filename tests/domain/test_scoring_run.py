"""The instant scored for, and where each window begins on the tenant's wall clock."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.profile import Profile
from app.domain.scoring_run import run_clock
from app.domain.tenant import Tenant


def tenant(zone: str, **changes: Any) -> Tenant:
    return Tenant(1, "kidz", "Kidz", zone, "IDR", Profile.from_document(changes))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "as_of", "day", "since_30d"),
    [
        ("UTC", "2026-03-31T12:00", "2026-03-31", "2026-03-01T12:00"),
        ("Pacific/Tongatapu", "2026-03-10T11:30", "2026-03-11", "2026-02-08T11:30"),
        ("America/Los_Angeles", "2026-02-10T07:30", "2026-02-09", "2026-01-11T07:30"),
        ("Asia/Kolkata", "2026-03-10T18:30", "2026-03-11", "2026-02-08T18:30"),
        # Summer time begins inside the window: the same wall clock is an hour later in UTC.
        ("America/Los_Angeles", "2026-03-20T19:00", "2026-03-20", "2026-02-18T20:00"),
        ("Europe/Berlin", "2026-04-10T10:00", "2026-04-10", "2026-03-11T11:00"),
        # And ends inside it: an hour earlier.
        ("America/Los_Angeles", "2026-11-10T20:00", "2026-11-10", "2026-10-11T19:00"),
        ("Europe/Berlin", "2026-11-10T11:00", "2026-11-10", "2026-10-11T10:00"),
        ("Australia/Lord_Howe", "2026-10-20T01:00", "2026-10-20", "2026-09-20T01:30"),
        # A window that would begin in the skipped hour begins with the hour after it.
        ("America/Los_Angeles", "2026-04-07T09:30", "2026-04-07", "2026-03-08T10:30"),
        # One that begins in the repeated hour takes the whole of it.
        ("Europe/Berlin", "2026-11-24T01:30", "2026-11-24", "2026-10-25T00:30"),
    ],
)
def test_windows_begin_at_the_same_time_of_the_local_day(
    zone: str, as_of: str, day: str, since_30d: str
) -> None:
    clock = run_clock(tenant(zone), utc(as_of))
    assert clock.as_of == utc(as_of)
    assert clock.as_of_day == date.fromisoformat(day)
    assert clock.since_30d == utc(since_30d)


@given(
    st.sampled_from(
        ["Europe/Berlin", "America/Los_Angeles", "Australia/Lord_Howe", "Asia/Kolkata"]
    ),
    st.datetimes(
        datetime(2020, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
        datetime(2027, 1, 1),  # noqa: DTZ001
        timezones=st.just(UTC),
    ),
    st.integers(1, 3650),
)
def test_windows_lie_within_each_other_and_last_so_many_local_days(
    zone: str, as_of: datetime, window: int
) -> None:
    clock = run_clock(tenant(zone, windowDays=window), as_of)
    assert clock.since_365d < clock.since_180d < clock.since_90d < clock.since_30d < clock.as_of
    for days, since in ((30, clock.since_30d), (365, clock.since_365d), (window, clock.rfm_since)):
        assert abs(clock.as_of - since - timedelta(days=days)) <= timedelta(hours=1)
        local = since.astimezone(ZoneInfo(zone))
        assert clock.as_of_day - local.date() == timedelta(days=days)


def test_the_window_of_rfm_is_the_profiles() -> None:
    clock = run_clock(tenant("UTC", windowDays=10), utc("2026-03-31T12:00"))
    assert clock.rfm_since == utc("2026-03-21T12:00")


def test_a_closed_log_is_scored_for_its_own_instant() -> None:
    now = utc("2026-03-31T12:00")
    assert tenant("UTC").as_of(now) == now
    closed = tenant("UTC", asOf="1998-07-01T00:00:00Z")
    assert closed.as_of(now) == utc("1998-07-01T00:00")


def test_the_local_day_is_the_tenants() -> None:
    jakarta = tenant("Asia/Jakarta")
    assert jakarta.local_day(utc("2026-03-10T17:00")) == date(2026, 3, 11)
    assert jakarta.local(utc("2026-03-10T17:00")) == datetime(2026, 3, 11)  # noqa: DTZ001
    assert replace(jakarta, timezone="UTC").local_day(utc("2026-03-10T17:00")) == date(2026, 3, 10)
