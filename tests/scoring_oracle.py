"""What every computed column of a customer must be: plain Python over a list of orders.

The rules are the scalar functions of `app.domain`; nothing here knows SQL. Property tests hold the
stored rows to these answers.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import chain
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from app.domain import churn, clv, demographics, lifecycle, money, rfm
from app.domain.behaviour import (
    DAYS_PER_MONTH,
    TOP_PREFERENCES,
    WINDOWS,
    days_between_orders,
    preferred,
    trend,
)
from app.domain.churn import ChurnFacts
from app.domain.engagement import MEDIAN_PLACE, quadrant, spending_level
from app.domain.feedback import FeedbackKind
from app.domain.influence import influence
from app.domain.next_purchase import next_purchase
from app.domain.order import OrderStatus, is_counted, net_amount
from app.domain.rfm import PERCENTILES, QUINTILES, Cutoffs
from app.domain.tenant import Tenant


@dataclass(frozen=True, slots=True)
class Item:
    """A line of an order."""

    category: str | None
    brand: str | None
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Order:
    """An order as its source states it; amounts in minor units."""

    ordered_at: datetime
    status: OrderStatus = OrderStatus.COMPLETED
    total_amount: int = 100_00
    refund_amount: int = 0
    discount_amount: int = 0
    payment_method: str | None = None
    item_count: int | None = None
    notes: str | None = None
    store_sk: int | None = None
    items: tuple[Item, ...] = ()

    @property
    def counted(self) -> bool:
        return is_counted(self.status, self.total_amount, self.refund_amount)

    @property
    def net(self) -> int:
        return net_amount(self.status, self.total_amount, self.refund_amount)


@dataclass(frozen=True, slots=True)
class Contact:
    """A message, call or visit."""

    sent_at: datetime
    channel: str = "whatsapp"
    responded_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Opinion:
    """A piece of feedback."""

    given_at: datetime
    kind: FeedbackKind = FeedbackKind.NPS
    score: int | None = None


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer, with orders and contacts in the sequence in which they were recorded.

    `referred_by` is the id of a customer recorded before.
    """

    id: str
    orders: tuple[Order, ...] = ()
    membership_tier: str | None = None
    contacts: tuple[Contact, ...] = ()
    opinions: tuple[Opinion, ...] = ()
    referred_by: str | None = None
    loyalty_points: int | None = None
    gender: str | None = None
    date_of_birth: date | None = None
    age_estimate: int | None = None


@dataclass(frozen=True, slots=True)
class Ranks:
    """What a full run stores about the buyers: quintile cutoffs and percentile bounds."""

    cutoffs: Cutoffs
    recency_percentiles: Sequence[float]
    frequency_percentiles: Sequence[float]
    monetary_percentiles: Sequence[float]
    clv_percentiles: Sequence[float]


Row = dict[str, Any]


def window_start(tenant: Tenant, as_of: datetime, days: int) -> datetime:
    """So many days before `as_of` on the wall clock of the tenant."""
    return as_of.astimezone(ZoneInfo(tenant.timezone)) - timedelta(days=days)


def population(made: Sequence[Customer], tenant: Tenant, as_of: datetime) -> dict[str, Row]:
    """The features of each of these customers, by id."""
    return {
        customer.id: features(
            customer,
            tenant,
            as_of,
            referred=[other for other in made if other.referred_by == customer.id],
        )
        for customer in made
    }


