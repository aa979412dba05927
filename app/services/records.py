"""What a source may send: customers, orders, contacts …, the same by JSON, NDJSON and file.

A record knows the shape of its fields and nothing of the tenant. What depends on the tenant (the
places of its currency, its wall clock, which customers exist) is decided by the services that write
it: `ingestion`, `customer_records`, `engagement`.
"""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self
from uuid import uuid4

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from app.domain.capture import Source, VisitType
from app.domain.contact import Channel, Purpose
from app.domain.feedback import FeedbackKind, check_score
from app.domain.ltv import GrowthPotential
from app.domain.money import MAX_MINOR
from app.domain.order import OrderStatus, PaymentMethod

#: A printable character and no control character; the whole pattern is linear in the text's length.
_PRINTABLE = r"^[^\p{Cc}]*[^\p{Cc}\s][^\p{Cc}]*$"


def _refuse_bare_digits(value: object) -> object:
    # "20240101" would otherwise be read as five hours of 1970.
    if isinstance(value, str) and len(value) < 12 and value.strip().isdigit():
        raise ValueError("must be an ISO 8601 time or a number of epoch milliseconds")
    return value


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _no_boolean(value: object) -> object:
    # Python counts true as 1.
    if isinstance(value, bool):
        raise ValueError("must be a whole number")
    return value


Identity = Annotated[
    str,
    StringConstraints(min_length=1, max_length=255, pattern=_PRINTABLE, strip_whitespace=True),
]
Label = Annotated[
    str,
    StringConstraints(min_length=1, max_length=500, pattern=_PRINTABLE, strip_whitespace=True),
]
#: Free text may have lines, and must not have what PostgreSQL cannot keep.
Prose = Annotated[str, StringConstraints(max_length=10_000, pattern=r"^[^\x00]*$")]
Url = Annotated[
    str,
    StringConstraints(min_length=1, max_length=2_000, pattern=_PRINTABLE, strip_whitespace=True),
]
#: Read and thrown away, so only its length matters.
UserAgent = Annotated[str, StringConstraints(max_length=2_000)]
Instant = Annotated[datetime, BeforeValidator(_refuse_bare_digits)]
#: Wide enough for a currency without places; the exact range and places are the tenant's.
Money = Annotated[Decimal, Field(allow_inf_nan=False, ge=-MAX_MINOR, le=MAX_MINOR)]
NotNegative = Annotated[Decimal, Field(allow_inf_nan=False, ge=0, le=MAX_MINOR)]
Count = Annotated[int, BeforeValidator(_no_boolean), Field(ge=0, le=2_000_000_000)]
Age = Annotated[int, BeforeValidator(_no_boolean), Field(ge=0, le=150)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Status = Annotated[OrderStatus, BeforeValidator(_lower)]
Payment = Annotated[PaymentMethod, BeforeValidator(_lower)]


class Record(BaseModel):
    """Base of everything a source sends: camelCase names, and no name we do not know."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        val_temporal_unit="milliseconds",
    )


class IdentifiedRecord(Record):
    """What a source names by an id of its own making: sent again, it is the same thing."""

    #: Whether an id that comes twice is a success that changes nothing, or a mistake of the source.
    repeats_are_duplicates: ClassVar[bool] = False
    #: What the id is called in an item as it is sent.
    id_name: ClassVar[str] = "id"

    id: Identity

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.id_name = cls.model_fields["id"].alias or "id"

    @property
    def is_named(self) -> bool:
        """Whether the id is the source's, and not one that was given here."""
        return "id" in self.model_fields_set


class OrderItemRecord(Record):
    """One line of an order. Prices are of one unit, in the tenant's currency."""

    product_id: Identity
    product_name: Label | None = None
    category: Label | None = None
    brand: Label | None = None
    quantity: Annotated[
        Decimal, Field(gt=0, le=Decimal(99_999_999), decimal_places=3, allow_inf_nan=False)
    ]
    unit_price: Money
    discount_amount: NotNegative = Decimal(0)

    @property
    def amount(self) -> Decimal:
        """What the line adds to the order's total."""
        return self.quantity * self.unit_price - self.discount_amount


class OrderRecord(IdentifiedRecord):
    """A sale or a booking as a source states it: the whole order, each time.

    `orderedAt` without a zone is the tenant's wall clock. `totalAmount` may be left out where the
    items give it. Items that are left out stay as they are; an empty list removes them. A negative
    total is a credit note and needs the status refunded.
    """

    customer_id: Identity
    store_id: Identity | None = None
    status: Status = OrderStatus.COMPLETED
    ordered_at: Instant
    total_amount: Money | None = None
    discount_amount: NotNegative = Decimal(0)
    refund_amount: NotNegative | None = None
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{3}$", to_upper=True)] | None = (
        None
    )
    payment_method: Payment | None = None
    channel: Label | None = None
    item_count: Count | None = None
    notes: Prose | None = None
    items: Annotated[list[OrderItemRecord], Field(max_length=10_000)] | None = None
    updated_at: Instant | None = None


