"""Enrolling, finding and verifying by face, against the stand-in for Rekognition."""

from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.database import Database
from app.domain.access import Scope
from app.domain.tenant import Tenant
from app.services.face_backend import FaceBackend
from tests.api.face_story import agree, enrol, enrolled, rows, search
from tests.factories import make_address, make_customer, make_key, make_order, make_tenant
from tests.standin.photos import Face, encoded, jpeg, picture, sideways
from tests.standin.rekognition import Rekognition

pytestmark = pytest.mark.usefixtures("backend")

SITI, DEWI, NOBODY = Face(7), Face(21), Face(99)


@pytest.fixture(autouse=True)
async def customers(database: Database, tenant: Tenant) -> None:
    await make_customer(
        database,
        tenant,
        "cus-1",
        name="Siti Rahayu",
        membership_tier="gold",
        loyalty_points=420,
        preferred_contact_channel="whatsapp",
    )
    await make_customer(database, tenant, "cus-2", name="Dewi Lestari")


def _slug(answer: httpx.Response) -> str:
    kind: str = answer.json()["type"]
    return kind.removeprefix("/problems/")


async def _collection(database: Database, tenant: Tenant) -> str:
    [[collection_id]] = await rows(database, tenant, "SELECT collection_id FROM face_settings")
    return str(collection_id)


async def _set(client: httpx.AsyncClient, **settings: Any) -> None:
    answer = await client.put("/api/face/settings", json=settings)
    assert answer.status_code == 200, answer.text


# --- Enrolling --------------------------------------------------------------------------------


async def test_a_face_is_enrolled_under_an_opaque_id(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    standin: Rekognition,
    backend: FaceBackend,
) -> None:
    await agree(client)
    answer = await enrol(client, "cus-1", jpeg(SITI))
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert (body["customerId"], body["isNew"], body["modelVersion"]) == ("cus-1", True, "7.0")
    assert body["estimates"] is None
    collection = await _collection(database, tenant)
    assert len(standin.face_ids(collection)) == 1
    [[user_id, photo_key]] = await rows(
        database, tenant, "SELECT user_id, photo_key FROM faces WHERE status = 'stored'"
    )
    assert standin.user_ids(collection) == [str(user_id)]
    [call] = standin.calls_of("IndexFaces")
    assert call.request["ExternalImageId"] == str(user_id)
    assert "cus-1" not in str(standin.calls)
    assert "AGE_RANGE" not in str(standin.calls)
    assert (await backend.store.get(photo_key)).startswith(b"\xff\xd8")


async def test_several_photos_make_one_person_and_the_same_one_is_kept_once(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, standin: Rekognition
) -> None:
    await agree(client)
    first = await enrol(client, "cus-1", jpeg(SITI))
    second = await enrol(client, "cus-1", jpeg(Face(7, 2)))
    again = await enrol(client, "cus-1", jpeg(SITI))
    assert [each.status_code for each in (first, second, again)] == [201, 201, 201]
    assert again.json()["isNew"] is False
    assert again.json()["faceId"] == first.json()["faceId"]
    shown = (await client.get("/api/face/customers/cus-1")).json()
    assert (shown["status"], len(shown["faces"])) == ("active", 2)
    collection = await _collection(database, tenant)
    assert len(standin.user_ids(collection)) == 1
    photo = await client.get(shown["faces"][0]["photoUrl"], headers={"Authorization": ""})
    assert photo.status_code == 200
    assert photo.headers["content-type"] == "image/jpeg"
    assert "no-store" in photo.headers["cache-control"]


async def test_without_consent_nobody_is_asked(
    client: httpx.AsyncClient, standin: Rekognition, database: Database, tenant: Tenant
) -> None:
    for purposes in ((), ("identify", "verify_visit", "attributes")):
        if purposes:
            await agree(client, "cus-1", *purposes)
        answer = await enrol(client, "cus-1", jpeg(SITI))
        assert answer.status_code == 403
        assert _slug(answer) == "consent_required"
    assert standin.calls == []
    assert await rows(database, tenant, "SELECT id FROM faces") == []


