"""Pages of what is nearest first: the cursor says how far the page before went, and how many."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Self, TypeVar

from fastapi import Query

from app.api.pagination import decode, encode, page_of
from app.domain.geodesy import Measured

MOST_NEAREST = 10_000

#: `?k=`, over all pages.
Nearest = Annotated[
    int | None,
    Query(ge=1, le=MOST_NEAREST, description="Only so many, the nearest.", examples=[20]),
]

Found = TypeVar("Found", bound=Measured)


@dataclass(frozen=True, slots=True)
class NearestPage:
    """Beyond which distance and sk a page begins, and how many it has at most."""

    after: tuple[float, int] | None
    size: int
    shown_before: int
    k: int | None

    @classmethod
    def of(cls, cursor: str | None, limit: int, k: int | None) -> Self:
        """The page that was asked for. Raises BadCursor."""
        after, shown_before = None, 0
        if cursor is not None:
            distance, sk, shown_before = decode(cursor, float, int, int)
            after = distance, sk
        size = limit if k is None else max(0, min(limit, k - shown_before))
        return cls(after, size, shown_before, k)

    def split(self, found: Sequence[Found]) -> tuple[Sequence[Found], str | None]:
        """What to show of up to `size + 1` found, and the cursor of the next page."""
        shown_then = self.shown_before + self.size
        if self.size == 0 or (self.k is not None and shown_then >= self.k):
            return found[: self.size], None
        return page_of(
            found, self.size, lambda each: encode(float(each.distance), each.sk, shown_then)
        )
