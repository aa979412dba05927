"""Consent, likeness and crowds, by example and by property."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import InvalidInput
from app.domain.face import (
    BACKOFF,
    SMALLEST_CROWD,
    ConsentPurpose,
    Likeness,
    Outcome,
    Rules,
    check_rules,
    crowd,
    decide,
    floor_of,
    is_near,
    must_be_erased,
    next_attempt,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ENROL, IDENTIFY, VISIT, ATTRIBUTES = (
    ConsentPurpose.ENROL,
    ConsentPurpose.IDENTIFY,
    ConsentPurpose.VERIFY_VISIT,
    ConsentPurpose.ATTRIBUTES,
)


@pytest.mark.parametrize(
    ("ended", "remaining", "erased"),
    [
        ({ENROL}, {IDENTIFY, VISIT}, True),
        ({IDENTIFY}, {ENROL, VISIT}, False),
        ({IDENTIFY}, {ENROL}, True),
        ({VISIT}, {ENROL, ATTRIBUTES}, True),
        ({ATTRIBUTES}, {ENROL}, False),
        ({ATTRIBUTES}, {ENROL, IDENTIFY}, False),
        ((), {ENROL}, False),
        ((), (), True),
    ],
)
def test_a_face_goes_with_what_it_was_kept_for(
    ended: set[ConsentPurpose], remaining: set[ConsentPurpose], erased: bool
) -> None:
    assert must_be_erased(ended, remaining) is erased


def _likeness(person: str, similarity: float, told: bool = True) -> Likeness[str]:
    return Likeness(person, similarity, told)


@pytest.mark.parametrize(
    ("candidates", "outcome", "person"),
    [
        ([], Outcome.NO_MATCH, None),
        ([_likeness("a", 98.9)], Outcome.NO_MATCH, None),
        ([_likeness("a", 99)], Outcome.MATCH, "a"),
        ([_likeness("a", 99.9), _likeness("b", 98.9)], Outcome.MATCH, "a"),
        ([_likeness("a", 99.9), _likeness("b", 99.0)], Outcome.AMBIGUOUS, None),
        ([_likeness("b", 99.0), _likeness("a", 99.9)], Outcome.AMBIGUOUS, None),
        # Two faces of one person are not each other's runner-up.
        ([_likeness("a", 99.9), _likeness("a", 99.8, told=False)], Outcome.MATCH, "a"),
        # Nobody is taken for somebody who may not be found.
        ([_likeness("a", 99.9, told=False), _likeness("b", 99.0)], Outcome.NO_MATCH, None),
        ([_likeness("a", 99.9), _likeness("b", 99.5, told=False)], Outcome.AMBIGUOUS, None),
    ],
)
def test_a_match_has_to_lead(
    candidates: list[Likeness[str]], outcome: Outcome, person: str | None
) -> None:
    decision = decide(candidates, threshold=99, margin=1)
    assert (decision.outcome, decision.person) == (outcome, person)


LIKENESSES = st.lists(
    st.builds(Likeness, st.sampled_from("abcde"), st.floats(0, 100), st.booleans()), max_size=8
)


@given(LIKENESSES, st.floats(80, 100), st.floats(0, 20))
def test_nobody_is_told_of_who_may_not_be(
    likenesses: list[Likeness[str]], threshold: float, margin: float
) -> None:
    decision = decide(likenesses, threshold=threshold, margin=margin)
    told = {each.person for each in likenesses if each.told}
    assert {each.person for each in decision.close} <= told
    if decision.outcome is Outcome.MATCH:
        assert decision.person in told
        assert decision.similarity is not None
        assert decision.similarity >= threshold
        others = [each.similarity for each in likenesses if each.person != decision.person]
        assert decision.similarity - max(others, default=0) >= min(margin, decision.similarity)
    else:
        assert decision.person is None


def test_the_runner_up_is_asked_for() -> None:
    assert floor_of(99, 1) == 80
    assert floor_of(85, 10) == 75
    assert floor_of(80, 0) == 80


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({}, None),
        ({"a": 4}, None),
        ({"a": 2, "b": 2}, None),
        ({"a": 5}, ({"a": 5}, 0)),
        ({"a": 9, "b": 6}, ({"a": 9, "b": 6}, 0)),
        ({"a": 9, "b": 3, "c": 2}, ({"a": 9}, 5)),
        # One group alone could be told by subtraction.
        ({"a": 9, "b": 6, "c": 1}, ({"a": 9}, 7)),
        ({"a": 9, "b": 1}, ({}, 10)),
    ],
)
def test_small_groups_are_not_told(
    counts: dict[str, int], told: tuple[dict[str, int], int] | None
) -> None:
    assert crowd(counts) == told


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 20)))
def test_no_number_of_a_crowd_is_between_one_and_four(counts: dict[str, int]) -> None:
    told = crowd(counts)
    if told is None:
        assert sum(counts.values()) < SMALLEST_CROWD
    else:
        groups, others = told
        assert all(count >= SMALLEST_CROWD for count in groups.values())
        assert others == 0 or others >= SMALLEST_CROWD
        assert sum(groups.values()) + others == sum(counts.values())


@pytest.mark.parametrize(
    ("distance", "accuracy", "near"),
    [
        (None, 5.0, None),
        (200.0, None, True),
        (200.1, 0.0, False),
        (249.0, 50.0, True),
        # An accuracy of kilometres makes nothing near.
        (401.0, 5_000.0, False),
    ],
)
def test_near_is_within_200_metres_and_the_accuracy(
    distance: float | None, accuracy: float | None, near: bool | None
) -> None:
    assert is_near(distance, accuracy) is near


def test_attempts_are_spread_out_and_never_stop() -> None:
    waits = [next_attempt(attempts, NOW) - NOW for attempts in range(1, 12)]
    assert waits == sorted(waits)
    assert waits[0] == timedelta(seconds=30)
    assert waits[-1] == BACKOFF[-1]


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        (Rules(threshold=79), "threshold"),
        (Rules(threshold=100.5), "threshold"),
        (Rules(margin=-1), "margin"),
        (Rules(retention_days=1096), "retentionDays"),
        (Rules(retention_days=0), "retentionDays"),
        (Rules(emotions_on=True), "emotionsOn"),
    ],
)
def test_rules_that_will_not_do(rules: Rules, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_rules(rules)
    assert refused.value.field == field