async def test_an_expired_consent_is_none(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, standin: Rekognition
) -> None:
    await enrolled(client, "cus-1", 7)
    await _expire(database, tenant)
    calls = len(standin.calls)
    assert (await enrol(client, "cus-1", jpeg(SITI))).status_code == 403
    assert len(standin.calls) == calls
    assert (await search(client, jpeg(SITI))).json()["result"] == "no_match"


async def _expire(database: Database, tenant: Tenant) -> None:
    # The service may not rewrite a consent, so one that has expired is put in its place.
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(
            text(
                "WITH gone AS (DELETE FROM face_consents RETURNING *) INSERT INTO face_consents"
                " (tenant_id, customer_sk, purpose, notice_version, notice_sha256, method,"
                " given_at, expires_at) SELECT tenant_id, customer_sk, purpose, notice_version,"
                " notice_sha256, method, now() - interval '2 days', now() - interval '1 day'"
                " FROM gone"
            )
        )


@pytest.mark.parametrize(
    ("photo", "status", "slug"),
    [
        (jpeg(), 422, "no_face"),
        (jpeg(Face(7, 0, "LOW_SHARPNESS")), 422, "no_face"),
        (jpeg(SITI, DEWI), 422, "several_faces"),
        (encoded(picture(SITI), "GIF"), 415, "unreadable_photo"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64), 415, "unreadable_photo"),
        (jpeg(SITI)[:2_000], 422, "unusable_photo"),
        (jpeg(SITI, size=(60, 60), side=40), 422, "unusable_photo"),
        (b"\xff\xd8\xff" + bytes(20 * 1024 * 1024), 413, "photo_too_large"),
    ],
    ids=[
        "no face",
        "a blurred face",
        "several faces",
        "a GIF named .jpg",
        "a HEIC",
        "truncated",
        "60 px",
        "20 MB",
    ],
)
async def test_a_photo_that_will_not_do_is_refused_in_words(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    backend: FaceBackend,
    photo: bytes,
    status: int,
    slug: str,
) -> None:
    await agree(client)
    for answer in (
        await enrol(client, "cus-1", photo),
        await client.post(
            "/api/face/index",
            params={"customerId": "cus-1"},
            content=photo,
            headers={"Content-Type": "image/jpeg"},
        ),
    ):
        assert (answer.status_code, _slug(answer)) == (status, slug), answer.text
        detail = answer.json()["detail"]
        assert detail.endswith(".")
        assert not any(word in detail for word in ("Exception", "Rekognition", "botocore", "PIL"))
    assert await rows(database, tenant, "SELECT id FROM faces") == []
    assert [keys async for keys in backend.store.list_keys("")] == []


async def test_a_body_that_is_streamed_is_cut_off_at_its_limit(
    client: httpx.AsyncClient,
) -> None:
    await agree(client)
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while sent < 100:
            sent += 1
            yield bytes(1024 * 1024)

    answer = await client.post(
        "/api/face/index",
        params={"customerId": "cus-1"},
        content=endless(),
        headers={"Content-Type": "image/jpeg"},
    )
    assert answer.status_code == 413
    assert sent <= 17


@pytest.mark.parametrize(
    ("media_type", "content", "status"),
    [
        ("application/json", b"{}", 415),
        ("multipart/form-data", b"nothing", 400),
        ("multipart/form-data; boundary=x", b"--y\r\nbroken", 400),
        ("multipart/form-data; boundary=x", b"--x\r\nbroken", 422),
        ("image/jpeg", b"", 422),
    ],
)
async def test_a_body_without_a_photo_is_refused(
    client: httpx.AsyncClient, media_type: str, content: bytes, status: int
) -> None:
    answer = await client.post(
        "/api/face/index",
        params={"customerId": "cus-1"},
        content=content,
        headers={"Content-Type": media_type},
    )
    assert answer.status_code == status, answer.text


