"""What a venue is told of its customers."""

from enum import StrEnum


class PurchaseTime(StrEnum):
    """The part of the day in which a customer buys most often, by the tenant's clock."""

    MORNING = "morning"
    AFTERNOON = "afternoon"
    EVENING = "evening"


def purchase_time(hour: int) -> PurchaseTime:
    """The part of the day of an hour from 0 to 23: morning from 5, afternoon from 12, else evening.

    The evening begins at 17 and lasts until 5 in the morning.
    """
    if 5 <= hour < 12:
        return PurchaseTime.MORNING
    if 12 <= hour < 17:
        return PurchaseTime.AFTERNOON
    return PurchaseTime.EVENING
