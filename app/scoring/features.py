"""From orders, contacts, feedback and referrals to one row of features per customer: what happened,
before any judgement.

Only what was before the as-of is looked at. `counted` and `net_amount` are the orders' own rules
(`app.domain.order`); windows begin at the tenant's local time of day, so that a day of daylight
saving neither gains nor loses an order.
"""

import ibis
from ibis.expr.types import (
    BooleanValue,
    Column,
    FloatingColumn,
    IntegerColumn,
    StringColumn,
    Table,
)

from app.domain.behaviour import (
    DAYS_PER_MONTH,
    DECREASING,
    FALLING_SHARE,
    INCREASING,
    MONTHS_PER_QUARTER,
    RISING_SHARE,
    STABLE,
    TOP_PREFERENCES,
    WINDOWS,
)
from app.domain.feedback import FeedbackKind
from app.domain.order import OrderStatus
from app.scoring.functions import date_part, days_between, smallest
from app.scoring.relations import (
    WRITTEN,
    contacts,
    feedback,
    order_items,
    orders,
    referred,
    referred_orders,
    run,
    touched,
)


def customer_totals() -> Table:
    """One row for each touched customer, with or without orders: sums, firsts, lasts and tops."""
    parts = (
        _order_totals(),
        _notes(),
        _favourites("category"),
        _favourites("brand"),
        _contact_totals(),
        _feedback_totals(),
        _referred_totals(),
        _referral_revenue(),
    )
    totals = touched
    for part in parts:
        totals = totals.left_join(part, "customer_sk").drop("customer_sk_right")
    return totals


def _known_orders() -> Table:
    return orders.filter(orders.ordered_at < run.as_of.as_scalar())


def _order_totals() -> Table:
    """Every count, sum, first and last, in one pass over the orders."""
    o = _known_orders()
    counted = o.counted
    measures: dict[str, Column] = {
        "total_orders": o.count(),
        "counted_orders": o.count(where=counted),
        **{f"{status}_orders": o.count(where=o.status == status.value) for status in OrderStatus},
        "first_order_at": o.ordered_at.min(where=counted),
        "last_order_at": o.ordered_at.max(where=counted),
        "first_order_local": o.local_at.min(where=counted),
        "last_order_local": o.local_at.max(where=counted),
        "revenue": o.net_amount.sum(),
        "refunded_amount": o.refund_amount.sum(),
        "discount_amount": o.discount_amount.sum(where=counted),
        "discounted_orders": o.count(where=counted & (o.discount_amount > 0)),
        "items_bought": o.item_count.sum(where=counted),
        "orders_with_items": o.item_count.count(where=counted),
        # When, which and where the first one was; of equally early ones the one recorded first.
        "first_order_place": smallest(
            ibis.array(
                [
                    date_part("epoch", o.ordered_at),
                    o.sk.cast("float64"),
                    o.store_sk.cast("float64"),
                ]
            ),
            where=counted,
        ),
        "first_order_local_180d": o.local_at.min(where=counted & _since(o, "180d")),
    }
    for days in WINDOWS:
        within = _since(o, f"{days}d")
        measures[f"orders_{days}d"] = o.count(where=counted & within)
        measures[f"revenue_{days}d"] = o.net_amount.sum(where=within)
    in_rfm_window = o.ordered_at >= run.rfm_since.as_scalar()
    measures["rfm_frequency"] = o.count(where=counted & in_rfm_window)
    measures["rfm_monetary"] = o.net_amount.sum(where=in_rfm_window)
    # Of equally frequent values the mode is the smallest: `app.domain.behaviour.preferred`.
    measures["preferred_shopping_day"] = o.local_weekday.mode(where=counted)
    measures["preferred_shopping_hour"] = o.local_hour.mode(where=counted)
    measures["preferred_payment_method"] = o.payment_method.mode(where=counted)
    return o.group_by("customer_sk").aggregate(**measures)


def _since(o: Table, window: str) -> BooleanValue:
    return o.ordered_at >= run[f"since_{window}"].as_scalar()


def _notes() -> Table:
    """What people wrote on orders of any status, newest first."""
    o = _known_orders()
    noted = o.filter(o.notes.notnull())
    return noted.group_by("customer_sk").aggregate(
        order_notes=noted.notes.collect(
            order_by=[noted.ordered_at.desc(), noted.sk.desc()],
        )
    )


def _favourites(attribute: str) -> Table:
    """The categories (or brands) bought most by quantity; equals by name."""
    o = _known_orders()
    bought = order_items.semi_join(o.filter(o.counted), order_items.order_sk == o.sk)
    bought = bought.filter(bought[attribute].notnull())
    quantities = bought.group_by("customer_sk", attribute).aggregate(quantity=bought.quantity.sum())
    best_first = [quantities.quantity.desc(), quantities[attribute].asc()]
    ranked = quantities.mutate(
        place=ibis.row_number().over(group_by="customer_sk", order_by=best_first)
    )
    top = ranked.filter(ranked.place < TOP_PREFERENCES)
    plural = {"category": "preferred_categories", "brand": "preferred_brands"}[attribute]
    return top.group_by("customer_sk").aggregate(
        **{plural: top[attribute].collect(order_by=top.place)}
    )


def _contact_totals() -> Table:
    """How often the customer was contacted and answered, and over which channel."""
    c = contacts.filter(contacts.sent_at < run.as_of.as_scalar())
    answered = c.responded_at.notnull() & (c.responded_at < run.as_of.as_scalar())
    return c.group_by("customer_sk").aggregate(
        contacts=c.count(),
        responses=c.count(where=answered),
        last_contact_at=c.sent_at.max(),
        last_contact_channel=c.channel.collect(order_by=[c.sent_at.desc(), c.sk.desc()])[0],
        preferred_contact_channel=c.channel.mode(where=answered),
    )


