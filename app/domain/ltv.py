"""Predictions of lifetime value that come from outside, and what they promise."""

from enum import StrEnum

#: How much more than today a customer is worth within a year, as a share of today.
HIGH_GROWTH = 0.25
MEDIUM_GROWTH = 0.05


class GrowthPotential(StrEnum):
    """How much a customer may still grow."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


def growth(current: int, in_one_year: int) -> float | None:
    """The growth within a year as a share of the present value; None where that is nothing yet."""
    return None if current <= 0 else (in_one_year - current) / current


def growth_potential(current: int, in_one_year: int) -> GrowthPotential:
    """What a prediction promises, where its source does not say so itself.

    At least a quarter more within a year is high, a twentieth medium. Who has brought nothing yet
    and is expected to is high.
    """
    rate = growth(current, in_one_year)
    if rate is None:
        return GrowthPotential.HIGH if in_one_year > max(current, 0) else GrowthPotential.LOW
    if rate >= HIGH_GROWTH:
        return GrowthPotential.HIGH
    return GrowthPotential.MEDIUM if rate >= MEDIUM_GROWTH else GrowthPotential.LOW
