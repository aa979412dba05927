"""What comes twice is noticed, from memory and from the file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services import repetition
from app.services.repetition import SeenIds


@given(st.lists(st.lists(st.integers(0, 60).map(str), max_size=12), max_size=30))
def test_an_id_is_repeated_where_it_came_before(calls: list[list[str]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repetition, "SEGMENT", 8)  # small enough that most ids go to the file
        seen = SeenIds()
        before: set[str] = set()
        for ids in calls:
            expected = []
            for each in ids:
                expected.append(each in before)
                before.add(each)
            assert seen.repeated(ids) == expected


def test_most_ids_of_a_long_stream_are_in_the_file() -> None:
    seen = SeenIds()
    for start in range(0, 2_500_000, 50_000):
        assert not any(seen.repeated([f"o{number}" for number in range(start, start + 50_000)]))
    assert all(seen.repeated([f"o{number}" for number in range(0, 2_500_000, 250_000)]))
    assert not any(seen.repeated(["another"]))
    assert sum(map(len, seen._runs)) < 2_000_000
