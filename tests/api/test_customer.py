"""Customers over HTTP."""

from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from sqlalchemy import text

from app.api.schemas.customer import EXAMPLE
from app.database import Database
from app.domain.tenant import Tenant
from tests.factories import make_customer


async def _ids(client: httpx.AsyncClient, **query: Any) -> list[str]:
    answer = await client.get("/api/customers", params=query)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


async def test_a_customer_comes_back_as_it_was_recorded(client: httpx.AsyncClient) -> None:
    await client.post("/api/stores", json={"id": "store-01", "name": "Kemang"})
    created = await client.post("/api/customers", json=EXAMPLE)
    assert created.status_code == 201, created.text
    assert created.headers["Location"] == "/api/customers/cus-123"
    read = await client.get(created.headers["Location"])
    assert read.json() == created.json()
    assert {key: read.json()[key] for key in EXAMPLE} == EXAMPLE
    assert read.json()["createdAt"].endswith("Z")
    assert read.json()["lastKnownGeohash"].startswith("qqg")


async def test_a_taken_id_is_refused_and_changes_nothing(client: httpx.AsyncClient) -> None:
    await client.post("/api/customers", json={"id": "c", "name": "Siti"})
    again = await client.post("/api/customers", json={"id": "c", "name": "Budi"})
    assert again.status_code == 409
    assert (await client.get("/api/customers/c")).json()["name"] == "Siti"


@pytest.mark.parametrize(
    "customer_id", ["a/b", "a/b/profile", "ibu-é-山", "50%", "a?b#c", "a b", "..%2F", "%2F"]
)
async def test_an_id_may_hold_any_printable_character(
    client: httpx.AsyncClient, customer_id: str
) -> None:
    created = await client.post("/api/customers", json={"id": customer_id, "name": "Siti"})
    assert created.status_code == 201, created.text
    read = await client.get(created.headers["Location"])
    assert read.json()["id"] == customer_id
    changed = await client.patch(
        f"/api/customers/{quote(customer_id, safe='')}", json={"name": "Budi"}
    )
    assert changed.json()["name"] == "Budi"


async def test_a_patch_changes_what_it_names_and_null_clears(client: httpx.AsyncClient) -> None:
    await client.post(
        "/api/customers", json={"id": "c", "name": "Siti", "code": "C-1", "creditLimit": "5.50"}
    )
    changed = await client.patch("/api/customers/c", json={"code": None, "membershipTier": "gold"})
    assert changed.status_code == 200, changed.text
    assert changed.json()["code"] is None
    assert changed.json()["membershipTier"] == "gold"
    assert changed.json()["creditLimit"] == "5.50"


async def test_a_patch_is_refused_where_it_makes_no_sense(client: httpx.AsyncClient) -> None:
    await client.post("/api/customers", json={"id": "a", "name": "A"})
    await client.post("/api/customers", json={"id": "b", "name": "B", "referredByCustomerId": "a"})
    for body in (
        {"colour": "red"},
        {"name": None},
        {"referredByCustomerId": "nobody"},
        {"referredByCustomerId": "a"},
        {"referredByCustomerId": "b"},
        {"homeStoreId": "nowhere"},
        {"creditLimit": "1.001"},
    ):
        answer = await client.patch("/api/customers/a", json=body)
        assert answer.status_code == 422, (body, answer.text)
        assert answer.json()["errors"][0]["pointer"] == f"/{next(iter(body))}"


async def test_an_older_change_does_not_undo_a_newer_one(client: httpx.AsyncClient) -> None:
    await client.post(
        "/api/customers", json={"id": "c", "name": "New", "updatedAt": "2026-03-02T00:00:00Z"}
    )
    stale = {"name": "Old", "updatedAt": "2026-03-01T00:00:00Z"}
    answer = await client.patch("/api/customers/c", json=stale)
    assert answer.status_code == 409
    assert (await client.get("/api/customers/c")).json()["name"] == "New"


