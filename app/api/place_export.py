"""Places of customers and addresses as files for maps and for spatial SQL, however many."""

from typing import Annotated, Any

from fastapi import Query
from starlette.responses import Response

from app.api.dependencies import Caller, DatabaseAccess, UserId, admits, check_user_id
from app.api.disclosure import Anonymize, disclosure_to
from app.api.export_stream import Sink, StreamedFile
from app.api.place_filter import PlaceFilter, Places
from app.api.place_format import FILE_KINDS, PlaceFormat, open_place_file
from app.api.route import router as routes
from app.database import Database
from app.domain.access import Scope
from app.repositories.place_export import ADDRESSES, CUSTOMERS, PlaceExport, stream_places

router = routes("geo", "/api/geo/export")

Exporter = Annotated[Caller, admits(Scope.EXPORTS_READ)]
Format = Annotated[
    PlaceFormat,
    Query(
        alias="format",
        description="`geojson`: a FeatureCollection; `ndjson`: a Feature a line; `csv` with "
        "longitude and latitude; `wkt`: CSV with a column `wkt`; `geoparquet`: GeoParquet 1.1.",
    ),
]


def _documented(example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    content: dict[str, Any] = {kind.media_type: binary for kind in FILE_KINDS.values()}
    content[FILE_KINDS[PlaceFormat.GEOJSON].media_type] = {
        "schema": {"type": "object"},
        "example": {
            "type": "FeatureCollection",
            "features": [example],
            "metadata": {"crs": {"type": "name", "properties": {"name": "EPSG:4326"}}},
        },
    }
    return {
        200: {
            "description": "A file that is one consistent state, those first recorded in front.",
            "content": content,
        }
    }


_POINT = {"type": "Point", "coordinates": [106.8456, -6.2088]}
_CUSTOMER = {
    "type": "Feature",
    "geometry": _POINT,
    "properties": {
        "id": "cus-123",
        "code": "CUS-0001",
        "name": "Siti Rahayu",
        "customerType": "retail",
        "totalSpent": 5000000.00,
        "geohash": "qqguwx7",
        "rfmSegment": "champion",
        "churnBand": "low",
        "churnScore": 0.12,
        "clv": 8250000.00,
        "membershipTier": "gold",
        "status": "active",
        "lastLocationAccuracy": 8.5,
        "lastLocationCapturedAt": "2026-02-11T09:30:00Z",
        "updatedAt": "2026-02-11T09:30:00Z",
        "currency": "IDR",
    },
}
_ADDRESS = {
    "type": "Feature",
    "geometry": _POINT,
    "properties": {
        "id": "adr-1001",
        "customerId": "cus-123",
        "customerCode": "CUS-0001",
        "customerName": "Siti Rahayu",
        "customerType": "retail",
        "label": "Toko",
        "line": "Jl. Kemang Raya 12",
        "city": "Jakarta Selatan",
        "postalCode": "12730",
        "isPrimary": True,
        "geohash": "qqguwx7",
        "rfmSegment": "champion",
        "churnBand": "low",
        "updatedAt": "2026-02-11T09:30:00Z",
    },
}


@router.get("/customers", response_class=Response, responses=_documented(_CUSTOMER))
async def export_customer_places(
    caller: Exporter,
    database: DatabaseAccess,
    places: Places,
    format: Format = PlaceFormat.GEOJSON,
    user_id: UserId = None,
    anonymize: Anonymize = False,
) -> StreamedFile:
    """All customers with a last known place, as a file.

    Anonymized, each stands at the centre of the district (a geohash of five characters), and
    districts with fewer than five customers are left out.
    """
    check_user_id(caller, user_id)
    return await _export("customers", CUSTOMERS, caller, database, places, format, anonymize)


@router.get("/addresses", response_class=Response, responses=_documented(_ADDRESS))
async def export_address_places(
    caller: Exporter,
    database: DatabaseAccess,
    places: Places,
    format: Format = PlaceFormat.GEOJSON,
    user_id: UserId = None,
    anonymize: Anonymize = False,
) -> StreamedFile:
    """All addresses with coordinates, as a file.

    `bbox`, `zone`, `geohash` and `updatedSince` are about the address, the other filters about its
    customer. Anonymized as customers are.
    """
    check_user_id(caller, user_id)
    return await _export("addresses", ADDRESSES, caller, database, places, format, anonymize)


async def _export(
    name: str,
    export: PlaceExport,
    caller: Caller,
    database: Database,
    places: PlaceFilter,
    format: PlaceFormat,
    anonymize: bool,
) -> StreamedFile:
    tenant, kind = caller.tenant, FILE_KINDS[format]
    async with database.tenant_transaction(tenant.id) as connection:
        wanted = await places.resolve(connection, tenant.id)

    async def write(sink: Sink) -> None:
        async with database.tenant_transaction(tenant.id) as connection:
            disclosure = await disclosure_to(connection, caller, anonymize)
            file = open_place_file(format, export, tenant.currency, disclosure, sink)
            await stream_places(
                connection,
                tenant,
                export,
                wanted,
                kind.values,
                receive=file.add,
                anonymous=disclosure.anonymous,
            )
        await file.end()

    return StreamedFile(f"{name}.{kind.suffix}", kind.media_type, write)
