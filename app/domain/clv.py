"""Customer lifetime value: expected profit in minor units.

`simple` extrapolates the present rhythm over a fixed horizon. `retention` discounts it by an
estimated rate of coming back:

    monthly   = average order value x orders per month x margin
    retention = clip(0.5 + 0.1 x orders per month, 0.3, 0.95)
    lifetime  = 12 x monthly x retention / (1 + discount rate - retention)

Source of the closed form: Gupta & Lehmann, "Customers as Assets" (2003), margin multiple
r / (1 + i - r).
"""

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
