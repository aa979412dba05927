"""The states of the circuit breaker and the ways between them."""

import pytest

from app.gateways.circuit_breaker import CircuitBreaker
from tests.gateways.conftest import FakeClock


@pytest.fixture
def breaker(clock: FakeClock) -> CircuitBreaker:
    """One that opens for ten seconds after three failures."""
    return CircuitBreaker(3, 10.0, clock)


def fail(breaker: CircuitBreaker, times: int) -> None:
    """So many calls that fail."""
    for _ in range(times):
        assert breaker.begin() == 0
        breaker.failed()


def test_it_opens_after_failures_in_a_row(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    assert breaker.begin() == 0
    breaker.succeeded()
    fail(breaker, 2)
    assert breaker.state == "closed"
    fail(breaker, 1)
    assert breaker.state == "open"
    assert breaker.begin() == 10.0


def test_after_the_pause_one_call_decides(breaker: CircuitBreaker, clock: FakeClock) -> None:
    fail(breaker, 3)
    clock.now += 10
    assert breaker.state == "half-open"
    assert breaker.begin() == 0
    assert breaker.begin() > 0  # the others wait for the one
    breaker.failed()
    assert breaker.refuses() == 10.0

    clock.now += 10
    assert breaker.begin() == 0
    breaker.succeeded()
    assert breaker.state == "closed"
    fail(breaker, 2)
    assert breaker.state == "closed"


def test_calls_that_began_before_do_not_decide(breaker: CircuitBreaker, clock: FakeClock) -> None:
    assert breaker.begin() == 0
    assert breaker.begin() == 0
    fail(breaker, 3)
    clock.now += 4
    breaker.succeeded()
    breaker.failed()
    assert breaker.refuses() == 6.0


def test_a_trial_that_ends_without_an_outcome_makes_room_for_another(
    breaker: CircuitBreaker, clock: FakeClock
) -> None:
    fail(breaker, 3)
    clock.now += 10
    assert breaker.begin() == 0
    breaker.gave_up()
    assert breaker.state == "half-open"
    assert breaker.begin() == 0
