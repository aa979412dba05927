"""Orders: channel, hour, store, payment, discount, status and money."""

from dataclasses import dataclass

import numpy as np

from app.domain.demo import catalogue
from app.domain.demo.catalogue import Baskets
from app.domain.demo.columns import (
    Column,
    Columns,
    Flags,
    Floats,
    Instants,
    Ints,
    Mix,
    Texts,
    at_each,
    missing,
    numbered,
    sticky,
    within,
)
from app.domain.demo.geography import MALLS
from app.domain.demo.population import Purchases, Shoppers, Trade, draw_amounts
from app.domain.demo.season import instants, sale_days, seconds_of_day, weekdays

MINOR_UNITS = 100
"""Of a rupiah (ISO 4217 exponent 2)."""

_DAY = 86_400
STORE, ONLINE, WHATSAPP = 0, 1, 2
_CHANNELS = np.array(["store", "online", "whatsapp"])
_CHANNEL_SHARES = np.array([[0.66, 0.86, 1.0], [0.20, 0.42, 1.0]])  # cumulative: retail, wholesale

_PAYMENTS = (
    Mix.of({"qris": 33, "cash": 29, "card": 21, "ewallet": 12, "transfer": 5}),
    Mix.of({"ewallet": 36, "transfer": 28, "card": 19, "qris": 15, "credit": 2}),
    Mix.of({"transfer": 62, "qris": 26, "ewallet": 12}),
    Mix.of({"credit": 46, "transfer": 44, "cash": 10}),
)
_WHOLESALE_PAYMENT = 3

_RATES = Mix.of({"0.10": 34, "0.15": 20, "0.20": 22, "0.25": 10, "0.30": 9, "0.50": 5})

_CANCELLED, _NO_SHOW, _REFUNDED, _PARTIAL = 0.04, 0.01, 0.015, 0.012