def _feedback_totals() -> Table:
    """What the customer thinks; satisfaction is the mean of the last year's NPS and CSAT scores."""
    f = feedback.filter(feedback.given_at < run.as_of.as_scalar())
    complaint = f.kind == FeedbackKind.COMPLAINT.value
    rating = f.kind.isin([FeedbackKind.NPS.value, FeedbackKind.CSAT.value]) & (
        f.given_at >= run.since_365d.as_scalar()
    )
    return f.group_by("customer_sk").aggregate(
        feedback_count=f.count(),
        complaint_count=f.count(where=complaint),
        complaints_90d=f.count(where=complaint & (f.given_at >= run.since_90d.as_scalar())),
        ratings=f.score.sum(where=rating),
        ratings_given=f.score.count(where=rating),
        satisfaction_at=f.given_at.max(where=rating),
    )


def _referred_totals() -> Table:
    """How many customers the customer brought in, directly."""
    return referred.group_by("customer_sk").aggregate(referred_customers=referred.count())


def _referral_revenue() -> Table:
    """What those customers' orders are worth."""
    o = referred_orders.filter(referred_orders.ordered_at < run.as_of.as_scalar())
    return o.group_by("customer_sk").aggregate(referral_revenue=o.net_amount.sum())


#: Sums of amounts, in minor units.
AMOUNTS = (
    "revenue",
    "refunded_amount",
    "discount_amount",
    *(f"revenue_{days}d" for days in WINDOWS),
    "rfm_monetary",
    "referral_revenue",
)

_SUMS = (
    "total_orders",
    "counted_orders",
    *(f"{status}_orders" for status in OrderStatus),
    *(f"orders_{days}d" for days in WINDOWS),
    "rfm_frequency",
    "contacts",
    "responses",
    "feedback_count",
    "complaint_count",
    "complaints_90d",
    "referred_customers",
    *AMOUNTS,
)


def customer_periods(totals: Table) -> Table:
    """The totals with nothing missing, and the days between first, last and now."""
    as_of_day = run.as_of_day.as_scalar()
    first, last = totals.first_order_local.date(), totals.last_order_local.date()
    return totals.mutate(
        **{name: totals[name].fill_null(0).cast("int64") for name in _SUMS},
        tenure_days=days_between(as_of_day, first),
        days_since_last_order=days_between(as_of_day, last),
        buying_days=days_between(last, first),
        buying_days_180d=days_between(last, totals.first_order_local_180d.date()),
    )


def customer_features(periods: Table) -> Table:
    """Means, rhythm and trends."""
    t = periods
    # The first month counts as a whole one: a second order on the second day is not the promise of
    # thirty a month.
    tenure_months = ibis.greatest(t.tenure_days.cast("float64") / DAYS_PER_MONTH, 1.0)
    orders_counted = t.counted_orders.nullif(0)
    order_value = ibis.greatest(t.revenue, 0).cast("float64") / orders_counted
    gap = _mean_gap(t.buying_days, t.counted_orders)
    recent_gap = _mean_gap(t.buying_days_180d, t.orders_180d)
    return t.select(
        "customer_sk",
        "membership_tier",
        "loyalty_points",
        "gender",
        "date_of_birth",
        "age_estimate",
        "previously_computed_at",
        "external_scores",
        *WRITTEN,
        *_SUMS,
        "first_order_at",
        "last_order_at",
        "tenure_days",
        "days_since_last_order",
        "preferred_shopping_day",
        "preferred_shopping_hour",
        "preferred_payment_method",
        "preferred_categories",
        "preferred_brands",
        "order_notes",
        "last_contact_at",
        "last_contact_channel",
        "preferred_contact_channel",
        "satisfaction_at",
        first_order_day=t.first_order_local.date(),
        first_store_sk=t.first_order_place[2].cast("int64"),
        response_rate=t.responses.cast("float64") / t.contacts.nullif(0),
        satisfaction_score=t.ratings.cast("float64") / t.ratings_given.nullif(0),
        order_value=order_value,
        average_order_value=order_value.round().cast("int64"),
        tenure_months=tenure_months,
        orders_per_month=t.counted_orders.cast("float64") / tenure_months,
        monthly_revenue=(t.revenue.cast("float64") / tenure_months).round().cast("int64"),
        purchase_frequency_days=gap,
        order_interval_change=recent_gap / gap.nullif(0.0) - 1.0,
        basket_size=t.items_bought.cast("float64") / t.orders_with_items.nullif(0),
        discount_sensitivity=t.discounted_orders.cast("float64") / orders_counted,
        order_frequency_trend=_trend(t.orders_30d, t.orders_90d),
        spend_trend=_trend(t.revenue_30d, t.revenue_90d),
    )


def _mean_gap(days: IntegerColumn, orders_counted: IntegerColumn) -> FloatingColumn:
    """`app.domain.behaviour.days_between_orders`."""
    return ibis.ifelse(
        orders_counted >= 2,
        days.cast("float64") / (orders_counted - 1).nullif(0),
        ibis.null("float64"),
    )


def _trend(last_30_days: IntegerColumn, last_90_days: IntegerColumn) -> StringColumn:
    """`app.domain.behaviour.trend`."""
    mean_month = last_90_days.cast("float64") / float(MONTHS_PER_QUARTER)
    month = last_30_days.cast("float64")
    return ibis.cases(
        (last_90_days <= 0, ibis.null("string")),
        (month < mean_month * FALLING_SHARE, DECREASING),
        (month > mean_month * RISING_SHARE, INCREASING),
        else_=STABLE,
    )
