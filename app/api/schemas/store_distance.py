"""The way to the stores, over HTTP."""

from typing import Self

from pydantic import Field

from app.api.schemas.nearby import DISTANCE_DIGITS, rounded_bearing
from app.api.schemas.profile import View
from app.api.schemas.store import Location
from app.domain.privacy import Disclosure
from app.repositories.store_distance import CustomerStores, NearStore


class NearStoreView(View):
    """A store, how far away, and in which direction."""

    id: str
    name: str
    kind: str | None
    city: str | None
    location: Location
    distance: float = Field(description="Metres on the ellipsoid, to 0.1.")
    bearing: float | None = Field(
        description="Degrees clockwise from north; null at the same place."
    )

    @classmethod
    def of(cls, found: NearStore) -> Self:
        """`found` as the API shows it."""
        return cls(
            id=found.id,
            name=found.name,
            kind=found.kind,
            city=found.city,
            location=Location(latitude=found.latitude, longitude=found.longitude),
            distance=round(found.distance, DISTANCE_DIGITS),
            bearing=rounded_bearing(found.bearing),
        )


class CustomerStoresView(View):
    """A customer, the nearest store, and the home store to compare it with."""

    customer_id: str
    code: str | None
    name: str | None
    latitude: float | None = Field(description="The last known place; null if anonymized.")
    longitude: float | None
    geohash: str
    store_id: str | None = Field(description="The nearest store; null where none has a place.")
    store_name: str | None
    distance: float | None = Field(
        description="Metres to it, to 0.1; if anonymized, from the middle of `geohash`."
    )
    bearing: float | None
    home_store_id: str | None
    home_store_name: str | None
    home_store_distance: float | None = Field(description="Metres; null where it has no place.")

    @classmethod
    def of(cls, found: CustomerStores, disclosure: Disclosure) -> Self:
        """`found`, as far as `disclosure` tells of persons."""
        return cls(
            customer_id=disclosure.id(found.id),
            code=disclosure.personal(found.code),
            name=disclosure.personal(found.name),
            latitude=disclosure.personal(found.last_known_latitude),
            longitude=disclosure.personal(found.last_known_longitude),
            geohash=disclosure.geohash(found.last_known_geohash) or "",
            store_id=found.nearest_id,
            store_name=found.nearest_name,
            distance=_metres(found.nearest_distance),
            bearing=rounded_bearing(found.nearest_bearing),
            home_store_id=found.home_id,
            home_store_name=found.home_name,
            home_store_distance=_metres(found.home_distance),
        )


def _metres(distance: float | None) -> float | None:
    return None if distance is None else round(distance, DISTANCE_DIGITS)
