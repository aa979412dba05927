"""What a sample says of everybody."""

import math
from typing import NamedTuple

#: Standard normal deviate of a two-sided confidence of 95 %.
_Z = 1.959964


class Estimate(NamedTuple):
    """A number of customers: the likeliest, and between which the true one lies with 95 %."""

    likeliest: int
    lowest: int
    highest: int


def estimated_count(found: int, sampled: int, everybody: int) -> Estimate:
    """How many of `everybody` are what `found` of `sampled` are.

    The score interval of Wilson (1927), which stays within bounds for the rare and the usual alike.
    Nobody sampled says nothing. Raises ValueError where more were found than sampled.
    """
    if not 0 <= found <= sampled <= everybody:
        raise ValueError("more were found than sampled, or sampled than there are")
    if sampled == 0:
        return Estimate(0, 0, everybody)
    share = found / sampled
    weight = _Z**2 / sampled
    middle = (share + weight / 2) / (1 + weight)
    reach = _Z / (1 + weight) * math.sqrt(share * (1 - share) / sampled + weight / (4 * sampled))
    unseen = everybody - sampled
    return Estimate(
        round(share * everybody),
        max(found, math.floor((middle - reach) * everybody)),
        min(found + unseen, math.ceil((middle + reach) * everybody)),
    )
