"""Customers over HTTP."""

from typing import Any
from urllib.parse import quote

import httpx
import pytest

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
