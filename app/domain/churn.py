"""The risk that a customer does not come back, from 0 to 1, with its reasons.

Two methods, both readable by the people who act on them. `tiered` looks up a probability by days of
absence and lowers it for frequent buyers. `component` adds points, out of 100, for absence, for
fewer orders, for less spending, for a falling trend, and for what the customer says: complaints,
low satisfaction, contacts left unanswered. Either way a reason is a code that stays
the same in every language and every export, and a sentence with the customer's own numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.domain.behaviour import DECREASING, FALLING_SHARE, MONTHS_PER_QUARTER

#: How many reasons accompany a score.
TOP_REASONS = 3

#: Digits of a score: 0.7 of 0.8 is 0.56, and on the right side of every bound, on every engine.
SCORE_DIGITS = 4


class ChurnReason(StrEnum):
    """Why a score is as high as it is."""

    LONG_ABSENCE = "long_absence"
    FEWER_ORDERS = "fewer_orders"
    LESS_SPENDING = "less_spending"
    FALLING_TREND = "falling_trend"
    RARE_BUYER = "rare_buyer"
    COMPLAINTS = "complaints"
    LOW_SATISFACTION = "low_satisfaction"
    LOW_RESPONSE = "low_response"


class ChurnBand(StrEnum):
    """How urgent a score is."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class ChurnFacts:
    """What both methods look at. Spend in minor units."""

    days_since_last_order: int
    orders_30d: int
    orders_90d: int
    orders_365d: int
    revenue_30d: int
    revenue_90d: int
    order_frequency_trend: str | None
    spend_trend: str | None
    contacts: int = 0
    responses: int = 0
    complaints_90d: int = 0
    satisfaction_score: float | None = None


@dataclass(frozen=True, slots=True)
class TieredChurn:
    """Probability by days of absence (longest first), discounted for frequent buyers.

    `absences` are (days exceeded, probability); `discounts` are (orders in 365 days exceeded,
    factor), highest first. A reason is named from `reason_from_days` of absence, and where no
    discount applied.
    """

    absences: tuple[tuple[int, float], ...] = ((180, 0.8), (90, 0.6), (60, 0.4), (30, 0.2))
    present: float = 0.1
    discounts: tuple[tuple[int, float], ...] = ((4, 0.5), (2, 0.7))
    reason_from_days: int = 30
    minimum_orders: int = 1


@dataclass(frozen=True, slots=True)
class Drop:
    """Points for a month without any, out of a quarter with or without any, or with far less."""

    nothing_in_90_days: int
    nothing_in_30_days: int
    far_below_mean: int

    def points(self, last_30_days: float, last_90_days: float) -> int:
        if last_30_days == 0:
            return self.nothing_in_90_days if last_90_days == 0 else self.nothing_in_30_days
        if last_30_days < last_90_days / MONTHS_PER_QUARTER * FALLING_SHARE:
            return self.far_below_mean
        return 0


@dataclass(frozen=True, slots=True)
class Voice:
    """Points for what a customer says, or does not say.

    A complaint of the last 90 days costs `points_per_complaint`, up to `complaint_points`. A rate
    of responses says something from `enough_contacts` on.
    """

    points_per_complaint: int = 10
    complaint_points: int = 20
    satisfied_from: float = 5.0
    dissatisfied_points: int = 15
    enough_contacts: int = 3
    answering_from: float = 0.3
    silent_points: int = 10


@dataclass(frozen=True, slots=True)
class ComponentChurn:
    """Points, of which 100 are certainty; a sum beyond counts as 100.

    Each `…_reason` is the number of points from which a reason is named.
    """

    absence_points: int = 30
    absence_full_after_days: int = 90
    absence_reason: int = 20
    orders: Drop = Drop(30, 20, 15)
    orders_reason: int = 20
    spending: Drop = Drop(25, 15, 10)
    spending_reason: int = 15
    falling_orders_points: int = 15
    falling_spend_points: int = 10
    trend_reason: int = 10
    voice: Voice = Voice()
    minimum_orders: int = 2


ChurnRules = TieredChurn | ComponentChurn


@dataclass(frozen=True, slots=True)
class ChurnRisk:
    """A score from 0 to 1 and the codes of its reasons, weightiest first."""

    score: float
    reasons: tuple[ChurnReason, ...]


def risk(rules: ChurnRules, facts: ChurnFacts) -> ChurnRisk:
    """The risk of one customer who has ordered often enough for the method."""
    if isinstance(rules, TieredChurn):
        return _tiered(rules, facts)
    return _component(rules, facts)


def _tiered(rules: TieredChurn, facts: ChurnFacts) -> ChurnRisk:
    probability = next(
        (p for days, p in rules.absences if facts.days_since_last_order > days), rules.present
    )
    factor = next((f for orders, f in rules.discounts if facts.orders_365d > orders), 1.0)
    reasons = (
        (ChurnReason.LONG_ABSENCE, facts.days_since_last_order > rules.reason_from_days),
        (ChurnReason.RARE_BUYER, facts.orders_365d <= min(o for o, _ in rules.discounts)),
        (ChurnReason.FALLING_TREND, facts.order_frequency_trend == DECREASING),
    )
    return ChurnRisk(round(min(probability * factor, 1.0), SCORE_DIGITS), _named(reasons))


