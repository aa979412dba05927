"""The tenant's settings and stores over HTTP."""

from datetime import datetime

import httpx
import pytest
from sqlalchemy import select

from app.database import Database
from app.domain.tenant import Tenant
from app.repositories.tables import orders
from tests.factories import make_customer, make_order


async def test_a_new_time_zone_moves_every_order_to_its_local_time(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant)
    await make_order(
        database, tenant, ordered_at=datetime.fromisoformat("2026-03-01T18:30:00+00:00")
    )
    answer = await client.patch("/api/admin/tenant", json={"timezone": "America/New_York"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["timezone"] == "America/New_York"
    async with database.tenant_transaction(tenant.id) as connection:
        row = (await connection.execute(select(orders))).one()
    assert row.local_at == datetime.fromisoformat("2026-03-01T13:30:00")
    assert (row.local_weekday, row.local_hour) == (7, 13)


async def test_a_profile_is_checked_and_kept(client: httpx.AsyncClient) -> None:
    profile = {"preset": "commerce", "windowDays": 180}
    answer = await client.patch("/api/admin/tenant", json={"profile": profile, "name": "Kidz"})
    assert answer.status_code == 200, answer.text
    assert (await client.get("/api/admin/tenant")).json()["profile"] == profile


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"timezone": "Mars/Olympus"}, "/timezone"),
        ({"timezone": "../etc/passwd"}, "/timezone"),
        ({"profile": {"preset": "bakery"}}, "/profile/preset"),
        ({"currency": "USD"}, "/currency"),
        ({"name": " "}, "/name"),
        ({}, ""),
    ],
)
async def test_settings_that_will_not_do_are_refused(
    client: httpx.AsyncClient, body: dict[str, object], pointer: str
) -> None:
    before = (await client.get("/api/admin/tenant")).json()
    answer = await client.patch("/api/admin/tenant", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert (await client.get("/api/admin/tenant")).json() == before


async def test_a_store_comes_back_with_its_location(client: httpx.AsyncClient) -> None:
    store = {"id": "s-1", "name": "Kemang", "latitude": -6.2607, "longitude": 106.8134}
    created = await client.post("/api/stores", json=store)
    assert created.status_code == 201, created.text
    assert created.json()["location"] == {"latitude": -6.2607, "longitude": 106.8134}
    await client.post("/api/stores", json={"id": "s-2", "name": "Nowhere"})
    items = (await client.get("/api/stores")).json()["items"]
    assert [(item["id"], item["location"] is None) for item in items] == [
        ("s-1", False),
        ("s-2", True),
    ]
    again = await client.post("/api/stores", json={**store, "name": "Menteng"})
    assert again.status_code == 409
    assert (await client.get("/api/stores")).json()["items"][0]["name"] == "Kemang"
