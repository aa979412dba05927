"""Captures over HTTP: what is stored, what is flagged, what moves the last known place."""

import httpx

from app.database import Database
from app.domain.tenant import Tenant
from tests.factories import make_customer


async def test_a_capture_moves_the_last_known_place(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "cus-1")
    answer = await client.post(
        "/api/geo/capture",
        json={
            "customerId": "cus-1",
            "latitude": -6.2088,
            "longitude": 106.8456,
            "accuracy": 12.5,
            "captureId": "cap-1",
        },
    )
    assert answer.status_code == 201, answer.text
    assert answer.json()["flags"] == []
    print(answer.json())
    again = await client.post(
        "/api/geo/capture",
        json={
            "customerId": "cus-1",
            "latitude": -6.2088,
            "longitude": 106.8456,
            "accuracy": 12.5,
            "captureId": "cap-1",
        },
    )
    assert again.status_code == 200, again.text
    print(again.json())
    customer = (await client.get("/api/customers/cus-1")).json()
    assert customer["lastKnownLatitude"] == -6.2088
