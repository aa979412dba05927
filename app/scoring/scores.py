"""From features to scores: RFM, lifetime value, churn, influence, engagement and what comes next.

Every rule is data in `app.domain`; this module says the same rules as expressions, so that one
statement scores a million customers. The function named in each docstring is the scalar twin, and
property tests hold the two to the same answer.
"""

import operator
from collections.abc import Sequence
from functools import reduce

import ibis
from ibis.expr.types import (
    BooleanValue,
    Column,
    FloatingColumn,
    IntegerColumn,
    StringColumn,
    Table,
)

from app.domain.behaviour import DECREASING, FALLING_SHARE, MONTHS_PER_QUARTER
from app.domain.churn import (
    SCORE_DIGITS,
    TOP_REASONS,
    ChurnBand,
    ChurnBands,
    ChurnReason,
    ComponentChurn,
    Drop,
    TieredChurn,
    Voice,
)
from app.domain.clv import (
    BUCKET_BOUNDS,
    DAYS_PER_YEAR,
    MONTHS_PER_YEAR,
    ClvRules,
    ClvTier,
    SimpleClv,
)
from app.domain.demographics import AGE_GROUPS, AgeGroup
from app.domain.engagement import (
    MEDIAN_PLACE,
    QUADRANTS,
    EngagementRules,
    ResponseLevel,
    SpendingLevel,
)
from app.domain.influence import InfluenceRules
from app.domain.lifecycle import LifecycleRules, LifecycleSegment
from app.domain.profile import Profile
from app.domain.rfm import ANY, ANY_SUM, PERCENTILES, QUINTILES, SegmentRule
from app.domain.status import ScoreStatus
from app.domain.written_scores import PRODUCTS
from app.scoring.functions import days_after, width_bucket
from app.scoring.relations import WRITTEN, cutoffs, run


def clv(features: Table, profile: Profile) -> Table:
    """The features with `clv`, `clv_1_year` and `clv_3_year`: `app.domain.clv.lifetime_value`."""
    value = _lifetime_value(features, profile.clv)
    return features.mutate(
        **{
            name: ibis.ifelse(
                features.counted_orders > 0, amount.round(), ibis.null("float64")
            ).cast("int64")
            for name, amount in value.items()
        }
    )


def population(features: Table, profile: Profile) -> Table:
    """One row: the cutoffs and percentiles of the buyers in the RFM window, and how many they are.

    The percentiles of lifetime value are over everybody who has a value.
    """
    valued = clv(features, profile)
    buyers = valued.rfm_frequency > 0
    everything = [*QUINTILES, *PERCENTILES]
    quantiles = {
        "recency": valued.days_since_last_order.quantile(everything, where=buyers),
        "frequency": valued.rfm_frequency.quantile(everything, where=buyers),
        "monetary": valued.rfm_monetary.quantile(everything, where=buyers),
        "clv": valued.clv.quantile(everything),
    }
    return valued.aggregate(buyers=buyers.sum(), **quantiles)


def customer_ratings(features: Table, profile: Profile, decimals: int) -> Table:
    """The features with lifetime value, the RFM scores, the churn score and those beside them.

    `decimals` are the decimal places of the tenant's currency, for rules written in major units.
    Where a profile keeps what others wrote, their values take the place of ours here, before
    anything is derived from them.
    """
    t = clv(features, profile).cross_join(cutoffs)
    t = t.mutate(
        **_rfm_scores(t, profile, decimals),
        **_churn(t, profile),
        **_next_purchase(t),
        influence_score=_influence(t, profile.influence, decimals),
        response_level=_response_level(t.response_rate, profile.engagement),
        spending_level=_spending_level(t),
        age_group=_age_group(t),
        rfm_segment=ibis.null("string"),
    )
    t = t.drop(*cutoffs.columns)
    if profile.keeps_external_scores:
        t = t.mutate(
            **{
                name: t[written].fill_null(t[name])
                for written in WRITTEN
                for name in [written.removeprefix("written_")]
            }
        )
    return t.drop(*WRITTEN)


