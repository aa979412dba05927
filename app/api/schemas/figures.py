"""How answers show sums, means and shares."""

from decimal import Decimal

from app.domain.money import from_minor, round_minor
from app.repositories.population import Totals


def nobody(a: str = "", b: str = "") -> Totals:
    """The totals of a key that no customer has."""
    return Totals(a, b, *(0 for _ in range(len(Totals.__dataclass_fields__) - 2)))


def amount(minor: int | None, currency: str) -> Decimal | None:
    """`minor` units as a decimal, where there are any."""
    return None if minor is None else from_minor(minor, currency)


def mean_amount(total: int, count: int, currency: str) -> Decimal | None:
    """The mean of `count` amounts of `total` minor units, to the minor unit; None of nothing."""
    if count <= 0:
        return None
    return from_minor(round_minor(Decimal(total) / count), currency)


def mean(total: float, count: int) -> float | None:
    """The mean of `count` numbers that add up to `total`; None of nothing."""
    return total / count if count > 0 else None


def share(part: int, whole: int) -> float:
    """`part` as a share of one; 0 of nothing."""
    return part / whole if whole else 0.0
