"""Customers over HTTP."""

from dataclasses import fields
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from app.domain.money import from_minor
from app.domain.privacy import FULL, Disclosure
from app.repositories.customer import Customer

EXAMPLE: dict[str, Any] = {
    "id": "cus-123",
    "code": "CUS-0001",
    "name": "Siti Rahayu",
    "email": "siti@example.com",
    "phone": "+62 812-3456-7890",
    "customerType": "wholesale",
    "companyName": "Toko Ceria",
    "creditLimit": "25000000.00",
    "paymentTermDays": 30,
    "membershipTier": "gold",
    "homeStoreId": "store-01",
    "lastKnownLatitude": -6.2088,
    "lastKnownLongitude": 106.8456,
    "dateOfBirth": "1988-04-21",
    "optInWhatsapp": True,
    "acquisitionSource": "referral",
    "communityTags": ["arisan_rt5"],
}

_MONEY = frozenset({"credit_limit", "credit_used"})
#: What names a person, leads to one, or says where one lives.
_PERSONAL = (
    "code",
    "name",
    "email",
    "phone",
    "company_name",
    "npwp",
    "service_area",
    "last_known_latitude",
    "last_known_longitude",
    "last_location_accuracy",
    "last_location_captured_by",
    "date_of_birth",
    "occupation",
)


class CustomerView(BaseModel):
    """A customer as declared. Computed figures are in the customer's profile.

    Anonymized, ids are pseudonyms, places are cut to districts, and what would name the person is
    null.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        json_schema_extra={
            "example": {
                **EXAMPLE,
                "status": "active",
                "createdAt": "2026-01-05T03:12:44Z",
                "updatedAt": "2026-02-11T09:30:00Z",
            }
        },
    )

    id: str
    code: str | None
    name: str | None = Field(description="Null only where the answer is anonymized.")
    email: str | None
    phone: str | None
    customer_type: str
    company_name: str | None
    npwp: str | None
    credit_limit: Decimal | None
    credit_used: Decimal | None
    payment_term_days: int | None
    loyalty_points: int | None
    membership_tier: str | None
    status: str
    home_store_id: str | None
    service_area: dict[str, Any] | None
    preferred_delivery_zone: str | None
    last_known_latitude: float | None
    last_known_longitude: float | None
    last_known_geohash: str | None
    last_location_accuracy: float | None
    last_location_source: str | None
    last_location_captured_at: datetime | None
    last_location_captured_by: str | None
    date_of_birth: date | None
    age_estimate: int | None
    age_range_min: int | None
    age_range_max: int | None
    gender: str | None
    gender_confidence: float | None
    income_bracket: str | None
    occupation: str | None
    education_level: str | None
    preferred_contact_channel: str | None
    opt_in_whatsapp: bool
    opt_in_email: bool
    opt_in_sms: bool
    opt_in_push: bool
    acquisition_source: str | None
    acquisition_campaign: str | None
    referred_by_customer_id: str | None
    community_tags: list[str]
    social_connections: list[str]
    source_updated_at: datetime | None
    created_at: datetime
    updated_at: datetime
    created_by: str | None
    updated_by: str | None

    @classmethod
    def of(cls, customer: Customer, currency: str, disclosure: Disclosure = FULL) -> Self:
        """`customer` with its amounts in `currency`, as far as it may be told."""
        values = {name: getattr(customer, name) for name in _NAMES}
        for name in _MONEY:
            if values[name] is not None:
                values[name] = from_minor(values[name], currency)
        if disclosure.anonymous:
            values.update(dict.fromkeys(_PERSONAL), community_tags=[], social_connections=[])
            values["id"] = disclosure.id(customer.id)
            values["last_known_geohash"] = disclosure.geohash(customer.last_known_geohash)
            if customer.referred_by_customer_id is not None:
                values["referred_by_customer_id"] = disclosure.id(customer.referred_by_customer_id)
        return cls(**values)


_NAMES = [field.name for field in fields(Customer) if field.name != "sk"]
