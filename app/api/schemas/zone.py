"""Delivery zones over HTTP."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self

from pydantic import Field

from app.api.schemas.profile import View
from app.domain.privacy import Disclosure
from app.repositories.zone import Zone, ZoneCustomer
from app.services.zoning import Proposal, ServiceAreas

_SQUARE_METRES = 1_000_000

EXAMPLE: dict[str, Any] = {
    "id": "kemang",
    "name": "Kemang and around",
    "description": "Same day, by motorbike",
    "area": {
        "type": "Polygon",
        "coordinates": [
            [[106.80, -6.28], [106.83, -6.28], [106.83, -6.25], [106.80, -6.25], [106.80, -6.28]]
        ],
    },
    "properties": {"fee": 15000},
}


class ZoneView(View):
    """A delivery zone."""

    id: str
    name: str
    description: str | None
    store_id: str | None
    area: dict[str, Any] = Field(
        description="GeoJSON Polygon, or MultiPolygon where there are several parts.",
        examples=[EXAMPLE["area"]],
    )
    area_km2: float = Field(
        alias="areaKm2", description="On the globe, in square kilometres.", examples=[11.072]
    )
    properties: dict[str, Any]
    customers: int | None = Field(
        default=None, description="Customers last known there, where they were asked for."
    )
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, zone: Zone, customers: int | None = None) -> Self:
        """`zone` as the API shows it."""
        return cls(
            id=zone.id,
            name=zone.name,
            description=zone.description,
            store_id=zone.store_id,
            area=zone.area,
            area_km2=_km2(zone.area_square_metres),
            properties=zone.properties,
            customers=customers,
            created_at=zone.created_at,
            updated_at=zone.updated_at,
        )

    def feature(self) -> dict[str, Any]:
        """The zone as a GeoJSON Feature; its own properties give way to ours of the same name."""
        ours = self.model_dump(mode="json", by_alias=True, exclude={"area", "properties"})
        if self.customers is None:
            del ours["customers"]
        return {
            "type": "Feature",
            "id": self.id,
            "geometry": self.area,
            "properties": self.properties | ours,
        }


def feature_collection(views: Sequence[ZoneView], next_cursor: str | None) -> dict[str, Any]:
    """A page of zones as GeoJSON, with the cursor of the next one as a member of its own."""
    return {
        "type": "FeatureCollection",
        "features": [view.feature() for view in views],
        "nextCursor": next_cursor,
    }


class ZoneCustomerView(View):
    """A customer last known in a zone.

    Anonymized, the place is that of the district: a geohash of five characters.
    """

    id: str
    name: str | None
    customer_type: str
    latitude: float | None
    longitude: float | None
    geohash: str
    captured_at: datetime | None
    rfm_segment: str | None
    churn_band: str | None

    @classmethod
    def of(cls, customer: ZoneCustomer, disclosure: Disclosure) -> Self:
        """`customer` as far as may be told."""
        return cls(
            id=disclosure.id(customer.id),
            name=disclosure.personal(customer.name),
            customer_type=customer.customer_type,
            latitude=disclosure.personal(customer.latitude),
            longitude=disclosure.personal(customer.longitude),
            geohash=disclosure.geohash(customer.geohash) or "",
            captured_at=customer.captured_at,
            rfm_segment=customer.rfm_segment,
            churn_band=customer.churn_band,
        )


class ProposalView(View):
    """The service area of a store."""

    zone_id: str | None = Field(description="Id of the zone it was saved as; null if it was not.")
    name: str
    store_id: str
    shared_with: list[str] = Field(description="Stores at the same place, whose area it is too.")
    area: dict[str, Any] = Field(description="GeoJSON Polygon or MultiPolygon.")
    area_km2: float = Field(alias="areaKm2")

    @classmethod
    def of(cls, proposal: Proposal) -> Self:
        """`proposal` as the API shows it."""
        return cls(
            zone_id=proposal.zone_id,
            name=proposal.name,
            store_id=proposal.store_id,
            shared_with=proposal.shared_with,
            area=proposal.area,
            area_km2=_km2(proposal.area_square_metres),
        )


class ServiceAreasView(View):
    """The bounds, divided among the stores."""

    bounds: list[float] = Field(description="West, south, east, north.")
    items: list[ProposalView]
    without_area: list[str] = Field(
        description="Stores that nothing within the bounds is nearest to."
    )

    @classmethod
    def of(cls, found: ServiceAreas) -> Self:
        """`found` as the API shows it."""
        box = found.bounds
        return cls(
            bounds=[box.west, box.south, box.east, box.north],
            items=[ProposalView.of(each) for each in found.proposals],
            without_area=found.without_area,
        )


def _km2(square_metres: float) -> float:
    return round(square_metres / _SQUARE_METRES, 6)
