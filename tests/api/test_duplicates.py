"""Pairs of customers who may be one person."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.database import Database
from app.domain.duplicate import WEIGHTS
from app.domain.tenant import Tenant
from app.services.duplicates import find_duplicates
from tests.factories import make_customer, make_tenant


async def _pairs(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, **query: Any
) -> list[dict[str, Any]]:
    async with database.tenant_transaction(tenant.id) as connection:
        await find_duplicates(connection, tenant)
    answer = await client.get("/api/customers/duplicates", params=query)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


@pytest.mark.parametrize(
    ("one", "other", "reasons"),
    [
        ({"phone": "+62 812-3456-789"}, {"phone": "0812 3456 789"}, ["phone"]),
        ({"phone": "0812 3456 789"}, {"phone": "8123456789"}, ["phone"]),
        ({"phone": "12345"}, {"phone": "12345"}, []),
        ({"email": "Siti@Example.com"}, {"email": "siti@example.com "}, ["email"]),
        (
            {"name": "Siti Rahayu", "date_of_birth": "1988-04-21"},
            {"name": "siti  RAHAYU", "date_of_birth": "1988-04-21"},
            ["name_and_birth_date"],
        ),
        (
            {"name": "Siti", "phone": "0812345678"},
            {"name": "Siti", "phone": "0819345678"},
            ["name_and_phone_ending"],
        ),
        ({"name": "Siti"}, {"name": "Siti"}, []),
        (
            {"name": "Siti", "phone": "0812345678", "email": "s@x.id"},
            {"name": "Siti", "phone": "0812345678", "email": "s@x.id"},
            ["email", "name_and_phone_ending", "phone"],
        ),
    ],
)
async def test_what_makes_a_pair(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    one: dict[str, Any],
    other: dict[str, Any],
    reasons: list[str],
) -> None:
    for customer, attributes in (("a", {"name": "A"} | one), ("b", {"name": "B"} | other)):
        columns = {name: value for name, value in attributes.items() if name != "date_of_birth"}
        await make_customer(database, tenant, customer, **columns)
        async with database.tenant_transaction(tenant.id) as connection:
            await connection.execute(
                text(
                    "UPDATE customers SET date_of_birth = CAST(:born AS text)::date WHERE id = :id"
                ),
                {"born": attributes.get("date_of_birth"), "id": customer},
            )
    pairs = await _pairs(client, database, tenant)
    if not reasons:
        assert pairs == []
        return
    [pair] = pairs
    assert (pair["customer"]["id"], pair["duplicate"]["id"]) == ("a", "b")
    assert pair["reasons"] == reasons
    weight = sum(weight for reason, weight in WEIGHTS.items() if reason in reasons)
    assert pair["score"] == min(weight, 100)


async def test_the_same_name_in_one_city_is_a_weak_sign(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    insert = text(
        "INSERT INTO addresses (tenant_id, id, customer_sk, city, is_primary)"
        " VALUES (:t, :id, :sk, 'Bogor', true)"
    )
    for customer in "ab":
        sk = await make_customer(database, tenant, customer, name="Siti")
        async with database.tenant_transaction(tenant.id) as connection:
            await connection.execute(insert, {"t": tenant.id, "id": customer, "sk": sk})
    [pair] = await _pairs(client, database, tenant)
    assert pair["reasons"] == ["name_and_city"]


async def test_a_number_that_many_share_is_no_sign(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    for number in range(6):
        await make_customer(database, tenant, f"c{number}", name=f"N{number}", phone="021 555 0000")
    assert await _pairs(client, database, tenant) == []


async def test_pairs_come_likeliest_first_in_pages_and_go_when_merged(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    for number in range(4):
        await make_customer(
            database, tenant, f"p{number}", name=f"P{number}", phone=f"081200000{number // 2}"
        )
    for number in range(2):
        await make_customer(database, tenant, f"e{number}", name=f"E{number}", email="e@x.id")
    await make_customer(database, await make_tenant(database, "other"), "e9", email="e@x.id")
    everything = await _pairs(client, database, tenant)
    assert [pair["customer"]["id"] for pair in everything] == ["e0", "p0", "p2"]
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 1}
    while True:
        page = (await client.get("/api/customers/duplicates", params=query)).json()
        found += page["items"]
        if page["nextCursor"] is None:
            break
        query["cursor"] = page["nextCursor"]
    assert found == everything
    merged = await client.post("/api/customers/e0/merge", json={"duplicateId": "e1"})
    assert merged.status_code == 200
    left = (await client.get("/api/customers/duplicates")).json()["items"]
    assert [pair["customer"]["id"] for pair in left] == ["p0", "p2"]
    await client.patch("/api/customers/p0", json={"phone": None})
    assert [each["customer"]["id"] for each in await _pairs(client, database, tenant)] == ["p2"]


async def test_pairs_may_be_shown_without_persons(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    for customer in ("secret-1", "secret-2"):
        await make_customer(database, tenant, customer, name="Dewi", email="dewi@x.id")
    [pair] = await _pairs(client, database, tenant, anonymize="true")
    assert pair["reasons"] == ["email"]
    assert not [mark for mark in ("secret", "Dewi", "dewi@") if mark in str(pair)]


async def test_a_cursor_of_another_list_is_refused(
    client: httpx.AsyncClient,
) -> None:
    for cursor in ("WzFd", "Wzk5OTk5OTksMSwxXQ"):
        answer = await client.get("/api/customers/duplicates", params={"cursor": cursor})
        assert answer.status_code == 400


async def test_nothing_is_compared_again_where_nothing_has_changed(
    database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "a")
    now = datetime.now(UTC)
    async with database.tenant_transaction(tenant.id) as connection:
        later = now + timedelta(minutes=5)
        assert not await find_duplicates(connection, tenant, changed_since=later)
        earlier = now - timedelta(minutes=5)
        assert await find_duplicates(connection, tenant, changed_since=earlier)
