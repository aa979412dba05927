"""Scores that somebody else computed: what they may be, and as of when."""

from datetime import datetime, timedelta

from app.domain.errors import InvalidInput

#: A group of scores is written, kept and overwritten as one. Each comes with the column that says
#: whether an item states the group; the names are those in `customer_analytics.external_scores`.
GROUPS = {
    "rfm": "rfm_segment",
    "clv": "clv",
    "churn": "churn_score",
    "influence": "influence_score",
    "next_purchase": "next_purchase_on",
    "products": "recommended_products",
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
