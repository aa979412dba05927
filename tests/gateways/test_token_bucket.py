"""Budgets of calls: what comes back, who waits and who is refused."""

from hypothesis import given
from hypothesis import strategies as st

from app.gateways.token_bucket import Exhausted, SharedBudget, TokenBucket
from tests.gateways.conftest import FakeClock


def test_a_bucket_gives_a_burst_and_then_its_rate(clock: FakeClock) -> None:
    bucket = TokenBucket(rate=2, burst=3, clock=clock)
    for _ in range(3):
        assert bucket.wait() == 0
        bucket.take()
    assert bucket.wait() == 0.5
    clock.now += 0.25
    assert bucket.wait() == 0.25
    clock.now += 0.25
    assert bucket.wait() == 0
    clock.now += 60
    for _ in range(3):
        bucket.take()
    assert bucket.wait() == 0.5  # no more than a burst is kept


@given(
    rate=st.floats(0.1, 50),
    burst=st.floats(1, 20),
    pauses=st.lists(st.floats(0, 2), min_size=1, max_size=60),
)
def test_no_stretch_of_time_sees_more_than_burst_and_rate(
    rate: float, burst: float, pauses: list[float]
) -> None:
    clock = FakeClock()
    bucket = TokenBucket(rate, burst, clock)
    taken_at = []
    for pause in pauses:
        clock.now += pause
        if bucket.wait() == 0:
            bucket.take()
            taken_at.append(clock.now)
    for first, begin in enumerate(taken_at):
        for last in range(first, len(taken_at)):
            allowed = burst + rate * (taken_at[last] - begin)
            assert last - first + 1 <= allowed + 1e-6


def test_those_who_wait_get_times_one_after_the_other(clock: FakeClock) -> None:
    budget = SharedBudget(rate=2, share=1, most_wait=2, clock=clock)
    assert [budget.reserve("a") for _ in range(6)] == [0, 0, 0.5, 1.0, 1.5, 2.0]
    assert budget.reserve("a") == Exhausted(2.5, own=True)
    clock.now += 0.5
    assert budget.reserve("a") == 2.0


def test_one_holder_cannot_use_up_what_belongs_to_all(clock: FakeClock) -> None:
    budget = SharedBudget(rate=4, share=0.5, most_wait=0, clock=clock)
    assert [budget.reserve("a") for _ in range(3)] == [0, 0, Exhausted(0.5, own=True)]
    assert [budget.reserve("b") for _ in range(2)] == [0, 0]
    assert budget.reserve("c") == Exhausted(0.25, own=False)
    # A refusal takes nothing.
    clock.now += 0.25
    assert budget.reserve("c") == 0


def test_a_share_of_less_than_one_call_is_still_a_call(clock: FakeClock) -> None:
    budget = SharedBudget(rate=1, share=0.1, most_wait=0, clock=clock)
    assert budget.reserve("a") == 0
    assert budget.reserve("a") == Exhausted(10, own=True)