async def test_a_form_without_a_file_or_a_customer_is_refused(client: httpx.AsyncClient) -> None:
    photo = {"file": ("p.jpg", jpeg(SITI), "image/jpeg")}
    for data, files, pointer in (
        ({"customerId": "cus-1"}, {"x": (None, "y")}, "/file"),
        ({}, photo, "/customerId"),
        ({"customerId": "nobody"}, photo, "/customerId"),
        ({"customerId": "x" * 256}, photo, "/customerId"),
    ):
        answer = await client.post("/api/face/index", data=data, files=files)
        assert answer.status_code == 422, answer.text
        assert [each["pointer"] for each in answer.json()["errors"]] == [pointer]


async def test_a_photo_that_lies_on_its_side_is_turned_and_loses_its_place(
    client: httpx.AsyncClient, backend: FaceBackend
) -> None:
    await agree(client)
    answer = await enrol(client, "cus-1", sideways(SITI))
    assert answer.status_code == 201, answer.text
    [[key]] = [keys async for keys in backend.store.list_keys("")]
    assert b"Exif" not in await backend.store.get(key)


async def test_another_persons_photo_is_not_joined(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, standin: Rekognition
) -> None:
    await enrolled(client, "cus-1", 7)
    answer = await enrol(client, "cus-1", jpeg(DEWI))
    assert (answer.status_code, _slug(answer)) == (422, "face_mismatch")
    collection = await _collection(database, tenant)
    assert len(standin.face_ids(collection)) == 1
    assert len(await rows(database, tenant, "SELECT id FROM faces")) == 1


@pytest.mark.parametrize(
    ("operation", "fault", "status", "slug"),
    [
        ("DetectFaces", "InternalServerError", 502, "face_provider_failed"),
        ("IndexFaces", "ThrottlingException", 503, "face_provider_unavailable"),
        ("IndexFaces", "AccessDeniedException", 503, "face_provider_unavailable"),
        ("AssociateFaces", "InternalServerError", 502, "face_provider_failed"),
        ("CreateCollection", "InternalServerError", 502, "face_provider_failed"),
    ],
)
async def test_an_enrolment_that_fails_leaves_nothing(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    standin: Rekognition,
    backend: FaceBackend,
    operation: str,
    fault: str,
    status: int,
    slug: str,
) -> None:
    await agree(client)
    standin.fail(operation, fault, times=10)
    answer = await enrol(client, "cus-1", jpeg(SITI))
    assert (answer.status_code, _slug(answer)) == (status, slug), answer.text
    assert ("Retry-After" in answer.headers) == (status == 503)
    assert await rows(database, tenant, "SELECT id FROM faces") == []
    assert [keys async for keys in backend.store.list_keys("")] == []
    assert standin.face_ids(await _collection(database, tenant)) == []
    standin.recover()
    assert (await enrol(client, "cus-1", jpeg(SITI))).status_code == 201


async def test_estimates_need_the_tenant_and_the_customer(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, standin: Rekognition
) -> None:
    await agree(client, "cus-1", "enrol", "attributes")
    first = await enrol(client, "cus-1", jpeg(SITI))  # the tenant has them off
    assert first.json()["estimates"] is None
    await _set(client, attributesOn=True)
    await agree(client, "cus-2", "enrol")  # the customer has not agreed
    assert (await enrol(client, "cus-2", jpeg(DEWI))).json()["estimates"] is None
    assert "AGE_RANGE" not in str(standin.calls)
    answer = await enrol(client, "cus-1", jpeg(Face(7, 1)))
    assert answer.json()["demographicsUpdated"] is True
    estimates = answer.json()["estimates"]
    assert "Estimates" in estimates["note"]
    customer = (await client.get("/api/customers/cus-1")).json()
    low, high = 18 + 7 * 7 % 45, 18 + 7 * 7 % 45 + 8
    assert (estimates["ageRangeMin"], estimates["ageRangeMax"]) == (low, high)
    assert (customer["ageRangeMin"], customer["ageRangeMax"]) == (low, high)
    assert customer["ageEstimate"] == (low + high) // 2
    assert (customer["gender"], customer["genderConfidence"]) == ("male", 0.97)
    [[gender]] = await rows(
        database,
        tenant,
        "SELECT a.gender FROM customer_analytics a JOIN customers c ON c.sk = a.customer_sk"
        " WHERE c.id = 'cus-1'",
    )
    assert gender == "male"  # scores followed at once