_NOTES = Mix.of(
    {
        "Tolong dibungkus kado": 14,
        "Gift wrap, with a card for Aisyah": 5,
        "Kirim setelah jam 5 sore": 10,
        "Titip di satpam": 9,
        "Ukuran bisa ditukar": 9,
        "Ulang tahun anak ke-3": 8,
        "Minta faktur pajak": 8,
        "Pesanan untuk TK, kirim sekaligus": 6,
        "Pre-order, hubungi bila datang": 6,
        "Warna biru kalau ada": 7,
        "Jangan pakai plastik": 4,
        "Telepon dulu sebelum antar": 8,
        "Bayar saat ambil": 6,
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class Sales:
    """The orders of a chunk, by customer and then by time, with the lines if they were drawn.

    `owner` indexes the chunk's customers; `paid` is what each order kept, in rupiah.
    """

    owner: Ints
    ordered_at: Instants
    completed: Flags
    paid: Floats
    orders: Columns
    items: Columns | None


def sell(
    rng: np.random.Generator,
    shoppers: Shoppers,
    purchases: Purchases,
    trade: Trade,
    *,
    numbers: Ints,
    home_store: Ints,
    with_items: bool,
) -> Sales:
    """Turn purchases into orders. `numbers` are those of the customers."""
    customers = len(shoppers.joined)
    owner, day, channel, seconds = _when_and_how(rng, shoppers, purchases, trade, customers)
    wholesale = shoppers.wholesale[owner]
    days = trade.days[day]
    amounts = draw_amounts(rng, shoppers, owner)
    lines = catalogue.draw_line_counts(rng, amounts, wholesale)

    baskets = None
    if with_items:
        tastes = catalogue.draw_tastes(rng, customers)[owner]
        baskets = catalogue.fill_baskets(rng, amounts, lines, wholesale, tastes)
        gross, units = baskets.gross(len(owner)), baskets.units(len(owner))
    else:
        gross, units = np.maximum(np.round(amounts / 100.0) * 100.0, 5_000.0), lines

    discount = _discounts(
        rng, gross, owner, on_sale=sale_days(days), wholesale=wholesale, customers=customers
    )
    total = gross - discount
    age = len(trade.days) - 1 - day
    status = _statuses(rng, age, channel)
    refund = _refunds(rng, status, total)
    elsewhere = rng.choice(MALLS, len(owner))
    visited = np.where(rng.random(len(owner)) < 0.9, home_store[owner], elsewhere)
    payment = at_each(
        _PAYMENTS,
        np.where(wholesale, _WHOLESALE_PAYMENT, channel),
        sticky(rng, rng.random(customers), owner, 0.6),
    )
    ordered_at = instants(days, seconds)
    orders: Columns = {
        "id": _order_ids(numbers, owner),
        "status": status,
        "ordered_at": ordered_at,
        "total_amount": minor(total),
        "discount_amount": minor(discount),
        "refund_amount": minor(refund),
        "payment_method": payment,
        "channel": _CHANNELS[channel],
        "item_count": units,
        "notes": missing(_NOTES.draw(rng, len(owner)), rng.random(len(owner)) >= 0.035),
        "store_no": missing(visited, channel == ONLINE),
    }
    completed = status == "completed"
    return Sales(
        owner=owner,
        ordered_at=ordered_at,
        completed=completed,
        paid=np.where(completed, total - refund, 0.0),
        orders=orders,
        items=None if baskets is None else _item_columns(baskets, gross, discount),
    )


def minor(rupiah: Floats) -> Ints:
    """Whole rupiah as minor units."""
    return np.rint(rupiah).astype(np.int64) * MINOR_UNITS


def _order_ids(numbers: Ints, owner: Ints) -> Texts:
    """`INV-<customer>-<n>`: the n-th order of its customer, so that no chunk needs another's."""
    counts = np.bincount(owner, minlength=len(numbers))
    customer = numbered("INV-", numbers[owner], 7)
    return np.strings.add(np.strings.add(customer, "-"), numbered("", within(counts) + 1, 4))


def _when_and_how(
    rng: np.random.Generator,
    shoppers: Shoppers,
    purchases: Purchases,
    trade: Trade,
    customers: int,
) -> tuple[Ints, Ints, Ints, Ints]:
    owner, day = purchases.owner, purchases.day
    shares = _CHANNEL_SHARES[shoppers.wholesale[owner].astype(np.int64)]
    position = sticky(rng, rng.random(customers), owner, 0.7)
    channel = (position[:, None] >= shares).sum(axis=1)
    weekend = weekdays(trade.days[day]) >= 5
    # Rows of season.HOURS: store on weekdays, store on weekends, online, office.
    hours = np.where(channel == STORE, weekend.astype(np.int64), 2)
    hours = np.where(shoppers.wholesale[owner] & (channel != ONLINE), 3, hours)
    seconds = seconds_of_day(rng, hours, sticky(rng, rng.random(customers), owner, 0.45))
    by_time = np.argsort((owner * len(trade.days) + day) * _DAY + seconds, kind="stable")
    return owner[by_time], day[by_time], channel[by_time], seconds[by_time]


def _discounts(
    rng: np.random.Generator,
    gross: Floats,
    owner: Ints,
    *,
    on_sale: Flags,
    wholesale: Flags,
    customers: int,
) -> Floats:
    # Some customers wait for sales and some do not look at prices.
    eager = rng.beta(1.6, 1.6, customers)[owner]
    chance = np.where(on_sale, 0.15 + 0.75 * eager, 0.02 + 0.12 * eager)
    rate = _RATES.draw(rng, len(owner)).astype(np.float64)
    rate = np.where(wholesale, rate / 2.0, rate)
    given = rng.random(len(owner)) < chance
    return np.where(given, np.round(gross * rate / 100.0) * 100.0, 0.0)


def _statuses(rng: np.random.Generator, age: Ints, channel: Ints) -> Texts:
    """`age` is in days before the end of history: 0 for its last day."""
    position = rng.random(len(age))
    status = np.full(len(age), "completed")
    ahead = rng.random(len(age))
    away = channel != STORE
    # Money comes later than the order only where nobody stands at a till.
    status[away & (age < 3) & (ahead < 0.45)] = "pending"
    status[away & (age < 14) & (ahead >= 0.7)] = "accepted"
    status[position < _CANCELLED + _NO_SHOW + _REFUNDED] = "refunded"
    status[position < _CANCELLED + _NO_SHOW] = "no_show"
    status[position < _CANCELLED] = "cancelled"
    return status


def _refunds(rng: np.random.Generator, status: Texts, total: Floats) -> Floats:
    part = (status == "completed") & (rng.random(len(total)) < _PARTIAL)
    partial = np.round(total * rng.uniform(0.1, 0.6, len(total)) / 100.0) * 100.0
    return np.where(status == "refunded", total, np.where(part, partial, 0.0))


def _item_columns(baskets: Baskets, gross: Floats, discount: Floats) -> Columns:
    """Lines with the order's discount shared out in proportion, the last line taking the rest."""
    value = baskets.quantity * baskets.price
    order = baskets.order
    share = np.floor(value * (discount / gross)[order])
    left = discount - np.bincount(order, weights=share, minlength=len(discount))
    last = np.append(order[1:] != order[:-1], True)
    share[last] += left[order[last]]
    columns: dict[str, Column] = {
        "order_no": order,
        "line_no": baskets.line + 1,
        **baskets.product_columns(),
        "quantity": baskets.quantity,
        "unit_price": minor(baskets.price),
        "discount_amount": minor(share),
    }
    return columns
