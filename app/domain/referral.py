"""Who brought in whom: a forest, in which nobody comes after their own descendants."""

from collections.abc import Iterable, Mapping


def closing_circles(present: Mapping[str, str], stated: Mapping[str, str | None]) -> set[str]:
    """The customers whose stated referrers have to be refused so that no circle closes.

    `present` has the referrers of customers as they are, at least of all whom the stated ones lead
    up to; `stated` those that are to be, None where there is to be none. Of a circle the one stated
    last is refused and keeps the referrer it has, and the others are looked at again.
    """
    refused: set[str] = set()
    places = {customer: place for place, customer in enumerate(stated)}
    while True:
        accepted = {each: stated[each] for each in stated if each not in refused}
        wrong = set()
        for circle in _circles({**present, **accepted}, stated):
            closing = [each for each in circle if each in accepted]
            if closing:  # else it is stored, and nobody's doing here
                wrong.add(max(closing, key=places.__getitem__))
        if not wrong:
            return refused
        refused |= wrong


def _circles(referrers: Mapping[str, str | None], starts: Iterable[str]) -> Iterable[list[str]]:
    """The circles that the starts lead into, each of them once."""
    finished: set[str] = set()
    for start in starts:
        # Everybody has one referrer at most, so there is one way up from each.
        way: dict[str, None] = {}
        each: str | None = start
        while each is not None and each not in finished and each not in way:
            way[each] = None
            each = referrers.get(each)
        if each is not None and each in way:
            steps = list(way)
            yield steps[steps.index(each) :]
        finished.update(way)
