"""Lifetime value of all customers over HTTP."""

from datetime import datetime
from decimal import Decimal
from typing import Self

from pydantic import Field

from app.api.schemas.figures import amount, mean_amount, nobody, share
from app.api.schemas.profile import View
from app.domain.clv import bucket_bounds
from app.domain.money import from_minor
from app.domain.privacy import Disclosure
from app.domain.tenant import Tenant
from app.repositories.analytics import ValuedCustomer
from app.repositories.population import Totals


class ClvTierView(View):
    """One tier of lifetime value."""

    tier: str = Field(examples=["platinum"])
    name: str = Field(examples=["Platinum"])
    from_percentile: int = Field(description="Lowest percentile of lifetime value in it.")
    customers: int
    share: float = Field(description="Of the customers with a tier.")
    value: Decimal = Field(description="Sum of lifetime values.")
    value_share: float
    average_value: Decimal | None
    revenue_365d: Decimal = Field(alias="revenue365d", description="Net, of the last 365 days.")


class ClvTiersView(View):
    """The tiers of the profile, highest first."""

    items: list[ClvTierView]
    customers: int
    value: Decimal
    currency: str
    as_of: datetime | None

    @classmethod
    def of(cls, found: list[Totals], tenant: Tenant, as_of: datetime | None) -> Self:
        """The profile's tiers with what was found of each."""
        totals = {each.a: each for each in found}
        customers = sum(each.customers for each in found)
        value = sum(each.clv for each in found)
        currency = tenant.currency
        items = []
        for tier in tenant.profile.clv_tiers:
            t = totals.get(tier.code, nobody(tier.code))
            items.append(
                ClvTierView(
                    tier=tier.code,
                    name=tier.name,
                    from_percentile=tier.from_percentile,
                    customers=t.customers,
                    share=share(t.customers, customers),
                    value=from_minor(t.clv, currency),
                    value_share=share(t.clv, value),
                    average_value=mean_amount(t.clv, t.customers, currency),
                    revenue_365d=from_minor(t.revenue_365d, currency),
                )
            )
        return cls(
            items=items,
            customers=customers,
            value=from_minor(value, currency),
            currency=currency,
            as_of=as_of,
        )


class ClvBucketView(View):
    """The customers whose lifetime value lies between two bounds."""

    at_least: Decimal | None = Field(description="Null in the lowest bucket.")
    below: Decimal | None = Field(description="Null in the highest bucket.")
    customers: int
    share: float
    value: Decimal = Field(description="Sum of lifetime values.")
    value_share: float


class ClvDistributionView(View):
    """Buckets of 1, 2, 5, 10, 20, 50 … from the lowest with customers to the highest."""

    items: list[ClvBucketView]
    customers: int
    value: Decimal
    currency: str
    as_of: datetime | None

    @classmethod
    def of(cls, found: list[Totals], currency: str, as_of: datetime | None) -> Self:
        """The buckets of `found` and the empty ones between them."""
        totals = {int(each.a): each for each in found}
        customers = sum(each.customers for each in found)
        value = sum(each.clv for each in found)
        items = []
        for bucket in range(min(totals, default=0), max(totals, default=-1) + 1):
            t = totals.get(bucket, nobody())
            low, high = bucket_bounds(bucket)
            items.append(
                ClvBucketView(
                    at_least=None if low is None else Decimal(low),
                    below=None if high is None else Decimal(high),
                    customers=t.customers,
                    share=share(t.customers, customers),
                    value=from_minor(t.clv, currency),
                    value_share=share(t.clv, value),
                )
            )
        return cls(
            items=items,
            customers=customers,
            value=from_minor(value, currency),
            currency=currency,
            as_of=as_of,
        )


class ValuedCustomerView(View):
    """A customer and the part of the whole value that is theirs."""

    customer_id: str
    code: str | None
    name: str | None
    membership_tier: str | None
    rfm_segment: str | None
    value: Decimal = Field(description="Lifetime value.")
    share: float = Field(description="Of the lifetime value of all customers.")
    one_year: Decimal | None
    three_years: Decimal | None
    percentile: int | None
    confidence: int | None
    tier: str | None
    revenue: Decimal = Field(description="Net, of all time.")
    churn_band: str | None
    as_of: datetime

    @classmethod
    def of(cls, found: ValuedCustomer, whole: int, currency: str, disclosure: Disclosure) -> Self:
        """`found` with their share of the `whole` value, in minor units."""
        return cls(
            customer_id=disclosure.id(found.id),
            code=disclosure.personal(found.code),
            name=disclosure.personal(found.name),
            membership_tier=found.membership_tier,
            rfm_segment=found.rfm_segment,
            value=from_minor(found.clv, currency),
            share=share(found.clv, whole),
            one_year=amount(found.clv_1_year, currency),
            three_years=amount(found.clv_3_year, currency),
            percentile=found.clv_percentile,
            confidence=found.clv_confidence,
            tier=found.clv_tier,
            revenue=from_minor(found.revenue, currency),
            churn_band=found.churn_band,
            as_of=found.as_of,
        )