def customer_scores(ratings: Table, profile: Profile, decimals: int) -> Table:
    """One row per customer with every column of `customer_analytics` that scoring fills."""
    t = ratings
    r, f, m = t.rfm_recency_score, t.rfm_frequency_score, t.rfm_monetary_score
    return t.select(
        "customer_sk",
        "previously_computed_at",
        as_of=run.as_of.as_scalar(),
        model_version=ibis.literal(profile.version),
        **{name: t[name] for name in _CARRIED},
        **_derived(t, profile, decimals),
        rfm_segment=t.rfm_segment.fill_null(_segment(r, f, m, profile.segment_rules)),
        clv_confidence=_clv_confidence(t),
        lifecycle_segment=_lifecycle(t, profile.lifecycle, decimals),
        engagement_quadrant=_quadrant(t.spending_level, t.response_level),
        external_scores=_external_scores(t, profile),
    )


def written_scores(merged: Table, profile: Profile, decimals: int) -> Table:
    """Rows that somebody else's scores were laid over, with the columns that follow from these."""
    return merged.mutate(**_derived(merged, profile, decimals))


def _derived(t: Table, profile: Profile, decimals: int) -> dict[str, Column]:
    """What follows from the scores alone, whoever computed them."""
    r, f, m = t.rfm_recency_score, t.rfm_frequency_score, t.rfm_monetary_score
    return {
        "rfm_status": _status(r.notnull() | t.rfm_segment.notnull()),
        "rfm_code": (r * 100 + f * 10 + m).cast("string"),
        "clv_status": _status(t.clv.notnull()),
        "clv_tier": _clv_tier(t.clv_percentile, profile.clv_tiers),
        "clv_bucket": _clv_bucket(t.clv, decimals),
        "churn_status": _status(t.churn_score.notnull()),
        "churn_band": _churn_band(t.churn_score, profile.churn_bands),
        "value_at_risk": (t.clv.cast("float64") * t.churn_score).round().cast("int64"),
        "next_purchase_status": _status(t.next_purchase_on.notnull()),
    }


_CARRIED = (
    "membership_tier",
    "loyalty_points",
    "gender",
    "age_group",
    "first_order_day",
    "first_store_sk",
    "total_orders",
    "counted_orders",
    "pending_orders",
    "accepted_orders",
    "completed_orders",
    "cancelled_orders",
    "no_show_orders",
    "refunded_orders",
    "first_order_at",
    "last_order_at",
    "revenue",
    "refunded_amount",
    "discount_amount",
    "average_order_value",
    "orders_30d",
    "orders_90d",
    "orders_180d",
    "orders_365d",
    "revenue_30d",
    "revenue_90d",
    "revenue_180d",
    "revenue_365d",
    "order_frequency_trend",
    "spend_trend",
    "order_interval_change",
    "tenure_days",
    "days_since_last_order",
    "purchase_frequency_days",
    "orders_per_month",
    "monthly_revenue",
    "preferred_shopping_day",
    "preferred_shopping_hour",
    "preferred_payment_method",
    "preferred_categories",
    "preferred_brands",
    "basket_size",
    "discount_sensitivity",
    "order_notes",
    "contacts",
    "responses",
    "response_rate",
    "last_contact_at",
    "last_contact_channel",
    "preferred_contact_channel",
    "feedback_count",
    "complaint_count",
    "complaints_90d",
    "satisfaction_score",
    "satisfaction_at",
    "referred_customers",
    "referral_revenue",
    "influence_score",
    "response_level",
    "spending_level",
    "next_purchase_on",
    "next_purchase_confidence",
    "rfm_recency_days",
    "rfm_frequency",
    "rfm_monetary",
    "rfm_recency_score",
    "rfm_frequency_score",
    "rfm_monetary_score",
    "rfm_recency_percentile",
    "rfm_frequency_percentile",
    "rfm_monetary_percentile",
    "clv",
    "clv_1_year",
    "clv_3_year",
    "clv_percentile",
    "churn_score",
    "churn_reasons",
)


