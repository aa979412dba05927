"""What events add up to, and the calendar of cohorts."""

from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.event import Bucket, most_frequent, totals_by_customer


class Event(NamedTuple):
    occurred_at: datetime
    event_type: str
    event_category: str | None = None
    product_category: str | None = None
    event_value: int | None = None
    device_type: str | None = None


START = datetime(2026, 1, 1, tzinfo=UTC)
events = st.lists(
    st.tuples(
        st.integers(1, 3),
        st.builds(
            Event,
            st.integers(0, 50).map(lambda hours: START + timedelta(hours=hours)),
            st.sampled_from(["page_view", "product_view", "add_to_cart", "purchase", "share"]),
            st.sampled_from([None, "website", "email"]),
            st.sampled_from([None, "Shoes", "Hats"]),
            st.none() | st.integers(-100, 1000),
            st.sampled_from([None, "mobile"]),
        ),
    ),
    max_size=30,
)


@given(events, st.randoms())
def test_totals_do_not_depend_on_the_order(
    given_events: list[tuple[int, Event]], chance: Random
) -> None:
    shuffled = given_events.copy()
    chance.shuffle(shuffled)
    assert totals_by_customer(given_events) == totals_by_customer(shuffled)


@given(events)
def test_totals_are_sums_of_each_customers_events(given_events: list[tuple[int, Event]]) -> None:
    totals = totals_by_customer(given_events)
    assert set(totals) == {customer for customer, _ in given_events}
    for customer, own in totals.items():
        theirs = [event for sk, event in given_events if sk == customer]
        bought = [event for event in theirs if event.event_type == "purchase"]
        moments = [event.occurred_at for event in theirs]
        assert (own.first_event_at, own.last_event_at) == (min(moments), max(moments))
        assert own.events == len(theirs)
        assert own.purchases == len(bought)
        assert own.spent == sum(event.event_value or 0 for event in bought)
        assert own.first_purchase_at == min((e.occurred_at for e in bought), default=None)
        assert own.last_purchase_at == max((e.occurred_at for e in bought), default=None)
        assert own.sources.total() == sum(e.event_category is not None for e in theirs)


@pytest.mark.parametrize(
    ("counts", "name"),
    [({}, None), ({"b": 1, "a": 1}, "a"), ({"a": 1, "b": 2}, "b")],
)
def test_the_most_frequent_is_the_first_by_alphabet_of_equals(
    counts: dict[str, int], name: str | None
) -> None:
    assert most_frequent(counts) == name


@given(st.dates(date(1971, 1, 1), date(2100, 1, 1)), st.sampled_from(Bucket), st.integers(1, 40))
def test_buckets_follow_each_other_without_a_gap(day: date, bucket: Bucket, steps: int) -> None:
    first = bucket.first_day(day)
    following = bucket.after(first)
    assert first <= day < following
    assert bucket.first_day(following) == following
    assert bucket.first_day(following - timedelta(days=1)) == first
    one_by_one = first
    for _ in range(steps):
        one_by_one = bucket.after(one_by_one)
    assert bucket.after(first, steps) == one_by_one