def features(
    customer: Customer, tenant: Tenant, as_of: datetime, *, referred: Sequence[Customer] = ()
) -> Row:
    """The columns that need nobody's ranks, and `tenure_months` and `order_value` besides."""
    known = [order for order in customer.orders if order.ordered_at < as_of]
    counted = [order for order in known if order.counted]
    today = tenant.local_day(as_of)
    days = sorted(tenant.local_day(order.ordered_at) for order in counted)
    tenure = (today - days[0]).days if days else None
    tenure_months = max((tenure or 0) / DAYS_PER_MONTH, 1.0)
    revenue = sum(order.net for order in known)
    order_value = max(revenue, 0) / len(counted) if counted else None
    row: Row = {
        "membership_tier": customer.membership_tier,
        "loyalty_points": customer.loyalty_points,
        "gender": customer.gender,
        "age_group": demographics.age_group(
            demographics.age(today, customer.date_of_birth, customer.age_estimate)
        ),
        "first_order_day": days[0] if days else None,
        "first_store_sk": _first_store(counted),
        "total_orders": len(known),
        "counted_orders": len(counted),
        **{
            f"{status}_orders": sum(order.status == status for order in known)
            for status in OrderStatus
        },
        "first_order_at": min((order.ordered_at for order in counted), default=None),
        "last_order_at": max((order.ordered_at for order in counted), default=None),
        "revenue": revenue,
        "refunded_amount": sum(order.refund_amount for order in known),
        "discount_amount": sum(order.discount_amount for order in counted),
        "order_value": order_value,
        "average_order_value": None if order_value is None else round(order_value),
        "tenure_days": tenure,
        "tenure_months": tenure_months,
        "days_since_last_order": (today - days[-1]).days if days else None,
        "orders_per_month": len(counted) / tenure_months,
        "monthly_revenue": round(revenue / tenure_months),
        **_habits(known, counted, tenant),
        **_contacts(customer.contacts, as_of),
        **_opinions(customer.opinions, tenant, as_of),
        "referred_customers": len(referred),
        "referral_revenue": sum(
            order.net for other in referred for order in other.orders if order.ordered_at < as_of
        ),
    }
    for length in WINDOWS:
        since = window_start(tenant, as_of, length)
        row[f"orders_{length}d"] = sum(order.ordered_at >= since for order in counted)
        row[f"revenue_{length}d"] = sum(o.net for o in known if o.ordered_at >= since)
    row["order_frequency_trend"] = trend(row["orders_30d"], row["orders_90d"])
    row["spend_trend"] = trend(row["revenue_30d"], row["revenue_90d"])
    gap = _gap(counted, tenant)
    half_year = window_start(tenant, as_of, 180)
    recent_gap = _gap([order for order in counted if order.ordered_at >= half_year], tenant)
    row["purchase_frequency_days"] = gap
    row["order_interval_change"] = recent_gap / gap - 1 if gap and recent_gap is not None else None
    rfm_since = window_start(tenant, as_of, tenant.profile.window_days)
    row["rfm_frequency"] = sum(order.ordered_at >= rfm_since for order in counted)
    row["rfm_monetary"] = sum(order.net for order in known if order.ordered_at >= rfm_since)
    return row | _lifetime_value(row, tenant) | _next_purchase(row, today)


def _first_store(counted: Sequence[Order]) -> int | None:
    """Of the earliest order; of equally early ones, of the one recorded first."""
    first = min(counted, key=lambda order: order.ordered_at, default=None)
    return None if first is None else first.store_sk


def _contacts(contacts: Sequence[Contact], as_of: datetime) -> Row:
    made = [contact for contact in contacts if contact.sent_at < as_of]
    answered = [c for c in made if c.responded_at is not None and c.responded_at < as_of]
    last = max(enumerate(made), key=lambda placed: (placed[1].sent_at, placed[0]), default=None)
    return {
        "contacts": len(made),
        "responses": len(answered),
        "response_rate": len(answered) / len(made) if made else None,
        "last_contact_at": last and last[1].sent_at,
        "last_contact_channel": last and last[1].channel,
        "preferred_contact_channel": preferred(contact.channel for contact in answered),
    }


def _opinions(opinions: Sequence[Opinion], tenant: Tenant, as_of: datetime) -> Row:
    given = [opinion for opinion in opinions if opinion.given_at < as_of]
    complaints = [opinion for opinion in given if opinion.kind == FeedbackKind.COMPLAINT]
    quarter, year = (window_start(tenant, as_of, days) for days in (90, 365))
    ratings = [
        opinion
        for opinion in given
        if opinion.kind in (FeedbackKind.NPS, FeedbackKind.CSAT) and opinion.given_at >= year
    ]
    scores = [rating.score for rating in ratings if rating.score is not None]
    return {
        "feedback_count": len(given),
        "complaint_count": len(complaints),
        "complaints_90d": sum(complaint.given_at >= quarter for complaint in complaints),
        "satisfaction_score": sum(scores) / len(scores) if scores else None,
        "satisfaction_at": max((rating.given_at for rating in ratings), default=None),
    }


def _next_purchase(row: Row, today: date) -> Row:
    expected = next_purchase(
        counted_orders=row["counted_orders"],
        days_between_orders=row["purchase_frequency_days"],
        interval_change=row["order_interval_change"],
        days_since_last_order=row["days_since_last_order"],
    )
    return {
        "next_purchase_status": _status(expected),
        "next_purchase_on": expected and today + timedelta(days=expected.in_days),
        "next_purchase_confidence": expected and expected.confidence,
    }


def _gap(counted: Sequence[Order], tenant: Tenant) -> float | None:
    days = sorted(tenant.local_day(order.ordered_at) for order in counted)
    return days_between_orders((days[-1] - days[0]).days if days else 0, len(days))