async def test_search_finds_by_the_beginning_of_every_word(client: httpx.AsyncClient) -> None:
    for record in (
        {
            "id": "cus-1",
            "code": "CUS-0001",
            "name": "Siti Nurhalizá",
            "email": "siti.n@example.com",
            "phone": "+62 812-3456-7890",
        },
        {"id": "cus-2", "code": "CUS-0002", "name": "Budi Santoso", "phone": "0813 1111 2222"},
    ):
        assert (await client.post("/api/customers", json=record)).status_code == 201
    for query in (
        "siti",
        "SITI nurhaliza",
        "nur si",
        "siti.n@example",
        "CUS-0001",
        "cus-1",
        "08123456",
        "+62812",
        "62 812 3456 7890",
        "0812-3456-7890",
    ):
        assert await _ids(client, q=query) == ["cus-1"], query
    for query in ("ti", "siti santoso", "0814", "nobody", "s%ti", "_iti"):
        assert await _ids(client, q=query) == [], query
    assert await _ids(client, q="cus") == ["cus-1", "cus-2"]
    await client.patch("/api/customers/cus-1", json={"name": "Dewi"})
    assert await _ids(client, q="dewi") == ["cus-1"]
    assert await _ids(client, q="nurhaliza") == []


async def test_filters_narrow_the_list(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await client.post("/api/stores", json={"id": "s", "name": "Kemang"})
    await make_customer(database, tenant, "plain")
    await client.post(
        "/api/customers",
        json={
            "id": "special",
            "name": "B",
            "customerType": "wholesale",
            "membershipTier": "gold",
            "status": "blocked",
            "homeStoreId": "s",
        },
    )
    for query in (
        {"type": "wholesale"},
        {"tier": "gold"},
        {"status": "blocked"},
        {"store": "s"},
        {"type": "wholesale", "tier": "gold", "q": "b"},
    ):
        assert await _ids(client, **query) == ["special"], query
    assert await _ids(client, type="retail") == ["plain"]
    assert await _ids(client, rfmSegment="champion") == []
    assert await _ids(client, churnBand="high") == []


async def test_pages_cover_the_list_once(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    expected = [f"c-{number}" for number in range(7)]
    for each in expected:
        await make_customer(database, tenant, each)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await client.get("/api/customers", params={"limit": 3, **cursor})).json()
        seen += [item["id"] for item in page["items"]]
        if page["nextCursor"] is None:
            break
        cursor = {"cursor": page["nextCursor"]}
    assert seen == expected


async def _referrers(database: Database, tenant: Tenant) -> dict[str, str | None]:
    async with database.tenant_transaction(tenant.id) as connection:
        rows = await connection.execute(
            text("""
                SELECT c.id, r.id FROM customers c
                LEFT JOIN customers r ON r.tenant_id = c.tenant_id AND r.sk = c.referred_by_sk
            """)
        )
        return {row[0]: row[1] for row in rows}


def _referred(customer_id: str, referrer: str | None) -> dict[str, Any]:
    return {"id": customer_id, "name": customer_id, "referredByCustomerId": referrer}


async def test_a_batch_closes_no_circle_of_referrals(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    for each in (_referred("a", None), _referred("b", "a"), _referred("c", "b")):
        assert (await client.post("/api/customers", json=each)).status_code == 201
    answer = await client.post(
        "/api/customers/batch",
        json=[
            _referred("d", "c"),
            _referred("a", "d"),
            _referred("e", "e"),
            _referred("f", "d"),
        ],
    )
    assert answer.status_code == 207
    items = answer.json()["items"]
    assert [each["status"] for each in items] == ["created", "rejected", "rejected", "created"]
    assert {each["error"]["pointer"] for each in items[1:3]} == {"/referredByCustomerId"}
    expected = {"a": None, "b": "a", "c": "b", "d": "c", "f": "d"}
    assert await _referrers(database, tenant) == expected


async def test_a_circle_of_new_customers_is_opened_at_the_last(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "x")
    await make_customer(database, tenant, "y")
    batch = [_referred("n", "x"), _referred("y", "n"), _referred("x", "y")]
    answer = await client.post("/api/customers/batch", json=batch)
    statuses = [each["status"] for each in answer.json()["items"]]
    assert statuses == ["created", "updated", "rejected"]
    answer = await client.post(
        "/api/customers/batch", json=[_referred("m", "y"), _referred("n", "m")]
    )
    assert [each["status"] for each in answer.json()["items"]] == ["created", "rejected"]
    assert await _referrers(database, tenant) == {"x": None, "n": "x", "y": "n", "m": "y"}


async def test_who_is_refused_is_not_made_and_brings_in_nobody(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    answer = await client.post(
        "/api/customers/batch", json=[_referred("self", "self"), _referred("child", "self")]
    )
    assert answer.status_code == 422
    assert [each["status"] for each in answer.json()["items"]] == ["rejected", "rejected"]
    assert await _referrers(database, tenant) == {}


async def test_a_stale_statement_opens_no_circle(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    """What is not applied does not make room for what would close a circle with what is stored."""
    await client.post("/api/customers", json={"id": "a", "name": "A"})
    newer = _referred("b", "a") | {"updatedAt": "2026-03-05T00:00:00Z"}
    await client.post("/api/customers", json=newer)
    stale = {"id": "b", "referredByCustomerId": None, "updatedAt": "2026-03-01T00:00:00Z"}
    answer = await client.post("/api/customers/batch", json=[stale, _referred("a", "b")])
    assert [each["status"] for each in answer.json()["items"]] == ["stale", "rejected"]
    turned = [{"id": "b", "referredByCustomerId": None}, _referred("a", "b")]
    answer = await client.post("/api/customers/batch", json=turned)
    assert [each["status"] for each in answer.json()["items"]] == ["updated", "updated"]
    assert await _referrers(database, tenant) == {"a": "b", "b": None}


async def _scored(database: Database, tenant: Tenant) -> dict[str, datetime]:
    """When each customer was scored last; every row is then put back into the past."""
    async with database.tenant_transaction(tenant.id) as connection:
        rows = await connection.execute(
            text("""
                SELECT c.id, a.computed_at FROM customer_analytics a
                JOIN customers c ON c.tenant_id = a.tenant_id AND c.sk = a.customer_sk
                WHERE a.computed_at > '2001-01-01'
            """)
        )
        scored = {row[0]: row[1] for row in rows}
        await connection.execute(
            text("""
                UPDATE customer_analytics
                SET computed_at = '2000-01-01', membership_tier = 'outdated'
            """)
        )
        return scored


async def test_customers_are_scored_when_their_scores_may_change(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    async def change(*records: dict[str, Any]) -> set[str]:
        answer = await client.post("/api/customers/batch", json=list(records))
        assert answer.status_code == 200, answer.text
        return set(await _scored(database, tenant))

    assert await change(
        {"id": "a", "name": "A"}, {"id": "b", "name": "B"}, {"id": "c", "name": "C"}
    ) == {"a", "b", "c"}
    assert await change({"id": "a", "name": "Another", "email": "a@b.c"}) == set()
    for value in (
        {"membershipTier": "gold"},
        {"loyaltyPoints": 5},
        {"dateOfBirth": "1990-01-01"},
        {"ageEstimate": 30},
        {"gender": "female"},
    ):
        assert await change({"id": "a", **value}) == {"a"}, value
        assert await change({"id": "a", **value}) == set(), value
    assert await change({"id": "a", "referredByCustomerId": "b"}) == {"a", "b"}
    assert await change({"id": "a", "referredByCustomerId": "c"}) == {"a", "b", "c"}
    assert await change({"id": "a", "referredByCustomerId": None}) == {"a", "c"}
    assert await change({"id": "d", "name": "D", "referredByCustomerId": "b"}) == {"b", "d"}
    await client.patch("/api/customers/c", json={"membershipTier": "gold"})
    assert set(await _scored(database, tenant)) == {"c"}


async def test_new_customers_alone_ask_for_no_run(client: httpx.AsyncClient) -> None:
    await client.post("/api/customers", json={"id": "a", "name": "A"})
    profile = (await client.get("/api/customers/a/profile")).json()
    assert profile["customer"]["id"] == "a"
    status = (await client.get("/api/admin/jobs/status")).json()
    assert "queued" not in str(status)
