"""Segments by criteria, and their members."""

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

from fastapi import Body, Path, Query
from starlette.responses import JSONResponse, Response

from app.api.audit import note_shown, note_subject
from app.api.csv_stream import MEDIA_TYPE, Cell, CsvResponse, row_of
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
from app.api.route import router as routes
from app.api.schemas.segment import (
    CriteriaSchemaView,
    ExplanationView,
    LookalikeRequest,
    LookalikeView,
    MemberAddedView,
    MemberChangeView,
    MemberView,
    NewMember,
    NewSegment,
    OverlapRequest,
    OverlapView,
    PreviewRequest,
    PreviewView,
    SegmentChange,
    SegmentListView,
    SegmentView,
)
from app.domain.access import Scope
from app.domain.criteria_schema import criteria_schema
from app.domain.tenant import Tenant
from app.repositories import segment as segments
from app.repositories import segment_member as members
from app.repositories.segment_member import Member, MemberChange
from app.services import segmentation
from app.services.segment_records import SegmentType

router = routes("segmentation", "/api/segmentation")

Reader = Annotated[Caller, requires(Scope.SEGMENTS_READ)]
Writer = Annotated[Caller, requires(Scope.SEGMENTS_WRITE)]
Exporter = Annotated[Caller, admits(Scope.EXPORTS_READ)]

SegmentId = Annotated[str, Path(description="The segment's id.")]
At = Annotated[
    date | None,
    Query(description="A past day: who was a member when it ended. Left out, the present ones."),
]
Since = Annotated[
    date | None, Query(description="The first day of changes. Left out, from the beginning.")
]

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime.max.replace(tzinfo=UTC)
_MAX_SK = 2**63 - 1
_CSV_COLUMNS = [field.alias or name for name, field in MemberView.model_fields.items()]


@router.get(
    "/criteria/schema",
    response_class=JSONResponse,
    response_model=CriteriaSchemaView,
)
async def get_criteria_schema(caller: Reader) -> Response:
    """The JSON Schema of criteria: every field, operator and form."""
    return JSONResponse(criteria_schema(), media_type="application/schema+json")