#: Percentiles of whole days are interpolated at hundredths: half of one lies between any two.
_HALF_A_STEP = 0.5 / len(PERCENTILES)


def _rfm_scores(t: Table, profile: Profile, decimals: int) -> dict[str, Column]:
    """`app.domain.rfm.score_…` and `percentile_…`; nothing for who did not buy."""
    fixed = profile.fixed_cutoffs
    days, frequency, monetary = t.days_since_last_order, t.rfm_frequency, t.rfm_monetary
    if fixed:
        days_below = _below(days, fixed.recency_days)
        frequency_below = _below(frequency, fixed.frequency)
        monetary_below = _below(monetary, [bound * 10**decimals for bound in fixed.monetary])
    else:
        days_below = _below(days, _places(t.recency_cutoffs))
        frequency_below = _below(frequency, _places(t.frequency_cutoffs))
        monetary_below = _below(monetary, _places(t.monetary_cutoffs))
    buyer = frequency > 0
    return {
        "rfm_recency_days": _where(buyer, days),
        "rfm_recency_score": _where(buyer, 5 - days_below),
        "rfm_frequency_score": _where(buyer, 1 + frequency_below),
        "rfm_monetary_score": _where(buyer, 1 + monetary_below),
        # The bucket counts the bounds reached; here only those strictly below are to count.
        "rfm_recency_percentile": _where(
            buyer,
            len(PERCENTILES)
            - width_bucket(days.cast("float64") - _HALF_A_STEP, t.recency_percentiles),
        ),
        "rfm_frequency_percentile": _where(
            buyer, width_bucket(frequency.cast("float64"), t.frequency_percentiles)
        ),
        "rfm_monetary_percentile": _where(
            buyer, width_bucket(monetary.cast("float64"), t.monetary_percentiles)
        ),
        "clv_percentile": width_bucket(t.clv.cast("float64"), t.clv_percentiles),
    }


def _where(condition: BooleanValue, value: IntegerColumn) -> IntegerColumn:
    return ibis.ifelse(condition, value, ibis.null(value.type()))


def _places(bounds: Column) -> list[Column]:
    return [bounds[place] for place in range(len(QUINTILES))]


def _below(value: IntegerColumn, bounds: Sequence[float | Column]) -> IntegerColumn:
    """How many of the cutoffs lie strictly below the value."""
    return _sum([(value > bound).cast("int32") for bound in bounds])


def _segment(
    r: IntegerColumn, f: IntegerColumn, m: IntegerColumn, rules: tuple[SegmentRule, ...]
) -> StringColumn:
    """`app.domain.rfm.segment`."""
    *narrow, rest = rules
    return ibis.cases(
        (r.isnull(), ibis.null("string")),
        *((_matches(rule, r, f, m), rule.segment) for rule in narrow),
        else_=rest.segment,
    )


def _matches(
    rule: SegmentRule, r: IntegerColumn, f: IntegerColumn, m: IntegerColumn
) -> BooleanValue:
    conditions = [
        score.between(bounds.low, bounds.high)
        for score, bounds, anything in (
            (r, rule.r, ANY),
            (f, rule.f, ANY),
            (m, rule.m, ANY),
            (f + m, rule.fm, ANY_SUM),
        )
        if bounds != anything
    ]
    return reduce(lambda both, condition: both & condition, conditions)


