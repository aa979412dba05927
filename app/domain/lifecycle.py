"""Where a customer stands in life with the business.

Ordered by days since the last counted order first, by value second.
"""

from dataclasses import dataclass
from enum import StrEnum


class LifecycleSegment(StrEnum):
    """Stages, from no order yet to gone."""

    NEW = "new"
    OCCASIONAL = "occasional"
    REGULAR = "regular"
    VIP = "vip"
    AT_RISK = "at_risk"
    DORMANT = "dormant"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class LifecycleRules:
    """Limits of the stages: a value must exceed them, not just reach them.

    `vip_spend` is lifetime revenue in major units; orders are those of the last 365 days.
    """

    lost_after_days: int = 365
    dormant_after_days: int = 180
    at_risk_after_days: int = 90
    vip_spend: int = 1_000
    vip_orders: int = 4
    regular_orders: int = 2

    @property
    def absences(self) -> tuple[tuple[int, LifecycleSegment], ...]:
        """(days exceeded, stage), longest first."""
        return (
            (self.lost_after_days, LifecycleSegment.LOST),
            (self.dormant_after_days, LifecycleSegment.DORMANT),
            (self.at_risk_after_days, LifecycleSegment.AT_RISK),
        )


def segment(
    rules: LifecycleRules,
    *,
    counted_orders: int,
    days_since_last_order: int | None,
    spend: float,
    orders_365d: int,
) -> LifecycleSegment:
    """The stage of one customer; `spend` is lifetime revenue in major units."""
    if counted_orders == 0 or days_since_last_order is None:
        return LifecycleSegment.NEW
    for days, stage in rules.absences:
        if days_since_last_order > days:
            return stage
    if spend > rules.vip_spend and orders_365d > rules.vip_orders:
        return LifecycleSegment.VIP
    if orders_365d > rules.regular_orders:
        return LifecycleSegment.REGULAR
    return LifecycleSegment.OCCASIONAL