async def test_what_somebody_stated_stands(client: httpx.AsyncClient) -> None:
    await _set(client, attributesOn=True)
    stated = {"dateOfBirth": "1990-05-05", "gender": "female"}
    await client.patch("/api/customers/cus-1", json=stated)
    await agree(client, "cus-1", "enrol", "attributes")
    answer = await enrol(client, "cus-1", jpeg(SITI))
    assert answer.json()["demographicsUpdated"] is False
    customer = (await client.get("/api/customers/cus-1")).json()
    assert (customer["gender"], customer["genderConfidence"]) == ("female", None)
    assert (customer["ageEstimate"], customer["ageRangeMin"]) == (None, None)


async def test_estimates_go_with_the_consent_and_what_was_stated_since_stays(
    client: httpx.AsyncClient,
) -> None:
    await _set(client, attributesOn=True)
    await agree(client, "cus-1", "enrol", "identify", "attributes")
    await enrol(client, "cus-1", jpeg(SITI))
    await client.patch("/api/customers/cus-1", json={"gender": "female", "genderConfidence": None})
    answer = await client.delete("/api/face/consents/cus-1/attributes")
    assert answer.status_code == 200
    customer = (await client.get("/api/customers/cus-1")).json()
    assert (customer["ageEstimate"], customer["ageRangeMin"]) == (None, None)
    assert customer["gender"] == "female"
    assert (await client.get("/api/face/customers/cus-1")).json()["estimates"] is None


# --- Finding ----------------------------------------------------------------------------------


async def test_a_match_tells_the_till_what_it_needs(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, standin: Rekognition
) -> None:
    await make_order(database, tenant)
    await client.post("/api/stores", json={"id": "store-1", "name": "Pusat"})
    await enrolled(client, "cus-1", 7)
    await enrolled(client, "cus-2", 21)
    answer = await search(client, jpeg(Face(7, 1)), storeId="store-1", actor="kasir 3")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["result"] == "match"
    assert found["similarity"] == pytest.approx(99.8)
    assert "hint" in found["note"]
    customer = found["customer"]
    assert (customer["customerId"], customer["name"]) == ("cus-1", "Siti Rahayu")
    assert (customer["tier"], customer["points"]) == ("gold", 420)
    assert customer["preferences"]["contactChannel"] == "whatsapp"
    assert "segment" in customer
    [audited] = (await client.get("/api/face/audit")).json()["items"]
    assert audited["searchId"] == found["searchId"]
    assert (audited["outcome"], audited["purpose"]) == ("match", "identify")
    assert (audited["actor"], audited["storeId"]) == ("kasir 3", "store-1")
    assert audited["threshold"] == 99
    assert [each["customerId"] for each in audited["candidates"]] == ["cus-1"]
    assert audited["providerRequestId"]
    assert audited["requestId"] == answer.headers["X-Request-Id"]
    shown = (await client.get("/api/face/customers/cus-1")).json()
    assert shown["lastSeenAt"] is not None
    assert standin.calls_of("SearchUsersByImage")[0].request["UserMatchThreshold"] == 80


async def test_twins_are_ambiguous(client: httpx.AsyncClient) -> None:
    await enrolled(client, "cus-1", 7)
    await agree(client, "cus-2")
    await enrol(client, "cus-2", jpeg(Face(7, 4)))
    found = (await search(client, jpeg(SITI))).json()
    assert found["result"] == "ambiguous"
    assert found["customer"] is None
    assert [each["customerId"] for each in found["candidates"]] == ["cus-1", "cus-2"]
    assert found["margin"] == pytest.approx(0.4)
    assert found["requiredMargin"] == 1


async def test_the_tenants_threshold_decides(client: httpx.AsyncClient) -> None:
    await enrolled(client, "cus-1", 7)
    unlike = jpeg(Face(7, 20))  # 97.9 percent
    assert (await search(client, unlike)).json()["result"] == "no_match"
    await _set(client, threshold=95)
    assert (await search(client, unlike)).json()["result"] == "match"