def _component(rules: ComponentChurn, facts: ChurnFacts) -> ChurnRisk:
    full = rules.absence_full_after_days
    absence = min(facts.days_since_last_order, full) * rules.absence_points / full
    orders = rules.orders.points(facts.orders_30d, facts.orders_90d)
    spending = rules.spending.points(facts.revenue_30d, facts.revenue_90d)
    if facts.order_frequency_trend == DECREASING:
        trend = rules.falling_orders_points
    elif facts.spend_trend == DECREASING:
        trend = rules.falling_spend_points
    else:
        trend = 0
    complaints, dissatisfaction, silence = _voice_points(rules.voice, facts)
    reasons = (
        (ChurnReason.LONG_ABSENCE, absence >= rules.absence_reason),
        (ChurnReason.FEWER_ORDERS, orders >= rules.orders_reason),
        (ChurnReason.LESS_SPENDING, spending >= rules.spending_reason),
        (ChurnReason.COMPLAINTS, complaints > 0),
        (ChurnReason.LOW_SATISFACTION, dissatisfaction > 0),
        (ChurnReason.FALLING_TREND, trend >= rules.trend_reason),
        (ChurnReason.LOW_RESPONSE, silence > 0),
    )
    points = absence + orders + spending + trend + complaints + dissatisfaction + silence
    return ChurnRisk(int(min(points, 100)) / 100, _named(reasons))


def _voice_points(voice: Voice, facts: ChurnFacts) -> tuple[int, int, int]:
    complaints = min(facts.complaints_90d * voice.points_per_complaint, voice.complaint_points)
    score = facts.satisfaction_score
    dissatisfied = score is not None and score < voice.satisfied_from
    silent = (
        facts.contacts >= voice.enough_contacts
        and facts.responses < voice.answering_from * facts.contacts
    )
    return (
        complaints,
        voice.dissatisfied_points if dissatisfied else 0,
        voice.silent_points if silent else 0,
    )


def _named(reasons: Sequence[tuple[ChurnReason, bool]]) -> tuple[ChurnReason, ...]:
    return tuple(reason for reason, holds in reasons if holds)[:TOP_REASONS]


@dataclass(frozen=True, slots=True)
class ChurnBands:
    """Where medium, high and critical begin, ascending.

    A score on a bound belongs to the band above it, unless `upper_inclusive`.
    """

    bounds: tuple[float, float, float] = (0.3, 0.6, 0.8)
    upper_inclusive: bool = False

    def of(self, score: float) -> ChurnBand:
        """The band of a score."""
        if self.upper_inclusive:
            reached = sum(score > bound for bound in self.bounds)
        else:
            reached = sum(score >= bound for bound in self.bounds)
        return tuple(ChurnBand)[reached]


_SENTENCES = {
    ChurnReason.LONG_ABSENCE: "No order for {days_since_last_order} days.",
    ChurnReason.FEWER_ORDERS: (
        "Placed {orders_30d} in the last 30 days, {orders_90d} in the last 90."
    ),
    ChurnReason.LESS_SPENDING: "Spent {spend_30d} in the last 30 days, {spend_90d} in the last 90.",
    ChurnReason.FALLING_TREND: (
        "Orders or spending of the last 30 days ({orders_30d}, {spend_30d}) are below half of the"
        " monthly mean of the last 90 ({orders_90d}, {spend_90d})."
    ),
    ChurnReason.RARE_BUYER: "Placed {orders_365d} in the last 365 days.",
    ChurnReason.COMPLAINTS: "Complained {complaints_90d} in the last 90 days.",
    ChurnReason.LOW_SATISFACTION: "Satisfaction is {satisfaction_score} of 10.",
    ChurnReason.LOW_RESPONSE: "Answered {responses} of {contacts} contacts.",
}


def _orders(number: int) -> str:
    return {0: "no order", 1: "1 order"}.get(number, f"{number} orders")


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def sentence(
    reason: ChurnReason,
    *,
    days_since_last_order: int | None,
    orders_30d: int,
    orders_90d: int,
    orders_365d: int,
    spend_30d: str,
    spend_90d: str,
    contacts: int,
    responses: int,
    complaints_90d: int,
    satisfaction_score: float | None,
) -> str:
    """The reason in words, with the customer's own numbers; spend comes formatted with currency."""
    return _SENTENCES[reason].format(
        days_since_last_order=days_since_last_order,
        orders_30d=_orders(orders_30d),
        orders_90d=_orders(orders_90d),
        orders_365d=_orders(orders_365d),
        spend_30d=spend_30d,
        spend_90d=spend_90d,
        contacts=contacts,
        responses=responses,
        complaints_90d=_times(complaints_90d),
        satisfaction_score=f"{satisfaction_score or 0.0:.1f}",
    )