class OrderLineRecord(Record):
    """One line of an invoice. A negative quantity is a return."""

    id: Identity
    customer_id: Identity
    store_id: Identity | None = None
    status: Status | None = None
    ordered_at: Instant
    payment_method: Payment | None = None
    channel: Label | None = None
    product_id: Identity
    product_name: Label | None = None
    category: Label | None = None
    brand: Label | None = None
    quantity: Annotated[
        Decimal,
        Field(ge=-99_999_999, le=99_999_999, decimal_places=3, allow_inf_nan=False),
    ]
    unit_price: Money
    discount_amount: NotNegative = Decimal(0)


class OrderPatch(Record):
    """What may change about a recorded order without stating it anew."""

    status: Status | None = None
    refund_amount: NotNegative | None = None
    notes: Prose | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must name at least one of status, refundAmount, notes")
        if "status" in self.model_fields_set and self.status is None:
            raise ValueError("status must not be null")
        return self


class CustomerType(StrEnum):
    """Who buys: a household or a business."""

    RETAIL = "retail"
    WHOLESALE = "wholesale"


class CustomerStatus(StrEnum):
    """Whether business is done with the customer."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    BLOCKED = "blocked"


class MembershipTier(StrEnum):
    """The customer's tier in the loyalty programme."""

    BRONZE = "bronze"
    SILVER = "silver"
    GOLD = "gold"
    PLATINUM = "platinum"


class Gender(StrEnum):
    """As declared or estimated."""

    MALE = "male"
    FEMALE = "female"
    UNKNOWN = "unknown"


Longitude = Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]
Latitude = Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
Position = tuple[Longitude, Latitude]


