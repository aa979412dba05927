"""Customer lifetime value: expected profit in minor units.

`simple` extrapolates the present rhythm over a fixed horizon. `retention` discounts it by an
estimated rate of coming back:

    monthly   = average order value x orders per month x margin
    retention = clip(0.5 + 0.1 x orders per month, 0.3, 0.95)
    lifetime  = 12 x monthly x retention / (1 + discount rate - retention)

Source of the closed form: Gupta & Lehmann, "Customers as Assets" (2003), margin multiple
r / (1 + i - r).
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

DAYS_PER_YEAR = 365
MONTHS_PER_YEAR = 12


@dataclass(frozen=True, slots=True)
class SimpleClv:
    """Average order value x purchases a year x years x margin.

    A first order counts as one purchase a year. `shortest_gap_days` floors the rhythm: two orders
    on one afternoon are one shopping trip and not the promise of 365 a year.
    """

    years: float = 3.0
    margin: float = 0.3
    shortest_gap_days: float = 7.0


@dataclass(frozen=True, slots=True)
class RetentionClv:
    """The retention method's constants; rates are shares of one."""

    margin: float = 0.3
    discount_rate: float = 0.1
    retention_base: float = 0.5
    retention_per_monthly_order: float = 0.1
    retention_floor: float = 0.3
    retention_ceiling: float = 0.95


ClvRules = SimpleClv | RetentionClv


@dataclass(frozen=True, slots=True)
class LifetimeValue:
    """Minor units, not rounded: of the whole horizon, of the next year, of the next three."""

    lifetime: float
    one_year: float
    three_years: float


def lifetime_value(
    rules: ClvRules,
    *,
    average_order_value: float,
    purchase_frequency_days: float | None,
    orders_per_month: float,
) -> LifetimeValue:
    """The value of a customer with at least one counted order."""
    if isinstance(rules, SimpleClv):
        rhythm = DAYS_PER_YEAR if purchase_frequency_days is None else purchase_frequency_days
        gap = max(rhythm, rules.shortest_gap_days)
        yearly = average_order_value * DAYS_PER_YEAR / gap * rules.margin
        return LifetimeValue(yearly * rules.years, yearly, yearly * 3)
    monthly = average_order_value * orders_per_month * rules.margin
    retention = min(
        max(
            rules.retention_base + rules.retention_per_monthly_order * orders_per_month,
            rules.retention_floor,
        ),
        rules.retention_ceiling,
    )
    yearly = monthly * MONTHS_PER_YEAR
    return LifetimeValue(
        lifetime=yearly * retention / (1 + rules.discount_rate - retention),
        one_year=yearly * retention,
        three_years=yearly * 3 * (retention * retention),
    )


def confidence(counted_orders: int, tenure_months: float) -> int:
    """0 to 100: how much history stands behind the value. 50 + 2 an order + 0.5 a month."""
    return int(min(50 + 2 * counted_orders + 0.5 * tenure_months, 100))


@dataclass(frozen=True, slots=True)
class ClvTier:
    """Everybody from a percentile of lifetime value on, up to the tier above."""

    code: str
    name: str
    from_percentile: int


#: Highest first.
TIERS = (
    ClvTier("platinum", "Platinum", 95),
    ClvTier("gold", "Gold", 80),
    ClvTier("silver", "Silver", 50),
    ClvTier("bronze", "Bronze", 0),
)


def tier(tiers: Sequence[ClvTier], percentile: int | None) -> str | None:
    """The code of the tier of a percentile; `tiers` are highest first and end at 0."""
    if percentile is None:
        return None
    return next(each.code for each in tiers if percentile >= each.from_percentile)


#: Bounds between the buckets of a distribution, in major units: 1, 2, 5, 10, 20, 50, ...
BUCKET_BOUNDS = tuple(step * 10**power for power in range(13) for step in (1, 2, 5))


def bucket(value: int, decimals: int) -> int:
    """Which bucket a value in minor units falls into, 0 being below the first bound."""
    return bisect_right([bound * 10**decimals for bound in BUCKET_BOUNDS], value)


def bucket_bounds(bucket: int) -> tuple[int | None, int | None]:
    """From (inclusive) and to (exclusive) in major units; None where the bucket is open."""
    low = BUCKET_BOUNDS[bucket - 1] if bucket > 0 else None
    high = BUCKET_BOUNDS[bucket] if bucket < len(BUCKET_BOUNDS) else None
    return low, high
