"""Drawing delivery zones: by hand, or as the areas that stores are nearest to."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import uuid4

from pydantic import Field, field_validator

from app.database import Connection
from app.domain.errors import AlreadyExists, InvalidInput, NotFound
from app.domain.geodesy import great_circle_metres
from app.domain.geojson import feature_properties, geometry, parse_area
from app.domain.geometry import Box
from app.domain.tenant import Tenant
from app.repositories import store as stores
from app.repositories import zone as zones
from app.repositories.zone import ServiceArea
from app.services.records import Identity, Label, Latitude, Longitude, Prose, Record

#: Paths below `/api/geo/zones` that an id would hide behind.
_RESERVED = frozenset({"at", "voronoi"})

_MOST_STORES = 2_000

#: How far beyond the outermost stores service areas reach, where no bounds are given.
_MARGIN_METRES = 10_000.0
_METRES_PER_DEGREE = 111_320.0

#: Nearness is found on a flat map; a thousand kilometres from its middle it is true to less than a
#: percent, here to five.
_FARTHEST_METRES = 3_000_000.0

#: The sides of bounds that meet at a pole are no sides.
_MOST_LATITUDE = 85.0


class ZoneRecord(Record):
    """A delivery zone as it is drawn: the whole of it, each time.

    `area` is a GeoJSON Polygon or MultiPolygon, or a Feature of one, whose properties become those
    of the zone where `properties` is left out.
    """

    name: Label
    description: Prose | None = None
    store_id: Identity | None = None
    area: dict[str, Any]
    properties: Annotated[dict[str, Any], Field(max_length=100)] | None = None


class NewZoneRecord(ZoneRecord):
    """A zone that is not there yet; without an id it is given one."""

    id: Identity | None = None

    @field_validator("id")
    @classmethod
    def _is_free(cls, value: str | None) -> str | None:
        return _not_reserved(value)


def _not_reserved(value: str | None) -> str | None:
    if value in _RESERVED:
        raise ValueError(f"{value!r} is the name of a route, and no zone can be called so")
    return value


async def create_zone(connection: Connection, tenant: Tenant, record: NewZoneRecord) -> str:
    """Write a zone that is not known yet; its id. Raises AlreadyExists and InvalidInput."""
    zone_id = record.id or str(uuid4())
    if not await _write(connection, tenant, zone_id, record):
        # The transaction ends with the error, and takes back what was written.
        raise AlreadyExists("zone", zone_id)
    return zone_id


async def create_or_replace_zone(
    connection: Connection, tenant: Tenant, zone_id: str, record: ZoneRecord
) -> bool:
    """Make the zone what the record says; True where it is new. Raises InvalidInput."""
    if zone_id in _RESERVED:
        raise InvalidInput("id", f"{zone_id!r} is the name of a route; no zone can be called so")
    return await _write(connection, tenant, zone_id, record)


async def _write(connection: Connection, tenant: Tenant, zone_id: str, record: ZoneRecord) -> bool:
    area = geometry(parse_area(record.area))
    flaw = await zones.find_flaw(connection, area)
    if flaw is not None:
        raise InvalidInput(
            "/area",
            f"is not an area: {flaw.reason} at longitude {flaw.longitude:.9g}, latitude "
            f"{flaw.latitude:.9g}",
        )
    store_sk = None
    if record.store_id is not None:
        try:
            store_sk = (await stores.get(connection, tenant.id, record.store_id)).sk
        except NotFound as missing:
            raise InvalidInput("storeId", str(missing)) from missing
    properties = record.properties
    if properties is None:
        properties = feature_properties(record.area) or {}
    return await zones.upsert(
        connection,
        tenant.id,
        zone_id=zone_id,
        name=record.name,
        description=record.description,
        store_sk=store_sk,
        area=area,
        properties=properties,
    )


class ServiceAreasRecord(Record):
    """Which stores to find service areas for: all that have a place, or those that are named.

    `bounds` are west, south, east and north in degrees; without them the areas reach 10 km beyond
    the outermost stores. Saved areas become zones; saved again, they replace those of before.
    """

    store_ids: Annotated[list[Identity], Field(min_length=1, max_length=_MOST_STORES)] | None = None
    bounds: tuple[Longitude, Latitude, Longitude, Latitude] | None = None
    save: bool = False


@dataclass(frozen=True, slots=True)
class Proposal:
    """The service area of a store. `zone_id` is that of the zone it was saved as.

    `shared_with` are the ids of stores at the same place; the area is theirs, too.
    """

    zone_id: str | None
    name: str
    store_id: str
    shared_with: list[str]
    area: dict[str, Any]
    area_square_metres: float


@dataclass(frozen=True, slots=True)
class ServiceAreas:
    """What was found within `bounds`; `without_area` are stores with nothing nearest within."""

    bounds: Box
    proposals: list[Proposal]
    without_area: list[str]


@dataclass(frozen=True, slots=True)
class _Site:
    """A place with the stores that are there: `sk`, id and name of each."""

    latitude: float
    longitude: float
    stores: list[tuple[int, str, str]]


async def propose_service_areas(
    connection: Connection, tenant: Tenant, record: ServiceAreasRecord
) -> ServiceAreas:
    """Divide the bounds among the stores: what is nearer to one than to any other is its area.

    Raises InvalidInput where a store is unknown or nowhere, and where the bounds are no area.
    """
    sites = await _find_sites(connection, tenant, record.store_ids)
    bounds = _checked(record.bounds or _around(sites))
    _check_distances(sites, bounds)
    if len(sites) == 1:
        areas = [await zones.measure_box(connection, bounds)]
    else:
        areas = await zones.compute_service_areas(
            connection, [(site.latitude, site.longitude) for site in sites], bounds
        )
    proposals: list[Proposal] = []
    without_area: list[str] = []
    for found in areas:
        site = sites[found.number]
        if found.area is None:
            without_area += [store_id for _, store_id, _ in site.stores]
            continue
        proposals.append(await _propose(connection, tenant, site, found, save=record.save))
    return ServiceAreas(bounds, proposals, without_area)


async def _propose(
    connection: Connection, tenant: Tenant, site: _Site, found: ServiceArea, *, save: bool
) -> Proposal:
    assert found.area is not None
    store_sk, store_id, _ = site.stores[0]
    zone_id = f"service-area-{store_id}" if save else None
    name = f"Service area of {' and '.join(name for _, _, name in site.stores)}"
    shared_with = [each for _, each, _ in site.stores[1:]]
    if zone_id is not None:
        await zones.upsert(
            connection,
            tenant.id,
            zone_id=zone_id,
            name=name,
            description=None,
            store_sk=store_sk,
            area=found.area,
            properties={"proposedBy": "voronoi", "sharedWith": shared_with},
        )
    return Proposal(zone_id, name, store_id, shared_with, found.area, found.area_square_metres)


async def _find_sites(
    connection: Connection, tenant: Tenant, ids: Sequence[str] | None
) -> list[_Site]:
    known = await zones.list_store_places(connection, tenant.id, ids)
    if ids is not None:
        missing = set(ids) - {store_id for _, store_id, *_ in known}
        nowhere = {store_id for _, store_id, _, latitude, _ in known if latitude is None}
        for number, each in enumerate(ids):
            if each in missing:
                raise InvalidInput(f"storeIds.{number}", f"There is no store with the id {each!r}.")
            if each in nowhere:
                raise InvalidInput(f"storeIds.{number}", f"The store {each!r} has no location.")
    at: dict[tuple[float, float], list[tuple[int, str, str]]] = defaultdict(list)
    for sk, store_id, name, latitude, longitude in known:
        if latitude is not None and longitude is not None:
            at[latitude, longitude].append((sk, store_id, name))
    if not at:
        raise InvalidInput("storeIds", "No store has a location to find a service area for.")
    if len(at) > _MOST_STORES:
        raise InvalidInput("storeIds", f"Name up to {_MOST_STORES} stores; there are {len(at)}.")
    return [_Site(*place, those) for place, those in at.items()]


def _checked(bounds: tuple[float, float, float, float]) -> Box:
    west, south, east, north = bounds
    if south >= north:
        raise InvalidInput("bounds", f"The south {south:g} has to be below the north {north:g}.")
    if south < -_MOST_LATITUDE or north > _MOST_LATITUDE:
        raise InvalidInput("bounds", f"They may reach {_MOST_LATITUDE:g} degrees of latitude.")
    if west >= east:
        raise InvalidInput(
            "bounds",
            f"The west {west:g} has to be west of the east {east:g}; bounds across the antimeridian"
            " are asked for in two parts.",
        )
    return Box(west, south, east, north)


def _around(sites: Sequence[_Site]) -> tuple[float, float, float, float]:
    """West, south, east and north of the sites and `_MARGIN_METRES` more, still on the globe."""
    south = min(site.latitude for site in sites)
    north = max(site.latitude for site in sites)
    margin = _MARGIN_METRES / _METRES_PER_DEGREE
    # At the poles a degree of longitude has no length.
    shortest = max(math.cos(math.radians(max(abs(south), abs(north)))), 0.01)
    return (
        max(min(site.longitude for site in sites) - margin / shortest, -180.0),
        max(south - margin, -_MOST_LATITUDE),
        min(max(site.longitude for site in sites) + margin / shortest, 180.0),
        min(north + margin, _MOST_LATITUDE),
    )


def _check_distances(sites: Sequence[_Site], bounds: Box) -> None:
    """Refuse what one flat map cannot show."""
    middle = (bounds.south + bounds.north) / 2, (bounds.west + bounds.east) / 2
    corners = [
        (latitude, longitude)
        for latitude in (bounds.south, middle[0], bounds.north)
        for longitude in (bounds.west, bounds.east)
    ]
    farthest = _FARTHEST_METRES / 1000
    if max(great_circle_metres(*middle, *corner) for corner in corners) > _FARTHEST_METRES:
        raise InvalidInput(
            "bounds",
            f"They reach farther than {farthest:,.0f} km from their middle; ask for smaller ones.",
        )
    for site in sites:
        if great_circle_metres(*middle, site.latitude, site.longitude) > _FARTHEST_METRES:
            raise InvalidInput(
                "storeIds",
                f"The store {site.stores[0][1]!r} is farther than {farthest:,.0f} km from the"
                " middle of the bounds; leave it out.",
            )