async def test_who_has_not_agreed_is_not_found(client: httpx.AsyncClient) -> None:
    await agree(client, "cus-1", "enrol", "verify_visit")
    await enrol(client, "cus-1", jpeg(SITI))
    found = (await search(client, jpeg(SITI))).json()
    assert (found["result"], found["customer"], found["candidates"]) == ("no_match", None, [])
    [audited] = (await client.get("/api/face/audit")).json()["items"]
    assert audited["candidates"] == []


async def test_who_withdraws_is_not_found_from_then_on(client: httpx.AsyncClient) -> None:
    await agree(client, "cus-1", "enrol", "identify", "verify_visit")
    await enrol(client, "cus-1", jpeg(SITI))
    assert (await search(client, jpeg(SITI))).json()["result"] == "match"
    withdrawn = await client.delete("/api/face/consents/cus-1/identify")
    assert withdrawn.status_code == 200  # it is still needed for visits
    assert (await search(client, jpeg(SITI))).json()["result"] == "no_match"


async def test_a_photo_without_a_face_is_refused_and_noted(client: httpx.AsyncClient) -> None:
    answer = await search(client, jpeg())
    assert (answer.status_code, _slug(answer)) == (422, "no_face")
    [audited] = (await client.get("/api/face/audit")).json()["items"]
    assert audited["outcome"] == "no_face"


async def test_a_search_that_failed_is_noted(
    client: httpx.AsyncClient, standin: Rekognition
) -> None:
    standin.fail("SearchUsersByImage", "InternalServerError")
    assert (await search(client, jpeg(SITI))).status_code == 502
    [audited] = (await client.get("/api/face/audit")).json()["items"]
    assert audited["outcome"] == "failed"


async def test_a_collection_that_vanished_is_made_again(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, backend: FaceBackend
) -> None:
    assert (await search(client, jpeg(SITI))).json()["result"] == "no_match"
    collection = await _collection(database, tenant)
    await backend.provider.delete_collection(collection, tenant_id=tenant.id)
    missing = await search(client, jpeg(SITI))
    assert (missing.status_code, _slug(missing)) == (503, "face_provider_unavailable")
    assert missing.headers["Retry-After"]
    assert (await search(client, jpeg(SITI))).json()["result"] == "no_match"


async def test_the_day_has_its_limit(client: httpx.AsyncClient) -> None:
    await _set(client, searchesPerDay=1, indexesPerDay=1)
    assert (await search(client, jpeg(SITI))).status_code == 200
    answer = await search(client, jpeg(SITI))
    assert (answer.status_code, _slug(answer)) == (429, "face_limit_reached")
    assert 0 < int(answer.headers["Retry-After"]) <= 24 * 3600 + 1
    await enrolled(client, "cus-1", 7)
    assert (await enrol(client, "cus-1", jpeg(Face(7, 1)))).status_code == 429


async def test_a_repeated_request_is_answered_once(
    client: httpx.AsyncClient, standin: Rekognition
) -> None:
    await enrolled(client, "cus-1", 7)
    answers = [
        await client.post(
            "/api/face/search",
            content=photo,
            headers={"Content-Type": "image/jpeg", "Idempotency-Key": "one"},
        )
        for photo in (jpeg(SITI), jpeg(SITI), jpeg(DEWI))
    ]
    assert [each.status_code for each in answers] == [200, 200, 422]
    assert answers[1].json() == answers[0].json()
    assert answers[1].headers["Idempotent-Replayed"] == "true"
    assert len(standin.calls_of("SearchUsersByImage")) == 1


async def test_the_seeds_paths_do_the_same(client: httpx.AsyncClient, tenant: Tenant) -> None:
    await agree(client)
    answer = await enrol(client, "cus-1", jpeg(SITI), path="/api/analytics/face/index")
    assert answer.status_code == 201
    for user_id, status in ((tenant.slug, 200), ("somebody-else", 403)):
        found = await client.post(
            "/api/analytics/face/search",
            data={"userId": user_id},
            files={"file": ("p.jpg", jpeg(SITI), "image/jpeg")},
        )
        assert found.status_code == status
    assert (await search(client, jpeg(SITI))).json()["customer"]["customerId"] == "cus-1"


