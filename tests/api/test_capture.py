"""Captures over HTTP: what is stored, what is flagged, what moves the last known place."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.database import Database
from app.domain.access import ROLES, Scope
from app.domain.tenant import Tenant
from app.main import create_app
from app.services import tenancy
from app.services.former_ids import explain_missing
from app.settings import Settings
from tests.factories import make_address, make_customer, make_key, make_tenant

CAPTURE = "/api/geo/capture"
BATCH = "/api/geo/capture/batch"
NDJSON = {"Content-Type": "application/x-ndjson"}
JAKARTA = {"latitude": -6.2088, "longitude": 106.8456}


def _ago(**ago: float) -> str:
    return (datetime.now(UTC) - timedelta(**ago)).isoformat()


def _capture(**fields: Any) -> dict[str, Any]:
    return {"customerId": "cus-1", "accuracy": 10, **JAKARTA, **fields}


async def _send(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await client.post(CAPTURE, json=_capture(**fields))
    assert answer.status_code in (200, 201), answer.text
    document: dict[str, Any] = answer.json()
    return document


async def _place(client: httpx.AsyncClient, customer_id: str = "cus-1") -> tuple[Any, Any]:
    customer = (await client.get(f"/api/customers/{customer_id}")).json()
    return customer["lastKnownLatitude"], customer["lastKnownLongitude"]


async def _stored(database: Database, tenant: Tenant) -> list[Any]:
    async with database.tenant_transaction(tenant.id) as connection:
        rows = await connection.execute(
            text(
                "SELECT id, ST_Y(location) AS latitude, ST_X(location) AS longitude, flags, speed,"
                " heading, accuracy, visit_type, visit_notes, photo_url, captured_by, device_id,"
                " source, captured_at FROM location_history WHERE tenant_id = :tenant_id"
                " ORDER BY captured_at, id"
            ),
            {"tenant_id": tenant.id},
        )
        return list(rows)


@pytest.fixture
async def customer(database: Database, tenant: Tenant) -> int:
    return await make_customer(database, tenant, "cus-1")


@pytest.mark.usefixtures("customer")
async def test_a_capture_is_stored_and_moves_the_last_known_place(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    at = _ago(minutes=5)
    answer = await client.post(
        CAPTURE,
        json=_capture(
            captureId="cap-1",
            altitude=8,
            speed=1.5,
            heading=360,
            source="Checkin",
            capturedBy="emp-7",
            deviceId="device-42",
            visitType="sales_visit",
            notes="Stock\ncounted",
            photoUrl="https://photos.example/1.jpg",
            capturedAt=at,
            userId="kidz",
        ),
    )
    assert answer.status_code == 201
    assert answer.json() == {
        "captureId": "cap-1",
        "status": "created",
        "capturedAt": at.replace("+00:00", "Z"),
        "geohash": "qqguxmd",
        "flags": [],
        "lastKnownPlaceMoved": True,
    }
    (row,) = await _stored(database, tenant)
    assert row == (
        *("cap-1", -6.2088, 106.8456, [], 1.5, 360, 10, "sales_visit", "Stock\ncounted"),
        *("https://photos.example/1.jpg", "emp-7", "device-42", "checkin"),
        datetime.fromisoformat(at),
    )
    known = (await client.get("/api/customers/cus-1")).json()
    assert (known["lastKnownLatitude"], known["lastKnownLongitude"]) == (-6.2088, 106.8456)
    assert known["lastKnownGeohash"].startswith("qqguxmd")
    assert known["lastLocationAccuracy"] == 10
    assert known["lastLocationSource"] == "checkin"
    assert known["lastLocationCapturedBy"] == "emp-7"
    assert known["lastLocationCapturedAt"] == at.replace("+00:00", "Z")


@pytest.mark.usefixtures("customer")
async def test_the_same_id_again_is_a_success_that_changes_nothing(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    first = await _send(client, captureId="cap-1", capturedAt=_ago(hours=1))
    answer = await client.post(
        CAPTURE, json=_capture(captureId="cap-1", latitude=-7, capturedAt=_ago(minutes=1))
    )
    assert answer.status_code == 200
    assert answer.json() == first | {"status": "duplicate", "lastKnownPlaceMoved": False}
    assert len(await _stored(database, tenant)) == 1
    assert await _place(client) == (-6.2088, 106.8456)


@pytest.mark.usefixtures("customer")
async def test_one_without_id_or_time_gets_both(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    sent = [await _send(client), await _send(client)]
    assert len({each["captureId"] for each in sent}) == 2
    assert len(await _stored(database, tenant)) == 2
    at = datetime.fromisoformat(sent[0]["capturedAt"])
    assert abs(datetime.now(UTC) - at) < timedelta(minutes=1)


@pytest.mark.usefixtures("customer")
async def test_the_last_known_place_moves_forward_in_time_only(client: httpx.AsyncClient) -> None:
    assert (await _send(client, capturedAt=_ago(hours=1)))["lastKnownPlaceMoved"]
    earlier = await _send(client, latitude=-6.9, capturedAt=_ago(hours=2))
    assert (earlier["status"], earlier["lastKnownPlaceMoved"]) == ("created", False)
    assert await _place(client) == (-6.2088, 106.8456)
    later = await _send(client, latitude=-6.3, capturedAt=_ago(minutes=10))
    assert later["lastKnownPlaceMoved"]
    assert await _place(client) == (-6.3, 106.8456)


@pytest.mark.usefixtures("customer")
async def test_a_rough_fix_only_stands_in(client: httpx.AsyncClient) -> None:
    rough = await _send(client, latitude=-7, accuracy=5000, capturedAt=_ago(minutes=1))
    assert (rough["flags"], rough["lastKnownPlaceMoved"]) == (["low_accuracy"], True)
    fine = await _send(client, capturedAt=_ago(hours=5))
    assert fine["lastKnownPlaceMoved"]
    again = await _send(client, latitude=-7, accuracy=5000)
    assert (again["flags"], again["lastKnownPlaceMoved"]) == (["low_accuracy"], False)
    assert await _place(client) == (-6.2088, 106.8456)


@pytest.mark.usefixtures("customer")
async def test_a_clock_ahead_counts_as_of_receipt(client: httpx.AsyncClient) -> None:
    ahead = await _send(client, capturedAt=_ago(hours=-3))
    assert (ahead["flags"], ahead["lastKnownPlaceMoved"]) == (["clock_ahead"], True)
    assert datetime.fromisoformat(ahead["capturedAt"]) > datetime.now(UTC) + timedelta(hours=2)
    known = (await client.get("/api/customers/cus-1")).json()
    assert datetime.fromisoformat(known["lastLocationCapturedAt"]) <= datetime.now(UTC)
    # Its clock does not keep the place from moving on.
    assert (await _send(client, latitude=-6.21))["lastKnownPlaceMoved"]
    tolerated = await _send(client, capturedAt=_ago(minutes=-4))
    assert tolerated["flags"] == []


@pytest.mark.usefixtures("customer")
async def test_swapped_degrees_are_turned_round(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    swapped = await _send(client, latitude=106.8456, longitude=-6.2088)
    assert swapped["flags"] == ["swapped"]
    assert swapped["lastKnownPlaceMoved"]
    (row,) = await _stored(database, tenant)
    assert (row.latitude, row.longitude) == (-6.2088, 106.8456)


async def test_a_swap_is_suspected_by_the_address(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "cus-1")
    await make_customer(database, tenant, "cus-2")
    await make_address(database, tenant, "cus-1", location="SRID=4326;POINT(-0.1278 51.5074)")
    london = {"latitude": 51.51, "longitude": -0.12}
    turned = {"latitude": -0.12, "longitude": 51.51}
    assert (await _send(client, **london))["flags"] == []
    suspected = await _send(client, **turned)
    assert "suspected_swap" in suspected["flags"]
    assert not suspected["lastKnownPlaceMoved"]
    assert await _place(client) == (51.51, -0.12)
    # Stored as stated.
    assert (await _stored(database, tenant))[-1].latitude == -0.12
    # Of somebody of whom nothing is known, nothing is suspected.
    unknown = await _send(client, customerId="cus-2", **turned)
    assert (unknown["flags"], unknown["lastKnownPlaceMoved"]) == ([], True)


async def test_a_swap_is_suspected_by_the_stores(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "cus-1")
    await client.post(
        "/api/stores",
        json={"id": "s-1", "name": "London", "latitude": 51.5074, "longitude": -0.1278},
    )
    suspected = await _send(client, latitude=-0.12, longitude=51.51)
    assert (suspected["flags"], suspected["lastKnownPlaceMoved"]) == (["suspected_swap"], False)


@pytest.mark.usefixtures("customer")
async def test_null_island_is_kept_and_moves_nothing(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    nothing = await _send(client, latitude=0, longitude=0)
    assert (nothing["flags"], nothing["lastKnownPlaceMoved"]) == (["null_island"], False)
    assert len(await _stored(database, tenant)) == 1
    assert await _place(client) == (None, None)


@pytest.mark.usefixtures("customer")
async def test_impossible_speed_is_flagged_and_moves(client: httpx.AsyncClient) -> None:
    await _send(client, capturedAt=_ago(minutes=2))
    jump = await _send(client, latitude=-8.65, longitude=115.2, capturedAt=_ago(minutes=1))
    assert (jump["flags"], jump["lastKnownPlaceMoved"]) == (["impossible_speed"], True)


@pytest.mark.parametrize(
    ("latitude", "longitude", "stored"),
    [
        (90, 0, (90, 0)),
        (-90, 180, (-90, 180)),
        (0, 180, (0, 180)),
        (0, -180, (0, 180)),
        (12.5, 179.999999, (12.5, 179.999999)),
    ],
)
@pytest.mark.usefixtures("customer")
async def test_the_edges_of_the_map_are_places(
    client: httpx.AsyncClient, latitude: float, longitude: float, stored: tuple[float, float]
) -> None:
    sent = await _send(client, latitude=latitude, longitude=longitude)
    assert sent["flags"] == []
    assert await _place(client) == stored


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"latitude": 95, "longitude": 95}, "/latitude"),
        ({"latitude": 181}, "/latitude"),
        ({"longitude": -180.5}, "/longitude"),
        ({"latitude": "NaN"}, "/latitude"),
        ({"longitude": None}, "/longitude"),
        ({"customerId": "nobody"}, "/customerId"),
        ({"accuracy": -2}, "/accuracy"),
        ({"accuracy": -0.5}, "/accuracy"),
        ({"speed": -3}, "/speed"),
        ({"heading": 361}, "/heading"),
        ({"source": "stars"}, "/source"),
        ({"visitType": "party"}, "/visitType"),
        ({"photoUrl": "javascript:alert(1)"}, "/photoUrl"),
        ({"capturedAt": "1969-12-31T23:00:00Z"}, "/capturedAt"),
        ({"capturedAt": _ago(hours=-25)}, "/capturedAt"),
        ({"capturedAt": _ago(days=731)}, "/capturedAt"),
        ({"captureId": ""}, "/captureId"),
        ({"colour": "red"}, "/colour"),
    ],
)
@pytest.mark.usefixtures("customer")
async def test_what_will_not_do_is_refused_by_name(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    fields: dict[str, Any],
    pointer: str,
) -> None:
    answer = await client.post(CAPTURE, json=_capture(**fields))
    assert answer.status_code == 422, answer.text
    assert [each["pointer"] for each in answer.json()["errors"]] == [pointer]
    assert await _stored(database, tenant) == []


async def test_numbers_that_json_does_not_know_are_refused(client: httpx.AsyncClient) -> None:
    body = '{"customerId": "cus-1", "latitude": NaN, "longitude": 1}'
    answer = await client.post(CAPTURE, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400


@pytest.mark.usefixtures("customer")
async def test_unknown_values_of_a_receiver_are_left_out(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _send(client, speed=-1, heading=-1, accuracy=-1)
    (row,) = await _stored(database, tenant)
    assert (row.speed, row.heading, row.accuracy) == (None, None, None)


@pytest.mark.usefixtures("customer")
async def test_a_time_without_a_zone_is_the_tenants(client: httpx.AsyncClient) -> None:
    local = datetime.now(UTC) + timedelta(hours=7) - timedelta(minutes=30)
    sent = await _send(client, capturedAt=local.replace(tzinfo=None).isoformat())
    assert datetime.fromisoformat(sent["capturedAt"]) == local - timedelta(hours=7)


async def test_a_refused_capture_may_be_sent_again(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    refused = await client.post(CAPTURE, json=_capture(captureId="cap-1"))
    assert refused.status_code == 422
    await make_customer(database, tenant, "cus-1")
    assert (await _send(client, captureId="cap-1"))["status"] == "created"


async def test_the_id_of_a_merged_customer_leads_to_the_present_one(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "cus-1")
    await make_customer(database, tenant, "cus-2")
    merged = await client.post("/api/customers/cus-1/merge", json={"duplicateId": "cus-2"})
    assert merged.status_code == 200, merged.text
    sent = await _send(client, customerId="cus-2", captureId="cap-1")
    assert sent["status"] == "created"
    assert (await _send(client, customerId="cus-2", captureId="cap-1"))["status"] == "duplicate"
    assert await _place(client) == (-6.2088, 106.8456)


async def test_an_erased_customer_is_not_captured_again(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "cus-1")
    await _send(client, captureId="cap-1")
    assert (await client.delete("/api/customers/cus-1")).is_success
    assert await _stored(database, tenant) == []
    answer = await client.post(CAPTURE, json=_capture(captureId="cap-2"))
    assert answer.status_code == 422
    assert "erased" in answer.json()["errors"][0]["reason"]


@pytest.mark.usefixtures("customer")
async def test_an_idempotency_key_gets_the_first_answer_again(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    headers = {"Idempotency-Key": "phone-1-000001"}
    first = await client.post(CAPTURE, json=_capture(), headers=headers)
    again = await client.post(CAPTURE, json=_capture(), headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(await _stored(database, tenant)) == 1
    other = await client.post(CAPTURE, json=_capture(latitude=-7), headers=headers)
    assert other.status_code == 422


@pytest.mark.usefixtures("customer")
async def test_who_may_capture(
    anonymous: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    async def status(token: str, **fields: Any) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return (await anonymous.post(CAPTURE, json=_capture(**fields), headers=headers)).status_code

    mobile = await make_key(database, tenant, scopes=ROLES["mobile"])
    assert await status(mobile) == 201
    assert await status(mobile, userId="kidz") == 201
    assert await status(mobile, userId=str(tenant.id)) == 201
    assert await status(mobile, userId="another") == 403
    assert await status(await make_key(database, tenant, scopes=ROLES["dashboard"])) == 403
    both = {Scope.GEO_WRITE, Scope.CUSTOMERS_ANONYMIZED}
    assert await status(await make_key(database, tenant, scopes=both)) == 403
    assert await status(f"{mobile}x") == 401
    assert await status("bps_unknown.secret") == 401
    async with database.tenant_transaction(tenant.id) as connection:
        await tenancy.revoke_key(connection, mobile.removeprefix("bps_").partition(".")[0])
    assert await status(mobile) == 401


# --- batches ----------------------------------------------------------------------------------


async def test_a_backlog_may_be_out_of_order_and_repeated(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "cus-1")
    await make_customer(database, tenant, "cus-2")
    backlog = [
        _capture(captureId="cap-3", latitude=-6.3, capturedAt=_ago(minutes=10)),
        _capture(captureId="cap-1", latitude=-6.1, capturedAt=_ago(minutes=30)),
        _capture(captureId="cap-3", latitude=-6.3, capturedAt=_ago(minutes=10)),
        _capture(captureId="cap-2", customerId="cus-2", capturedAt=_ago(minutes=20)),
        _capture(captureId="cap-4", customerId="nobody"),
        _capture(captureId="cap-5", latitude="north"),
        _capture(captureId="cap-6", userId="another"),
    ]
    answer = await client.post(BATCH, json=backlog)
    assert answer.status_code == 207
    document = answer.json()
    assert [(each["id"], each["status"]) for each in document["items"]] == [
        ("cap-3", "created"),
        ("cap-1", "created"),
        ("cap-3", "duplicate"),
        ("cap-2", "created"),
        ("cap-4", "rejected"),
        ("cap-5", "rejected"),
        ("cap-6", "rejected"),
    ]
    assert (document["accepted"], document["rejected"]) == (4, 3)
    pointers = [each["error"]["pointer"] for each in document["items"] if each.get("error")]
    assert pointers == ["/customerId", "/latitude", "/userId"]
    assert await _place(client) == (-6.3, 106.8456)
    assert await _place(client, "cus-2") == (-6.2088, 106.8456)
    again = (await client.post(BATCH, json=backlog)).json()
    assert {each["status"] for each in again["items"]} == {"duplicate", "rejected"}
    assert len(await _stored(database, tenant)) == 3


async def test_a_long_backlog_is_answered_in_its_order(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    for number in range(7):
        await make_customer(database, tenant, f"cus-{number}")
    backlog = [
        _capture(
            captureId=f"cap-{number}",
            customerId=f"cus-{number % 8}",
            capturedAt=_ago(minutes=number),
        )
        for number in range(400)
    ]
    backlog[13]["latitude"] = 1_000
    first = await client.post(BATCH, json=backlog)
    assert first.status_code == 207
    told = first.json()["items"]
    assert [item["index"] for item in told] == list(range(400))
    assert [item["id"] for item in told] == [capture["captureId"] for capture in backlog]
    wrong = [item["index"] for item in told if item["status"] == "rejected"]
    assert wrong == sorted({13, *range(7, 400, 8)})
    again = (await client.post(BATCH, json=backlog)).json()["items"]
    assert {item["status"] for item in again} == {"duplicate", "rejected"}
    assert len(await _stored(database, tenant)) == 400 - len(wrong)


@pytest.mark.usefixtures("customer")
async def test_an_id_that_comes_twice_in_a_long_backlog_is_the_first_ones(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "cus-2")
    backlog = [
        _capture(captureId=f"cap-{number % 250}", customerId=f"cus-{1 + number // 250}")
        for number in range(500)
    ]
    told = (await client.post(BATCH, json=backlog)).json()["items"]
    assert [item["status"] for item in told] == ["created"] * 250 + ["duplicate"] * 250


async def test_portions_that_wait_for_each_other_are_written_one_after_the_other(
    fresh_database: Database, fresh_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each portion first locks who is there, and then those whom merged ids lead to."""
    tenant = await make_tenant(fresh_database)
    token = await make_key(fresh_database, tenant)
    for name in ("a", "a-merged", "b", "b-merged", "c", "c-merged"):
        await make_customer(fresh_database, tenant, name)
    # Dealt out to three portions in this order: (a, b-merged), (b, c-merged), (c, a-merged).
    dealt = ["a", "b", "c", "b-merged", "c-merged", "a-merged"]
    backlog = [
        _capture(captureId=f"cap-{number}", customerId=dealt[number // 100])
        for number in range(600)
    ]
    app = create_app(Settings(_env_file=None, database_url=fresh_database_url))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    together = asyncio.Barrier(3)
    asked: list[Any] = []

    async def explain_together(*arguments: Any) -> Any:
        # All three have locked who is there before one asks for those of merged ids.
        asked.append(arguments)
        if len(asked) <= together.parties:
            await together.wait()
        return await explain_missing(*arguments)

    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=transport, base_url="http://test", headers={"X-API-Key": token}
        ) as client,
    ):
        for name in "abc":
            merged = await client.post(
                f"/api/customers/{name}/merge", json={"duplicateId": f"{name}-merged"}
            )
            assert merged.status_code == 200, merged.text
        monkeypatch.setattr("app.services.capturing.explain_missing", explain_together)
        told = await client.post(BATCH, json=backlog)
    assert len(asked) > together.parties
    assert told.status_code == 200, told.text
    assert {item["status"] for item in told.json()["items"]} == {"created"}
    assert len(await _stored(fresh_database, tenant)) == 600


