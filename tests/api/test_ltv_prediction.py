"""Predictions of lifetime value over HTTP: recorded, replaced, compared, listed."""

import json
from typing import Any

import httpx

from app.database import Database
from app.domain.tenant import Tenant
from tests.factories import make_customer

URL = "/api/segmentation/ltv-predictions"


def prediction(customer: str = "cus-1", **changes: Any) -> dict[str, Any]:
    return {
        "customerId": customer,
        "currentLtv": "1250.00",
        "predictedLtv1Year": "1850.00",
        "churnProbability": 0.15,
        "predictionDate": "2026-03-01T00:00:00Z",
    } | changes


async def test_a_prediction_is_recorded_replaced_and_compared(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant)
    order = {
        "id": "ord-1",
        "customerId": "cus-1",
        "orderedAt": "2026-03-02T03:30:00Z",
        "totalAmount": "1500.00",
    }
    assert (await client.post("/api/orders", json=order)).status_code == 201
    made = await client.post(URL, json=prediction(confidenceScore=0.87))
    assert made.status_code == 201, made.text
    found = made.json()
    assert (found["growthPotential"], found["expectedGrowth"]) == ("high", 0.48)
    assert (found["actualLtv"], found["sincePrediction"]) == ("1500.00", "250.00")
    assert found["confidenceScore"] == 0.87

    later = prediction(currentLtv=None, predictionDate="2026-03-03T00:00:00Z")
    replaced = await client.post(URL, json=later)
    assert replaced.status_code == 200
    # What the customer has brought stands for what was left out.
    assert replaced.json()["currentLtv"] == "1500.00"
    assert replaced.json()["growthPotential"] == "medium"

    earlier = await client.post(URL, json=prediction(predictionDate="2026-03-02T00:00:00Z"))
    assert earlier.status_code == 409
    assert (await client.get(f"{URL}/cus-1")).json() == replaced.json()


async def test_the_likeliest_to_leave_come_first_page_by_page(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    chances = [0.2, 0.9, 0.9, 0.0, 1.0, 0.5]
    for number, _ in enumerate(chances):
        await make_customer(database, tenant, f"cus-{number}")
    lines = "\n".join(
        json.dumps(prediction(f"cus-{number}", churnProbability=chance))
        for number, chance in enumerate(chances)
    )
    sent = await client.post(
        f"{URL}/batch", content=lines, headers={"content-type": "application/x-ndjson"}
    )
    assert sent.status_code == 200, sent.text
    seen: list[str] = []
    cursor: str | None = None
    while True:
        query: dict[str, Any] = {"limit": 2} | ({} if cursor is None else {"cursor": cursor})
        page = (await client.get(URL, params=query)).json()
        seen += [each["customerId"] for each in page["items"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert seen == ["cus-4", "cus-1", "cus-2", "cus-5", "cus-0", "cus-3"]
    some = await client.get(URL, params={"minChurnProbability": 0.5, "growthPotential": "high"})
    assert [each["customerId"] for each in some.json()["items"]] == seen[:4]
    assert (await client.get(URL, params={"growthPotential": "low"})).json()["items"] == []


async def test_each_item_of_a_batch_is_answered_for(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant)
    await make_customer(database, tenant, "cus-2")
    items = [
        prediction(),
        prediction("nobody"),
        prediction(churnProbability=1.2),
        prediction("cus-2", predictedLtv3Year="5.00"),
        prediction("cus-1"),
    ]
    answer = await client.post(f"{URL}/batch", json=items)
    assert answer.status_code == 207, answer.text
    found = answer.json()["items"]
    assert [each["status"] for each in found] == ["created"] + ["rejected"] * 4
    assert [each["error"]["pointer"] for each in found[1:]] == [
        "/customerId",
        "/churnProbability",
        "/predictedLtv3Year",
        "/customerId",
    ]
    stale = await client.post(
        f"{URL}/batch", json=[prediction(predictionDate="2025-01-01T00:00:00Z")]
    )
    assert stale.json()["items"][0]["status"] == "stale"


async def test_what_will_not_do_is_refused(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant)
    for changes, field in (
        ({"predictionDate": "2126-01-01T00:00:00Z"}, "predictionDate"),
        ({"predictedLtv1Year": "1.234"}, "predictedLtv1Year"),
        ({"predictedLtv5Year": "1849.99"}, "predictedLtv5Year"),
        ({"growthPotential": "huge"}, "growthPotential"),
    ):
        answer = await client.post(URL, json=prediction(**changes))
        assert answer.status_code == 422, answer.text
        assert field in json.dumps(answer.json()["errors"])
    other = await client.post(URL, json=prediction(userId="somebody-else"))
    assert other.status_code == 403
    assert (await client.get(f"{URL}/cus-1")).status_code == 404
