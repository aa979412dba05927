"""Exact decimals at the edge, whole minor units inside."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.money import MAX_MINOR, decimals, from_minor, round_minor, to_minor

currencies = st.sampled_from(["IDR", "USD", "JPY", "KWD", "CLF"])


@pytest.mark.parametrize(
    ("currency", "places"), [("USD", 2), ("IDR", 2), ("JPY", 0), ("TND", 3), ("CLF", 4), ("XYZ", 2)]
)
def test_decimals(currency: str, places: int) -> None:
    assert decimals(currency) == places


@given(st.integers(-MAX_MINOR, MAX_MINOR), currencies)
def test_minor_units_survive_the_round_trip(minor: int, currency: str) -> None:
    amount = from_minor(minor, currency)
    assert to_minor(amount, currency) == minor
    assert to_minor(Decimal(str(amount)), currency) == minor
    assert -amount.as_tuple().exponent == decimals(currency)  # type: ignore[operator]


@given(st.decimals(allow_nan=True, allow_infinity=True), currencies)
def test_an_amount_is_exact_or_refused(amount: Decimal, currency: str) -> None:
    try:
        minor = to_minor(amount, currency)
    except ValueError:
        return
    assert from_minor(minor, currency) == amount


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("12.50", "USD", 1250),
        ("12.5", "USD", 1250),
        ("12.5000000000000000000000000000000000", "USD", 1250),
        ("1E+3", "USD", 100_000),
        ("-0.01", "USD", -1),
        ("-0", "USD", 0),
        ("1500", "JPY", 1500),
        ("1.234", "KWD", 1234),
        ("1000000000000.00", "IDR", MAX_MINOR),
    ],
)
def test_to_minor(amount: str, currency: str, minor: int) -> None:
    assert to_minor(Decimal(amount), currency) == minor


@pytest.mark.parametrize(
    ("amount", "currency", "reason"),
    [
        ("NaN", "USD", "finite"),
        ("sNaN", "USD", "finite"),
        ("Infinity", "USD", "finite"),
        ("0.001", "USD", "2 decimal places"),
        ("0.5", "JPY", "0 decimal places"),
        ("1.0000000000000000000000000000000001", "USD", "2 decimal places"),
        ("1E-999999", "USD", "2 decimal places"),
        ("1000000000000.01", "USD", "within ±1000000000000.00"),
        ("-1000000000000.01", "USD", "within"),
        ("1E+999999", "USD", "within"),
    ],
)
def test_refused_amounts(amount: str, currency: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        to_minor(Decimal(amount), currency)


@pytest.mark.parametrize(
    ("amount", "whole"), [("0.5", 0), ("1.5", 2), ("2.5", 2), ("-0.5", 0), ("2.51", 3), ("7", 7)]
)
def test_halves_go_to_the_even_neighbour(amount: str, whole: int) -> None:
    assert round_minor(Decimal(amount)) == whole
