"""Who buys when and for how much: a buy-till-you-die population.

Purchases follow the BG/NBD model of Fader, Hardie and Lee, "Counting Your Customers the Easy Way:
An Alternative to the Pareto/NBD Model", Marketing Science 24(2), 2005. While alive, a customer buys
by a Poisson process with a rate of their own, rates being Gamma(r, alpha) over the population;
after each repeat purchase the customer leaves for good with a probability of their own, those being
Beta(a, b). The first purchase is the joining and carries no risk of leaving. Amounts follow the
Gamma-Gamma model (Fader, Hardie and Lee, "RFM and CLV", Journal of Marketing Research 42(4), 2005):
an order is worth Gamma(p, nu) with nu ~ Gamma(q, gamma) per customer.

The clock of the process is trade: it runs faster on days that sell more (`season.day_weights`) and
covers as many years as the calendar does, so that seasons, weekends and sale days show while the
model's assumptions hold exactly.
"""

from dataclasses import dataclass

import numpy as np

from app.domain.demo.columns import Flags, Floats, Instants, Ints, within
from app.domain.demo.options import DemoOptions
from app.domain.demo.season import day_weights, local_days

WHOLESALE_SHARE = 0.08

_PILOT = 200_000
_YEAR = 365.25


@dataclass(frozen=True, slots=True)
class Temper:
    """How one kind of customer buys.

    `rate` is the mean purchases a year while alive, relative to retail; `r` its gamma shape;
    `a`, `b` the beta of leaving after a repeat purchase; `ticket` the mean order in rupiah;
    `p`, `q` the Gamma-Gamma shapes within and between customers (a larger `p` repeats itself more
    exactly, a larger `q` makes customers more alike).
    """

    rate: float
    r: float
    a: float
    b: float
    ticket: float
    p: float
    q: float


RETAIL = Temper(rate=1.0, r=0.5, a=0.6, b=5.0, ticket=330_000.0, p=4.0, q=4.0)
WHOLESALE = Temper(rate=0.6, r=2.0, a=0.8, b=14.0, ticket=6_500_000.0, p=6.0, q=3.5)


@dataclass(frozen=True, slots=True, eq=False)
class Trade:
    """The clock of the process: `elapsed[d]` years of trade have passed when local day d begins."""

    days: Instants
    elapsed: Floats

    @property
    def end(self) -> float:
        return float(self.elapsed[-1])

    def day_at(self, moments: Floats) -> Ints:
        """The number of the local day in which each moment of trade lies."""
        day = np.searchsorted(self.elapsed, moments, side="right") - 1
        return np.clip(day, 0, len(self.days) - 1)


@dataclass(frozen=True, slots=True, eq=False)
class Shoppers:
    """One row a customer: kind, yearly rate, chance of leaving, mean order (rupiah), joining."""

    wholesale: Flags
    rate: Floats
    leaving: Floats
    spend_rate: Floats
    joined: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Purchases:
    """One row a purchase, by customer: whose (index into the shoppers), and the local day."""

    owner: Ints
    day: Ints


def open_trade(options: DemoOptions) -> Trade:
    """The clock over the days of history."""
    first = np.datetime64(options.as_of, "D") - options.days
    days = local_days(first.item(), options.days)
    passed = np.concatenate([[0.0], np.cumsum(day_weights(days))])
    return Trade(days, passed * (options.days / _YEAR / passed[-1]))


def find_pace(options: DemoOptions, trade: Trade) -> float:
    """Retail purchases a year while alive at which customers average `orders_per_customer`.

    Given rate and chance of leaving p, the repeat purchases in a time t average
    (1 - exp(-rate t p)) / p: purchases thinned by a geometric number of survivals. The mean over a
    pilot population grows with the pace, so bisection finds it.
    """
    shoppers = draw_shoppers(np.random.default_rng(0), trade, pace=1.0, size=_PILOT)
    exposure = shoppers.rate * (trade.end - shoppers.joined)
    leaving = shoppers.leaving
    slow, fast = 1e-3, 1e3
    for _ in range(40):
        pace = np.sqrt(slow * fast)
        orders = 1.0 + np.mean(-np.expm1(-pace * exposure * leaving) / leaving)
        slow, fast = (pace, fast) if orders < options.orders_per_customer else (slow, pace)
    return float(pace)


def draw_shoppers(rng: np.random.Generator, trade: Trade, *, pace: float, size: int) -> Shoppers:
    """`size` customers in the order of their joining, which spreads over the whole history."""
    wholesale = rng.random(size) < WHOLESALE_SHARE

    def by_kind(field: str) -> Floats:
        return np.where(wholesale, float(getattr(WHOLESALE, field)), float(getattr(RETAIL, field)))

    shape = by_kind("r")
    # Below a permille nobody is told from an immortal, and 1/p would lose its digits.
    leaving = np.maximum(rng.beta(by_kind("a"), by_kind("b")), 1e-3)
    scale = by_kind("ticket") * (by_kind("q") - 1.0) / by_kind("p")
    # The power makes the first year bring more new customers than the second.
    joined = trade.end * ((np.arange(size) + rng.random(size)) / size) ** 1.2
    return Shoppers(
        wholesale=wholesale,
        rate=pace * by_kind("rate") * rng.gamma(shape) / shape,
        leaving=leaving,
        spend_rate=rng.gamma(by_kind("q")) / scale,
        joined=joined,
    )


def draw_purchases(rng: np.random.Generator, shoppers: Shoppers, trade: Trade) -> Purchases:
    """Every purchase of these customers: the joining, then repeats until they leave."""
    remaining = trade.end - shoppers.joined
    repeats = rng.poisson(shoppers.rate * remaining)
    last = rng.geometric(shoppers.leaving)
    counts = repeats + 1
    owner = np.repeat(np.arange(len(counts)), counts)
    rank = within(counts)
    # Given their number, the moments of a Poisson process are uniform.
    share = np.where(rank == 0, 0.0, rng.random(len(owner)))
    share = np.sort(owner + share) - owner
    moment = shoppers.joined[owner] + share * remaining[owner]
    alive = rank <= last[owner]
    return Purchases(owner[alive], trade.day_at(moment[alive]))


def draw_amounts(rng: np.random.Generator, shoppers: Shoppers, owner: Ints) -> Floats:
    """What each purchase is worth before discount, in rupiah."""
    shape = np.where(shoppers.wholesale, WHOLESALE.p, RETAIL.p)[owner]
    return rng.gamma(shape) / shoppers.spend_rate[owner]