async def test_an_anonymous_reader_may_not_search(
    anonymous: httpx.AsyncClient, database: Database, tenant: Tenant, standin: Rekognition
) -> None:
    scopes = frozenset(Scope)
    anonymous.headers["X-API-Key"] = await make_key(database, tenant, scopes=scopes)
    assert (await search(anonymous, jpeg(SITI))).status_code == 403
    assert standin.calls == []


async def test_another_tenant_finds_nobody(
    anonymous: httpx.AsyncClient, client: httpx.AsyncClient, database: Database
) -> None:
    await enrolled(client, "cus-1", 7)
    other = await make_tenant(database, "other")
    anonymous.headers["X-API-Key"] = await make_key(database, other)
    assert (await search(anonymous, jpeg(SITI))).json()["result"] == "no_match"
    assert (await enrol(anonymous, "cus-1", jpeg(SITI))).status_code == 422
    assert (await anonymous.get("/api/face/customers/cus-1")).status_code == 404
    assert (await anonymous.delete("/api/face/customers/cus-1")).status_code == 404
    audited = (await anonymous.get("/api/face/audit")).json()["items"]
    assert [each["candidates"] for each in audited] == [[]]


# --- Verifying --------------------------------------------------------------------------------


@pytest.fixture
async def visited(database: Database, tenant: Tenant) -> None:
    """A capture at the customer's address, and one 5 km away."""
    async with database.tenant_transaction(tenant.id) as connection:
        for capture, longitude in (("cap-near", 106.8451), ("cap-far", 106.89)):
            await connection.execute(
                text(
                    "INSERT INTO location_history"
                    " (tenant_id, id, customer_sk, captured_at, location, accuracy, source)"
                    " SELECT :t, :id, sk, now(), ST_SetSRID(ST_MakePoint(:x, -6.2145), 4326),"
                    " 12, 'gps' FROM customers WHERE id = 'cus-1'"
                ),
                {"t": tenant.id, "id": capture, "x": longitude},
            )


async def _verify(client: httpx.AsyncClient, photo: bytes, capture: str) -> httpx.Response:
    return await client.post(
        "/api/face/verify-visit",
        data={"customerId": "cus-1", "captureId": capture},
        files={"file": ("p.jpg", photo, "image/jpeg")},
    )


async def _located(database: Database, tenant: Tenant) -> None:
    await make_address(
        database, tenant, location="SRID=4326;POINT(106.8451 -6.2150)", line="Gang Widja 5"
    )


@pytest.mark.usefixtures("visited")
@pytest.mark.parametrize(
    ("faces", "capture", "same", "near"),
    [
        ((SITI,), "cap-near", True, True),
        ((DEWI, SITI), "cap-near", True, True),  # the salesperson is in it, too
        ((DEWI,), "cap-near", False, True),
        ((SITI,), "cap-far", True, False),
    ],
)
async def test_a_visit_is_verified_by_face_and_place(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    standin: Rekognition,
    faces: tuple[Face, ...],
    capture: str,
    same: bool,
    near: bool,
) -> None:
    await _located(database, tenant)
    await agree(client, "cus-1", "enrol", "verify_visit")
    await enrol(client, "cus-1", jpeg(SITI))
    answer = await _verify(client, jpeg(*faces), capture)
    assert answer.status_code == 200, answer.text
    visit = answer.json()
    assert (visit["samePerson"], visit["nearAddress"]) == (same, near)
    assert visit["verified"] == (same and near)
    assert "no check for a live person" in visit["note"]
    assert visit["distanceMetres"] < 100 if near else visit["distanceMetres"] > 4_000
    assert standin.calls_of("SearchUsersByImage") == []  # nobody else is looked at
    [audited] = (await client.get("/api/face/audit")).json()["items"]
    assert audited["purpose"] == "verify_visit"


