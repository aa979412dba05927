"""Traces: the way of one customer as a file, and where a customer, a person or a device stayed."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from html import escape
from typing import Annotated, Any, Literal

from fastapi import Query
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from app import database as db
from app.api import audit
from app.api.csv_stream import MEDIA_TYPE as CSV_TYPE
from app.api.csv_stream import Cell, CsvResponse
from app.api.dependencies import (
    Caller,
    Connection,
    CustomerId,
    DatabaseAccess,
    UserId,
    admits,
    check_user_id,
    requires,
)
from app.api.disclosure import Anonymize, Disclosed, disclosure_to
from app.api.errors import BadCursor, bad_parameter
from app.api.export_stream import Sink, StreamedFile
from app.api.journey import EARLIEST, LATEST, Since, Until, instant_of
from app.api.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, decode, encode
from app.api.route import router as routes
from app.api.schemas.trace import SalesVisit, TraceFeature, VisitView, point_of
from app.domain import trace
from app.domain.access import Scope
from app.domain.capture import Place, VisitType
from app.domain.errors import Forbidden, NotFound
from app.domain.privacy import Disclosure
from app.domain.tenant import Tenant
from app.repositories import capture as captures
from app.repositories import customer as customers
from app.repositories import former
from app.repositories.capture import Capture, Follow, TraceFilter
from app.repositories.customer import Customer

router = routes("geo", "/api/geo")

GEOJSON_TYPE = "application/geo+json"
GPX_TYPE = "application/gpx+xml"

#: One feature is one piece of JSON, so it has a limit; CSV and GPX have none.
MOST_POINTS = 50_000
#: A page of visits looks at so many captures; what is left over begins the next page.
LOOKED_AT = 20_000
#: Somebody this near to an address is there, or as near as the fix is accurate.
AT_ADDRESS_METRES = 150.0


class TraceFormat(StrEnum):
    """How a trace is written."""

    GEOJSON = "geojson"
    GPX = "gpx"
    CSV = "csv"


_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The captures in the order of their times.",
        "content": {
            GEOJSON_TYPE: {"schema": TraceFeature.model_json_schema(by_alias=True)},
            GPX_TYPE: _BINARY,
            CSV_TYPE: _BINARY,
        },
    }
}

GapMinutes = Annotated[
    float,
    Query(
        alias="gapMinutes",
        gt=0,
        le=100_000_000,
        description="A line and a stay end where nothing was captured for so long.",
    ),
]
Tolerance = Annotated[
    float,
    Query(
        ge=0,
        le=100_000,
        description="Leave positions out that lie within so many metres of the line; GeoJSON only.",
    ),
]
Flagged = Annotated[
    Literal["exclude", "include"],
    Query(description="Whether captures that are not believed belong to the trace."),
]


@router.get("/export/location-history/{customerId}", response_class=Response, responses=_FILE)
async def export_location_history(
    customer_id: CustomerId,
    caller: Annotated[Caller, admits(Scope.EXPORTS_READ)],
    database: DatabaseAccess,
    format: TraceFormat = TraceFormat.GEOJSON,
    since: Since = None,
    until: Until = None,
    gap_minutes: GapMinutes = 30,
    simplify: Tolerance = 0,
    flagged: Flagged = "exclude",
    user_id: UserId = None,
    anonymize: Anonymize = False,
) -> Response:
    """The way of a customer: as GeoJSON a line, cut at gaps; as GPX; or capture by capture as CSV.

    One capture is a Point and none a feature without geometry. Nothing is told of what is older
    than the tenant's retention. It is not told anonymized, because a way names its walker.
    """
    check_user_id(caller, user_id)
    tenant = caller.tenant
    async with database.tenant_transaction(tenant.id) as connection:
        refuse_anonymous(await disclosure_to(connection, caller, anonymize))
        customer = await _present_customer(connection, tenant, customer_id)
        audit.note_subject(customer.id)
        wanted = await _wanted(
            connection,
            tenant,
            TraceFilter(
                follow=Follow.CUSTOMER,
                whom=customer.sk,
                since=instant_of(tenant, "from", since, EARLIEST),
                until=instant_of(tenant, "to", until, LATEST),
                with_flagged=flagged == "include",
            ),
        )
        if format is TraceFormat.GEOJSON:
            gap = timedelta(minutes=gap_minutes)
            return await _feature(connection, tenant, customer, wanted, gap, simplify)

    async def parts() -> AsyncGenerator[list[Capture]]:
        async with database.tenant_transaction(tenant.id) as connection:
            async for found in captures.stream_trace(connection, tenant.id, wanted):
                yield found

    if format is TraceFormat.CSV:
        return CsvResponse("location-history", _COLUMNS, _csv_rows(parts()))

    async def write(sink: Sink) -> None:
        async with aclosing(_gpx(customer.id, parts(), timedelta(minutes=gap_minutes))) as texts:
            async for text in texts:
                await sink(text.encode())

    return StreamedFile("location-history.gpx", GPX_TYPE, write)


def refuse_anonymous(disclosure: Disclosure) -> None:
    """Raise Forbidden for callers who are not to recognise anybody."""
    if disclosure.anonymous:
        raise Forbidden(
            "A trace is not told without names: where somebody goes each day tells who it is."
        )


async def _present_customer(
    connection: db.Connection, tenant: Tenant, customer_id: str
) -> Customer:
    """The customer of an id, also of one from before a merge. Raises NotFound."""
    try:
        return await customers.get(connection, tenant.id, customer_id)
    except NotFound:
        present_id = await former.find_present_id(connection, tenant.id, customer_id)
        if present_id is None:
            raise
        return await customers.get(connection, tenant.id, present_id)


async def _wanted(connection: db.Connection, tenant: Tenant, asked: TraceFilter) -> TraceFilter:
    """What was asked for, as far as the tenant keeps it. Raises RequestValidationError."""
    if asked.since >= asked.until:
        raise bad_parameter("query", "to", "must be later than from")
    kept = await captures.kept_since(connection, tenant.id, datetime.now(UTC))
    return asked if kept is None else replace(asked, since=max(asked.since, kept))


async def _feature(
    connection: db.Connection,
    tenant: Tenant,
    customer: Customer,
    wanted: TraceFilter,
    gap: timedelta,
    tolerance_metres: float,
) -> Response:
    found = await captures.list_trace(connection, tenant.id, wanted, limit=MOST_POINTS + 1)
    if len(found) > MOST_POINTS:
        raise bad_parameter(
            "query",
            "from",
            f"holds more than {MOST_POINTS} captures, the most of one GeoJSON feature; ask for a "
            "shorter time, or for csv or gpx",
        )

    def make() -> dict[str, Any]:
        feature = TraceFeature.of(customer.id, found, gap=gap, tolerance_metres=tolerance_metres)
        document = feature.model_dump(mode="json", by_alias=True)
        # RFC 7946 knows a bounding box of numbers, or none.
        return document if feature.bbox else {k: v for k, v in document.items() if k != "bbox"}

    # A long trace takes longer than other requests should wait.
    document = await run_in_threadpool(make)
    return JSONResponse(document, media_type=GEOJSON_TYPE, headers={"Cache-Control": "no-store"})


_COLUMNS = (
    "captureId",
    "capturedAt",
    "latitude",
    "longitude",
    "geohash",
    "accuracy",
    "altitude",
    "speed",
    "heading",
    "source",
    "capturedBy",
    "deviceId",
    "visitType",
    "notes",
    "photoUrl",
    "flags",
)


async def _csv_rows(
    parts: AsyncGenerator[list[Capture]],
) -> AsyncGenerator[Sequence[Sequence[Cell]]]:
    async with aclosing(parts):
        async for found in parts:
            yield [_cells(capture) for capture in found]


def _cells(capture: Capture) -> list[Cell]:
    return [
        capture.id,
        _iso(capture.captured_at),
        capture.latitude,
        capture.longitude,
        capture.geohash,
        capture.accuracy,
        capture.altitude,
        capture.speed,
        capture.heading,
        capture.source,
        capture.captured_by,
        capture.device_id,
        capture.visit_type,
        capture.visit_notes,
        capture.photo_url,
        "; ".join(capture.flags),
    ]


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


async def _gpx(
    name: str, parts: AsyncGenerator[list[Capture]], gap: timedelta
) -> AsyncGenerator[str]:
    """A GPX 1.1 document: one track with a segment between any two gaps."""
    yield (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<gpx version="1.1" creator="Business Partner Service"'
        ' xmlns="http://www.topografix.com/GPX/1/1">\n'
        f"<trk><name>{_xml(name)}</name>\n"
    )
    last: datetime | None = None
    async with aclosing(parts):
        async for found in parts:
            lines = []
            for capture in found:
                if last is None or capture.captured_at - last > gap:
                    lines.append("<trkseg>" if last is None else "</trkseg>\n<trkseg>")
                last = capture.captured_at
                lines.append(_track_point(capture))
            yield "\n".join(lines) + "\n"
    yield ("" if last is None else "</trkseg>\n") + "</trk>\n</gpx>\n"


def _track_point(capture: Capture) -> str:
    # The schema knows these elements in this order only.
    inner = "" if capture.altitude is None else f"<ele>{capture.altitude!r}</ele>"
    inner += f"<time>{_iso(capture.captured_at)}</time>"
    if capture.visit_notes:
        inner += f"<cmt>{_xml(capture.visit_notes)}</cmt>"
    inner += f"<src>{_xml(capture.source)}</src>"
    if capture.visit_type:
        inner += f"<type>{_xml(capture.visit_type)}</type>"
    return f'<trkpt lat="{capture.latitude!r}" lon="{capture.longitude!r}">{inner}</trkpt>'


def _xml(text: str) -> str:
    """`text` in a document of XML 1.0, which has no place for most control characters."""
    allowed = "".join(
        each for each in text if (each >= " " and each not in "\ufffe\uffff") or each in "\t\n\r"
    )
    return escape(allowed)


# --- visits -----------------------------------------------------------------------------------


@router.get("/visits")
async def list_visits(
    caller: Annotated[Caller, requires(Scope.GEO_READ)],
    connection: Connection,
    disclosure: Disclosed,
    customer_id: Annotated[
        str | None, Query(alias="customerId", max_length=255, description="Whose captures.")
    ] = None,
    captured_by: Annotated[
        str | None, Query(alias="capturedBy", max_length=255, description="Who captured.")
    ] = None,
    device_id: Annotated[
        str | None, Query(alias="deviceId", max_length=255, description="The device that captured.")
    ] = None,
    since: Since = None,
    until: Until = None,
    minutes: Annotated[float, Query(gt=0, le=1440, description="How long makes a stay.")] = 10,
    metres: Annotated[float, Query(gt=0, le=10_000, description="How near makes a place.")] = 100,
    gap_minutes: GapMinutes = 30,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    user_id: UserId = None,
) -> Page[VisitView]:
    """Where a customer, a person or a device stayed, and which sales visits are verified.

    One of customerId, capturedBy and deviceId says whose trace. A capture with a visitType outside
    of any stay is a visit of its own. A sales visit is verified if it was captured within 150
    metres of an address of its customer, or within its accuracy. A page may be short of visits and
    still have a next one, because it looks at 20,000 captures at most.
    """
    check_user_id(caller, user_id)
    refuse_anonymous(disclosure)
    tenant = caller.tenant
    follow, whom = await _followed(connection, tenant, customer_id, captured_by, device_id)
    wanted = await _wanted(
        connection,
        tenant,
        TraceFilter(
            follow=follow,
            whom=whom,
            since=instant_of(tenant, "from", since, EARLIEST),
            until=instant_of(tenant, "to", until, LATEST),
            with_flagged=False,
            after=_after(cursor),
        ),
    )
    found = await captures.list_trace(connection, tenant.id, wanted, limit=LOOKED_AT + 1)
    visits, last = await run_in_threadpool(
        _visits, found, minutes=minutes, metres=metres, gap_minutes=gap_minutes, limit=limit
    )
    return Page(
        items=await _views(connection, tenant, found, visits),
        next_cursor=None
        if last is None
        else encode(found[last].captured_at.isoformat(), found[last].id),
    )


async def _followed(
    connection: db.Connection,
    tenant: Tenant,
    customer_id: str | None,
    captured_by: str | None,
    device_id: str | None,
) -> tuple[Follow, int | str]:
    given = [each for each in (customer_id, captured_by, device_id) if each is not None]
    if len(given) != 1:
        raise bad_parameter(
            "query", "customerId", "give exactly one of customerId, capturedBy and deviceId"
        )
    if customer_id is not None:
        customer = await _present_customer(connection, tenant, customer_id)
        audit.note_subject(customer.id)
        return Follow.CUSTOMER, customer.sk
    if captured_by is not None:
        return Follow.CAPTURED_BY, captured_by
    return Follow.DEVICE, given[0]


def _after(cursor: str | None) -> tuple[datetime, str] | None:
    if cursor is None:
        return None
    text, identity = decode(cursor, str, str)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise BadCursor from None
    if at.tzinfo is None:
        raise BadCursor
    return at, identity


_Visit = tuple[int, int, Place, bool]


def _visits(
    found: Sequence[Capture], *, minutes: float, metres: float, gap_minutes: float, limit: int
) -> tuple[list[_Visit], int | None]:
    """Visits as their first capture, the end, the middle and whether it was a stay.

    And the last capture that they leave behind, where there is more to look at.
    """
    points = [point_of(capture) for capture in found]
    stays = trace.find_stays(
        points,
        metres=metres,
        duration=timedelta(minutes=minutes),
        gap=timedelta(minutes=gap_minutes),
    )
    visits: list[_Visit] = [
        (each.first, each.end, Place(each.latitude, each.longitude), True) for each in stays
    ]
    in_stays = {index for each in stays for index in range(each.first, each.end)}
    visits += [
        (index, index + 1, Place(capture.latitude, capture.longitude), False)
        for index, capture in enumerate(found)
        if capture.visit_type is not None and index not in in_stays
    ]
    visits.sort(key=lambda visit: visit[0])
    settled = len(found)
    if len(found) > LOOKED_AT:
        # What may go on beyond what was read begins the next page.
        began = points[-1].at - timedelta(minutes=minutes)
        settled = next(index for index, point in enumerate(points) if point.at >= began)
        if stays and stays[-1].end == len(found):
            settled = min(settled, stays[-1].first)
        # So much in so short a time, or so long at one place: it is told in parts.
        settled = settled or LOOKED_AT
    visits = [visit for visit in visits if visit[0] < settled]
    if len(visits) > limit:
        return visits[:limit], visits[limit - 1][1] - 1
    if settled == len(found):
        return visits, None
    return visits, max(settled, visits[-1][1] if visits else 0) - 1


async def _views(
    connection: db.Connection,
    tenant: Tenant,
    found: Sequence[Capture],
    visits: Sequence[_Visit],
) -> list[VisitView]:
    made = [found[first:end] for first, end, _, _ in visits]
    stores = await captures.find_nearest_stores(
        connection, tenant.id, [place for _, _, place, _ in visits]
    )
    sales = [
        capture for each in made for capture in each if capture.visit_type == VisitType.SALES_VISIT
    ]
    distances = await captures.find_address_distances(connection, tenant.id, sales)
    return [
        VisitView.of(
            each,
            stayed=stayed,
            latitude=place.latitude,
            longitude=place.longitude,
            store=store,
            sales_visits=[
                _sales_visit(capture, distances.get(capture.id))
                for capture in each
                if capture.visit_type == VisitType.SALES_VISIT
            ],
        )
        for each, (_, _, place, stayed), store in zip(made, visits, stores, strict=True)
    ]


def _sales_visit(capture: Capture, distance: float | None) -> SalesVisit:
    return SalesVisit(
        capture_id=capture.id,
        customer_id=capture.customer_id,
        captured_at=capture.captured_at,
        verified=None
        if distance is None
        else distance <= max(AT_ADDRESS_METRES, capture.accuracy or 0.0),
        distance_metres=None if distance is None else round(distance, 1),
    )
