"""Delivery zones: drawn, changed, asked who and what is in them."""

from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import Body, Query, Response
from starlette.responses import JSONResponse

from app.api.csv_stream import MEDIA_TYPE as CSV
from app.api.csv_stream import Cell, CsvResponse, row_of
from app.api.dependencies import (
    Caller,
    Connection,
    DatabaseAccess,
    PathId,
    admits,
    requires,
)
from app.api.disclosure import Anonymize, Disclosed, disclosure_to
from app.api.errors import bad_parameter
from app.api.pagination import (
    DEFAULT_LIMIT,
    Cursor,
    Limit,
    Page,
    decode,
    decode_sk,
    encode,
    page_of,
)
from app.api.place_filter import QueryBox
from app.api.route import router as routes
from app.api.schemas.zone import (
    EXAMPLE,
    ServiceAreasView,
    ZoneCustomerView,
    ZoneView,
    feature_collection,
)
from app.domain.access import Scope
from app.repositories import zone as zones
from app.services import zoning
from app.services.zoning import NewZoneRecord, ServiceAreasRecord, ZoneRecord

router = routes("geo", "/api/geo/zones")

Reader = Annotated[Caller, requires(Scope.GEO_READ)]
Writer = Annotated[Caller, requires(Scope.GEO_WRITE)]
Exporter = Annotated[Caller, admits(Scope.EXPORTS_READ)]

GEOJSON = "application/geo+json"
Format = Annotated[
    Literal["json", "geojson"],
    Query(description="`geojson` answers with GeoJSON (RFC 7946) as application/geo+json."),
]
_AS_GEOJSON: dict[int | str, dict[str, Any]] = {
    200: {"content": {GEOJSON: {"schema": {"type": "object"}}}}
}


@router.post("", status_code=201)
async def create_zone(
    record: Annotated[NewZoneRecord, Body(examples=[EXAMPLE])],
    caller: Writer,
    connection: Connection,
    response: Response,
) -> ZoneView:
    """Record a zone that is not known yet; 409 if the id is taken."""
    zone_id = await zoning.create_zone(connection, caller.tenant, record)
    response.headers["Location"] = f"/api/geo/zones/{quote(zone_id, safe='')}"
    return ZoneView.of(await zones.get(connection, caller.tenant.id, zone_id))


@router.post("/voronoi")
async def propose_zones(
    record: Annotated[
        ServiceAreasRecord, Body(examples=[{"bounds": [106.6, -6.4, 107.1, -6.0], "save": False}])
    ],
    caller: Writer,
    connection: Connection,
) -> ServiceAreasView:
    """Divide an area among the stores: each gets what is nearer to it than to any other.

    Nearness is measured in metres on a projection that suits the place. Nothing is kept unless
    `save` says so; then each area becomes the zone `service-area-<store>`, or replaces it.
    """
    return ServiceAreasView.of(
        await zoning.propose_service_areas(connection, caller.tenant, record)
    )


