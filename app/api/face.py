"""Faces: enrolled, found, verified, forgotten; and what was done with them.

No transaction is open while a provider works, so routes that ask one open their own.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import date
from itertools import groupby
from typing import Annotated, Any
from uuid import UUID

from fastapi import Body, Depends, Path, Query, Request
from starlette.responses import Response

from app.api import idempotency
from app.api.dependencies import (
    Caller,
    Connection,
    DatabaseAccess,
    PathId,
    admits,
    check_user_id,
    gathers,
    requires,
)
from app.api.disclosure import Disclosed
from app.api.errors import problems
from app.api.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, decode, encode, page_of
from app.api.period import From, StoreId, To, as_of_day, find_store, period_of
from app.api.photo_body import PhotoBody, photo_request, read_photo
from app.api.route import router as routes
from app.api.schemas.face import (
    SETTINGS_EXAMPLE,
    CrowdView,
    CustomerFacesView,
    DemographicsDayView,
    DemographicsView,
    EmotionsDayView,
    EmotionsView,
    EnrolledView,
    EstimatesView,
    FaceErasureView,
    FaceView,
    SearchRecordView,
    SearchView,
    SettingsRequest,
    SettingsView,
    VisitView,
)
from app.api.schemas.profile import View
from app.database import Database
from app.domain.access import Scope
from app.domain.demographics import age_group
from app.domain.face import (
    SMALLEST_CROWD,
    AttributesOff,
    EmotionsOff,
    Rules,
    crowd,
    estimated_age,
)
from app.repositories import customer as customers
from app.repositories import face as faces
from app.repositories import face_erasure as erasures
from app.repositories import face_search as searches
from app.repositories.face import Face, SightedGroup
from app.services.face_backend import FaceBackend
from app.services.face_enrolment import enrol_face
from app.services.face_erasure import forget_customer
from app.services.face_reconciliation import SIGHTINGS_KEPT
from app.services.face_search import Asker, find_by_face, verify_visit
from app.services.face_settings import change_rules

router = routes("face", "/api/face")
seed_router = routes("face", "/api/analytics/face")

#: How long a link to a photo may be read.
LINK_SECONDS = 300
_UNKNOWN = "unknown"
_LAST = 2**63 - 1


async def _backend(request: Request) -> FaceBackend:
    backend: FaceBackend = request.app.state.faces
    return backend


Backend = Annotated[FaceBackend, Depends(_backend)]
EnrolsItself = Annotated[Caller, admits(Scope.FACE_ENROLL)]
SearchesItself = Annotated[Caller, gathers(Scope.FACE_SEARCH)]
Enroller = Annotated[Caller, requires(Scope.FACE_ENROLL)]
Admin = Annotated[Caller, requires(Scope.FACE_ADMIN)]

_PROVIDER_REFUSALS = problems(429, 502)
_USER_ID = {"userId": "The tenant's slug or id; must be the tenant of the key."}
_ASKER = {
    "storeId": "Id of the store where the photo was taken.",
    "actor": "Who asks, in words of your own, such as the cashier's number; kept in the audit.",
    **_USER_ID,
}


# --- Enrolling, finding, verifying ------------------------------------------------------------


async def _answer_once(
    request: Request,
    caller: Caller,
    database: Database,
    body: PhotoBody,
    work: Callable[[], Awaitable[View]],
    status: int = 200,
) -> Response:
    """The answer of `work`, or the one given before under the request's Idempotency-Key.

    It is kept in a transaction after the work. Should the process die in between, the work is done
    again, which harms nothing: a photo is not stored twice, and a search changes nothing.
    """
    tenant_id = caller.tenant.id
    if request.headers.get(idempotency.HEADER) is None:
        return _response(await work(), status)
    body_sha256 = await asyncio.to_thread(body.sha256)
    async with database.tenant_transaction(tenant_id) as connection:
        await idempotency.claim(request, connection, tenant_id, body_sha256=body_sha256)
        idempotency.release(request)
    response = _response(await work(), status)
    async with database.tenant_transaction(tenant_id) as connection:
        await idempotency.claim(request, connection, tenant_id, body_sha256=body_sha256)
        await idempotency.keep(request, response)
    return response


def _response(view: View, status: int) -> Response:
    return Response(
        view.model_dump_json(by_alias=True), status_code=status, media_type="application/json"
    )


async def index_face(
    request: Request, caller: EnrolsItself, database: DatabaseAccess, backend: Backend
) -> Response:
    """Enrol the face in a photo for a customer who has agreed to `enrol`.

    The photo has to show the customer alone. It is stored upright and without metadata, and the
    face is indexed under an opaque id. About five photos a customer are best. Sent again, the same
    photo is the same face. 403 without consent, before anybody else sees the photo.
    """
    backend.check_configured()
    body = await read_photo(request)
    check_user_id(caller, body.text("userId"))
    customer_id = body.required("customerId")

    async def enrol() -> EnrolledView:
        enrolled = await enrol_face(
            database, backend, caller.tenant, customer_id, body.data, actor=caller.key_id
        )
        face, estimates = enrolled.face, enrolled.estimates
        return EnrolledView(
            customer_id=enrolled.user.customer_id,
            face_id=face.id,
            is_new=enrolled.is_new,
            brightness=face.brightness,
            sharpness=face.sharpness,
            confidence=face.confidence,
            model_version=face.model_version,
            indexed_at=face.indexed_at,
            estimates=None if estimates is None else EstimatesView.of_detail(estimates),
            demographics_updated=enrolled.estimates_written,
        )

    return await _answer_once(request, caller, database, body, enrol, status=201)


async def search_face(
    request: Request, caller: SearchesItself, database: DatabaseAccess, backend: Backend
) -> Response:
    """Who the largest face in a photo may be, among customers who have agreed to `identify`.

    `match` where the likest reaches the threshold and leads the next person by the margin,
    `ambiguous` where it does not lead, `no_match` else. A match is a hint for a person to confirm.
    The photo is not kept; the search is. A key for anonymous reads is refused: the answer names a
    customer.
    """
    backend.check_configured()
    body = await read_photo(request)
    check_user_id(caller, body.text("userId"))
    asker = _asker(request, caller, body)

    async def search() -> SearchView:
        return SearchView.of(await find_by_face(database, backend, caller.tenant, body.data, asker))

    return await _answer_once(request, caller, database, body, search)


def _asker(request: Request, caller: Caller, body: PhotoBody) -> Asker:
    return Asker(
        key_id=caller.key_id,
        actor=body.text("actor"),
        request_id=request.scope.get("bps.request_id"),
        store_id=body.text("storeId"),
    )


_INDEX: dict[str, Any] = {
    "status_code": 201,
    "response_model": EnrolledView,
    "responses": _PROVIDER_REFUSALS,
    "openapi_extra": photo_request(
        {"customerId": "Id of the customer whose face it is."},
        _USER_ID,
        has_photo="JPEG or PNG, 15 MB at most, at least 80 pixels a side, of the customer alone.",
    ),
}
_SEARCH: dict[str, Any] = {
    "response_model": SearchView,
    "responses": _PROVIDER_REFUSALS,
    "openapi_extra": photo_request(
        {}, _ASKER, has_photo="JPEG or PNG, 15 MB at most, at least 80 pixels a side."
    ),
}
router.post("/index", **_INDEX)(index_face)
router.post("/search", **_SEARCH)(search_face)
# The paths that mobile clients have always had.
seed_router.post("/index", operation_id="index_analytics_face", **_INDEX)(index_face)
seed_router.post("/search", operation_id="search_analytics_face", **_SEARCH)(search_face)


@router.post(
    "/verify-visit",
    response_model=VisitView,
    responses=_PROVIDER_REFUSALS,
    openapi_extra=photo_request(
        {
            "customerId": "Id of the customer who was to be visited.",
            "captureId": "Id of the position captured at the visit.",
        },
        _ASKER,
        has_photo="JPEG or PNG of the visit, 15 MB at most; others may be in it.",
    ),
)
async def verify_customer_visit(
    request: Request, caller: SearchesItself, database: DatabaseAccess, backend: Backend
) -> Response:
    """Whether a photo of a visit shows the customer, and whether it was near an address.

    One to one: the photo is compared with those enrolled for this customer, who has to have agreed
    to `verify_visit`, and with nobody else's. A still photo proves no presence.
    """
    backend.check_configured()
    body = await read_photo(request)
    check_user_id(caller, body.text("userId"))
    asker = _asker(request, caller, body)
    customer_id, capture_id = body.required("customerId"), body.required("captureId")

    async def verify() -> VisitView:
        visit = await verify_visit(
            database,
            backend,
            caller.tenant,
            body.data,
            asker,
            customer_id=customer_id,
            capture_id=capture_id,
        )
        return VisitView.of(visit)

    return await _answer_once(request, caller, database, body, verify)


# --- What is kept -----------------------------------------------------------------------------


@router.get("/customers/{id}")
async def get_customer_faces(
    id: PathId,
    caller: Enroller,
    connection: Connection,
    disclosure: Disclosed,
    backend: Backend,
) -> CustomerFacesView:
    """The enrolled faces of a customer, how good they are, and when the customer was last seen."""
    customer = await customers.get(connection, caller.tenant.id, id)
    user = await faces.find_latest_user(connection, caller.tenant.id, customer.sk)
    stored: list[Face] = []
    if user is not None and user.status == "active":
        stored = await faces.list_of_user(connection, caller.tenant.id, user.user_id)
    views = []
    for face in stored:
        shown = face.photo_key is not None and face.status == "stored" and not disclosure.anonymous
        link = await backend.store.link(face.photo_key or "", LINK_SECONDS) if shown else None
        views.append(FaceView.of(face, link))
    return CustomerFacesView.of(customer.id, user, views, disclosure)


@router.delete("/customers/{id}", status_code=202)
async def erase_customer_faces(
    id: PathId, caller: Admin, connection: Connection
) -> FaceErasureView:
    """Forget a customer's face: every consent ends, and the erasure is queued.

    From now on nobody finds the customer by face. The receipt says when the provider, the photo
    store and the tables have forgotten. Asked again, it is the same receipt.
    """
    receipt = await forget_customer(connection, caller.tenant, id, actor=caller.key_id)
    return FaceErasureView.of(await erasures.get(connection, caller.tenant.id, receipt))


@router.get("/erasures/{receiptId}")
async def get_face_erasure(
    receipt_id: Annotated[UUID, Path(alias="receiptId")], caller: Admin, connection: Connection
) -> FaceErasureView:
    """How far an erasure is. That of a whole customer has the number of the customer's receipt."""
    return FaceErasureView.of(await erasures.get(connection, caller.tenant.id, receipt_id))


