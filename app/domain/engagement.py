"""Who answers and who buys: the response rate against the spending, as four quadrants.

                     low response      high response
    high spending    passive buyer     engaged champion
    low spending     cold              potential

In between lies a medium response, which belongs to no quadrant. Spending is high above the median
of the tenant's buyers.
"""

from dataclasses import dataclass
from enum import StrEnum

from app.domain.rfm import PERCENTILES

#: Where the median stands among the percentiles that a full run keeps.
MEDIAN_PLACE = PERCENTILES.index(0.5)


class ResponseLevel(StrEnum):
    """How often a contact was answered."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class SpendingLevel(StrEnum):
    """Spending in the RFM window against the median of the buyers."""

    LOW = "low"
    HIGH = "high"


class Quadrant(StrEnum):
    """Spending and response together."""

    ENGAGED_CHAMPION = "engaged_champion"
    PASSIVE_BUYER = "passive_buyer"
    POTENTIAL = "potential"
    COLD = "cold"


QUADRANTS = {
    (SpendingLevel.HIGH, ResponseLevel.HIGH): Quadrant.ENGAGED_CHAMPION,
    (SpendingLevel.HIGH, ResponseLevel.LOW): Quadrant.PASSIVE_BUYER,
    (SpendingLevel.LOW, ResponseLevel.HIGH): Quadrant.POTENTIAL,
    (SpendingLevel.LOW, ResponseLevel.LOW): Quadrant.COLD,
}


@dataclass(frozen=True, slots=True)
class EngagementRules:
    """Response rates strictly below `low` are low, strictly above `high` are high."""

    low: float = 0.3
    high: float = 0.7

    def response_level(self, response_rate: float | None) -> ResponseLevel | None:
        """None for who was never contacted."""
        if response_rate is None:
            return None
        if response_rate < self.low:
            return ResponseLevel.LOW
        return ResponseLevel.HIGH if response_rate > self.high else ResponseLevel.MEDIUM


def spending_level(spent: int, median: float | None) -> SpendingLevel | None:
    """None before the tenant's buyers were first ranked."""
    if median is None:
        return None
    return SpendingLevel.HIGH if spent > median else SpendingLevel.LOW


def quadrant(spending: SpendingLevel | None, response: ResponseLevel | None) -> Quadrant | None:
    """None in between, and where one of the two is not known."""
    if spending is None or response is None:
        return None
    return QUADRANTS.get((spending, response))
