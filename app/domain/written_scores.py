"""Scores that somebody else computed: what they may be, and as of when."""

from datetime import datetime, timedelta

from app.domain.errors import InvalidInput

#: The group that nobody else computes.
PRODUCTS = "products"

#: A group of scores is written, kept and overwritten as one: the names in
#: `customer_analytics.external_scores`, each with its columns. The first of them says whether an
#: item states the group.
GROUPS = {
    "rfm": ("rfm_segment", "rfm_recency_score", "rfm_frequency_score", "rfm_monetary_score"),
    "clv": ("clv", "clv_percentile"),
    "churn": ("churn_score", "churn_reasons"),
    "influence": ("influence_score",),
    "next_purchase": ("next_purchase_on", "next_purchase_confidence"),
    PRODUCTS: ("recommended_products",),
}

MAX_REASONS = 10
MAX_REASON_LENGTH = 100
MAX_PRODUCTS = 100

#: How far the clock of whoever computed the scores may run ahead.
MAX_AHEAD = timedelta(hours=24)


def check_as_of(as_of: datetime, now: datetime) -> datetime:
    """`as_of` unless it lies too far ahead of `now`. Raises InvalidInput."""
    if as_of > now + MAX_AHEAD:
        raise InvalidInput("asOf", "must not lie more than 24 hours in the future")
    return as_of
