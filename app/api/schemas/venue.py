"""What customers are to one venue, over HTTP."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Self

from pydantic import Field

from app.api.schemas.insight import CutoffsView, InsightsView, SingleScoreView
from app.api.schemas.profile import ClvView, RfmView, ScoresView, View
from app.domain.lifecycle import LifecycleSegment
from app.domain.money import from_minor
from app.domain.privacy import Disclosure
from app.domain.tenant import Tenant
from app.domain.venue import PurchaseTime, purchase_time
from app.repositories.analytics import Analytics
from app.repositories.customer import Customer
from app.repositories.cutoffs import StoredCutoffs
from app.repositories.venue import VenueSegments, Visits


class VenueSegmentView(View):
    """The customers of a venue in one segment. Revenue there, of all time."""

    segment: str = Field(examples=["regular"])
    name: str | None = Field(description="Of an RFM segment, by the profile.")
    customers: int
    share: float = Field(description="Of the customers of the venue.")
    revenue: Decimal


class VenueSegmentsView(View):
    """How the customers with an order at a venue divide; segments without members, too."""

    venue_id: str
    currency: str = Field(examples=["IDR"])
    customers: int
    lifecycle: list[VenueSegmentView]
    rfm: list[VenueSegmentView]
    as_of: datetime
    computed_at: datetime

    @classmethod
    def of(cls, venue_id: str, found: VenueSegments, tenant: Tenant) -> Self:
        """What was counted at the venue, in the words of `tenant`'s profile."""
        counted = {(each.kind, each.segment): each for each in found.segments}
        customers = sum(each.customers for each in found.segments if each.kind == "lifecycle")

        def view(kind: str, segment: str, name: str | None) -> VenueSegmentView:
            members = counted.get((kind, segment))
            return VenueSegmentView(
                segment=segment,
                name=name,
                customers=members.customers if members else 0,
                share=members.customers / customers if members else 0.0,
                revenue=from_minor(members.revenue if members else 0, tenant.currency),
            )

        return cls(
            venue_id=venue_id,
            currency=tenant.currency,
            customers=customers,
            lifecycle=[view("lifecycle", stage, None) for stage in LifecycleSegment],
            rfm=[view("rfm", each.code, each.name) for each in tenant.profile.segments],
            as_of=found.as_of,
            computed_at=found.computed_at,
        )


class VenueCustomerView(View):
    """A customer with an order at the venue, and what the orders there amount to."""

    customer_id: str
    code: str | None
    name: str | None
    email: str | None
    phone: str | None
    membership_tier: str | None
    last_seen: datetime | None = Field(description="The last counted order there.")
    total_tickets: int = Field(description="Counted orders there.")
    total_spent: Decimal

    @classmethod
    def of(
        cls,
        customer: Customer,
        visits: Mapping[int, Visits],
        currency: str,
        disclosure: Disclosure,
    ) -> Self:
        """`customer` with the visits of the same sk."""
        known = visits.get(customer.sk, Visits(0, 0, None))
        return cls(
            customer_id=disclosure.id(customer.id),
            code=disclosure.personal(customer.code),
            name=disclosure.personal(customer.name),
            email=disclosure.personal(customer.email),
            phone=disclosure.personal(customer.phone),
            membership_tier=customer.membership_tier,
            last_seen=known.last_order_at,
            total_tickets=known.counted_orders,
            total_spent=from_minor(known.revenue, currency),
        )


class PreferencesView(View):
    """What the customer prefers at the venue."""

    categories: list[str] = Field(examples=[["toys"]])


class BehaviorView(View):
    """How the customer behaves at the venue."""

    purchase_time: PurchaseTime | None


class AttributesView(View):
    """Preferences and behaviour."""

    preferences: PreferencesView
    behavior: BehaviorView


class VenueProfileView(View):
    """One customer as the venue alone would know them; tickets are counted orders."""

    customer_id: str
    venue_id: str
    currency: str = Field(examples=["IDR"])
    first_seen: datetime | None = Field(description="The first counted order there.")
    last_seen: datetime | None
    total_spent: Decimal
    total_tickets: int
    average_order_value: Decimal | None
    purchase_frequency: int = Field(description="Counted orders there in the last 365 days.")
    days_since_last_purchase: int | None
    segment: str = Field(description="Stage of life with the venue.", examples=["regular"])
    predicted_lifetime_value: Decimal | None
    churn_probability: float | None
    attributes: AttributesView
    as_of: datetime
    model_version: str

    @classmethod
    def of(
        cls,
        venue_id: str,
        customer: Customer,
        a: Analytics,
        currency: str,
        disclosure: Disclosure,
    ) -> Self:
        """`a` holds the figures of `customer` at the venue."""

        def amount(minor: int | None) -> Decimal | None:
            return None if minor is None else from_minor(minor, currency)

        hour = a.preferred_shopping_hour
        return cls(
            customer_id=disclosure.id(customer.id),
            venue_id=venue_id,
            currency=currency,
            first_seen=a.first_order_at,
            last_seen=a.last_order_at,
            total_spent=from_minor(a.revenue, currency),
            total_tickets=a.counted_orders,
            average_order_value=amount(a.average_order_value),
            purchase_frequency=a.orders_365d,
            days_since_last_purchase=a.days_since_last_order,
            segment=a.lifecycle_segment,
            predicted_lifetime_value=amount(a.clv),
            churn_probability=a.churn_score,
            attributes=AttributesView(
                preferences=PreferencesView(categories=a.preferred_categories or []),
                behavior=BehaviorView(purchase_time=None if hour is None else purchase_time(hour)),
            ),
            as_of=a.as_of,
            model_version=a.model_version,
        )


class VenueInsightsView(InsightsView):
    """What stands out about the customer at one venue."""

    venue_id: str


class VenueRfmView(SingleScoreView):
    """The RFM scores that the orders at one venue give, by the cutoffs of the whole business."""

    venue_id: str
    rfm: RfmView
    cutoffs: CutoffsView | None

    @classmethod
    def at(
        cls,
        venue_id: str,
        customer: Customer,
        a: Analytics,
        cutoffs: StoredCutoffs | None,
        tenant: Tenant,
        now: datetime,
        disclosure: Disclosure,
    ) -> Self:
        """`a` holds the figures of `customer` at the venue."""
        return cls(
            venue_id=venue_id,
            rfm=ScoresView.of(a, customer, tenant, now).rfm,
            cutoffs=CutoffsView.of(cutoffs, tenant),
            **cls.common(customer, a, tenant, disclosure),
        )


class VenueClvView(SingleScoreView):
    """The lifetime value that the orders at one venue promise."""

    venue_id: str
    clv: ClvView

    @classmethod
    def at(
        cls,
        venue_id: str,
        customer: Customer,
        a: Analytics,
        tenant: Tenant,
        now: datetime,
        disclosure: Disclosure,
    ) -> Self:
        """`a` holds the figures of `customer` at the venue."""
        return cls(
            venue_id=venue_id,
            clv=ScoresView.of(a, customer, tenant, now).clv,
            **cls.common(customer, a, tenant, disclosure),
        )
