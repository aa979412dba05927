"""Stores over HTTP."""

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from app.repositories.store import Store

EXAMPLE: dict[str, Any] = {
    "id": "store-01",
    "name": "Kemang",
    "kind": "shop",
    "address": "Jl. Kemang Raya 10",
    "city": "Jakarta Selatan",
    "latitude": -6.2607,
    "longitude": 106.8134,
}


class Location(BaseModel):
    """A point on WGS 84, in degrees."""

    latitude: float
    longitude: float


class StoreView(BaseModel):
    """A shop, venue or branch."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    id: str
    name: str
    kind: str | None
    address: str | None
    city: str | None
    location: Location | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, store: Store) -> Self:
        """`store` as the API shows it."""
        location = None
        if store.latitude is not None and store.longitude is not None:
            location = Location(latitude=store.latitude, longitude=store.longitude)
        return cls(
            id=store.id,
            name=store.name,
            kind=store.kind,
            address=store.address,
            city=store.city,
            location=location,
            created_at=store.created_at,
            updated_at=store.updated_at,
        )
