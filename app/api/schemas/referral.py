"""The referral tree of one customer over HTTP."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Self

from pydantic import Field

from app.api.pagination import Page
from app.api.schemas.profile import View
from app.domain.money import from_minor
from app.domain.privacy import Disclosure
from app.repositories.referral import Referral, ReferralLevel


class ReferralTotalsView(View):
    """A group of referred customers. Revenue is of all time."""

    customers: int
    buyers: int = Field(description="Those with a counted order.")
    revenue: Decimal


class ReferralLevelView(ReferralTotalsView):
    """The customers so many steps below: those of level 1 were referred by the customer."""

    level: int = Field(ge=1)


class ReferralView(View):
    """A customer who was referred directly."""

    customer_id: str
    name: str | None
    counted_orders: int
    revenue: Decimal
    referred_customers: int

    @classmethod
    def of(cls, referral: Referral, currency: str, disclosure: Disclosure) -> Self:
        """`referral` with its revenue in `currency`."""
        return cls(
            customer_id=disclosure.id(referral.id),
            name=disclosure.personal(referral.name),
            counted_orders=referral.counted_orders,
            revenue=from_minor(referral.revenue, currency),
            referred_customers=referral.referred_customers,
        )


class ReferralTreeView(Page[ReferralView]):
    """The tree by levels; `items` are the direct referrals, page by page."""

    customer_id: str
    currency: str = Field(examples=["IDR"])
    depth: int
    levels: Sequence[ReferralLevelView]
    totals: ReferralTotalsView

    @classmethod
    def of(
        cls,
        customer_id: str,
        depth: int,
        levels: Sequence[ReferralLevel],
        direct: Sequence[Referral],
        next_cursor: str | None,
        currency: str,
        disclosure: Disclosure,
    ) -> Self:
        """The tree below the customer, `direct` being one page of its first level."""
        return cls(
            customer_id=disclosure.id(customer_id),
            currency=currency,
            depth=depth,
            levels=[
                ReferralLevelView(
                    level=level.level,
                    customers=level.customers,
                    buyers=level.buyers,
                    revenue=from_minor(level.revenue, currency),
                )
                for level in levels
            ],
            totals=ReferralTotalsView(
                customers=sum(level.customers for level in levels),
                buyers=sum(level.buyers for level in levels),
                revenue=from_minor(sum(level.revenue for level in levels), currency),
            ),
            items=[ReferralView.of(each, currency, disclosure) for each in direct],
            next_cursor=next_cursor,
        )
