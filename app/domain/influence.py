"""How much a customer moves others: referrals, what they are worth, and answering when spoken to.

    influence = 100 x (0.4 x min(referred / 20, 1)
                     + 0.4 x min(referral revenue / norm, 1)
                     + 0.2 x response rate)

Weights and norms are the profile's. A weighted mean of capped ratios: nobody's score falls because
somebody else's rises.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InfluenceRules:
    """Weights add up to one. A norm is where its part is full; `revenue_norm` in major units."""

    referral_weight: float = 0.4
    revenue_weight: float = 0.4
    engagement_weight: float = 0.2
    referral_norm: float = 20.0
    revenue_norm: float = 100_000_000.0


def influence(
    rules: InfluenceRules,
    *,
    referred_customers: int,
    referral_revenue: float,
    response_rate: float | None,
) -> float:
    """0 to 100; `referral_revenue` in major units, never contacted counts as never answering."""
    referrals = min(referred_customers / rules.referral_norm, 1.0)
    revenue = min(max(referral_revenue, 0.0) / rules.revenue_norm, 1.0)
    return 100.0 * (
        rules.referral_weight * referrals
        + rules.revenue_weight * revenue
        + rules.engagement_weight * (response_rate or 0.0)
    )
