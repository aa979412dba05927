"""Behaviour events over HTTP: taken once, whole, by whoever may."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.database import Database
from app.domain.access import Scope
from app.domain.tenant import Tenant
from tests.factories import make_customer, make_key

EVENTS = "/api/segmentation/events"
BATCH = "/api/segmentation/events/batch"
NDJSON = {"Content-Type": "application/x-ndjson"}
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_2 like Mac OS X) AppleWebKit/605.1.15"
    " (KHTML, like Gecko) Version/17.2 Mobile/15E148 Safari/604.1"
)


@pytest.fixture(autouse=True)
async def siti(database: Database, tenant: Tenant) -> int:
    """The customer whose events these are."""
    return await make_customer(database, tenant, "siti")


async def stored(database: Database, tenant: Tenant) -> list[dict[str, Any]]:
    """Every event there is, in the order of their ids."""
    async with database.tenant_transaction(tenant.id) as connection:
        rows = await connection.execute(text("SELECT * FROM behavior_events ORDER BY id"))
        return [dict(row._mapping) for row in rows]


def event(number: int | None = None, **fields: Any) -> dict[str, Any]:
    """An event of Siti's."""
    named = {} if number is None else {"eventId": f"e-{number}"}
    return {"customerId": "siti", "eventType": "page_view", **named, **fields}


async def test_every_field_is_kept_and_what_would_tell_the_person_is_cut(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, siti: int
) -> None:
    answer = await client.post(
        EVENTS,
        json={
            "userId": tenant.slug,
            "eventId": "e-1",
            "customerId": "siti",
            "eventType": "Purchase",
            "eventCategory": "website",
            "productId": "prod-789",
            "productName": "Premium Package",
            "productCategory": "Packages",
            "eventValue": 199.99,
            "eventProperties": {"coupon": "X", "n": [1, None, "ä"]},
            "pageUrl": "https://shop.example/p?x=1",
            "referrerUrl": "https://search.example/",
            "ipAddress": "203.0.113.77",
            "userAgent": IPHONE,
            "location": {
                "latitude": 37.7749,
                "longitude": -122.4194,
                "country": "US",
                "city": "San Francisco",
            },
            "sessionId": "sess_abc",
            "createdAt": "2026-03-02T03:30:00Z",
        },
    )
    assert answer.status_code == 201, answer.text
    assert answer.json() == {
        "success": True,
        "message": "Event recorded",
        "eventId": "e-1",
        "status": "created",
    }
    [row] = await stored(database, tenant)
    assert row.pop("received_at")
    assert str(row.pop("ip_network")) == "203.0.113.0/24"
    assert row == {
        "tenant_id": tenant.id,
        "id": "e-1",
        "customer_sk": siti,
        "occurred_at": datetime(2026, 3, 2, 3, 30, tzinfo=UTC),
        "event_type": "purchase",
        "event_category": "website",
        "product_id": "prod-789",
        "product_name": "Premium Package",
        "product_category": "Packages",
        "event_value": 199_99,
        "properties": {"coupon": "X", "n": [1, None, "ä"]},
        "session_id": "sess_abc",
        "device_type": "mobile",
        "page_url": "https://shop.example/p?x=1",
        "referrer_url": "https://search.example/",
        "user_agent": "Mobile Safari/17 iOS/17",
        "browser": "Mobile Safari",
        "os": "iOS",
        "latitude": 37.7749,
        "longitude": -122.4194,
        "country": "US",
        "city": "San Francisco",
    }


