"""How like the members of a segment a customer is: the nearest-centroid rule on scaled features.

Each feature is scaled to mean 0 and deviation 1 over all customers, skewed ones as logarithms.
A customer is as like the members as it is near to their mean. Rocchio (1971) ranks documents so,
Tibshirani et al. (2002) classify by it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: Columns of `customer_analytics`, and whether they enter as ln(1 + x).
FEATURES: dict[str, bool] = {
    "counted_orders": True,
    "orders_365d": True,
    "revenue": True,
    "revenue_365d": True,
    "average_order_value": True,
    "days_since_last_order": True,
    "tenure_days": True,
    "purchase_frequency_days": True,
    "basket_size": True,
    "discount_sensitivity": False,
    "churn_score": False,
    "response_rate": False,
    "referred_customers": True,
}


@dataclass(frozen=True, slots=True)
class Likeness:
    """What distances are measured by: one number a feature, of those that tell customers apart.

    `spread` is the root of the members' mean squared distance from `centroid`, in scaled units.
    """

    features: tuple[str, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    centroid: tuple[float, ...]
    spread: float

    def similarity(self, distance: float) -> float:
        """1 at the members' mean, one half where members are on average, towards 0 beyond."""
        return 1 / (1 + distance / self.spread)


@dataclass(frozen=True, slots=True)
class FeatureMoments:
    """Mean and deviation of a feature over all customers and over the members; None of nobody."""

    name: str
    mean: float | None
    deviation: float | None
    member_mean: float | None
    member_deviation: float | None


def likeness(moments: Sequence[FeatureMoments]) -> Likeness | None:
    """What the features say; None where no feature tells customers apart.

    A feature that members lack is taken at the mean of all, like one that a customer lacks.
    """
    features: list[str] = []
    means: list[float] = []
    deviations: list[float] = []
    centroid: list[float] = []
    squares = 0.0
    for each in moments:
        if each.mean is None or not each.deviation:
            continue
        features.append(each.name)
        means.append(each.mean)
        deviations.append(each.deviation)
        member_mean = each.mean if each.member_mean is None else each.member_mean
        centroid.append((member_mean - each.mean) / each.deviation)
        squares += ((each.member_deviation or 0.0) / each.deviation) ** 2
    if not features:
        return None
    # Members who are all alike are compared by the spread of everybody, which is 1 a feature.
    spread = math.sqrt(squares) if squares > 0 else math.sqrt(len(features))
    return Likeness(tuple(features), tuple(means), tuple(deviations), tuple(centroid), spread)
