"""Addresses over HTTP."""

from datetime import datetime
from typing import Any, Self

from pydantic import ConfigDict

from app.api.schemas.profile import View
from app.domain.privacy import Disclosure
from app.repositories.address import Address

EXAMPLE: dict[str, Any] = {
    "id": "adr-1001",
    "label": "Toko",
    "line": "Jl. Kemang Raya 12",
    "city": "Jakarta Selatan",
    "postalCode": "12730",
    "latitude": -6.2607,
    "longitude": 106.8137,
    "isPrimary": True,
}


class AddressView(View):
    """An address of a customer. At most one of them is the primary one."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": EXAMPLE
            | {
                "geohash": "qqggy0v3n",
                "createdAt": "2026-02-11T09:30:00Z",
                "updatedAt": "2026-02-11T09:30:00Z",
            }
        }
    )

    id: str
    label: str | None
    line: str | None
    city: str | None
    postal_code: str | None
    latitude: float | None
    longitude: float | None
    geohash: str | None
    is_primary: bool
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, address: Address, disclosure: Disclosure) -> Self:
        """`address`, as far as it may be told."""
        return cls(
            id=disclosure.id(address.id),
            label=disclosure.personal(address.label),
            line=disclosure.personal(address.line),
            city=address.city,
            postal_code=disclosure.personal(address.postal_code),
            latitude=disclosure.personal(address.latitude),
            longitude=disclosure.personal(address.longitude),
            geohash=disclosure.geohash(address.geohash),
            is_primary=address.is_primary,
            created_at=address.created_at,
            updated_at=address.updated_at,
        )