def _lifetime_value(t: Table, rules: ClvRules) -> dict[str, FloatingColumn]:
    """`app.domain.clv.lifetime_value`."""
    if isinstance(rules, SimpleClv):
        rhythm = t.purchase_frequency_days.fill_null(float(DAYS_PER_YEAR))
        gap = ibis.greatest(rhythm, rules.shortest_gap_days)
        yearly = t.order_value * float(DAYS_PER_YEAR) / gap * rules.margin
        return {"clv": yearly * rules.years, "clv_1_year": yearly, "clv_3_year": yearly * 3.0}
    monthly = t.order_value * t.orders_per_month * rules.margin
    estimated = rules.retention_base + rules.retention_per_monthly_order * t.orders_per_month
    retention = ibis.least(ibis.greatest(estimated, rules.retention_floor), rules.retention_ceiling)
    yearly = monthly * float(MONTHS_PER_YEAR)
    return {
        "clv": yearly * retention / (1.0 + rules.discount_rate - retention),
        "clv_1_year": yearly * retention,
        "clv_3_year": yearly * 3.0 * (retention * retention),
    }


def _clv_confidence(t: Table) -> IntegerColumn:
    """`app.domain.clv.confidence`."""
    points = 50.0 + 2.0 * t.counted_orders + 0.5 * t.tenure_months
    return _where(t.counted_orders > 0, ibis.least(points, 100.0).floor().cast("int64"))


def _churn(t: Table, profile: Profile) -> dict[str, Column]:
    rules = profile.churn
    enough = t.counted_orders >= rules.minimum_orders
    if isinstance(rules, TieredChurn):
        score, reasons = _tiered_churn(t, rules)
    else:
        score, reasons = _component_churn(t, rules)
    return {
        "churn_score": ibis.ifelse(enough, score, ibis.null("float64")),
        "churn_reasons": _named([(reason, enough & holds) for reason, holds in reasons]),
    }


Reasons = list[tuple[ChurnReason, BooleanValue]]


def _tiered_churn(t: Table, rules: TieredChurn) -> tuple[FloatingColumn, Reasons]:
    """`app.domain.churn.risk` by absence."""
    days = t.days_since_last_order
    probability = ibis.cases(
        *((days > limit, tier) for limit, tier in rules.absences), else_=rules.present
    )
    factor = ibis.cases(
        *((t.orders_365d > limit, discount) for limit, discount in rules.discounts), else_=1.0
    )
    fewest = min(limit for limit, _ in rules.discounts)
    reasons = [
        (ChurnReason.LONG_ABSENCE, days > rules.reason_from_days),
        (ChurnReason.RARE_BUYER, t.orders_365d <= fewest),
        (ChurnReason.FALLING_TREND, t.order_frequency_trend == DECREASING),
    ]
    return ibis.least(probability * factor, 1.0).round(SCORE_DIGITS), reasons


def _component_churn(t: Table, rules: ComponentChurn) -> tuple[FloatingColumn, Reasons]:
    """`app.domain.churn.risk` by points."""
    full = rules.absence_full_after_days
    absence = (
        ibis.least(t.days_since_last_order, full).cast("float64")
        * float(rules.absence_points)
        / float(full)
    )
    orders = _drop_points(rules.orders, t.orders_30d, t.orders_90d)
    spending = _drop_points(rules.spending, t.revenue_30d, t.revenue_90d)
    trend = ibis.cases(
        (t.order_frequency_trend == DECREASING, rules.falling_orders_points),
        (t.spend_trend == DECREASING, rules.falling_spend_points),
        else_=0,
    )
    complaints, dissatisfaction, silence = _voice_points(t, rules.voice)
    reasons = [
        (ChurnReason.LONG_ABSENCE, absence >= float(rules.absence_reason)),
        (ChurnReason.FEWER_ORDERS, orders >= rules.orders_reason),
        (ChurnReason.LESS_SPENDING, spending >= rules.spending_reason),
        (ChurnReason.COMPLAINTS, complaints > 0),
        (ChurnReason.LOW_SATISFACTION, dissatisfaction > 0),
        (ChurnReason.FALLING_TREND, trend >= rules.trend_reason),
        (ChurnReason.LOW_RESPONSE, silence > 0),
    ]
    points = absence + orders + spending + trend + complaints + dissatisfaction + silence
    return ibis.least(points, 100.0).floor().cast("float64") / 100.0, reasons


