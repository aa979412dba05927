"""Money: whole minor units inside, exact decimals at the edge.

ISO 4217 gives each currency its number of decimal places; two unless listed here.
"""

from decimal import ROUND_HALF_EVEN, Context, Decimal, Inexact
from functools import cache

_DECIMALS = {
    **dict.fromkeys(
        [
            "BIF",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "UYI",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ],
        0,
    ),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
    **dict.fromkeys(["CLF", "UYW"], 4),
}

# Decimal's own context would round a number of many digits before anybody looked at its places.
_EXACT = Context(traps=[Inexact])

#: The largest amount of one order or price, in minor units: a million times a million rupiah.
#: Sums over the largest tenant stay far inside a 64-bit integer.
MAX_MINOR = 10**14


def decimals(currency: str) -> int:
    """How many decimal places `currency` has, by ISO 4217."""
    return _DECIMALS.get(currency, 2)


def to_minor(amount: Decimal, currency: str) -> int:
    """`amount` in whole minor units.

    Raises ValueError where the amount is not finite, has more places than the currency, or is
    beyond the range.
    """
    if not amount.is_finite():
        raise ValueError("must be a finite number")
    # The range first: what lies within it cannot overflow when it is scaled.
    limit = _limit(currency)
    if not -limit <= amount <= limit:
        raise ValueError(f"must lie within ±{limit}")
    places = decimals(currency)
    try:
        return int(_EXACT.to_integral_exact(_EXACT.scaleb(amount, places)))
    except Inexact:
        raise ValueError(f"{currency} has {places} decimal places") from None


@cache
def _limit(currency: str) -> Decimal:
    return from_minor(MAX_MINOR, currency)


def from_minor(minor: int, currency: str) -> Decimal:
    """`minor` units as an exact decimal with the currency's own number of places."""
    return Decimal(minor).scaleb(-decimals(currency))


def round_minor(amount: Decimal) -> int:
    """A computed amount of minor units as a whole number; halves go to the even neighbour."""
    return int(amount.to_integral_value(ROUND_HALF_EVEN))
