"""What a move from one RFM segment to another means, by the ranks of the profile."""

from collections.abc import Mapping
from enum import StrEnum


class Direction(StrEnum):
    """Up is towards the segment of priority 1."""

    UPGRADED = "upgraded"
    DOWNGRADED = "downgraded"
    SAME = "same"
    #: Had no segment before.
    NEW = "new"
    #: Has no segment any more.
    LOST = "lost"
    #: One of the two segments is not of the present profile.
    UNRANKED = "unranked"


def direction(before: str | None, after: str | None, priorities: Mapping[str, int]) -> Direction:
    """Where a move leads; `priorities` are 1 for the best segment. None stands for no segment."""
    if before == after:
        return Direction.SAME
    if before is None:
        return Direction.NEW
    if after is None:
        return Direction.LOST
    if before not in priorities or after not in priorities:
        return Direction.UNRANKED
    if priorities[after] < priorities[before]:
        return Direction.UPGRADED
    return Direction.DOWNGRADED