def _voice_points(t: Table, voice: Voice) -> tuple[IntegerColumn, IntegerColumn, IntegerColumn]:
    """Points for complaints, for dissatisfaction and for not answering."""
    complaints = ibis.least(t.complaints_90d * voice.points_per_complaint, voice.complaint_points)
    dissatisfied = t.satisfaction_score < voice.satisfied_from
    silent = (t.contacts >= voice.enough_contacts) & (
        t.responses.cast("float64") < voice.answering_from * t.contacts.cast("float64")
    )
    return (
        complaints,
        ibis.cases((dissatisfied, voice.dissatisfied_points), else_=0),
        ibis.cases((silent, voice.silent_points), else_=0),
    )


def _drop_points(
    drop: Drop, last_30_days: IntegerColumn, last_90_days: IntegerColumn
) -> IntegerColumn:
    """`app.domain.churn.Drop.points`."""
    limit = last_90_days.cast("float64") / float(MONTHS_PER_QUARTER) * FALLING_SHARE
    return ibis.cases(
        ((last_30_days == 0) & (last_90_days == 0), drop.nothing_in_90_days),
        (last_30_days == 0, drop.nothing_in_30_days),
        (last_30_days.cast("float64") < limit, drop.far_below_mean),
        else_=0,
    )


def _named(reasons: Reasons) -> Column:
    """The codes of the reasons that hold, weightiest first, at most `TOP_REASONS`."""
    codes = []
    before: list[IntegerColumn] = []
    for reason, holds in reasons:
        # Cutting a list short afterwards would make it anew at every mention.
        named = holds if len(before) < TOP_REASONS else holds & (_sum(before) < TOP_REASONS)
        codes.append(ibis.ifelse(named, reason.value, ibis.null("string")))
        before.append(holds.cast("int32").fill_null(0))
    return ibis.literal(",").join(codes).split(",")


def _sum(numbers: Sequence[IntegerColumn]) -> IntegerColumn:
    return reduce(operator.add, numbers)


def _churn_band(score: FloatingColumn, bands: ChurnBands) -> StringColumn:
    """`app.domain.churn.ChurnBands.of`."""
    lowest, *higher = ChurnBand
    descending = reversed(list(zip(bands.bounds, higher, strict=True)))
    return ibis.cases(
        (score.isnull(), ibis.null("string")),
        *(
            (score > bound if bands.upper_inclusive else score >= bound, band.value)
            for bound, band in descending
        ),
        else_=lowest.value,
    )


def _lifecycle(t: Table, rules: LifecycleRules, decimals: int) -> StringColumn:
    """`app.domain.lifecycle.segment`."""
    vip_spend = rules.vip_spend * 10**decimals
    return ibis.cases(
        (t.days_since_last_order.isnull(), LifecycleSegment.NEW.value),
        *((t.days_since_last_order > days, stage.value) for days, stage in rules.absences),
        (
            (t.revenue > vip_spend) & (t.orders_365d > rules.vip_orders),
            LifecycleSegment.VIP.value,
        ),
        (t.orders_365d > rules.regular_orders, LifecycleSegment.REGULAR.value),
        else_=LifecycleSegment.OCCASIONAL.value,
    )


def _status(available: BooleanValue) -> StringColumn:
    return ibis.ifelse(available, ScoreStatus.OK.value, ScoreStatus.INSUFFICIENT_DATA.value)


def _clv_tier(percentile: IntegerColumn, tiers: tuple[ClvTier, ...]) -> StringColumn:
    """`app.domain.clv.tier`."""
    return ibis.cases(
        *((percentile >= tier.from_percentile, tier.code) for tier in tiers),
        else_=ibis.null("string"),
    )