@router.get("", responses=_AS_GEOJSON, response_model=Page[ZoneView])
async def list_zones(
    caller: Reader,
    connection: Connection,
    box: QueryBox,
    store: Annotated[
        str | None, Query(max_length=255, description="Only zones of the store with this id.")
    ] = None,
    format: Format = "json",
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[ZoneView] | Response:
    """Every zone, in the order in which they were first recorded."""
    found = await zones.list_page(
        connection,
        caller.tenant.id,
        store_id=store,
        box=box,
        after=decode_sk(cursor),
        limit=limit + 1,
    )
    shown, next_cursor = page_of(found, limit, lambda zone: encode(zone.sk))
    views = [ZoneView.of(zone) for zone in shown]
    if format == "geojson":
        return JSONResponse(feature_collection(views, next_cursor), media_type=GEOJSON)
    return Page(items=views, next_cursor=next_cursor)


def _coordinate(short: str, given: float | None, name: str, long: float | None) -> float:
    """One coordinate by either of its names."""
    if given is not None and long is not None and given != long:
        raise bad_parameter("query", name, f"is not what {short} says; send one of them")
    value = long if given is None else given
    if value is None:
        raise bad_parameter("query", short, f"is missing; {name} will do, too")
    return value


@router.get("/at")
async def list_zones_at(
    caller: Reader,
    connection: Connection,
    lat: Annotated[float | None, Query(ge=-90, le=90, allow_inf_nan=False)] = None,
    lng: Annotated[float | None, Query(ge=-180, le=180, allow_inf_nan=False)] = None,
    latitude: Annotated[float | None, Query(ge=-90, le=90, allow_inf_nan=False)] = None,
    longitude: Annotated[float | None, Query(ge=-180, le=180, allow_inf_nan=False)] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[ZoneView]:
    """The zones that hold a point, or have it on their edge, the smallest first.

    `latitude` and `longitude` are other names of `lat` and `lng`.
    """
    area, sk = (-1.0, 0) if cursor is None else decode(cursor, float, int)
    found = await zones.list_at(
        connection,
        caller.tenant.id,
        latitude=_coordinate("lat", lat, "latitude", latitude),
        longitude=_coordinate("lng", lng, "longitude", longitude),
        after=(area, sk),
        limit=limit + 1,
    )
    shown, next_cursor = page_of(
        found, limit, lambda zone: encode(zone.area_square_metres, zone.sk)
    )
    return Page(items=[ZoneView.of(zone) for zone in shown], next_cursor=next_cursor)


_COLUMNS = [field.alias or name for name, field in ZoneCustomerView.model_fields.items()]


@router.get(
    "/{id}/customers.csv",
    response_class=Response,
    responses={
        200: {
            "description": "A CSV file (RFC 4180, UTF-8, a header line) in the order of the list.",
            "content": {CSV: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def export_zone_customers(
    id: PathId, caller: Exporter, database: DatabaseAccess, anonymize: Anonymize = False
) -> CsvResponse:
    """All customers last known in the zone as a CSV file."""
    tenant = caller.tenant
    async with database.tenant_transaction(tenant.id) as connection:
        zone_sk = await zones.get_sk(connection, tenant.id, id)

    async def rows() -> AsyncGenerator[Sequence[Sequence[Cell]]]:
        async with database.tenant_transaction(tenant.id) as connection:
            disclosure = await disclosure_to(connection, caller, anonymize)
            if disclosure.anonymous:
                districts = await zones.list_districts(connection, tenant.id, zone_sk)
                parts = zones.stream_of_districts(connection, tenant.id, districts)
            else:
                parts = zones.stream_customers(connection, tenant.id, zone_sk)
            async for found in parts:
                views = (ZoneCustomerView.of(each, disclosure) for each in found)
                yield [row_of(view.model_dump(by_alias=True), _COLUMNS) for view in views]

    return CsvResponse("zone-customers", _COLUMNS, rows())


@router.get("/{id}/customers")
async def list_zone_customers(
    id: PathId,
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[ZoneCustomerView]:
    """Customers last known in the zone or on its edge, neighbours together.

    Anonymized, they are taken to be at the centres of their districts, and a district with fewer
    than five customers is left out; they come in the order in which they were first recorded.
    """
    tenant_id = caller.tenant.id
    zone_sk = await zones.get_sk(connection, tenant_id, id)
    if disclosure.anonymous:
        districts = await zones.list_districts(connection, tenant_id, zone_sk)
        found = await zones.list_of_districts(
            connection, tenant_id, districts, after=decode_sk(cursor), limit=limit + 1
        )
        shown, next_cursor = page_of(found, limit, lambda each: encode(each.sk))
    else:
        geohash, sk = ("", 0) if cursor is None else decode(cursor, str, int)
        found = await zones.list_customers(
            connection, tenant_id, zone_sk, after=(geohash, sk), limit=limit + 1
        )
        shown, next_cursor = page_of(found, limit, lambda each: encode(each.geohash, each.sk))
    return Page(
        items=[ZoneCustomerView.of(each, disclosure) for each in shown], next_cursor=next_cursor
    )


@router.get("/{id}", responses=_AS_GEOJSON, response_model=ZoneView)
async def get_zone(
    id: PathId,
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
    customers: Annotated[
        bool, Query(description="Count the customers last known in the zone, too.")
    ] = False,
    format: Format = "json",
) -> ZoneView | Response:
    """One zone. Anonymized, customers are counted by districts, as `…/customers` lists them."""
    tenant_id = caller.tenant.id
    zone = await zones.get(connection, tenant_id, id)
    count = None
    if customers and disclosure.anonymous:
        count = sum((await zones.list_districts(connection, tenant_id, zone.sk)).values())
    elif customers:
        count = await zones.count_customers(connection, tenant_id, zone.sk)
    view = ZoneView.of(zone, count)
    if format == "geojson":
        return JSONResponse(view.feature(), media_type=GEOJSON)
    return view


@router.put("/{id}", responses={201: {"model": ZoneView, "description": "Created."}})
async def create_or_replace_zone(
    id: PathId,
    record: Annotated[
        ZoneRecord,
        Body(examples=[{name: value for name, value in EXAMPLE.items() if name != "id"}]),
    ],
    caller: Writer,
    connection: Connection,
    response: Response,
) -> ZoneView:
    """Make the zone what the body says; 201 where it is new."""
    if await zoning.create_or_replace_zone(connection, caller.tenant, id, record):
        response.status_code = 201
    return ZoneView.of(await zones.get(connection, caller.tenant.id, id))


@router.delete("/{id}", status_code=204)
async def remove_zone(id: PathId, caller: Writer, connection: Connection) -> None:
    """Delete a zone; its customers stay."""
    await zones.remove(connection, caller.tenant.id, id)