@router.get(
    "/photos/{token}",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {}}, "description": "The photo."},
        **problems(404, 503),
    },
)
async def show_face_photo(
    token: Annotated[str, Path(max_length=2_000, description="From a photoUrl.")],
    backend: Backend,
) -> Response:
    """An enrolled photo, by a link that was made for five minutes and needs no key."""
    data = await backend.store.open_link(token)
    return Response(data, media_type="image/jpeg", headers={"Cache-Control": "private, no-store"})


# --- What was done ----------------------------------------------------------------------------


@router.get("/audit")
async def list_face_searches(
    caller: Admin,
    connection: Connection,
    disclosure: Disclosed,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[SearchRecordView]:
    """The searches made by face, the latest first: who asked, for what, and whom it found."""
    before = _LAST if cursor is None else decode(cursor, int)[0]
    found = await searches.list_page(connection, caller.tenant.id, before=before, limit=limit + 1)
    shown, next_cursor = page_of(found, limit, lambda each: encode(each.sk))
    return Page(
        items=[SearchRecordView.of(search, disclosure) for search in shown],
        next_cursor=next_cursor,
    )


@router.get("/settings")
async def get_face_settings(
    caller: Admin, connection: Connection, backend: Backend
) -> SettingsView:
    """How the tenant searches, what it keeps and for how long."""
    return SettingsView.of(await _rules(connection, caller), backend.provider.name)


@router.put("/settings")
async def change_face_settings(
    wanted: Annotated[SettingsRequest, Body(examples=[SETTINGS_EXAMPLE])],
    caller: Admin,
    connection: Connection,
    backend: Backend,
) -> SettingsView:
    """Search and keep by these settings from now on. What is left out becomes what is usual.

    Turning estimates off stops new ones; those already written stay until the customer withdraws.
    """
    rules = await change_rules(connection, caller.tenant, wanted.rules(), actor=caller.key_id)
    return SettingsView.of(rules, backend.provider.name)


async def _rules(connection: Connection, caller: Caller) -> Rules:
    settings = await faces.find_settings(connection, caller.tenant.id)
    return Rules() if settings is None else settings.rules


StoreDay = tuple[date, str | None]


async def _sighted(
    connection: Connection,
    caller: Caller,
    first: date | None,
    last: date | None,
    store: str | None,
) -> Iterator[tuple[StoreDay, list[SightedGroup]]]:
    period = period_of(
        first,
        last,
        until=as_of_day(caller.tenant),
        longest=SIGHTINGS_KEPT.days,
        days=30,
    )
    found = await faces.list_sighted(
        connection,
        caller.tenant.id,
        first=period.first,
        last=period.last,
        store_sk=await find_store(connection, caller.tenant, store),
    )
    return (
        (day, list(groups))
        for day, groups in groupby(found, lambda each: (each.day, each.store_id))
    )


def _crowd(groups: Sequence[SightedGroup], kind: Callable[[SightedGroup], str]) -> CrowdView | None:
    counts: Counter[str] = Counter()
    for group in groups:
        counts[kind(group)] += group.people
    told = crowd(counts)
    return None if told is None else CrowdView(groups=told[0], others=told[1])


def _age_group(group: SightedGroup) -> str:
    if group.age_low is None or group.age_high is None:
        return _UNKNOWN
    return age_group(estimated_age(group.age_low, group.age_high)) or _UNKNOWN


@router.get("/demographics", responses=problems(409))
async def get_face_demographics(
    caller: Admin,
    connection: Connection,
    first: From = None,
    last: To = None,
    store: Annotated[StoreId, Query(alias="storeId")] = None,
) -> DemographicsView:
    """Estimated age and gender of those recognised, by store and day; each person once a day.

    Only customers who agreed to `attributes` are counted. Days and groups under five people are not
    told. Kept for 90 days. 409 where the tenant has estimates turned off.
    """
    if not (await _rules(connection, caller)).attributes_on:
        raise AttributesOff
    days = []
    for (day, store_id), groups in await _sighted(connection, caller, first, last, store):
        by_gender = _crowd(groups, lambda each: each.gender or _UNKNOWN)
        by_age_group = _crowd(groups, _age_group)
        if by_gender is not None and by_age_group is not None:
            days.append(
                DemographicsDayView(
                    day=day,
                    store_id=store_id,
                    people=sum(each.people for each in groups),
                    by_gender=by_gender,
                    by_age_group=by_age_group,
                )
            )
    return DemographicsView(smallest_group=SMALLEST_CROWD, days=days)


@router.get("/emotions", responses=problems(409))
async def get_face_emotions(
    caller: Admin,
    connection: Connection,
    first: From = None,
    last: To = None,
    store: Annotated[StoreId, Query(alias="storeId")] = None,
) -> EmotionsView:
    """The likeliest emotions of those recognised, by store and day; each person once a day.

    Only customers who agreed to `attributes` are counted. Days and groups under five people are not
    told. Kept for 90 days. 409 where the tenant has not turned emotions on.
    """
    if not (await _rules(connection, caller)).emotions_on:
        raise EmotionsOff
    days = []
    for (day, store_id), groups in await _sighted(connection, caller, first, last, store):
        shown = [each for each in groups if each.emotion is not None]
        by_emotion = _crowd(shown, lambda each: each.emotion or _UNKNOWN)
        if by_emotion is not None:
            days.append(
                EmotionsDayView(
                    day=day,
                    store_id=store_id,
                    people=sum(each.people for each in shown),
                    by_emotion=by_emotion,
                )
            )
    return EmotionsView(smallest_group=SMALLEST_CROWD, days=days)
