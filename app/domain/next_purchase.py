"""When the next order is to be expected, and how far to trust that.

The rhythm so far goes on: the next order comes a mean gap after the last one, and is due today
where that day has passed. The confidence is the product of three shares:

    evidence   = 1 - 1 / orders
    steadiness = 1 / (1 + |change of the gap in the last 180 days|)
    timeliness = min(gap / days since the last order, 1)
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NextPurchase:
    """`in_days` from the as-of day, 0 for due; `confidence` 0 to 1."""

    in_days: int
    confidence: float


def next_purchase(
    *,
    counted_orders: int,
    days_between_orders: float | None,
    interval_change: float | None,
    days_since_last_order: int | None,
) -> NextPurchase | None:
    """None before the second order, and where all orders were of one day."""
    if not days_between_orders or days_since_last_order is None:
        return None
    evidence = 1.0 - 1.0 / counted_orders
    steadiness = 1.0 / (1.0 + abs(interval_change or 0.0))
    timeliness = min(days_between_orders / max(days_since_last_order, 1), 1.0)
    return NextPurchase(
        in_days=max(round(days_between_orders) - days_since_last_order, 0),
        confidence=evidence * steadiness * timeliness,
    )