async def test_ndjson_is_answered_line_by_line(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "cus-1")
    lines = [json.dumps(_capture(captureId=f"cap-{number}")) for number in (1, 2, 1)]
    answer = await client.post(BATCH, content="\n".join([*lines, "{"]), headers=NDJSON)
    assert answer.status_code == 200
    *items, summary = [json.loads(line) for line in answer.text.splitlines()]
    assert [each["status"] for each in items] == ["created", "created", "duplicate", "rejected"]
    assert summary == {"summary": {"accepted": 3, "rejected": 1}}
    assert len(await _stored(database, tenant)) == 2


async def test_a_json_batch_has_a_limit(client: httpx.AsyncClient) -> None:
    answer = await client.post(BATCH, json=[_capture()] * 1001)
    assert answer.status_code == 413


async def test_any_split_leads_to_the_same_place(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    backlog = [
        _capture(latitude=-6 - number / 100, capturedAt=_ago(minutes=minutes), accuracy=accuracy)
        for number, (minutes, accuracy) in enumerate(
            [(9, 10), (3, 10), (7, 10), (1, 5000), (5, 10), (8, None)]
        )
    ]
    splits = [[6], [1] * 6, [2, 4], [5, 1]]
    for name, split in enumerate(splits):
        await make_customer(database, tenant, f"cus-{name}")
        sent = [each | {"customerId": f"cus-{name}"} for each in backlog]
        if name % 2:
            sent.reverse()
        for size in split:
            part, sent = sent[:size], sent[size:]
            assert (await client.post(BATCH, json=part)).status_code == 200
        assert await _place(client, f"cus-{name}") == (-6.01, 106.8456)


# --- at the same time -------------------------------------------------------------------------


async def test_concurrent_captures_share_commits_and_lose_nothing(
    fresh_database: Database, fresh_database_url: str
) -> None:
    tenant = await make_tenant(fresh_database)
    other = await make_tenant(fresh_database, "other")
    tokens = [await make_key(fresh_database, each) for each in (tenant, tenant, other)]
    for each in (tenant, other):
        for number in range(5):
            await make_customer(fresh_database, each, f"cus-{number}")
    app = create_app(Settings(_env_file=None, database_url=fresh_database_url))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    base = datetime.now(UTC) - timedelta(hours=1)

    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):

        async def send(number: int) -> httpx.Response:
            return await client.post(
                CAPTURE,
                json=_capture(
                    customerId=f"cus-{number % 5}" if number % 10 else "nobody",
                    # Every third is sent by two at once.
                    captureId=f"cap-{number - number % 3 if number % 3 == 1 else number}",
                    latitude=-6 - number / 10_000,
                    capturedAt=(base + timedelta(seconds=number)).isoformat(),
                ),
                headers={"X-API-Key": tokens[number % 3]},
            )

        answers = await asyncio.gather(*(send(number) for number in range(120)))
    for number, answer in enumerate(answers):
        assert answer.status_code in ((200, 201) if number % 10 else (422,)), answer.text
    created = {
        (answer.json()["captureId"], number % 3 == 2)
        for number, answer in enumerate(answers)
        if answer.status_code == 201
    }
    assert sum(answer.status_code == 201 for answer in answers) == len(created)
    stored = 0
    commits = 0
    for each in (tenant, other):
        async with fresh_database.tenant_transaction(each.id) as connection:
            row = (
                await connection.execute(
                    text(
                        "SELECT count(*), count(DISTINCT recorded_at) FROM location_history"
                        " WHERE tenant_id = :tenant_id"
                    ),
                    {"tenant_id": each.id},
                )
            ).one()
            stored += row[0]
            commits += row[1]
            places = await connection.execute(
                text(
                    "SELECT c.id FROM customers c WHERE c.tenant_id = :tenant_id"
                    " AND last_location_captured_at IS DISTINCT FROM (SELECT max(captured_at)"
                    " FROM location_history h WHERE h.tenant_id = c.tenant_id"
                    " AND h.customer_sk = c.sk)"
                ),
                {"tenant_id": each.id},
            )
            assert list(places) == []
    assert stored == len(created)
    assert commits < stored / 2