async def test_what_is_stated_of_the_device_holds_against_what_is_read(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    stated = event(1, userAgent=IPHONE, deviceType="kiosk", browser="Till", os="TillOS")
    assert (await client.post(EVENTS, json=stated)).status_code == 201
    [row] = await stored(database, tenant)
    assert (row["device_type"], row["browser"], row["os"]) == ("kiosk", "Till", "TillOS")


async def test_an_event_needs_no_id_no_time_and_no_known_type(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    before = datetime.now(UTC)
    ids = set()
    for _ in range(2):
        answer = await client.post(EVENTS, json=event(eventType="spun_the_wheel"))
        assert answer.status_code == 201, answer.text
        ids.add(answer.json()["eventId"])
    rows = await stored(database, tenant)
    assert {row["id"] for row in rows} == ids
    assert len(ids) == 2
    assert all(before <= row["occurred_at"] <= datetime.now(UTC) for row in rows)
    async with database.tenant_transaction(tenant.id) as connection:
        assert await connection.scalar(text("SELECT count(*) FROM received_ids")) == 0


async def test_a_time_without_a_zone_is_the_tenants(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await client.post(EVENTS, json=event(1, occurredAt="2026-03-02T10:30:00"))
    [row] = await stored(database, tenant)
    assert row["occurred_at"] == datetime(2026, 3, 2, 3, 30, tzinfo=UTC)


async def test_the_same_id_again_is_a_success_and_the_first_one_stays(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await client.post(EVENTS, json=event(1, occurredAt="2026-03-02T03:30:00Z"))
    # Another month: the unique key of the partitions alone would not notice.
    again = await client.post(
        EVENTS, json=event(1, eventType="purchase", occurredAt="2026-01-02T03:30:00Z")
    )
    assert again.status_code == 200
    assert again.json()["status"] == "duplicate"
    assert again.json()["success"] is True
    [row] = await stored(database, tenant)
    assert row["event_type"] == "page_view"


@pytest.mark.parametrize("number", [None, 1])
async def test_events_of_years_ago_are_taken(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, number: int | None
) -> None:
    answer = await client.post(EVENTS, json=event(number, occurredAt="2019-07-31T23:59:59.999Z"))
    assert answer.status_code == 201, answer.text
    assert len(await stored(database, tenant)) == 1


@pytest.mark.parametrize(
    ("fields", "pointer", "reason"),
    [
        ({"customerId": "nobody"}, "/customerId", "is not the id of a customer"),
        ({"customerId": None}, "/customerId", "string"),
        ({"eventType": None}, "/eventType", "valid string"),
        ({"eventValue": "1.999"}, "/eventValue", "IDR has 2 decimal places"),
        ({"ipAddress": "203.0.113"}, "/ipAddress", "IPv4"),
        ({"location": {"latitude": 91, "longitude": 0}}, "/location/latitude", "90"),
        ({"location": {"latitude": 1}}, "/location", "together"),
        ({"eventProperties": [1]}, "/eventProperties", "dictionary"),
        ({"eventProperties": {"x": "y" * 17_000}}, "/eventProperties", "16384 bytes"),
        ({"occurredAt": "1969-12-31T00:00:00Z"}, "/occurredAt", "1970"),
        ({"occurred": "2026-01-01T00:00:00Z"}, "/occurred", "not"),
    ],
)
async def test_what_will_not_do_is_refused_by_name(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    fields: dict[str, Any],
    pointer: str,
    reason: str,
) -> None:
    answer = await client.post(EVENTS, json=event(1) | fields)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["pointer"] == pointer
    assert reason in error["reason"]
    batch = await client.post(BATCH, json=[event(1) | fields, event(2)])
    assert batch.status_code == 207
    refused, taken = batch.json()["items"]
    assert refused["status"] == "rejected"
    assert refused["id"] == "e-1"
    assert refused["error"]["pointer"] == pointer
    assert taken == {"index": 1, "id": "e-2", "status": "created"}
    assert [row["id"] for row in await stored(database, tenant)] == ["e-2"]
    # Nothing is remembered of what was refused, so that it may come again.
    assert (await client.post(EVENTS, json=event(1))).status_code == 201


async def test_the_future_begins_after_a_day(client: httpx.AsyncClient) -> None:
    now = datetime.now(UTC)
    for ahead, status in ((timedelta(hours=23), 201), (timedelta(hours=25), 422)):
        answer = await client.post(EVENTS, json=event(occurredAt=(now + ahead).isoformat()))
        assert answer.status_code == status


async def test_no_line_brings_what_the_database_cannot_keep(client: httpx.AsyncClient) -> None:
    lines = [
        '{"customerId": "siti", "eventType": "a", "eventProperties": {"x": NaN}}',
        '{"customerId": "siti", "eventType": "a", "eventProperties": {"x": "\\u0000"}}',
        # An escaped backslash before it is only a text about it.
        '{"customerId": "siti", "eventType": "a", "eventProperties": {"x": "\\\\u0000"}}',
    ]
    answer = await client.post(BATCH, content="\n".join(lines), headers=NDJSON)
    items = [json.loads(line) for line in answer.text.splitlines()]
    assert [item.get("status") for item in items[:-1]] == ["rejected", "rejected", "created"]


@pytest.mark.parametrize("kind", ["json", "ndjson"])
async def test_a_batch_takes_each_id_once(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, kind: str
) -> None:
    await client.post(EVENTS, json=event(1))
    sent = [event(2), event(1), event(3), event(2, eventType="purchase"), event()]
    if kind == "json":
        answer = await client.post(BATCH, json=sent)
        items = answer.json()["items"]
        assert (answer.json()["accepted"], answer.json()["rejected"]) == (5, 0)
    else:
        answer = await client.post(BATCH, content="\n".join(map(json.dumps, sent)), headers=NDJSON)
        *items, summary = [json.loads(line) for line in answer.text.splitlines()]
        assert summary == {"summary": {"accepted": 5, "rejected": 0}}
    assert answer.status_code == 200
    statuses = ["created", "duplicate", "created", "duplicate", "created"]
    assert [item["status"] for item in items] == statuses
    rows = await stored(database, tenant)
    assert {row["id"] for row in rows} == {"e-1", "e-2", "e-3", items[4]["id"]}
    assert {row["event_type"] for row in rows} == {"page_view"}


async def test_a_good_event_is_not_spoilt_by_a_bad_one_of_its_id(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post(BATCH, json=[event(1, customerId="nobody"), event(1)])
    assert [item["status"] for item in answer.json()["items"]] == ["rejected", "created"]


async def test_user_id_has_to_name_the_tenant(client: httpx.AsyncClient, tenant: Tenant) -> None:
    for user_id, status in ((tenant.slug, 201), (str(tenant.id), 201), ("another", 403)):
        answer = await client.post(EVENTS, json=event(userId=user_id))
        assert answer.status_code == status
    answer = await client.post(BATCH, json=[event(1, userId="another")])
    assert answer.status_code == 422
    assert answer.json()["items"][0]["error"]["pointer"] == "/userId"


async def test_events_of_a_merged_customer_go_to_the_one_that_stays(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, siti: int
) -> None:
    await make_customer(database, tenant, "twin")
    merged = await client.post("/api/customers/siti/merge", json={"duplicateId": "twin"})
    assert merged.status_code == 200, merged.text
    sent = [event(1, customerId="twin"), event(2), event(1, customerId="twin")]
    answer = await client.post(BATCH, json=sent)
    statuses = [item["status"] for item in answer.json()["items"]]
    assert statuses == ["created", "created", "duplicate"]
    assert {row["customer_sk"] for row in await stored(database, tenant)} == {siti}


async def test_nothing_is_recorded_of_an_erased_customer(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await client.post(EVENTS, json=event(1))
    erased = await client.delete("/api/customers/siti")
    assert erased.status_code == 200, erased.text
    answer = await client.post(EVENTS, json=event(2))
    assert answer.status_code == 422
    assert "was erased on" in answer.json()["errors"][0]["reason"]
    assert await stored(database, tenant) == []


async def test_the_journey_shows_events(client: httpx.AsyncClient) -> None:
    await client.post(EVENTS, json=event(1, eventValue="12.50", userAgent=IPHONE))
    [moment] = (await client.get("/api/customers/siti/journey?kinds=event")).json()["items"]
    assert moment["id"] == "e-1"
    assert moment["details"]["eventValue"] == "12.50"
    assert moment["details"]["browser"] == "Mobile Safari"


async def test_a_repeated_request_gets_the_first_answer(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k"}
    first = await client.post(EVENTS, json=event(), headers=headers)
    again = await client.post(EVENTS, json=event(), headers=headers)
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()


async def test_writing_needs_the_scope(
    anonymous: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    key = await make_key(database, tenant, scopes=frozenset(Scope) - {Scope.EVENTS_WRITE})
    answer = await anonymous.post(EVENTS, json=event(1), headers={"X-API-Key": key})
    assert answer.status_code == 403


async def test_a_user_agent_may_hold_anything(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "anna")
    agent = "Some\x1fthing/1.0 (\x01; \x7f) Evil\x1fBot/\x1f2"
    event = {"customerId": "anna", "eventType": "page_view", "userAgent": agent}
    for path, body in (("", event), ("/batch", [event, event | {"userAgent": ""}])):
        answer = await client.post(f"/api/segmentation/events{path}", json=body)
        assert answer.is_success, answer.text
