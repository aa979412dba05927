"""Customers around a point, over HTTP."""

from datetime import datetime
from typing import Self

from pydantic import Field

from app.api.schemas.profile import View
from app.api.schemas.store import Location
from app.domain.privacy import Disclosure
from app.repositories.nearby import NearCustomer

#: What a distance is told to.
DISTANCE_DIGITS = 1
BEARING_DIGITS = 1


class NearCustomerView(View):
    """A customer, how far away, and in which direction."""

    customer_id: str
    code: str | None
    name: str | None
    customer_type: str
    membership_tier: str | None
    status: str
    rfm_segment: str | None
    churn_band: str | None
    last_order_at: datetime | None
    location: Location | None = Field(description="The last known place; null if anonymized.")
    geohash: str = Field(examples=["qqguwx7q2"])
    located_at: datetime | None = Field(description="When the customer was there.")
    distance: float = Field(
        description="Metres on the ellipsoid, to 0.1; if anonymized, to the middle of `geohash`.",
        examples=[412.7],
    )
    bearing: float | None = Field(
        description="Where the shortest way there begins, in degrees clockwise from north; null at "
        "the same place.",
        examples=[87.3],
    )

    @classmethod
    def of(cls, found: NearCustomer, disclosure: Disclosure) -> Self:
        """`found`, as far as `disclosure` tells of persons."""
        location = Location(
            latitude=found.last_known_latitude, longitude=found.last_known_longitude
        )
        return cls(
            customer_id=disclosure.id(found.id),
            code=disclosure.personal(found.code),
            name=disclosure.personal(found.name),
            customer_type=found.customer_type,
            membership_tier=found.membership_tier,
            status=found.status,
            rfm_segment=found.rfm_segment,
            churn_band=found.churn_band,
            last_order_at=found.last_order_at,
            location=disclosure.personal(location),
            geohash=disclosure.geohash(found.last_known_geohash) or "",
            located_at=disclosure.personal(found.last_location_captured_at),
            distance=round(found.distance, DISTANCE_DIGITS),
            bearing=rounded_bearing(found.bearing),
        )


def rounded_bearing(bearing: float | None) -> float | None:
    """To a tenth of a degree, 0 up to 359.9."""
    return None if bearing is None else round(bearing, BEARING_DIGITS) % 360