@router.get("/segments")
async def list_customer_segments(
    caller: Reader,
    connection: Connection,
    user_id: UserId = None,
    is_active: Annotated[bool, Query(alias="isActive")] = True,
    segment_type: Annotated[SegmentType | None, Query(alias="segmentType")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> SegmentListView:
    """The segments, the oldest first; those that were deleted with `isActive=false`."""
    check_user_id(caller, user_id)
    tenant_id = caller.tenant.id
    found = await segments.list_segments(
        connection,
        tenant_id,
        is_active=is_active,
        segment_type=segment_type,
        after=decode_sk(cursor),
        limit=limit + 1,
    )
    shown, next_cursor = page_of(found, limit, lambda each: encode(each.sk))
    total = await segments.count_segments(
        connection, tenant_id, is_active=is_active, segment_type=segment_type
    )
    now = datetime.now(UTC)
    return SegmentListView(
        data=[SegmentView.of(each, now) for each in shown], total=total, next_cursor=next_cursor
    )


@router.post("/segments", status_code=201)
async def create_segment(record: NewSegment, caller: Writer, connection: Connection) -> SegmentView:
    """Make a segment. Its members come with its first evaluation, which is queued."""
    check_user_id(caller, record.user_id)
    segment = await segmentation.create_segment(
        connection, caller.tenant, record, actor=caller.key_id
    )
    return SegmentView.of(segment, datetime.now(UTC))


@router.post("/segments/preview")
async def preview_segment(
    body: PreviewRequest, caller: Reader, connection: Connection, disclosure: Disclosed
) -> PreviewView:
    """Who would meet criteria that are not saved: how many, which share, and ten of them.

    Given up after two seconds with 504.
    """
    check_user_id(caller, body.user_id)
    normalized, found = await segmentation.preview_criteria(
        connection, caller.tenant, body.criteria, now=datetime.now(UTC)
    )
    note_shown(len(found.sample))
    return PreviewView.of(normalized, found, disclosure)


@router.post("/segments/overlap")
async def get_segment_overlap(
    body: OverlapRequest, caller: Reader, connection: Connection
) -> OverlapView:
    """Sizes, common members and Jaccard indices of several segments."""
    found, regions = await segmentation.count_overlap(connection, caller.tenant, body.segment_ids)
    return OverlapView.of(found, regions)


@router.get("/segments/{id}")
async def get_segment(id: SegmentId, caller: Reader, connection: Connection) -> SegmentView:
    """One segment: what it asks, how many members it has, and how old that is."""
    segment = await segments.get(connection, caller.tenant.id, id)
    return SegmentView.of(segment, datetime.now(UTC))


@router.patch("/segments/{id}")
async def change_segment(
    id: SegmentId, change: SegmentChange, caller: Writer, connection: Connection
) -> SegmentView:
    """Change a segment. Other criteria queue an evaluation; until it ends, the members stay."""
    segment = await segmentation.change_segment(
        connection, caller.tenant, id, change, actor=caller.key_id
    )
    return SegmentView.of(segment, datetime.now(UTC))


@router.delete("/segments/{id}", status_code=204)
async def remove_segment(id: SegmentId, caller: Writer, connection: Connection) -> None:
    """Let a segment rest. It keeps its history; `isActive: true` takes it up again."""
    await segmentation.remove_segment(connection, caller.tenant, id, actor=caller.key_id)


@router.post("/segments/{id}/evaluation", status_code=202)
async def evaluate_segment(id: SegmentId, caller: Writer, connection: Connection) -> SegmentView:
    """Queue an evaluation of everybody."""
    segment = await segmentation.evaluate_again(connection, caller.tenant, id)
    return SegmentView.of(segment, datetime.now(UTC))


@router.delete("/segments/{id}/evaluation", status_code=202)
async def cancel_segment_evaluation(
    id: SegmentId, caller: Writer, connection: Connection
) -> SegmentView:
    """Cancel the evaluation that waits or is under way; the members before it stay."""
    segment = await segmentation.cancel_evaluation(connection, caller.tenant, id)
    return SegmentView.of(segment, datetime.now(UTC))


_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A CSV file (RFC 4180, UTF-8, a header line), in the order of joining.",
        "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get("/segments/{id}/members.csv", response_class=Response, responses=_FILE)
async def export_segment_members(
    id: SegmentId,
    caller: Exporter,
    database: DatabaseAccess,
    at: At = None,
    anonymize: Anonymize = False,
) -> CsvResponse:
    """All members as a CSV file, now or when a past day ended."""
    tenant = caller.tenant
    moment = _end_of(tenant, at)
    async with database.tenant_transaction(tenant.id) as connection:
        segment = await segments.get(connection, tenant.id, id)

    async def rows() -> AsyncGenerator[Sequence[Sequence[Cell]]]:
        async with database.tenant_transaction(tenant.id) as connection:
            disclosure = await disclosure_to(connection, caller, anonymize)
            async for found in members.stream(connection, tenant.id, segment.sk, at=moment):
                views = (MemberView.of(each, disclosure) for each in found)
                yield [row_of(view.model_dump(by_alias=True), _CSV_COLUMNS) for view in views]

    return CsvResponse(f"segment-{segment.id}", _CSV_COLUMNS, rows())


@router.get("/segments/{id}/members")
async def list_segment_members(
    id: SegmentId,
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
    at: At = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[MemberView]:
    """Present members, those first recorded in front; of a past day, in the order of joining."""
    tenant = caller.tenant
    moment = _end_of(tenant, at)
    segment = await segments.get(connection, tenant.id, id)
    if moment is None:
        found = await members.list_present(
            connection, tenant.id, segment.sk, after=decode_sk(cursor), limit=limit + 1
        )
        shown, next_cursor = page_of(found, limit, lambda each: encode(each.customer_sk))
    else:
        found = await members.list_past(
            connection,
            tenant.id,
            segment.sk,
            at=moment,
            after=_joined_after(cursor),
            limit=limit + 1,
        )
        shown, next_cursor = page_of(found, limit, _joined_cursor)
    return Page(items=[MemberView.of(each, disclosure) for each in shown], next_cursor=next_cursor)


@router.post("/segments/{id}/members", status_code=201)
async def add_segment_member(
    id: SegmentId, member: NewMember, caller: Writer, connection: Connection
) -> MemberAddedView:
    """Put a customer into a custom segment by hand, to stay until taken out."""
    is_new = await segmentation.add_member(
        connection, caller.tenant, id, member.customer_id, now=datetime.now(UTC)
    )
    return MemberAddedView(status="added" if is_new else "unchanged")


@router.post("/segments/{id}/members/{customerId}", status_code=201)
async def add_named_segment_member(
    id: SegmentId, customer_id: CustomerId, caller: Writer, connection: Connection
) -> MemberAddedView:
    """Put a customer into a custom segment by hand, to stay until taken out."""
    is_new = await segmentation.add_member(
        connection, caller.tenant, id, customer_id, now=datetime.now(UTC)
    )
    return MemberAddedView(status="added" if is_new else "unchanged")


@router.get("/segments/{id}/members/{customerId}")
async def get_segment_member(
    id: SegmentId,
    customer_id: CustomerId,
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
) -> MemberView:
    """The present membership of a customer."""
    segment = await segments.get(connection, caller.tenant.id, id)
    note_subject(customer_id)
    member = await members.get(connection, caller.tenant.id, segment.sk, customer_id)
    return MemberView.of(member, disclosure)


@router.delete("/segments/{id}/members/{customerId}", status_code=204)
async def remove_segment_member(
    id: SegmentId, customer_id: CustomerId, caller: Writer, connection: Connection
) -> None:
    """Take out a member who was put in by hand; who meets the criteria is one still."""
    await segmentation.remove_member(
        connection, caller.tenant, id, customer_id, now=datetime.now(UTC)
    )


@router.get("/segments/{id}/explain/{customerId}")
async def explain_segment_membership(
    id: SegmentId,
    customer_id: CustomerId,
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
) -> ExplanationView:
    """Each clause of the criteria with the customer's value, and whether it holds."""
    found = await segmentation.explain_membership(
        connection, caller.tenant, id, customer_id, now=datetime.now(UTC)
    )
    note_subject(customer_id)
    return ExplanationView.of(found, customer_id, caller.tenant.currency, disclosure)


@router.get("/segments/{id}/changes")
async def list_segment_changes(
    id: SegmentId,
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
    since: Since = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[MemberChangeView]:
    """Who joined and who left, the latest first."""
    tenant = caller.tenant
    segment = await segments.get(connection, tenant.id, id)
    begin = _EARLIEST if since is None else tenant.end_of(since - timedelta(days=1))
    found = await members.list_changes(
        connection,
        tenant.id,
        segment.sk,
        since=begin,
        before=_changed_before(cursor),
        limit=limit + 1,
    )
    shown, next_cursor = page_of(found, limit, _change_cursor)
    items = [MemberChangeView.of(each, disclosure) for each in shown]
    return Page(items=items, next_cursor=next_cursor)


@router.post("/segments/{id}/lookalike")
async def find_lookalikes(
    id: SegmentId,
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
    body: Annotated[LookalikeRequest | None, Body(examples=[{"limit": 100}])] = None,
) -> LookalikeView:
    """Customers most like the members, who are none, with how similar they are."""
    limit = (body or LookalikeRequest()).limit
    segment, measured, found = await segmentation.find_lookalikes(
        connection, caller.tenant, id, limit=limit
    )
    note_shown(len(found))
    return LookalikeView.of(segment, measured, found, disclosure)


def _end_of(tenant: Tenant, day: date | None) -> datetime | None:
    if day is None:
        return None
    if day > tenant.local_day(datetime.now(UTC)):
        raise bad_parameter("query", "at", "must not be a day to come")
    return tenant.end_of(day)


def _joined_cursor(member: Member) -> str:
    return encode(member.joined_at.isoformat(), member.customer_sk)


def _joined_after(cursor: str | None) -> tuple[datetime, int]:
    if cursor is None:
        return _EARLIEST, 0
    joined_at, customer_sk = decode(cursor, str, int)
    return _moment(joined_at), customer_sk


def _change_cursor(change: MemberChange) -> str:
    return encode(change.at.isoformat(), change.customer_sk, int(change.joined))


def _changed_before(cursor: str | None) -> tuple[datetime, int, bool]:
    if cursor is None:
        return _LATEST, _MAX_SK, True
    at, customer_sk, joined = decode(cursor, str, int, int)
    return _moment(at), customer_sk, bool(joined)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadCursor from None
    if moment.tzinfo is None:
        raise BadCursor
    return moment