def _habits(known: Sequence[Order], counted: Sequence[Order], tenant: Tenant) -> Row:
    local = [tenant.local(order.ordered_at) for order in counted]
    itemised = [order.item_count for order in counted if order.item_count is not None]
    newest_first = sorted(
        enumerate(known), key=lambda placed: (placed[1].ordered_at, placed[0]), reverse=True
    )
    discounted = sum(order.discount_amount > 0 for order in counted)
    items = list(chain.from_iterable(order.items for order in counted))
    return {
        "preferred_shopping_day": preferred(moment.isoweekday() for moment in local),
        "preferred_shopping_hour": preferred(moment.hour for moment in local),
        "preferred_payment_method": preferred(
            order.payment_method for order in counted if order.payment_method is not None
        ),
        "preferred_categories": _favourites((item.category, item.quantity) for item in items),
        "preferred_brands": _favourites((item.brand, item.quantity) for item in items),
        "basket_size": sum(itemised) / len(itemised) if itemised else None,
        "discount_sensitivity": discounted / len(counted) if counted else None,
        "order_notes": [o.notes for _, o in newest_first if o.notes is not None] or None,
    }


def _favourites(bought: Iterable[tuple[str | None, Decimal]]) -> list[str] | None:
    quantities: dict[str, Decimal] = defaultdict(Decimal)
    for name, quantity in bought:
        if name is not None:
            quantities[name] += quantity
    best_first = sorted(quantities, key=lambda name: (-quantities[name], name))
    return best_first[:TOP_PREFERENCES] or None


def _lifetime_value(row: Row, tenant: Tenant) -> Row:
    if row["order_value"] is None:
        return dict.fromkeys(("clv", "clv_1_year", "clv_3_year"))
    value = clv.lifetime_value(
        tenant.profile.clv,
        average_order_value=row["order_value"],
        purchase_frequency_days=row["purchase_frequency_days"],
        orders_per_month=row["orders_per_month"],
    )
    return {
        "clv": round(value.lifetime),
        "clv_1_year": round(value.one_year),
        "clv_3_year": round(value.three_years),
    }


def ranks(population: Sequence[Row]) -> Ranks | None:
    """The quintiles and percentiles of these customers' features; None without a buyer."""
    buyers = [row for row in population if row["rfm_frequency"] > 0]
    if not buyers:
        return None

    def quantiles(name: str, of: Sequence[Row], at: Sequence[float]) -> tuple[float, ...]:
        values = [row[name] for row in of if row[name] is not None]
        return tuple(np.quantile(np.array(values, dtype=float), at).tolist())

    measures = ("days_since_last_order", "rfm_frequency", "rfm_monetary")
    return Ranks(
        Cutoffs(*(quantiles(name, buyers, QUINTILES) for name in measures)),
        quantiles("days_since_last_order", buyers, PERCENTILES),
        quantiles("rfm_frequency", buyers, PERCENTILES),
        quantiles("rfm_monetary", buyers, PERCENTILES),
        quantiles("clv", population, PERCENTILES),
    )


def expected(row: Row, tenant: Tenant, ranks: Ranks | None) -> Row:
    """Every scored column of a customer with these features, ranked among these buyers."""
    return {
        **{name: value for name, value in row.items() if name not in _INTERMEDIATE},
        "model_version": tenant.profile.version,
        **_rfm(row, tenant, ranks),
        **_clv(row, tenant, ranks),
        **_churn(row, tenant),
        **_engagement(row, tenant, ranks),
        "influence_score": influence(
            tenant.profile.influence,
            referred_customers=row["referred_customers"],
            referral_revenue=row["referral_revenue"] / 10 ** money.decimals(tenant.currency),
            response_rate=row["response_rate"],
        ),
        "external_scores": [],
        "lifecycle_segment": lifecycle.segment(
            tenant.profile.lifecycle,
            counted_orders=row["counted_orders"],
            days_since_last_order=row["days_since_last_order"],
            spend=row["revenue"] / 10 ** money.decimals(tenant.currency),
            orders_365d=row["orders_365d"],
        ),
    }


_INTERMEDIATE = {"order_value", "tenure_months"}


def _status(available: object) -> str:
    return "ok" if available else "insufficient_data"


