"""Referrers are refused where, and only where, a circle would close."""

from hypothesis import given
from hypothesis import strategies as st

from app.domain.referral import closing_circles

NAMES = "abcdef"
names = st.sampled_from(NAMES)
forests = st.lists(st.tuples(names, names), max_size=6).map(
    # Everybody is brought in by somebody later in the alphabet, so there is no circle.
    lambda pairs: {low: high for low, high in map(sorted, pairs) if low != high}
)
statements = st.dictionaries(names, st.none() | names, max_size=6)


def in_circle(referrers: dict[str, str | None]) -> bool:
    for start in referrers:
        each = referrers.get(start)
        for _ in referrers:
            if each == start:
                return True
            each = referrers.get(each) if each is not None else None
    return False


def result(
    present: dict[str, str], stated: dict[str, str | None], refused: set[str]
) -> dict[str, str | None]:
    return {**present, **{each: stated[each] for each in stated if each not in refused}}


@given(forests, statements)
def test_what_is_accepted_closes_no_circle(
    present: dict[str, str], stated: dict[str, str | None]
) -> None:
    refused = closing_circles(present, stated)
    assert not in_circle(result(present, stated, refused))
    assert refused <= set(stated)
    if not in_circle({**present, **stated}):
        assert refused == set()


def test_the_one_stated_last_is_refused() -> None:
    assert closing_circles({}, {"a": "b", "b": "c", "c": "a"}) == {"c"}
    assert closing_circles({"a": "b"}, {"b": "a"}) == {"b"}
    assert closing_circles({}, {"a": "a"}) == {"a"}


def test_a_circle_that_another_statement_opens_is_none() -> None:
    assert closing_circles({"b": "a"}, {"a": "b", "b": None}) == set()


def test_the_former_referrer_of_a_refused_one_counts_again() -> None:
    # c cannot be brought in by a, so it stays with b, and b cannot be brought in by c.
    present = {"c": "b", "a": "d"}
    assert closing_circles(present, {"b": "c", "a": "c", "c": "a"}) == {"c", "b"}


def test_a_circle_that_is_stored_is_left_alone() -> None:
    assert closing_circles({"a": "b", "b": "a"}, {"c": "a"}) == set()


def test_a_long_chain_is_walked_once_for_all() -> None:
    chain: dict[str, str | None] = {str(each): str(each + 1) for each in range(20_000)}
    assert closing_circles({}, chain) == set()
    assert closing_circles({"20000": "0"}, chain) == {"19999"}
