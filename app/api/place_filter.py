"""Which customers a route about places looks at: one set of query parameters for all routes."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Query

from app import database as db
from app.api.errors import bad_parameter
from app.domain.geometry import Box, parse_box, parse_geohash
from app.repositories import zone as zones
from app.repositories.customer import CustomerFilter


@dataclass(frozen=True, slots=True)
class PlaceFilter:
    """The parameters as they were sent, each of them checked by itself."""

    wanted: CustomerFilter
    zone_id: str | None

    async def resolve(self, connection: db.Connection, tenant_id: int) -> CustomerFilter:
        """The filter with its zone looked up. Raises NotFound where there is no such zone."""
        if self.zone_id is None:
            return self.wanted
        zone_sk = await zones.get_sk(connection, tenant_id, self.zone_id)
        return replace(self.wanted, zone_sk=zone_sk)


async def _box(
    bbox: Annotated[
        str | None,
        Query(
            max_length=200,
            description="west,south,east,north in degrees. A west beyond the east runs across the "
            "antimeridian.",
            examples=["106.7,-6.4,107.0,-6.1"],
        ),
    ] = None,
) -> Box | None:
    if bbox is None:
        return None
    try:
        return parse_box(bbox)
    except ValueError as error:
        raise bad_parameter("query", "bbox", str(error)) from error


#: `?bbox=`, checked.
QueryBox = Annotated[Box | None, Depends(_box)]


async def _geohash(
    geohash: Annotated[
        str | None,
        Query(
            max_length=20, description="Beginning of the geohash of the place.", examples=["qqguw"]
        ),
    ] = None,
) -> str | None:
    if geohash is None:
        return None
    try:
        return parse_geohash(geohash)
    except ValueError as error:
        raise bad_parameter("query", "geohash", str(error)) from error


#: `?geohash=`, checked.
QueryGeohash = Annotated[str | None, Depends(_geohash)]


async def _attributes(
    segment: Annotated[
        str | None, Query(max_length=100, description="RFM segment.", examples=["champion"])
    ] = None,
    churn_band: Annotated[
        str | None, Query(alias="churnBand", max_length=50, examples=["high"])
    ] = None,
    type: Annotated[str | None, Query(max_length=50, examples=["retail"])] = None,
    tier: Annotated[str | None, Query(max_length=50, examples=["gold"])] = None,
    status: Annotated[str | None, Query(max_length=50, examples=["active"])] = None,
    store: Annotated[str | None, Query(max_length=255, description="Id of the home store.")] = None,
    updated_since: Annotated[
        datetime | None,
        Query(alias="updatedSince", description="Only those changed at or after this instant."),
    ] = None,
) -> CustomerFilter:
    if updated_since is not None and updated_since.tzinfo is None:
        raise bad_parameter("query", "updatedSince", "has to say its time zone, for instance Z")
    return CustomerFilter(
        customer_type=type,
        membership_tier=tier,
        status=status,
        rfm_segment=segment,
        churn_band=churn_band,
        store_id=store,
        updated_since=updated_since,
    )


#: Declares the query parameters of a customer filter that says nothing of places.
Attributes = Annotated[CustomerFilter, Depends(_attributes)]


async def _filter(
    box: QueryBox,
    geohash: QueryGeohash,
    attributes: Attributes,
    zone: Annotated[str | None, Query(max_length=255, description="Id of a delivery zone.")] = None,
) -> PlaceFilter:
    return PlaceFilter(replace(attributes, box=box, geohash=geohash), zone)


#: Declares the query parameters of a customer filter.
Places = Annotated[PlaceFilter, Depends(_filter)]
