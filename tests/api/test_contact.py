"""Contacts over HTTP: recorded, answered, listed; the newest statement holds."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.database import Database
from app.domain.access import ROLES
from app.domain.tenant import Tenant
from tests.factories import make_contact, make_customer, make_key

NDJSON = {"content-type": "application/x-ndjson"}


def contact(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"con-{number}",
        "customerId": "cus-1",
        "channel": "whatsapp",
        "purpose": "promo",
        "sentAt": "2026-03-02T03:30:00Z",
    } | changes


async def post(client: httpx.AsyncClient, body: dict[str, Any]) -> httpx.Response:
    return await client.post("/api/contacts", json=body)


@pytest.fixture
async def customer(database: Database, tenant: Tenant) -> int:
    return await make_customer(database, tenant)


@pytest.mark.usefixtures("customer")
async def test_a_contact_is_recorded_answered_and_read_back(client: httpx.AsyncClient) -> None:
    created = await post(client, contact(channel="WhatsApp"))
    assert created.status_code == 201, created.text
    assert created.json()["respondedAt"] is None
    assert created.json()["converted"] is False
    changed = await client.patch(
        "/api/contacts/con-1", json={"respondedAt": "2026-03-02T04:00:00Z", "converted": True}
    )
    assert changed.status_code == 200, changed.text
    read = (await client.get("/api/contacts/con-1")).json()
    assert read == changed.json()
    assert (read["respondedAt"], read["converted"]) == ("2026-03-02T04:00:00Z", True)
    undone = await client.patch("/api/contacts/con-1", json={"respondedAt": None})
    assert (undone.json()["respondedAt"], undone.json()["converted"]) == (None, True)


@pytest.mark.usefixtures("customer")
async def test_a_contact_sent_again_keeps_what_came_of_it(client: httpx.AsyncClient) -> None:
    await post(client, contact(respondedAt="2026-03-02T05:00:00Z", converted=True))
    again = await post(client, contact(purpose="survey"))
    assert again.status_code == 200
    assert again.json()["purpose"] == "survey"
    assert (again.json()["respondedAt"], again.json()["converted"]) == (
        "2026-03-02T05:00:00Z",
        True,
    )
    cleared = await post(client, contact(respondedAt=None, converted=False))
    assert (cleared.json()["respondedAt"], cleared.json()["converted"]) == (None, False)


@pytest.mark.usefixtures("customer")
async def test_what_cannot_have_been_is_refused(client: httpx.AsyncClient) -> None:
    ahead = datetime.now(UTC) + timedelta(hours=25)
    refusals: list[tuple[dict[str, Any], str]] = [
        ({"respondedAt": "2026-03-02T03:29:59Z"}, "/respondedAt"),
        ({"sentAt": ahead.isoformat()}, "/sentAt"),
        ({"sentAt": "1969-12-31T00:00:00Z"}, "/sentAt"),
        ({"respondedAt": ahead.isoformat()}, "/respondedAt"),
        ({"customerId": "nobody"}, "/customerId"),
        ({"channel": "pigeon"}, "/channel"),
        ({"purpose": "gossip"}, "/purpose"),
        ({"colour": "red"}, "/colour"),
    ]
    for changes, pointer in refusals:
        answer = await post(client, contact(**changes))
        assert answer.status_code == 422, (changes, answer.text)
        assert answer.json()["errors"][0]["pointer"] == pointer
    assert (await client.get("/api/contacts/con-1")).status_code == 404
    await post(client, contact())
    early = await client.patch("/api/contacts/con-1", json={"respondedAt": "2026-03-01T00:00:00Z"})
    assert early.status_code == 422
    assert early.json()["errors"][0]["pointer"] == "/respondedAt"
    assert (await client.patch("/api/contacts/con-1", json={})).status_code == 422
    assert (await client.patch("/api/contacts/none", json={"converted": True})).status_code == 404


@pytest.mark.usefixtures("customer")
async def test_an_older_statement_changes_nothing(client: httpx.AsyncClient) -> None:
    await post(client, contact(updatedAt="2026-03-05T00:00:00Z", converted=True))
    late = contact(purpose="support", converted=False, updatedAt="2026-03-04T00:00:00Z")
    batch = await client.post("/api/contacts/batch", json=[late])
    assert batch.json()["items"] == [{"index": 0, "id": "con-1", "status": "stale"}]
    patch = {"converted": False, "updatedAt": "2026-03-04T00:00:00Z"}
    assert (await client.patch("/api/contacts/con-1", json=patch)).status_code == 409
    stored = (await client.get("/api/contacts/con-1")).json()
    assert (stored["purpose"], stored["converted"]) == ("promo", True)


@pytest.mark.usefixtures("customer")
async def test_a_batch_names_what_became_of_each(client: httpx.AsyncClient) -> None:
    await post(client, contact(1))
    answer = await client.post(
        "/api/contacts/batch",
        json=[
            contact(1),
            contact(2),
            contact(2),
            contact(3, customerId="nobody"),
            contact(4, channel=None),
            contact(1) | {"id": "con-5", "respondedAt": "2020-01-01T00:00:00Z"},
        ],
    )
    assert answer.status_code == 207
    items = answer.json()["items"]
    assert [each["status"] for each in items] == [
        "unchanged",
        "created",
        "rejected",
        "rejected",
        "rejected",
        "rejected",
    ]
    assert [each["error"]["pointer"] for each in items[2:]] == [
        "/id",
        "/customerId",
        "/channel",
        "/respondedAt",
    ]


@pytest.mark.usefixtures("customer")
async def test_a_stream_of_contacts_is_recorded(client: httpx.AsyncClient) -> None:
    body = "".join(f"{json.dumps(contact(number))}\n" for number in range(30)) + "nonsense\n"
    answer = await client.post("/api/contacts/batch?results=errors", content=body, headers=NDJSON)
    refused, summary = map(json.loads, answer.text.splitlines())
    assert refused["index"] == 30
    assert summary == {"summary": {"accepted": 30, "rejected": 1}}


async def test_contacts_come_newest_first_in_pages(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, customer: int
) -> None:
    sent = datetime(2026, 3, 2, tzinfo=UTC)
    for number in range(5):  # the last two at the same moment
        moment = sent + timedelta(days=min(number, 3))
        await make_contact(database, tenant, contact_id=f"con-{number}", sent_at=moment)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        path = "/api/customers/cus-1/contacts"
        page = (await client.get(path, params={"limit": 2, **cursor})).json()
        seen += [item["id"] for item in page["items"]]
        if page["nextCursor"] is None:
            break
        cursor = {"cursor": page["nextCursor"]}
    assert seen == ["con-4", "con-3", "con-2", "con-1", "con-0"]
    assert (await client.get("/api/customers/none/contacts")).status_code == 404


@pytest.mark.usefixtures("customer")
async def test_an_anonymous_reader_learns_no_id(client: httpx.AsyncClient) -> None:
    await post(client, contact())
    for path in ("/api/contacts/con-1", "/api/customers/cus-1/contacts"):
        answer = await client.get(path, params={"anonymize": "true"})
        assert answer.status_code == 200
        assert "whatsapp" in answer.text
        assert not any(mark in answer.text for mark in ("cus-1", "con-1"))


async def test_a_contact_may_move_to_another_customer_and_both_are_scored(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, customer: int
) -> None:
    other = await make_customer(database, tenant, "cus/2")
    await post(client, contact())
    moved = await post(client, contact(customerId="cus/2"))
    assert (moved.status_code, moved.json()["customerId"]) == (200, "cus/2")
    assert (await client.get("/api/customers/cus-1/contacts")).json()["items"] == []
    found = (await client.get("/api/customers/cus%2F2/contacts")).json()["items"]
    assert [each["id"] for each in found] == ["con-1"]
    async with database.tenant_transaction(tenant.id) as connection:
        scored = await connection.execute(text("SELECT customer_sk FROM customer_analytics"))
        assert {row[0] for row in scored} == {customer, other}


@pytest.mark.usefixtures("customer")
async def test_a_time_without_a_zone_is_the_tenants(client: httpx.AsyncClient) -> None:
    created = await post(client, contact(sentAt="2026-03-02T01:00:00"))
    assert created.json()["sentAt"] == "2026-03-01T18:00:00Z"


@pytest.mark.usefixtures("customer")
async def test_a_key_that_may_only_read_writes_no_contact(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    token = await make_key(database, tenant, scopes=ROLES["dashboard"])
    headers = {"Authorization": f"Bearer {token}"}
    for path, body in (("/api/contacts", contact()), ("/api/contacts/batch", [contact()])):
        assert (await client.post(path, json=body, headers=headers)).status_code == 403
    listed = await client.get("/api/customers/cus-1/contacts", headers=headers)
    assert listed.json()["items"] == []
