"""Insights: each rule at its limits, the order of impact, and sentences with the own numbers."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.insights import (
    Facts,
    Impact,
    Insight,
    InsightType,
    insights,
    next_birthday,
)

TODAY = date(2026, 3, 2)

#: A customer of whom there is nothing to say.
PLAIN = Facts(
    today=TODAY,
    currency="USD",
    recorded_on=date(2024, 1, 1),
    counted_orders=4,
    revenue=120_000,
    days_since_last_order=20,
    tenure_days=300,
    average_order_value=30_000,
    lifecycle_segment="occasional",
    best_segment=False,
    clv=50_000,
    clv_percentile=50,
    churn_score=0.2,
    churn_band="low",
    value_at_risk=10_000,
    next_purchase_status="insufficient_data",
    next_purchase_on=None,
    satisfaction_score=None,
    complaints_90d=0,
    influence_score=None,
    referred_customers=0,
    referral_revenue=0,
    contacts=0,
    responses=0,
    response_rate=None,
    date_of_birth=None,
)


def types(**changes: Any) -> list[str]:
    return [insight.type for insight in insights(replace(PLAIN, **changes))]


def only(**changes: Any) -> Insight:
    [insight] = insights(replace(PLAIN, **changes))
    return insight


def test_of_a_plain_customer_there_is_nothing_to_say() -> None:
    assert insights(PLAIN) == []


@pytest.mark.parametrize(
    ("below", "above", "expected"),
    [
        ({"churn_band": "medium"}, {"churn_band": "high"}, "churn_risk"),
        ({"days_since_last_order": 90}, {"days_since_last_order": 91}, "low_engagement"),
        ({"clv_percentile": 89}, {"clv_percentile": 90}, "high_value"),
        ({"lifecycle_segment": "regular"}, {"lifecycle_segment": "vip"}, "high_value"),
        ({"tenure_days": 31}, {"tenure_days": 30}, "new_customer"),
        (
            {"counted_orders": 0, "recorded_on": TODAY - timedelta(31)},
            {"counted_orders": 0, "recorded_on": TODAY - timedelta(30)},
            "new_customer",
        ),
        ({"satisfaction_score": 5.0}, {"satisfaction_score": 4.9}, "unhappy"),
        ({"complaints_90d": 0}, {"complaints_90d": 1}, "unhappy"),
        ({"influence_score": 59.9}, {"influence_score": 60.0}, "influencer"),
        (
            {"best_segment": True, "referred_customers": 1},
            {"best_segment": True},
            "ambassador_candidate",
        ),
        (
            {"contacts": 5, "responses": 2, "response_rate": 0.3},
            {"contacts": 5, "responses": 1, "response_rate": 0.2},
            "silent",
        ),
        (
            {"contacts": 4, "responses": 0, "response_rate": 0.0},
            {"contacts": 5, "responses": 0, "response_rate": 0.0},
            "silent",
        ),
        (
            {"date_of_birth": date(1990, 3, 10)},
            {"date_of_birth": date(1990, 3, 9)},
            "birthday",
        ),
        (
            {"date_of_birth": date(1990, 3, 1)},
            {"date_of_birth": date(1990, 3, 2)},
            "birthday",
        ),
    ],
)
def test_each_rule_begins_at_its_limit(
    below: dict[str, Any], above: dict[str, Any], expected: str
) -> None:
    assert types(**below) == []
    assert types(**above) == [expected]


@pytest.mark.parametrize(("ahead", "holds"), [(-1, False), (0, True), (3, True), (4, False)])
def test_a_purchase_is_due_from_today_to_three_days_ahead(ahead: int, holds: bool) -> None:
    on = TODAY + timedelta(ahead)
    found = types(next_purchase_status="ok", next_purchase_on=on)
    assert found == (["next_purchase_due"] if holds else [])
    assert types(next_purchase_status="insufficient_data", next_purchase_on=on) == []


def test_sentences_have_the_customers_own_numbers() -> None:
    risk = only(churn_band="critical", churn_score=0.85, value_at_risk=123_456)
    assert risk.description == (
        "The churn score is 85% (critical); USD 1,234.56 are at stake."
        " The last order was 20 days ago."
    )
    unhappy = only(satisfaction_score=3.25, complaints_90d=2)
    assert unhappy.description == "Satisfaction is 3.2 of 10. 2 complaints in the last 90 days."
    worth = only(clv_percentile=97)
    assert "USD 1,200.00 in 4 orders" in worth.description
    assert "USD 500.00 reaches that of 97 %" in worth.description
    influential = only(influence_score=71.6, referred_customers=1, referral_revenue=100)
    assert influential.description == (
        "Influence is 72 of 100: 1 customer referred, who spent USD 1.00."
    )
    silent = only(contacts=8, responses=1, response_rate=0.125)
    assert silent.description == "Answered 1 of 8 contacts (12%)."
    due = only(next_purchase_status="ok", next_purchase_on=TODAY)
    assert due.description.startswith("The next order is expected on 2026-03-02 (today).")


def test_a_leap_days_birthday_is_the_last_of_february() -> None:
    born = date(2000, 2, 29)
    assert next_birthday(born, date(2026, 2, 20)) == date(2026, 2, 28)
    assert next_birthday(born, date(2028, 2, 28)) == date(2028, 2, 29)
    assert next_birthday(born, date(2027, 3, 1)) == date(2028, 2, 29)


days = st.dates(date(1930, 1, 1), date(2090, 12, 31))


@given(days, days)
def test_the_next_birthday_is_within_a_year(born: date, today: date) -> None:
    birthday = next_birthday(born, today)
    assert today <= birthday < today + timedelta(367)
    assert (birthday.month, birthday.day) == (born.month, born.day) or born.day == 29


whole = st.integers(0, 500)
shares = st.none() | st.floats(0, 1)
any_facts = st.builds(
    Facts,
    today=st.just(TODAY),
    currency=st.sampled_from(["USD", "IDR", "JPY", "KWD"]),
    recorded_on=days,
    counted_orders=whole,
    revenue=st.integers(-(10**12), 10**14),
    days_since_last_order=st.none() | whole,
    tenure_days=st.none() | whole,
    average_order_value=st.none() | whole,
    lifecycle_segment=st.sampled_from(["new", "vip", "lost"]),
    best_segment=st.booleans(),
    clv=st.none() | whole,
    clv_percentile=st.none() | st.integers(0, 100),
    churn_score=shares,
    churn_band=st.none() | st.sampled_from(["low", "medium", "high", "critical"]),
    value_at_risk=st.none() | whole,
    next_purchase_status=st.sampled_from(["ok", "insufficient_data"]),
    next_purchase_on=st.none() | days,
    satisfaction_score=st.none() | st.floats(0, 10),
    complaints_90d=whole,
    influence_score=st.none() | st.floats(0, 100),
    referred_customers=whole,
    referral_revenue=whole,
    contacts=whole,
    responses=whole,
    response_rate=shares,
    date_of_birth=st.none() | days,
)


@given(any_facts)
def test_every_insight_is_told_once_in_order_of_impact_and_complete(facts: Facts) -> None:
    found = insights(facts)
    assert len({insight.type for insight in found}) == len(found) <= len(InsightType)
    ranks = [list(Impact).index(insight.impact) for insight in found]
    assert ranks == sorted(ranks)
    for insight in found:
        assert insight.title
        assert insight.suggested_actions
        assert insight.description.endswith(".")
        assert "None" not in insight.description
