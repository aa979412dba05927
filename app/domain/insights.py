"""What is worth knowing about one customer today, and what to do about it.

An insight is a rule over figures that are stored already: it computes no score of its own. Each
speaks with the customer's own numbers. Those of high impact come first; equals keep the order of
the rules.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from app.domain.churn import ChurnBand
from app.domain.lifecycle import LifecycleSegment
from app.domain.money import from_minor
from app.domain.status import ScoreStatus

#: Over so many days without a counted order, a customer counts as inactive.
INACTIVE_AFTER_DAYS = 90
#: From this percentile of lifetime value, a customer is among the most valuable.
HIGH_VALUE_PERCENTILE = 90
#: So many days after the first counted order, or after being recorded, a customer is new.
NEW_FOR_DAYS = 30
#: A purchase or a birthday is near when it is today or at most so many days ahead.
PURCHASE_NEAR_DAYS = 3
BIRTHDAY_NEAR_DAYS = 7
#: Of ten: below it, a customer is unhappy.
UNHAPPY_BELOW = 5.0
#: Of a hundred: from it on, a customer moves others.
INFLUENTIAL_FROM = 60.0
#: A share: below it, a customer does not answer; said only after so many contacts.
SILENT_BELOW = 0.3
SILENT_MIN_CONTACTS = 5


class InsightType(StrEnum):
    """What an insight is about."""

    CHURN_RISK = "churn_risk"
    UNHAPPY = "unhappy"
    HIGH_VALUE = "high_value"
    LOW_ENGAGEMENT = "low_engagement"
    NEXT_PURCHASE_DUE = "next_purchase_due"
    NEW_CUSTOMER = "new_customer"
    INFLUENCER = "influencer"
    AMBASSADOR_CANDIDATE = "ambassador_candidate"
    BIRTHDAY = "birthday"
    SILENT = "silent"


class Impact(StrEnum):
    """How much hangs on acting; in the order in which insights are told."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class Insight:
    """One thing worth knowing: `description` is a sentence, `suggested_actions` what to do."""

    type: InsightType
    title: str
    description: str
    impact: Impact
    suggested_actions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The figures of one customer on `today`, the tenant's day.

    Amounts are minor units of `currency`; shares are of one. `best_segment` says whether the RFM
    segment is the first of the profile; `date_of_birth` is None where it is not to be told.
    """

    today: date
    currency: str
    recorded_on: date
    counted_orders: int
    revenue: int
    days_since_last_order: int | None
    tenure_days: int | None
    average_order_value: int | None
    lifecycle_segment: str
    best_segment: bool
    clv: int | None
    clv_percentile: int | None
    churn_score: float | None
    churn_band: str | None
    value_at_risk: int | None
    next_purchase_status: str
    next_purchase_on: date | None
    satisfaction_score: float | None
    complaints_90d: int
    influence_score: float | None
    referred_customers: int
    referral_revenue: int
    contacts: int
    responses: int
    response_rate: float | None
    date_of_birth: date | None


def insights(facts: Facts) -> list[Insight]:
    """Every insight that holds, the weightiest first."""
    weight = list(Impact)
    return sorted(_all(facts), key=lambda insight: weight.index(insight.impact))


def _all(facts: Facts) -> Iterator[Insight]:
    for rule in (
        _churn_risk,
        _unhappy,
        _high_value,
        _low_engagement,
        _next_purchase_due,
        _new_customer,
        _influencer,
        _ambassador_candidate,
        _birthday,
        _silent,
    ):
        found = rule(facts)
        if found is not None:
            yield found


def _churn_risk(f: Facts) -> Insight | None:
    if f.churn_score is None or f.churn_band not in {ChurnBand.HIGH, ChurnBand.CRITICAL}:
        return None
    at_stake = f"; {_amount(f, f.value_at_risk)} are at stake" if f.value_at_risk else ""
    absence = (
        f" The last order was {_days(f.days_since_last_order)} ago."
        if f.days_since_last_order is not None
        else ""
    )
    return Insight(
        InsightType.CHURN_RISK,
        "High churn risk",
        f"The churn score is {f.churn_score:.0%} ({f.churn_band}){at_stake}.{absence}",
        Impact.HIGH,
        ("Send a personal offer to stay", "Call and ask what is missing"),
    )


def _unhappy(f: Facts) -> Insight | None:
    dissatisfied = f.satisfaction_score is not None and f.satisfaction_score < UNHAPPY_BELOW
    if not dissatisfied and not f.complaints_90d:
        return None
    said = []
    if dissatisfied:
        said.append(f"Satisfaction is {f.satisfaction_score:.1f} of 10.")
    if f.complaints_90d:
        said.append(f"{_number(f.complaints_90d, 'complaint')} in the last 90 days.")
    return Insight(
        InsightType.UNHAPPY,
        "Unhappy customer",
        " ".join(said),
        Impact.HIGH,
        ("Let a person call back and solve it", "Hold back promotions until it is solved"),
    )


def _high_value(f: Facts) -> Insight | None:
    top = f.clv_percentile is not None and f.clv_percentile >= HIGH_VALUE_PERCENTILE
    vip = f.lifecycle_segment == LifecycleSegment.VIP
    if not top and not vip:
        return None
    said = [f"Spent {_amount(f, f.revenue)} in {_number(f.counted_orders, 'order')}."]
    if f.clv is not None and f.clv_percentile is not None:
        said.append(
            f"The lifetime value of {_amount(f, f.clv)} reaches that of"
            f" {f.clv_percentile} % of the customers."
        )
    return Insight(
        InsightType.HIGH_VALUE,
        "High-value customer",
        " ".join(said),
        Impact.HIGH,
        ("Give VIP treatment", "Offer early access"),
    )


def _low_engagement(f: Facts) -> Insight | None:
    days = f.days_since_last_order
    if days is None or days <= INACTIVE_AFTER_DAYS:
        return None
    return Insight(
        InsightType.LOW_ENGAGEMENT,
        "Inactive customer",
        f"No order for {_days(days)}, after {_number(f.counted_orders, 'order')}.",
        Impact.MEDIUM,
        ("Send a re-engagement campaign",),
    )


def _next_purchase_due(f: Facts) -> Insight | None:
    if f.next_purchase_status != ScoreStatus.OK or f.next_purchase_on is None:
        return None
    ahead = (f.next_purchase_on - f.today).days
    if not 0 <= ahead <= PURCHASE_NEAR_DAYS:
        return None
    usual = (
        f" The usual order is {_amount(f, f.average_order_value)}."
        if f.average_order_value is not None
        else ""
    )
    return Insight(
        InsightType.NEXT_PURCHASE_DUE,
        "Next purchase due",
        f"The next order is expected on {f.next_purchase_on} ({_ahead(ahead)}).{usual}",
        Impact.MEDIUM,
        ("Remind with what was bought before", "Have the usual items in stock"),
    )


def _new_customer(f: Facts) -> Insight | None:
    if f.counted_orders:
        known = f.tenure_days
        what = "The first order was"
    else:
        known = (f.today - f.recorded_on).days
        what = "No order yet; recorded"
    if known is None or not 0 <= known <= NEW_FOR_DAYS:
        return None
    orders = f" {_number(f.counted_orders, 'order')} since." if f.counted_orders else ""
    return Insight(
        InsightType.NEW_CUSTOMER,
        "New customer",
        f"{what} {_ago(known)}.{orders}",
        Impact.MEDIUM,
        ("Welcome and explain", "Offer something for the next order"),
    )


def _influencer(f: Facts) -> Insight | None:
    if f.influence_score is None or f.influence_score < INFLUENTIAL_FROM:
        return None
    return Insight(
        InsightType.INFLUENCER,
        "Influencer",
        f"Influence is {f.influence_score:.0f} of 100:"
        f" {_number(f.referred_customers, 'customer')} referred, who spent"
        f" {_amount(f, f.referral_revenue)}.",
        Impact.MEDIUM,
        ("Thank for referrals", "Invite to a referral programme"),
    )


def _ambassador_candidate(f: Facts) -> Insight | None:
    if not f.best_segment or f.referred_customers:
        return None
    return Insight(
        InsightType.AMBASSADOR_CANDIDATE,
        "Ambassador candidate",
        f"In the best segment with {_number(f.counted_orders, 'order')}, and has never referred"
        " anybody.",
        Impact.LOW,
        ("Ask for a referral", "Ask for a review"),
    )


def _birthday(f: Facts) -> Insight | None:
    if f.date_of_birth is None or f.date_of_birth > f.today:
        return None
    birthday = next_birthday(f.date_of_birth, f.today)
    ahead = (birthday - f.today).days
    if ahead > BIRTHDAY_NEAR_DAYS:
        return None
    return Insight(
        InsightType.BIRTHDAY,
        "Birthday",
        f"The birthday is on {birthday:%d %B} ({_ahead(ahead)}).",
        Impact.LOW,
        ("Congratulate", "Add a birthday voucher"),
    )


def _silent(f: Facts) -> Insight | None:
    rate = f.response_rate
    if rate is None or rate >= SILENT_BELOW or f.contacts < SILENT_MIN_CONTACTS:
        return None
    return Insight(
        InsightType.SILENT,
        "Does not answer",
        f"Answered {f.responses} of {f.contacts} contacts ({rate:.0%}).",
        Impact.LOW,
        ("Try another channel", "Write less often"),
    )


def next_birthday(born: date, today: date) -> date:
    """The first birthday on or after `today`; who was born on 29 February has it on the 28th."""
    this_year = _birthday_in(born, today.year)
    return this_year if this_year >= today else _birthday_in(born, today.year + 1)


def _birthday_in(born: date, year: int) -> date:
    try:
        return born.replace(year=year)
    except ValueError:
        return date(year, 3, 1) - timedelta(days=1)


def _amount(f: Facts, minor: int | None) -> str:
    return f"{f.currency} {from_minor(minor or 0, f.currency):,}"


def _number(count: int, noun: str) -> str:
    return f"1 {noun}" if count == 1 else f"{count} {noun}s"


def _days(days: int) -> str:
    return _number(days, "day")


def _ahead(days: int) -> str:
    return "today" if days == 0 else f"in {_days(days)}"


def _ago(days: int) -> str:
    return "today" if days == 0 else f"{_days(days)} ago"
