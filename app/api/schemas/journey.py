"""The timeline of one customer over HTTP."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Self

from pydantic import Field

from app.api.schemas.profile import View
from app.domain import journey
from app.domain.journey import JourneyKind
from app.domain.money import from_minor
from app.domain.privacy import Disclosure
from app.repositories.journey import Moment


class OrderMoment(View):
    """A sale or a booking."""

    status: str
    total_amount: Decimal
    refund_amount: Decimal
    net_amount: Decimal = Field(description="What it adds to the revenue.")
    counted: bool
    item_count: int | None
    channel: str | None
    payment_method: str | None
    store_id: str | None
    notes: str | None


class ContactMoment(View):
    """A contact, and whether it was answered."""

    channel: str
    purpose: str
    responded_at: datetime | None
    converted: bool


class FeedbackMoment(View):
    """A score, a complaint or a review."""

    feedback_kind: str
    score: int | None
    sentiment: float | None
    comment: str | None
    store_id: str | None


class CaptureMoment(View):
    """One GPS fix."""

    latitude: float | None
    longitude: float | None
    geohash: str | None
    accuracy: float | None
    source: str
    captured_by: str | None
    visit_type: str | None
    visit_notes: str | None


class EventMoment(View):
    """A behaviour event."""

    event_type: str
    event_category: str | None
    product_id: str | None
    product_name: str | None
    product_category: str | None
    event_value: Decimal | None
    session_id: str | None
    device_type: str | None
    browser: str | None
    os: str | None
    page_url: str | None
    referrer_url: str | None
    latitude: float | None
    longitude: float | None
    country: str | None
    city: str | None
    properties: dict[str, Any] | None


class StandingMoment(View):
    """What the scores said from this day on."""

    rfm_code: str | None
    rfm_segment: str | None
    lifecycle_segment: str
    churn_band: str | None
    churn_score: float | None
    clv: Decimal | None
    membership_tier: str | None


Details = (
    OrderMoment | ContactMoment | FeedbackMoment | CaptureMoment | EventMoment | StandingMoment
)

_DETAILS: dict[JourneyKind, type[Details]] = {
    JourneyKind.ORDER: OrderMoment,
    JourneyKind.CONTACT: ContactMoment,
    JourneyKind.FEEDBACK: FeedbackMoment,
    JourneyKind.CAPTURE: CaptureMoment,
    JourneyKind.EVENT: EventMoment,
    JourneyKind.STANDING: StandingMoment,
}
_AMOUNTS = frozenset({"total_amount", "refund_amount", "net_amount", "event_value", "clv"})

#: Exact places, names and free text.
_PERSONAL = frozenset(
    {
        "notes",
        "comment",
        "latitude",
        "longitude",
        "accuracy",
        "captured_by",
        "visit_notes",
        "session_id",
        "page_url",
        "referrer_url",
        "properties",
    }
)


class MomentView(View):
    """One moment of a journey; `details` depend on the kind."""

    at: datetime
    kind: JourneyKind
    id: str = Field(description="Of the order, contact, …; the day of a change of standing.")
    title: str = Field(examples=["Order completed"])
    details: Details

    @classmethod
    def of(cls, moment: Moment, currency: str, disclosure: Disclosure) -> Self:
        """`moment` with its amounts in `currency`."""
        details = dict(moment.details)
        for name in _AMOUNTS & details.keys():
            if details[name] is not None:
                details[name] = from_minor(details[name], currency)
        for name in _PERSONAL & details.keys():
            details[name] = disclosure.personal(details[name])
        if "geohash" in details:
            details["geohash"] = disclosure.geohash(details["geohash"])
        return cls(
            at=moment.at,
            kind=moment.kind,
            id=moment.id,
            title=journey.title(moment.kind, moment.details),
            details=_DETAILS[moment.kind](**details),
        )
