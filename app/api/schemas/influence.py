"""Influencers over HTTP."""

from datetime import datetime
from decimal import Decimal
from typing import Self

from pydantic import Field

from app.api.schemas.profile import View
from app.domain.money import from_minor
from app.domain.privacy import Disclosure
from app.repositories.influence import NETWORK_DEPTH, Influencer


class InfluencerView(View):
    """A customer who brings customers."""

    customer_id: str
    name: str | None
    membership_tier: str | None
    influence_score: float = Field(description="0 to 100.")
    referred_customers: int = Field(description="Referred by this customer in person.")
    referral_revenue: Decimal = Field(description="Net revenue of those, of all time.")
    network_customers: int = Field(
        description=f"Everybody below, down to {NETWORK_DEPTH} levels of referrals."
    )
    network_revenue: Decimal = Field(description="Net revenue of those, of all time.")
    network_as_of: datetime | None = Field(
        description="When a large network was added up; null for one that was added up just now."
    )
    response_rate: float | None
    revenue: Decimal = Field(description="The customer's own, of all time.")

    @classmethod
    def of(cls, found: Influencer, currency: str, disclosure: Disclosure) -> Self:
        """`found` with amounts in `currency`, as far as `disclosure` tells of persons."""
        return cls(
            customer_id=disclosure.id(found.id),
            name=disclosure.personal(found.name),
            membership_tier=found.membership_tier,
            influence_score=found.influence_score,
            referred_customers=found.referred_customers,
            referral_revenue=from_minor(found.referral_revenue, currency),
            network_customers=found.network_customers,
            network_revenue=from_minor(found.network_revenue, currency),
            network_as_of=found.network_as_of,
            response_rate=found.response_rate,
            revenue=from_minor(found.revenue, currency),
        )