def _rfm(row: Row, tenant: Tenant, ranks: Ranks | None) -> Row:
    buyer = row["rfm_frequency"] > 0
    days, frequency = row["days_since_last_order"], row["rfm_frequency"]
    monetary = row["rfm_monetary"]
    found: Row = dict.fromkeys(
        (
            "rfm_code",
            "rfm_segment",
            *(f"rfm_{m}_{k}" for m in _MEASURES for k in ("score", "percentile")),
        )
    )
    found["rfm_recency_days"] = days if buyer else None
    if buyer and ranks:
        found["rfm_recency_percentile"] = rfm.percentile_low(
            # Whole days are interpolated at hundredths; the rest is noise of the floating point.
            days,
            [round(bound, 6) for bound in ranks.recency_percentiles],
        )
        found["rfm_frequency_percentile"] = rfm.percentile_high(
            frequency, ranks.frequency_percentiles
        )
        found["rfm_monetary_percentile"] = rfm.percentile_high(monetary, ranks.monetary_percentiles)
    cutoffs = _cutoffs(tenant, ranks)
    if buyer and cutoffs:
        r = rfm.score_low(days, cutoffs.recency_days)
        f = rfm.score_high(frequency, cutoffs.frequency)
        m = rfm.score_high(monetary, cutoffs.monetary)
        found |= {
            "rfm_recency_score": r,
            "rfm_frequency_score": f,
            "rfm_monetary_score": m,
            "rfm_code": rfm.code(r, f, m),
            "rfm_segment": rfm.segment(tenant.profile.segment_rules, r, f, m),
        }
    return found | {"rfm_status": _status(found["rfm_code"])}


_MEASURES = ("recency", "frequency", "monetary")


def _cutoffs(tenant: Tenant, ranks: Ranks | None) -> Cutoffs | None:
    """The cutoffs that hold, monetary values in minor units."""
    fixed = tenant.profile.fixed_cutoffs
    if fixed is None:
        return ranks.cutoffs if ranks else None
    unit = 10 ** money.decimals(tenant.currency)
    return Cutoffs(
        fixed.recency_days, fixed.frequency, tuple(bound * unit for bound in fixed.monetary)
    )


def _engagement(row: Row, tenant: Tenant, ranks: Ranks | None) -> Row:
    response = tenant.profile.engagement.response_level(row["response_rate"])
    median = ranks.monetary_percentiles[MEDIAN_PLACE] if ranks else None
    spending = spending_level(row["rfm_monetary"], median)
    return {
        "response_level": response,
        "spending_level": spending,
        "engagement_quadrant": quadrant(spending, response),
    }


def _clv(row: Row, tenant: Tenant, ranks: Ranks | None) -> Row:
    value = row["clv"]
    percentile = (
        rfm.percentile_high(value, ranks.clv_percentiles) if ranks and value is not None else None
    )
    return {
        "clv_tier": clv.tier(tenant.profile.clv_tiers, percentile),
        "clv_bucket": (
            None if value is None else clv.bucket(value, money.decimals(tenant.currency))
        ),
        "clv_rank": None if value is None else _rank(value),
        "clv_status": _status(value is not None),
        "clv_percentile": percentile,
        "clv_confidence": (
            clv.confidence(row["counted_orders"], row["tenure_months"])
            if value is not None
            else None
        ),
    }


def _churn(row: Row, tenant: Tenant) -> Row:
    rules = tenant.profile.churn
    if row["counted_orders"] < rules.minimum_orders:
        return {
            "churn_status": "insufficient_data",
            "churn_score": None,
            "churn_band": None,
            "churn_reasons": [],
            "value_at_risk": None,
            "risk_rank": None,
        }
    risk = churn.risk(
        rules,
        ChurnFacts(
            days_since_last_order=row["days_since_last_order"],
            orders_30d=row["orders_30d"],
            orders_90d=row["orders_90d"],
            orders_365d=row["orders_365d"],
            revenue_30d=row["revenue_30d"],
            revenue_90d=row["revenue_90d"],
            order_frequency_trend=row["order_frequency_trend"],
            spend_trend=row["spend_trend"],
            contacts=row["contacts"],
            responses=row["responses"],
            complaints_90d=row["complaints_90d"],
            satisfaction_score=row["satisfaction_score"],
        ),
    )
    at_risk = round(row["clv"] * risk.score)
    return {
        "churn_status": "ok",
        "churn_score": risk.score,
        "churn_band": tenant.profile.churn_bands.of(risk.score),
        "churn_reasons": list(risk.reasons),
        "value_at_risk": at_risk,
        "risk_rank": _rank(at_risk),
    }


def _rank(amount: int) -> int:
    """Steps of five per cent."""
    return math.floor(50 * math.log10(amount)) if amount > 0 else 0