class ServiceArea(BaseModel):
    """A GeoJSON polygon in longitude and latitude: one outer ring, then its holes."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["Polygon"]
    coordinates: Annotated[
        list[Annotated[list[Position], Field(min_length=4, max_length=10_000)]],
        Field(min_length=1, max_length=100),
    ]

    @model_validator(mode="after")
    def _rings_close(self) -> Self:
        if any(ring[0] != ring[-1] for ring in self.coordinates):
            raise ValueError("every ring must end where it begins")
        return self


class CustomerAttributes(Record):
    """Every declared attribute of a customer. One that is left out stays as it is."""

    code: Identity | None = None
    name: Label | None = None
    email: Annotated[Label, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+$")] | None = None
    phone: Label | None = None
    customer_type: Annotated[CustomerType, BeforeValidator(_lower)] = CustomerType.RETAIL
    company_name: Label | None = None
    npwp: Label | None = None
    credit_limit: NotNegative | None = None
    credit_used: Money | None = None
    payment_term_days: Count | None = None
    loyalty_points: Count | None = None
    membership_tier: Annotated[MembershipTier, BeforeValidator(_lower)] | None = None
    status: Annotated[CustomerStatus, BeforeValidator(_lower)] = CustomerStatus.ACTIVE
    home_store_id: Identity | None = None
    service_area: ServiceArea | None = None
    preferred_delivery_zone: Label | None = None
    last_known_latitude: Latitude | None = None
    last_known_longitude: Longitude | None = None
    last_location_accuracy: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    last_location_source: Label | None = None
    last_location_captured_at: Instant | None = None
    last_location_captured_by: Label | None = None
    date_of_birth: Annotated[date, Field(ge=date(1870, 1, 1))] | None = None
    age_estimate: Age | None = None
    age_range_min: Age | None = None
    age_range_max: Age | None = None
    gender: Annotated[Gender, BeforeValidator(_lower)] | None = None
    gender_confidence: Share | None = None
    income_bracket: Label | None = None
    occupation: Label | None = None
    education_level: Label | None = None
    preferred_contact_channel: Label | None = None
    opt_in_whatsapp: bool = False
    opt_in_email: bool = False
    opt_in_sms: bool = False
    opt_in_push: bool = False
    acquisition_source: Label | None = None
    acquisition_campaign: Label | None = None
    referred_by_customer_id: Identity | None = None
    community_tags: Annotated[list[Label], Field(max_length=1_000)] = []
    social_connections: Annotated[list[Label], Field(max_length=1_000)] = []
    updated_at: Instant | None = None


class CustomerRecord(CustomerAttributes, IdentifiedRecord):
    """A customer as a source states it. `name` is needed only where the customer is new."""


class CustomerPatch(CustomerAttributes):
    """A change of some attributes of one customer; null clears one."""


class ContactRecord(IdentifiedRecord):
    """A message, call or visit to a customer, as a source states it.

    `respondedAt` and `converted` stay as they are where they are left out. A time without a zone is
    the tenant's wall clock.
    """

    customer_id: Identity
    channel: Annotated[Channel, BeforeValidator(_lower)]
    purpose: Annotated[Purpose, BeforeValidator(_lower)]
    sent_at: Instant
    responded_at: Instant | None = None
    converted: bool = False
    updated_at: Instant | None = None


class ContactPatch(Record):
    """What came of a contact. A null `respondedAt` takes a response back."""

    responded_at: Instant | None = None
    converted: bool = False
    updated_at: Instant | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set & {"responded_at", "converted"}:
            raise ValueError("must name at least one of respondedAt, converted")
        return self


class FeedbackRecord(IdentifiedRecord):
    """What a customer said, as a source states it: the whole of it, each time.

    `givenAt` without a zone is the tenant's wall clock.
    """

    customer_id: Identity
    store_id: Identity | None = None
    kind: Annotated[FeedbackKind, BeforeValidator(_lower)]
    # A kind may need one, so what is left out is judged as well.
    score: Annotated[int | None, BeforeValidator(_no_boolean), Field(validate_default=True)] = None
    sentiment: Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)] | None = None
    comment: Prose | None = None
    given_at: Instant
    updated_at: Instant | None = None

    @field_validator("score", mode="after")
    @classmethod
    def _belongs_to_the_kind(cls, score: int | None, info: ValidationInfo) -> int | None:
        if "kind" in info.data:
            check_score(info.data["kind"], score)
        return score


#: -1 is what the location services of iOS state where they do not know.
NotNegativeOrUnknown = Annotated[float, Field(ge=-1, allow_inf_nan=False)]


class PredictionRecord(IdentifiedRecord):
    """What somebody predicts a customer to be worth, all in all, after one, three and five years.

    `currentLtv` is what the customer has brought so far, where it is left out; `predictionDate` is
    now; `growthPotential` follows from the two (`domain.ltv`).
    """

    id: Identity = Field(alias="customerId")
    current_ltv: Money | None = None
    predicted_ltv_1_year: NotNegative = Field(alias="predictedLtv1Year")
    predicted_ltv_3_year: NotNegative | None = Field(default=None, alias="predictedLtv3Year")
    predicted_ltv_5_year: NotNegative | None = Field(default=None, alias="predictedLtv5Year")
    churn_probability: Share
    growth_potential: Annotated[GrowthPotential, BeforeValidator(_lower)] | None = None
    confidence_score: Share | None = None
    prediction_date: Instant | None = None
    model_version: Identity | None = None
    user_id: Identity | None = None


class EventPlace(Record):
    """Where an event happened, as far as a source knows. Degrees are WGS 84."""

    latitude: Latitude | None = None
    longitude: Longitude | None = None
    country: Label | None = None
    city: Label | None = None

    @model_validator(mode="after")
    def _has_a_whole_location(self) -> Self:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("latitude and longitude must be given together")
        return self


#: Compared by their text, so that a capital letter does not make another type.
EventName = Annotated[Identity, StringConstraints(to_lower=True)]


class EventRecord(IdentifiedRecord):
    """Something a customer did: saw a page, put a product into the cart, bought, …

    Any type is taken. An `eventId` makes it safe to send an event again: it is taken once. The time
    is the present where it is left out, and the tenant's wall clock where it has no zone.
    `eventValue` is in the tenant's currency. Of `ipAddress` and `userAgent` the network, the device
    type, the browser and the system are kept; what is stated of these holds against what is read.
    """

    repeats_are_duplicates: ClassVar[bool] = True

    id: Identity = Field(
        alias="eventId", default_factory=lambda: str(uuid4()), description="The source's own id."
    )
    user_id: Identity | None = None
    customer_id: Identity
    event_type: EventName
    event_category: EventName | None = None
    product_id: Identity | None = None
    product_name: Label | None = None
    product_category: Label | None = None
    event_value: Money | None = None
    event_properties: dict[str, Any] | None = None
    page_url: Url | None = None
    referrer_url: Url | None = None
    ip_address: Annotated[str, StringConstraints(max_length=100)] | None = None
    user_agent: UserAgent | None = None
    device_type: EventName | None = None
    browser: Label | None = None
    os: Label | None = None
    location: EventPlace | None = None
    session_id: Identity | None = None
    occurred_at: Annotated[
        Instant | None,
        Field(validation_alias=AliasChoices("occurredAt", "occurred_at", "createdAt")),
    ] = None


def _unknown(value: object) -> object:
    # What the location services of iOS state where they do not know.
    return None if type(value) in (int, float) and value == -1 else value


Metres = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class CaptureRecord(IdentifiedRecord):
    """Where a customer was, as an app states it.

    `capturedAt` without a zone is the tenant's wall clock; left out, it is the time of receipt. One
    without a `captureId` is given one. Of accuracy, speed and heading, -1 means unknown. Whether
    latitude and longitude are a place, in either order, is decided where it is stored.
    """

    repeats_are_duplicates: ClassVar[bool] = True

    id: Identity = Field(
        alias="captureId", default_factory=lambda: uuid4().hex, description="The app's own id."
    )
    user_id: Identity | None = None
    customer_id: Identity
    latitude: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]
    longitude: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]
    accuracy: NotNegativeOrUnknown | None = None
    altitude: Annotated[float, Field(allow_inf_nan=False)] | None = None
    speed: NotNegativeOrUnknown | None = None
    heading: Annotated[NotNegativeOrUnknown, Field(le=360)] | None = None
    source: Annotated[Source, BeforeValidator(_lower)] = Source.GPS
    captured_by: Identity | None = None
    device_id: Identity | None = None
    visit_type: Annotated[VisitType, BeforeValidator(_lower)] | None = None
    notes: Prose | None = None
    photo_url: (
        Annotated[str, StringConstraints(max_length=2_000, pattern=r"^(https?|s3)://[!-~]+$")]
        | None
    ) = None
    captured_at: Instant | None = None


class AddressAttributes(Record):
    """What is known of an address. Longitude and latitude come together or not at all."""

    label: Label | None = None
    line: Label | None = None
    city: Label | None = None
    postal_code: Identity | None = None
    latitude: Latitude | None = None
    longitude: Longitude | None = None
    is_primary: bool = False

    @model_validator(mode="after")
    def _has_a_whole_location(self) -> Self:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("latitude and longitude must be given together")
        return self


class AddressRecord(AddressAttributes):
    """An address of a customer; one without an id is given one."""

    id: Identity | None = None


class AddressPatch(AddressAttributes):
    """A change of some attributes of an address; null clears one."""

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must name at least one attribute of an address")
        if len(self.model_fields_set & {"latitude", "longitude"}) == 1:
            raise ValueError("latitude and longitude must be given together")
        return self


class StoreRecord(Record):
    """A shop, venue or branch. Longitude and latitude come together or not at all."""

    id: Identity
    name: Label
    kind: Label | None = None
    address: Label | None = None
    city: Label | None = None
    latitude: Latitude | None = None
    longitude: Longitude | None = None

    @model_validator(mode="after")
    def _has_a_whole_location(self) -> Self:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("latitude and longitude must be given together")
        return self


#: Sentences for the refusals a source meets most, where the library's own say less.
_REASONS: Mapping[str, str] = {
    "missing": "is required",
    "extra_forbidden": "is not a known field",
    "string_pattern_mismatch": "must not be blank and must not have control characters",
    "string_too_short": "must not be blank",
    "finite_number": "must be a finite number",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "json_invalid": "is not valid JSON",
}


def first_problem(error: ValidationError) -> tuple[str, str]:
    """The first refusal of a record: the JSON pointer of the value inside it, and the reason."""
    problem = error.errors(include_url=False, include_input=False)[0]
    pointer = "".join(f"/{part}" for part in problem["loc"])
    return pointer, _reason(problem["type"], problem["msg"], problem.get("ctx", {}))


def _reason(kind: str, message: str, context: Mapping[str, Any]) -> str:
    if kind == "value_error":
        return str(context["error"])
    if kind == "enum":
        return f"must be one of {context['expected']}"
    return _REASONS.get(kind) or message[0].lower() + message[1:]
