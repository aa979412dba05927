"""Forgetting faces: everywhere, whatever fails or dies in between; and what is left over found."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import text

from app.database import Database
from app.domain.tenant import Tenant
from app.gateways.face import IndexedFace
from app.repositories import face_erasure as erasures
from app.services import face_enrolment, face_erasure
from app.services.face_backend import FaceBackend, prepare_collections
from app.services.face_erasure import STEPS, enqueue_due, photo_key, run_erasure
from app.services.face_reconciliation import Reconciled, expire_faces, reconcile_faces
from tests.api.face_story import agree, enrol, enrolled, rows, run_erasures, search
from tests.factories import make_customer
from tests.standin.photos import Face, jpeg
from tests.standin.rekognition import Rekognition

SITI, DEWI = Face(7), Face(21)


class Killed(BaseException):
    """The end of a process, which nothing catches."""


@pytest.fixture(autouse=True)
async def customers(database: Database, tenant: Tenant, backend: FaceBackend) -> None:
    await make_customer(database, tenant, "cus-1", name="Siti Rahayu")
    await make_customer(database, tenant, "cus-2", name="Dewi Lestari")


async def _collection(database: Database, tenant: Tenant) -> str:
    [[collection_id]] = await rows(database, tenant, "SELECT collection_id FROM face_settings")
    return str(collection_id)


async def _photos(backend: FaceBackend) -> list[str]:
    return [key async for keys in backend.store.list_keys("") for key in keys]


async def _nothing_left(
    database: Database, tenant: Tenant, backend: FaceBackend, standin: Rekognition
) -> None:
    collection = await _collection(database, tenant)
    assert standin.face_ids(collection) == []
    assert standin.user_ids(collection) == []
    assert await _photos(backend) == []
    assert await rows(database, tenant, "SELECT id FROM faces") == []


async def test_a_face_is_erased_everywhere_and_a_receipt_says_so(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    backend: FaceBackend,
    standin: Rekognition,
) -> None:
    await enrolled(client, "cus-1", 7)
    await enrol(client, "cus-1", jpeg(Face(7, 2)))
    answer = await client.delete("/api/face/customers/cus-1")
    assert answer.status_code == 202
    receipt = answer.json()
    assert (receipt["status"], receipt["reason"]) == ("queued", "requested")
    # At once, though nothing is erased yet.
    assert (await search(client, jpeg(SITI))).json()["result"] == "no_match"
    assert (await client.get("/api/face/consents/cus-1")).json()["inForce"] == []
    assert (await client.get("/api/face/customers/cus-1")).json()["faces"] == []
    assert (await enrol(client, "cus-1", jpeg(SITI))).status_code == 403
    again = await client.delete("/api/face/customers/cus-1")
    assert again.json()["receiptId"] == receipt["receiptId"]

    await run_erasures(database, backend, tenant)
    await _nothing_left(database, tenant, backend, standin)
    done = (await client.get(f"/api/face/erasures/{receipt['receiptId']}")).json()
    assert done["status"] == "done"
    assert set(done["steps"]) == set(STEPS)
    assert done["steps"]["faces"]["faces"] == 2
    assert done["steps"]["photos"]["photos"] == 2
    assert "cus-1" not in str(done)
    shown = (await client.get("/api/face/customers/cus-1")).json()
    assert (shown["status"], shown["faces"]) == ("erased", [])
    # What the provider was asked, in this order.
    asked = [call.operation for call in standin.calls]
    assert asked.index("DeleteUser") < asked.index("DeleteFaces") < asked.index("ListFaces")


async def test_who_agrees_again_is_a_new_person(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, backend: FaceBackend
) -> None:
    await enrolled(client, "cus-1", 7)
    await client.delete("/api/face/customers/cus-1")
    await enrolled(client, "cus-1", 7)  # while the erasure waits
    await run_erasures(database, backend, tenant)
    assert (await search(client, jpeg(SITI))).json()["result"] == "match"
    users = await rows(database, tenant, "SELECT status FROM face_users ORDER BY created_at")
    assert users == [("erased",), ("active",)]


async def test_a_customer_without_a_face_has_nothing_to_forget(client: httpx.AsyncClient) -> None:
    assert (await client.delete("/api/face/customers/cus-1")).status_code == 404
    assert (await client.delete("/api/face/customers/nobody")).status_code == 404
    assert (await client.get(f"/api/face/erasures/{uuid4()}")).status_code == 404


@pytest.mark.parametrize("purpose", ["enrol", "identify"])
async def test_a_withdrawal_begins_an_erasure_in_the_same_transaction(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    backend: FaceBackend,
    standin: Rekognition,
    purpose: str,
) -> None:
    await enrolled(client, "cus-1", 7)
    answer = await client.delete(f"/api/face/consents/cus-1/{purpose}")
    assert answer.status_code == 202
    receipt = answer.json()["erasureReceiptId"]
    queued = await rows(
        database,
        tenant,
        "SELECT entrypoint FROM queue.pgqueuer WHERE dedupe_key = :key",
        key=f"erase_face:{receipt}",
    )
    assert queued == [("erase_face",)]
    await run_erasures(database, backend, tenant)
    await _nothing_left(database, tenant, backend, standin)


async def test_a_withdrawal_of_one_use_leaves_the_face_for_the_other(
    client: httpx.AsyncClient,
) -> None:
    await agree(client, "cus-1", "enrol", "identify", "verify_visit")
    await enrol(client, "cus-1", jpeg(SITI))
    answer = await client.delete("/api/face/consents/cus-1/verify_visit")
    assert (answer.status_code, answer.json()["erasureReceiptId"]) == (200, None)
    assert (await search(client, jpeg(SITI))).json()["result"] == "match"


# --- Killed, failing ---------------------------------------------------------------------------


@pytest.mark.parametrize("step", list(STEPS))
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_an_erasure_that_is_killed_goes_on_where_it_was(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    backend: FaceBackend,
    standin: Rekognition,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    moment: str,
) -> None:
    await enrolled(client, "cus-1", 7)
    receipt = UUID((await client.delete("/api/face/customers/cus-1")).json()["receiptId"])
    whole = STEPS[step]

    async def killed(work: face_erasure._Work) -> dict[str, object]:
        if moment == "after":
            await whole(work)  # done, and not noted
        raise Killed

    monkeypatch.setattr(face_erasure, "STEPS", dict(STEPS) | {step: killed})
    with pytest.raises(Killed):
        await run_erasure(database, backend, tenant, receipt)
    monkeypatch.undo()
    asked = len(standin.calls_of("DeleteUser"))
    assert await run_erasure(database, backend, tenant, receipt)
    assert await run_erasure(database, backend, tenant, receipt)  # a job delivered twice
    # What was noted is not done again.
    assert len(standin.calls_of("DeleteUser")) - asked == (1 if step == "user" else 0)
    await _nothing_left(database, tenant, backend, standin)
    async with database.tenant_transaction(tenant.id) as connection:
        done = await erasures.get(connection, tenant.id, receipt)
    assert done.completed_at is not None
    assert set(done.steps) == set(STEPS)
    assert done.face_ids == []


@pytest.mark.parametrize(
    ("operation", "fault"),
    [
        ("DeleteUser", "InternalServerError"),
        ("DeleteFaces", "ThrottlingException"),
        ("ListFaces", "AccessDeniedException"),
    ],
)
async def test_an_erasure_that_fails_says_why_and_is_tried_again_later(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    backend: FaceBackend,
    standin: Rekognition,
    operation: str,
    fault: str,
) -> None:
    await enrolled(client, "cus-1", 7)
    receipt = (await client.delete("/api/face/customers/cus-1")).json()["receiptId"]
    standin.fail(operation, fault, times=10)
    assert not await run_erasure(database, backend, tenant, UUID(receipt))
    shown = (await client.get(f"/api/face/erasures/{receipt}")).json()
    assert (shown["status"], shown["attempts"]) == ("retrying", 1)
    assert "Face" in shown["lastError"]
    now = datetime.now(UTC)
    async with database.tenant_transaction(tenant.id) as connection:
        assert await enqueue_due(connection, tenant, now=now) == 0
        assert await enqueue_due(connection, tenant, now=now + timedelta(minutes=1)) == 1
    standin.recover()
    assert await run_erasure(database, backend, tenant, UUID(receipt))
    await _nothing_left(database, tenant, backend, standin)


async def test_a_face_stored_while_its_person_is_forgotten_goes_too(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    backend: FaceBackend,
    standin: Rekognition,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await enrolled(client, "cus-1", 7)
    whole = face_enrolment._store_outside

    async def overtaken(
        enrolment: face_enrolment._Enrolment,
    ) -> tuple[IndexedFace, str]:
        stored = await whole(enrolment)
        await client.delete("/api/face/customers/cus-1")
        return stored

    monkeypatch.setattr(face_enrolment, "_store_outside", overtaken)
    answer = await enrol(client, "cus-1", jpeg(Face(7, 2)))
    assert answer.status_code == 403
    await run_erasures(database, backend, tenant)
    await _nothing_left(database, tenant, backend, standin)


# --- With the customer ------------------------------------------------------------------------


async def test_erasing_a_customer_erases_the_faces(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    backend: FaceBackend,
    standin: Rekognition,
) -> None:
    await enrolled(client, "cus-1", 7)
    await search(client, jpeg(SITI))
    receipt = (await client.delete("/api/customers/cus-1")).json()
    assert receipt["removed"]["faces"] == 1
    assert await rows(database, tenant, "SELECT id FROM face_consents") == []
    queued = (await client.get(f"/api/face/erasures/{receipt['receiptId']}")).json()
    assert (queued["reason"], queued["status"]) == ("privacy", "queued")
    assert (await search(client, jpeg(SITI))).json()["result"] == "no_match"
    await run_erasures(database, backend, tenant)
    await _nothing_left(database, tenant, backend, standin)
    # The audit stays, and leads to nobody.
    audited = (await client.get("/api/face/audit")).json()["items"]
    assert [each["customerId"] for each in audited[-1]["candidates"]] == [None]


async def test_a_merge_takes_the_face_along(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await enrolled(client, "cus-2", 21)
    merged = await client.post("/api/customers/cus-1/merge", json={"duplicateId": "cus-2"})
    assert merged.json()["moved"]["faces"] == 1
    assert merged.json()["moved"]["face_consents"] == 2
    found = (await search(client, jpeg(DEWI))).json()
    assert (found["result"], found["customer"]["customerId"]) == ("match", "cus-1")
    assert (await client.get("/api/face/consents/cus-1")).json()["inForce"] == [
        "enrol",
        "identify",
    ]
    assert await rows(database, tenant, "SELECT id FROM face_erasures") == []


async def test_of_two_faces_a_merge_keeps_that_of_the_customer_who_stays(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    backend: FaceBackend,
    standin: Rekognition,
) -> None:
    await enrolled(client, "cus-1", 7)
    await agree(client, "cus-2")
    await enrol(client, "cus-2", jpeg(Face(7, 1)))
    assert (await search(client, jpeg(SITI))).json()["result"] == "ambiguous"
    await client.post("/api/customers/cus-1/merge", json={"duplicateId": "cus-2"})
    # Before the erasure as after it: two ids of one customer are one person.
    assert (await search(client, jpeg(SITI))).json()["result"] == "match"
    await run_erasures(database, backend, tenant)
    assert (await search(client, jpeg(SITI))).json()["result"] == "match"
    assert len(standin.user_ids(await _collection(database, tenant))) == 1
    assert len(await _photos(backend)) == 1


async def test_a_merge_does_not_undo_a_withdrawal(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    backend: FaceBackend,
    standin: Rekognition,
) -> None:
    before = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    await agree(client, "cus-2", givenAt=before)
    await enrol(client, "cus-2", jpeg(DEWI))
    await agree(client, "cus-1", givenAt=before)
    await client.delete("/api/face/consents/cus-1/enrol")
    await client.post("/api/customers/cus-1/merge", json={"duplicateId": "cus-2"})
    assert (await client.get("/api/face/consents/cus-1")).json()["inForce"] == ["identify"]
    assert (await search(client, jpeg(DEWI))).json()["result"] == "no_match"
    await run_erasures(database, backend, tenant)
    await _nothing_left(database, tenant, backend, standin)


# --- Expiry -----------------------------------------------------------------------------------


async def test_what_expires_is_erased(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    backend: FaceBackend,
    standin: Rekognition,
) -> None:
    soon = datetime.now(UTC) + timedelta(days=1)
    await agree(client, "cus-1", "enrol", "identify", expiresAt=soon.isoformat())
    await enrol(client, "cus-1", jpeg(SITI))
    await enrolled(client, "cus-2", 21)
    assert await expire_faces(database, tenant, now=datetime.now(UTC)) == 0
    assert await expire_faces(database, tenant, now=soon + timedelta(seconds=1)) == 1
    [[reason]] = await rows(database, tenant, "SELECT reason FROM face_erasures")
    assert reason == "expired"
    await run_erasures(database, backend, tenant)
    assert len(standin.user_ids(await _collection(database, tenant))) == 1
    ended = (await client.get("/api/face/consents/cus-1")).json()["consents"]
    assert {each["endedAs"] for each in ended} == {"expired"}


async def test_a_face_is_kept_for_the_tenants_time_after_the_last_interaction(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await client.put("/api/face/settings", json={"retentionDays": 30})
    await enrolled(client, "cus-1", 7)
    await enrolled(client, "cus-2", 21)
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(
            text(
                "UPDATE face_users SET last_seen_at = now() + interval '20 days'"
                " WHERE customer_sk = (SELECT sk FROM customers WHERE id = 'cus-2')"
            )
        )
    assert await expire_faces(database, tenant, now=datetime.now(UTC)) == 0
    edge = datetime.now(UTC) + timedelta(days=30, minutes=1)
    assert await expire_faces(database, tenant, now=edge) == 1
    kept = await rows(
        database,
        tenant,
        "SELECT c.id, u.status FROM face_users u JOIN customers c ON c.sk = u.customer_sk"
        " ORDER BY c.id",
    )
    assert kept == [("cus-1", "erasing"), ("cus-2", "active")]


# --- Reconciliation ---------------------------------------------------------------------------


async def _reconcile(
    database: Database, backend: FaceBackend, tenant: Tenant, *, hours: float = 0
) -> Reconciled:
    now = datetime.now(UTC) + timedelta(hours=hours)
    return await reconcile_faces(database, backend, tenant, now=now)


async def test_where_all_is_well_nothing_is_touched(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, backend: FaceBackend
) -> None:
    await enrolled(client, "cus-1", 7)
    assert await _reconcile(database, backend, tenant, hours=2) == Reconciled()
    assert (await search(client, jpeg(SITI))).json()["result"] == "match"


@pytest.mark.parametrize("died", ["after the photo", "after the face", "after the person"])
async def test_an_enrolment_that_was_killed_is_cleared_away(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    backend: FaceBackend,
    standin: Rekognition,
    monkeypatch: pytest.MonkeyPatch,
    died: str,
) -> None:
    provider = backend.provider

    async def kill(*_: object, **__: object) -> None:
        raise Killed

    if died == "after the photo":
        monkeypatch.setattr(provider, "index", kill)
    elif died == "after the face":
        monkeypatch.setattr(provider, "join_user", kill)
    else:
        monkeypatch.setattr(face_enrolment, "_conclude", kill)
    await agree(client)
    with pytest.raises(Killed):
        await enrol(client, "cus-1", jpeg(SITI))
    monkeypatch.undo()
    assert len(await _photos(backend)) == 1
    early = await _reconcile(database, backend, tenant)  # it may be under way
    assert early == Reconciled()
    done = await _reconcile(database, backend, tenant, hours=2)
    assert done.enrolments_given_up == 1
    await _reconcile(database, backend, tenant, hours=2)
    collection = await _collection(database, tenant)
    assert standin.face_ids(collection) == []
    assert await _photos(backend) == []
    assert await rows(database, tenant, "SELECT id FROM faces") == []
    assert (await enrol(client, "cus-1", jpeg(SITI))).status_code == 201


async def test_what_belongs_to_nobody_is_removed(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    backend: FaceBackend,
    standin: Rekognition,
) -> None:
    await enrolled(client, "cus-1", 7)
    collection = await _collection(database, tenant)
    stranger = uuid4()
    result = await backend.provider.index(
        collection, jpeg(DEWI), tenant_id=tenant.id, external_id=str(stranger), attributes=False
    )
    await backend.provider.join_user(
        collection, str(stranger), [result.faces[0].face_id], tenant_id=tenant.id
    )
    for key in (photo_key(collection, stranger, uuid4()), f"{collection}/odd"):
        await backend.store.put(key, b"x", "image/jpeg")
    await backend.store.put("bps-other/kept", b"x", "image/jpeg")
    done = await _reconcile(database, backend, tenant)
    assert (done.faces_removed, done.persons_removed, done.photos_removed) == (1, 1, 2)
    assert len(standin.face_ids(collection)) == 1
    assert len(await _photos(backend)) == 2
    assert (await search(client, jpeg(SITI))).json()["result"] == "match"


async def test_what_the_collection_lost_comes_back_from_the_photos(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, backend: FaceBackend
) -> None:
    await enrolled(client, "cus-1", 7)
    await enrolled(client, "cus-2", 21)
    collection = await _collection(database, tenant)
    [[key]] = await rows(
        database,
        tenant,
        "SELECT photo_key FROM faces f JOIN customers c ON c.sk = f.customer_sk"
        " WHERE c.id = 'cus-2'",
    )
    await backend.store.delete(key)
    await backend.provider.delete_collection(collection, tenant_id=tenant.id)
    backend.known.clear()
    done = await _reconcile(database, backend, tenant)
    assert (done.faces_indexed_again, done.photos_missing, done.faces_lost) == (1, 1, 1)
    assert (await search(client, jpeg(SITI))).json()["result"] == "match"
    assert (await search(client, jpeg(DEWI))).json()["result"] == "no_match"


async def test_a_person_the_collection_lost_is_joined_again(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, backend: FaceBackend
) -> None:
    await enrolled(client, "cus-1", 7)
    collection = await _collection(database, tenant)
    [[user_id]] = await rows(database, tenant, "SELECT user_id FROM face_users")
    await backend.provider.delete_user(collection, str(user_id), tenant_id=tenant.id)
    assert (await search(client, jpeg(SITI))).json()["result"] == "no_match"
    assert (await _reconcile(database, backend, tenant)).persons_joined_again == 1
    assert (await search(client, jpeg(SITI))).json()["result"] == "match"


# --- The start --------------------------------------------------------------------------------


async def test_the_start_makes_the_collections_and_does_not_fail_without_them(
    database: Database,
    tenant: Tenant,
    backend: FaceBackend,
    standin: Rekognition,
    caplog: pytest.LogCaptureFixture,
) -> None:
    standin.fail("CreateCollection", "InternalServerError", times=10)
    await prepare_collections(database, backend)
    assert "were not checked" in caplog.text
    standin.recover()
    await prepare_collections(database, backend)
    collection = await _collection(database, tenant)
    assert collection.startswith("bps-kidz-")
    assert collection in backend.known