@pytest.mark.usefixtures("visited")
async def test_a_visit_needs_consent_a_face_and_a_capture(
    client: httpx.AsyncClient, standin: Rekognition
) -> None:
    await enrolled(client, "cus-1", 7)
    calls = len(standin.calls)
    refused = await _verify(client, jpeg(SITI), "cap-near")
    assert (refused.status_code, _slug(refused)) == (403, "consent_required")
    assert len(standin.calls) == calls
    await agree(client, "cus-1", "verify_visit")
    unknown = await _verify(client, jpeg(SITI), "cap-of-nobody")
    assert unknown.json()["errors"][0]["pointer"] == "/captureId"
    unplaced = (await _verify(client, jpeg(SITI), "cap-near")).json()
    assert (unplaced["samePerson"], unplaced["nearAddress"]) == (True, None)
    assert unplaced["verified"] is False
    blank = await _verify(client, jpeg(), "cap-near")
    assert (blank.status_code, _slug(blank)) == (422, "no_face")


@pytest.mark.usefixtures("visited")
async def test_a_visit_of_a_customer_without_a_face_is_a_conflict(
    client: httpx.AsyncClient,
) -> None:
    await agree(client, "cus-1", "verify_visit")
    assert (await _verify(client, jpeg(SITI), "cap-near")).status_code == 409


# --- Crowds -----------------------------------------------------------------------------------


async def _recognised(client: httpx.AsyncClient, database: Database, tenant: Tenant) -> None:
    """Five people with even numbers and one with an odd one, seen today in a store, some twice."""
    await client.post("/api/stores", json={"id": "store-1", "name": "Pusat"})
    for identity in (2, 4, 6, 8, 10, 11):
        customer_id = f"person-{identity}"
        await make_customer(database, tenant, customer_id)
        await agree(client, customer_id, "enrol", "identify", "attributes")
        assert (await enrol(client, customer_id, jpeg(Face(identity)))).status_code == 201
        for _ in range(2 if identity == 2 else 1):
            found = await search(client, jpeg(Face(identity)), storeId="store-1")
            assert found.json()["result"] == "match"


async def test_crowds_are_told_of_and_small_groups_are_not(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _set(client, attributesOn=True, emotionsOn=True)
    await _recognised(client, database, tenant)
    [day] = (await client.get("/api/face/demographics")).json()["days"]
    assert (day["storeId"], day["people"]) == ("store-1", 6)
    # The one man could be told by subtraction.
    assert day["byGender"] == {"groups": {}, "others": 6}
    [felt] = (await client.get("/api/face/emotions")).json()["days"]
    assert felt["people"] == 6
    elsewhere = await client.get("/api/face/demographics", params={"storeId": "nowhere"})
    assert elsewhere.status_code == 422


async def test_four_people_are_no_crowd(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _set(client, attributesOn=True)
    await _recognised(client, database, tenant)
    for identity in (4, 11):
        await client.delete(f"/api/face/consents/person-{identity}/attributes")
    answer = await client.get("/api/face/demographics")
    assert answer.json()["days"] == []


async def test_emotions_are_not_looked_at_unless_turned_on(
    client: httpx.AsyncClient, standin: Rekognition
) -> None:
    assert (await client.get("/api/face/demographics")).status_code == 409
    answer = await client.get("/api/face/emotions")
    assert (answer.status_code, _slug(answer)) == (409, "emotions_off")
    await _set(client, attributesOn=True)
    await agree(client, "cus-1", "enrol", "identify", "attributes")
    await enrol(client, "cus-1", jpeg(SITI))
    await search(client, jpeg(SITI))
    assert "EMOTIONS" not in str(standin.calls)
    refused = await client.put("/api/face/settings", json={"emotionsOn": True})
    assert refused.json()["errors"][0]["pointer"] == "/emotionsOn"


async def test_the_audit_is_paged(client: httpx.AsyncClient) -> None:
    for _ in range(3):
        await search(client, jpeg(NOBODY))
    first = (await client.get("/api/face/audit", params={"limit": 2})).json()
    rest = await client.get("/api/face/audit", params={"limit": 2, "cursor": first["nextCursor"]})
    numbers = [each["searchId"] for each in first["items"] + rest.json()["items"]]
    assert len(numbers) == 3
    assert numbers == sorted(numbers, reverse=True)
