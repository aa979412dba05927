"""Orders over HTTP: one, a batch, a stream; what is accepted stays, what is not is named."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.database import Database
from app.domain.tenant import Tenant
from app.main import create_app
from app.settings import Settings
from tests.factories import make_customer, make_key, make_order, make_tenant

NDJSON = {"content-type": "application/x-ndjson"}


def order(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"ord-{number}",
        "customerId": "cus-1",
        "orderedAt": "2026-03-02T03:30:00Z",
        "totalAmount": "250000.00",
    } | changes


def lines(*documents: object) -> bytes:
    return "".join(f"{json.dumps(document)}\n" for document in documents).encode()


def answers(response: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in response.text.splitlines()]


@pytest.fixture
async def customer(database: Database, tenant: Tenant) -> int:
    return await make_customer(database, tenant)


@pytest.mark.usefixtures("customer")
async def test_an_order_is_recorded_and_read_back(client: httpx.AsyncClient) -> None:
    sent = order(
        totalAmount=None,
        paymentMethod="QRIS",
        items=[{"productId": "sku-1", "quantity": 2, "unitPrice": 125_000}],
    )
    response = await client.post("/api/orders", json=sent)
    assert response.status_code == 201
    assert response.json()["totalAmount"] == "250000.00"
    assert response.json()["netAmount"] == "250000.00"
    assert response.json()["paymentMethod"] == "qris"
    assert response.json()["itemCount"] == 2
    again = await client.get("/api/orders/ord-1")
    assert again.json() == response.json()
    assert again.json()["items"][0]["unitPrice"] == "125000.00"


@pytest.mark.usefixtures("customer")
async def test_an_order_sent_again_replaces_the_first(client: httpx.AsyncClient) -> None:
    await client.post("/api/orders", json=order(notes="gift"))
    response = await client.post("/api/orders", json=order(totalAmount=10))
    assert response.status_code == 200
    assert response.json()["totalAmount"] == "10.00"
    assert response.json()["notes"] is None


@pytest.mark.usefixtures("customer")
async def test_an_older_statement_of_an_order_changes_nothing(client: httpx.AsyncClient) -> None:
    await client.post("/api/orders", json=order(updatedAt="2026-03-05T00:00:00Z"))
    late = order(totalAmount=1, updatedAt="2026-03-04T00:00:00Z")
    response = await client.post("/api/orders/batch", json=[late])
    assert response.json()["items"] == [{"index": 0, "id": "ord-1", "status": "stale"}]
    assert (await client.get("/api/orders/ord-1")).json()["totalAmount"] == "250000.00"


@pytest.mark.usefixtures("customer")
async def test_an_order_moves_to_another_customer_with_its_figures(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "cus-2")
    await client.post("/api/orders", json=order())
    await client.post("/api/orders", json=order(customerId="cus-2"))
    assert (await client.get("/api/customers/cus-1/orders")).json()["items"] == []
    moved = (await client.get("/api/customers/cus-2/orders")).json()["items"]
    assert [each["id"] for each in moved] == ["ord-1"]


async def test_an_unknown_customer_is_an_error_unless_it_may_be_created(
    client: httpx.AsyncClient,
) -> None:
    refused = await client.post("/api/orders", json=order())
    assert refused.status_code == 422
    assert refused.json()["errors"] == [
        {"pointer": "/customerId", "reason": "is not the id of a customer"}
    ]
    created = await client.post("/api/orders?createCustomers=true", json=order())
    assert created.status_code == 201
    assert (await client.get("/api/customers/cus-1")).json()["name"] == "cus-1"
    found = await client.get("/api/customers?q=cus-1")
    assert [each["id"] for each in found.json()["items"]] == ["cus-1"]


@pytest.mark.usefixtures("customer")
async def test_a_refund_is_reflected_and_a_wrong_one_refused(client: httpx.AsyncClient) -> None:
    await client.post("/api/orders", json=order())
    partly = await client.patch("/api/orders/ord-1", json={"refundAmount": "50000"})
    assert partly.json()["netAmount"] == "200000.00"
    wholly = await client.patch("/api/orders/ord-1", json={"status": "refunded"})
    assert wholly.json()["refundAmount"] == "250000.00"
    assert wholly.json()["netAmount"] == "0.00"
    too_much = await client.patch("/api/orders/ord-1", json={"refundAmount": "250000.01"})
    assert too_much.status_code == 422
    assert (await client.patch("/api/orders/none", json={"notes": "x"})).status_code == 404
    assert (await client.patch("/api/orders/ord-1", json={})).status_code == 422


async def test_the_orders_of_a_customer_come_newest_first_in_pages(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, customer: int
) -> None:
    for number in range(5):
        await make_order(database, tenant, order_id=f"ord-{number}")
    await client.post("/api/orders", json=order(9, orderedAt="2026-04-01T00:00:00Z"))
    found: list[str] = []
    cursor: str | None = None
    while True:
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await client.get("/api/customers/cus-1/orders", params=query)).json()
        found += [each["id"] for each in page["items"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert found == ["ord-9", "ord-4", "ord-3", "ord-2", "ord-1", "ord-0"]
    broken = await client.get("/api/customers/cus-1/orders?cursor=nonsense")
    assert broken.status_code == 400


BAD_ORDERS = [
    pytest.param({"totalAmount": "abc"}, "/totalAmount", id="not a number"),
    pytest.param({"totalAmount": "NaN"}, "/totalAmount", id="NaN"),
    pytest.param({"totalAmount": True}, "/totalAmount", id="a boolean"),
    pytest.param({"totalAmount": "1.001"}, "/totalAmount", id="too many places"),
    pytest.param({"totalAmount": "9e99"}, "/totalAmount", id="beyond the range"),
    pytest.param({"totalAmount": "1000000000000.01"}, "/totalAmount", id="just beyond the range"),
    pytest.param({"totalAmount": -1}, "/totalAmount", id="negative and not refunded"),
    pytest.param({"totalAmount": None}, "/totalAmount", id="no total and no items"),
    pytest.param({"discountAmount": -1}, "/discountAmount", id="negative discount"),
    pytest.param({"refundAmount": "250000.01"}, "/refundAmount", id="refund above the total"),
    pytest.param({"currency": "EUR"}, "/currency", id="another currency"),
    pytest.param({"orderedAt": "yesterday"}, "/orderedAt", id="no time"),
    pytest.param({"orderedAt": "20240101"}, "/orderedAt", id="bare digits"),
    pytest.param({"orderedAt": "2999-01-01T00:00:00Z"}, "/orderedAt", id="far future"),
    pytest.param({"orderedAt": "1969-12-31T00:00:00Z"}, "/orderedAt", id="before 1970"),
    pytest.param(
        {"orderedAt": "2999-01-01T00:00:00Z", "status": "pending"}, "/orderedAt", id="far booking"
    ),
    pytest.param({"status": "lost"}, "/status", id="unknown status"),
    pytest.param({"paymentMethod": "shells"}, "/paymentMethod", id="unknown payment"),
    pytest.param({"id": ""}, "/id", id="empty id"),
    pytest.param({"id": "  "}, "/id", id="blank id"),
    pytest.param({"id": "x" * 256}, "/id", id="long id"),
    pytest.param({"id": "a\tb"}, "/id", id="control character"),
    pytest.param({"id": 7}, "/id", id="number as id"),
    pytest.param({"storeId": "none"}, "/storeId", id="unknown store"),
    pytest.param({"itemCount": True}, "/itemCount", id="boolean count"),
    pytest.param({"surprise": 1}, "/surprise", id="unknown field"),
    pytest.param(
        {"items": [{"productId": "p", "quantity": 0, "unitPrice": 1}]},
        "/items/0/quantity",
        id="no quantity",
    ),
    pytest.param(
        {"items": [{"productId": "p", "quantity": 1, "unitPrice": "0.001"}]},
        "/items/0/unitPrice",
        id="price with too many places",
    ),
]


@pytest.mark.usefixtures("customer")
@pytest.mark.parametrize(("changes", "pointer"), BAD_ORDERS)
async def test_a_bad_order_is_refused_where_it_is_bad(
    client: httpx.AsyncClient, changes: dict[str, Any], pointer: str
) -> None:
    response = await client.post("/api/orders", json=order() | changes)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert [each["pointer"] for each in response.json()["errors"]] == [pointer]
    batch = await client.post("/api/orders/batch", json=[order(2), order(3) | changes])
    assert batch.status_code == 207
    good, bad = batch.json()["items"]
    assert good["status"] == "created"
    assert (bad["status"], bad["error"]["pointer"]) == ("rejected", pointer)


@pytest.mark.usefixtures("customer")
async def test_a_batch_names_duplicates_and_keeps_the_rest(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/api/orders/batch", json={"items": [order(1), order(2), order(1, totalAmount=1)]}
    )
    assert response.status_code == 207
    assert [each["status"] for each in response.json()["items"]] == [
        "created",
        "created",
        "rejected",
    ]
    assert (await client.get("/api/orders/ord-1")).json()["totalAmount"] == "250000.00"


async def test_a_batch_of_which_nothing_is_accepted_is_a_problem(
    client: httpx.AsyncClient,
) -> None:
    response = await client.post("/api/orders/batch", json=[order(), 5])
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert [each["pointer"] for each in response.json()["errors"]] == ["/0/customerId", "/1"]
    assert [each["status"] for each in response.json()["items"]] == ["rejected", "rejected"]


async def test_batches_that_are_too_large_or_of_another_kind(client: httpx.AsyncClient) -> None:
    many = await client.post("/api/orders/batch", json=[order(each) for each in range(1001)])
    assert many.status_code == 413
    long = b'["' + b"x" * (5 * 1024 * 1024) + b'"]'
    json_type = {"content-type": "application/json"}
    heavy = await client.post("/api/orders/batch", content=long, headers=json_type)
    assert heavy.status_code == 413
    broken = await client.post("/api/orders/batch", content=b'[{"id": ', headers=json_type)
    assert broken.status_code == 400
    text = await client.post(
        "/api/orders/batch", content=b"x", headers={"content-type": "text/csv"}
    )
    assert text.status_code == 415
    shape = await client.post("/api/orders/batch", json={"orders": []})
    assert shape.status_code == 422


@pytest.mark.usefixtures("customer")
async def test_a_stream_answers_each_line_and_keeps_what_it_accepted(
    client: httpx.AsyncClient,
) -> None:
    body = b"".join(
        [
            lines(order(1)),
            b"\n",
            b"{not json}\n",
            b'{"id": "ord-\xff"}\n',
            lines(order(2, id="a\0b")),
            lines(order(1, totalAmount=5)),
            b"x" * (1024 * 1024 + 1) + b"\n",
            lines(order(3)),
            json.dumps(order(4)).encode()[:-20],
        ]
    )
    response = await client.post("/api/orders/batch", content=body, headers=NDJSON)
    assert response.status_code == 200
    *items, last = answers(response)
    assert [(each["index"], each["status"]) for each in items] == [
        (0, "created"),
        (2, "rejected"),
        (3, "rejected"),
        (4, "rejected"),
        (5, "rejected"),
        (6, "rejected"),
        (7, "created"),
        (8, "rejected"),
    ]
    assert last == {"summary": {"accepted": 2, "rejected": 6}}
    assert (await client.get("/api/orders/ord-1")).json()["totalAmount"] == "250000.00"
    errors = await client.post(
        "/api/orders/batch?results=errors", content=lines(order(1), 5), headers=NDJSON
    )
    assert [each.get("index") for each in answers(errors)] == [1, None]


@pytest.mark.usefixtures("customer")
async def test_a_stream_of_many_chunks_names_a_repeated_id_far_behind(
    client: httpx.AsyncClient,
) -> None:
    async def body() -> AsyncIterator[bytes]:
        for start in range(0, 4500, 500):
            yield lines(*(order(each) for each in range(start, start + 500)))
        yield lines(order(7, totalAmount=1))

    response = await client.post("/api/orders/batch?results=errors", content=body(), headers=NDJSON)
    repeated, summary = answers(response)
    assert repeated["index"] == 4500
    assert repeated["error"]["pointer"] == "/id"
    assert summary == {"summary": {"accepted": 4500, "rejected": 1}}


async def test_customers_come_in_batches_too(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/api/customers/batch",
        json=[
            {"id": "a", "name": "Ana", "creditLimit": "12.50"},
            {"id": "b", "name": "Budi", "referredByCustomerId": "a"},
            {"id": "c"},
        ],
    )
    assert response.status_code == 207
    assert response.json()["accepted"] == 2
    assert response.json()["items"][2]["error"] == {
        "pointer": "/name",
        "reason": "is required for a new customer",
    }
    partial = {"id": "a", "phone": "0812 3456 7890"}
    stream = await client.post("/api/customers/batch", content=lines(partial), headers=NDJSON)
    assert answers(stream)[0] == {"index": 0, "id": "a", "status": "updated"}
    changed = (await client.get("/api/customers/a")).json()
    assert (changed["name"], changed["phone"]) == ("Ana", "0812 3456 7890")
    assert changed["creditLimit"] == "12.50"


async def test_a_stream_with_a_key_is_answered_again_and_not_done_again(
    fresh_database: Database,
) -> None:
    tenant = await make_tenant(fresh_database)
    await make_customer(fresh_database, tenant)
    token = await make_key(fresh_database, tenant)
    app = create_app(Settings(_env_file=None))
    app.state.database = fresh_database
    headers = {**NDJSON, "Authorization": f"Bearer {token}", "Idempotency-Key": "till-3-42"}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        body = lines(order(1), order(2))
        first = await client.post("/api/orders/batch", content=body, headers=headers)
        assert [each.get("status") for each in answers(first)] == ["created", "created", None]
        again = await client.post("/api/orders/batch", content=body, headers=headers)
        assert again.headers["idempotent-replayed"] == "true"
        assert again.content == first.content
        other = await client.post("/api/orders/batch", content=lines(order(3)), headers=headers)
        assert other.status_code == 422
        plain = {name: value for name, value in headers.items() if name != "content-type"}
        plain["Idempotency-Key"] = "till-3-43"
        batch = await client.post("/api/orders/batch", json=[order(4)], headers=plain)
        replay = await client.post("/api/orders/batch", json=[order(4)], headers=plain)
        assert batch.json()["items"][0]["status"] == "created"
        assert replay.content == batch.content
