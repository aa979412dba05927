"""Churn of all customers over HTTP."""

from datetime import datetime
from decimal import Decimal
from typing import Self

from pydantic import Field

from app.api.schemas.figures import mean, nobody, share
from app.api.schemas.profile import View
from app.domain.churn import SCORE_DIGITS, ChurnBand
from app.domain.money import from_minor
from app.domain.tenant import Tenant
from app.repositories.population import Totals

#: Whoever is in one of these is at risk.
RISKY_BANDS = (ChurnBand.HIGH, ChurnBand.CRITICAL)

_POINTS = 10**SCORE_DIGITS

_TITLES = {
    "long_absence": "No order for a long time.",
    "fewer_orders": "Fewer orders than before.",
    "less_spending": "Less spending than before.",
    "falling_trend": "Orders or spending fall.",
    "rare_buyer": "Few orders in a year.",
    "complaints": "Complained lately.",
    "low_satisfaction": "Not satisfied.",
    "low_response": "Leaves contacts unanswered.",
}


def _average_score(totals: Totals) -> float | None:
    average = mean(totals.churn_points / _POINTS, totals.churn_rated)
    return None if average is None else round(average, SCORE_DIGITS)


class ChurnBandView(View):
    """The customers of one band."""

    band: ChurnBand
    customers: int
    share: float = Field(description="Of the customers with a churn score.")
    value_at_risk: Decimal = Field(description="Sum of lifetime value times churn score.")
    value_at_risk_share: float
    average_score: float | None
    declining_orders: int = Field(description="Customers whose orders are decreasing.")
    declining_spend: int = Field(description="Customers whose spending is decreasing.")
    average_days_since_last_order: float | None
    recommended_action: str


class ChurnOverviewView(View):
    """The four bands, the most urgent first."""

    items: list[ChurnBandView]
    rated: int = Field(description="Customers with a churn score.")
    unrated: int = Field(description="Customers who have ordered too little for one.")
    at_risk: int = Field(description="Customers in the bands high and critical.")
    value_at_risk: Decimal
    average_score: float | None
    currency: str
    as_of: datetime | None

    @classmethod
    def of(
        cls, found: list[Totals], customers: int, tenant: Tenant, as_of: datetime | None
    ) -> Self:
        """The bands of `found`, out of so many customers in all."""
        totals = {each.a: each for each in found}
        rated = sum(each.churn_rated for each in found)
        at_stake = sum(each.value_at_risk for each in found)
        currency = tenant.currency
        items = []
        for band in reversed(ChurnBand):
            t = totals.get(band, nobody(band))
            items.append(
                ChurnBandView(
                    band=band,
                    customers=t.customers,
                    share=share(t.customers, rated),
                    value_at_risk=from_minor(t.value_at_risk, currency),
                    value_at_risk_share=share(t.value_at_risk, at_stake),
                    average_score=_average_score(t),
                    declining_orders=t.declining_orders,
                    declining_spend=t.declining_spend,
                    average_days_since_last_order=mean(t.days_since, t.buyers),
                    recommended_action=tenant.profile.churn_actions[band],
                )
            )
        points = sum(each.churn_points for each in found)
        average = mean(points / _POINTS, rated)
        return cls(
            items=items,
            rated=rated,
            unrated=customers - rated,
            at_risk=at_risk(found),
            value_at_risk=from_minor(at_stake, currency),
            average_score=None if average is None else round(average, SCORE_DIGITS),
            currency=currency,
            as_of=as_of,
        )


def at_risk(bands: list[Totals]) -> int:
    """Customers in the bands high and critical."""
    return sum(each.customers for each in bands if each.a in RISKY_BANDS)


class ChurnFactorView(View):
    """The customers with one reason among theirs."""

    code: str = Field(examples=["long_absence"])
    title: str = Field(examples=["No order for a long time."])
    customers: int
    share: float = Field(description="Of the customers with a churn score; one may have several.")
    value_affected: Decimal = Field(description="Sum of their lifetime values.")
    value_at_risk: Decimal
    average_score: float | None


class ChurnFactorsView(View):
    """Every reason that somebody has, the most frequent first."""

    items: list[ChurnFactorView]
    rated: int
    currency: str
    as_of: datetime | None

    @classmethod
    def of(cls, found: list[Totals], rated: int, currency: str, as_of: datetime | None) -> Self:
        """The reasons of `found`, out of so many customers with a score."""
        frequent_first = sorted(found, key=lambda each: (-each.customers, each.a))
        items = [
            ChurnFactorView(
                code=each.a,
                title=_TITLES.get(each.a, each.a),
                customers=each.customers,
                share=share(each.customers, rated),
                value_affected=from_minor(each.clv, currency),
                value_at_risk=from_minor(each.value_at_risk, currency),
                average_score=_average_score(each),
            )
            for each in frequent_first
        ]
        return cls(items=items, rated=rated, currency=currency, as_of=as_of)