def _clv_bucket(value: IntegerColumn, decimals: int) -> IntegerColumn:
    """`app.domain.clv.bucket`."""
    bounds = ibis.array([float(bound * 10**decimals) for bound in BUCKET_BOUNDS])
    return width_bucket(value.cast("float64"), bounds)


def _influence(t: Table, rules: InfluenceRules, decimals: int) -> FloatingColumn:
    """`app.domain.influence.influence`."""
    revenue = ibis.greatest(t.referral_revenue, 0).cast("float64") / float(10**decimals)
    return 100.0 * (
        rules.referral_weight
        * ibis.least(t.referred_customers.cast("float64") / rules.referral_norm, 1.0)
        + rules.revenue_weight * ibis.least(revenue / rules.revenue_norm, 1.0)
        + rules.engagement_weight * t.response_rate.fill_null(0.0)
    )


def _response_level(rate: FloatingColumn, rules: EngagementRules) -> StringColumn:
    """`app.domain.engagement.EngagementRules.response_level`."""
    return ibis.cases(
        (rate.isnull(), ibis.null("string")),
        (rate < rules.low, ResponseLevel.LOW.value),
        (rate > rules.high, ResponseLevel.HIGH.value),
        else_=ResponseLevel.MEDIUM.value,
    )


def _spending_level(t: Table) -> StringColumn:
    """`app.domain.engagement.spending_level`."""
    median = t.monetary_percentiles[MEDIAN_PLACE]
    return ibis.cases(
        (median.isnull(), ibis.null("string")),
        (t.rfm_monetary.cast("float64") > median, SpendingLevel.HIGH.value),
        else_=SpendingLevel.LOW.value,
    )


def _quadrant(spending: StringColumn, response: StringColumn) -> StringColumn:
    """`app.domain.engagement.quadrant`."""
    return ibis.cases(
        *(
            ((spending == level.value) & (response == rate.value), quadrant.value)
            for (level, rate), quadrant in QUADRANTS.items()
        ),
        else_=ibis.null("string"),
    )


def _age_group(t: Table) -> StringColumn:
    """`app.domain.demographics.age_group` of `age`."""
    day, born = run.as_of_day.as_scalar(), t.date_of_birth
    before_birthday = day.month() * 100 + day.day() < born.month() * 100 + born.day()
    age = (day.year() - born.year() - before_birthday.cast("int32")).fill_null(t.age_estimate)
    return ibis.cases(
        (age.isnull() | (age < 0), ibis.null("string")),
        *((age >= first, group.value) for first, group in AGE_GROUPS),
        else_=AgeGroup.UNDER_18.value,
    )


def _next_purchase(t: Table) -> dict[str, Column]:
    """`app.domain.next_purchase.next_purchase`."""
    gap, days = t.purchase_frequency_days.nullif(0.0), t.days_since_last_order
    in_days = ibis.greatest(gap.round().cast("int32") - days, 0)
    evidence = 1.0 - 1.0 / t.counted_orders.nullif(0).cast("float64")
    steadiness = 1.0 / (1.0 + t.order_interval_change.fill_null(0.0).abs())
    timeliness = ibis.least(gap / ibis.greatest(days, 1).cast("float64"), 1.0)
    known = gap.notnull()
    return {
        "next_purchase_on": ibis.ifelse(
            known, days_after(run.as_of_day.as_scalar(), in_days.cast("int32")), ibis.null("date")
        ),
        "next_purchase_confidence": ibis.ifelse(
            known, evidence * steadiness * timeliness, ibis.null("float64")
        ),
    }


def _external_scores(t: Table, profile: Profile) -> Column:
    """The groups that came from outside and stay; recommended products are nobody's but theirs."""
    if profile.keeps_external_scores:
        return t.external_scores
    return t.external_scores.filter(lambda group: group == PRODUCTS)
