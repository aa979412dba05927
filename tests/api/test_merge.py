"""Joining two customers who are one: history moves, nothing counts twice, the old id leads on."""

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.database import Database
from app.domain.access import Scope
from app.domain.errors import Conflict
from app.domain.tenant import Tenant
from app.services.importing import import_orders
from app.services.ingestion import record_orders
from app.services.merging import merge_customers
from app.services.records import OrderRecord
from tests.factories import make_customer, make_key, make_order, make_tenant

ORDER = {"orderedAt": "2026-03-02T03:30:00Z", "totalAmount": "1000.00"}


async def _customer(client: httpx.AsyncClient, customer_id: str, **attributes: Any) -> None:
    answer = await client.post(
        "/api/customers", json={"id": customer_id, "name": customer_id.title(), **attributes}
    )
    assert answer.status_code == 201, answer.text


async def _order(client: httpx.AsyncClient, customer_id: str, order_id: str) -> None:
    answer = await client.post(
        "/api/orders", json=ORDER | {"id": order_id, "customerId": customer_id}
    )
    assert answer.status_code in (200, 201), answer.text


async def _merge(client: httpx.AsyncClient, target: str, duplicate: str) -> dict[str, Any]:
    answer = await client.post(f"/api/customers/{target}/merge", json={"duplicateId": duplicate})
    assert answer.status_code == 200, answer.text
    merged: dict[str, Any] = answer.json()
    return merged


async def _referrers(database: Database, tenant: Tenant) -> dict[str, str | None]:
    async with database.tenant_transaction(tenant.id) as connection:
        rows = await connection.execute(
            text(
                "SELECT c.id, r.id FROM customers c"
                " LEFT JOIN customers r ON r.sk = c.referred_by_sk ORDER BY 1"
            )
        )
        return {row[0]: row[1] for row in rows}


async def test_history_moves_and_is_counted_once(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _customer(client, "a", loyaltyPoints=10)
    await _customer(client, "b", loyaltyPoints=5)
    for customer, number in (("a", 1), ("b", 2), ("b", 3)):
        await _order(client, customer, f"o{number}")
    async with database.tenant_transaction(tenant.id) as connection:
        sk = await connection.scalar(text("SELECT sk FROM customers WHERE id = 'b'"))
        for row in (
            "contacts (tenant_id, id, customer_sk, channel, purpose, sent_at)"
            " VALUES (:t, 'x', :sk, 'email', 'promo', '2026-03-01Z')",
            "feedback (tenant_id, id, customer_sk, kind, score, given_at, local_at)"
            " VALUES (:t, 'x', :sk, 'nps', 9, '2026-03-01Z', '2026-03-01')",
            "addresses (tenant_id, id, customer_sk, is_primary) VALUES (:t, 'x', :sk, true)",
            "location_history (tenant_id, id, customer_sk, captured_at, location, source)"
            " VALUES (:t, 'x', :sk, now(), ST_SetSRID(ST_MakePoint(106.8, -6.2), 4326), 'gps')",
            "behavior_events (tenant_id, id, customer_sk, occurred_at, event_type)"
            " VALUES (:t, 'x', :sk, now(), 'view')",
        ):
            await connection.execute(text(f"INSERT INTO {row}"), {"t": tenant.id, "sk": sk})
        totals = "SELECT sum(orders), sum(revenue) FROM sales_days"
        before = (await connection.execute(text(totals))).one()
    merged = await _merge(client, "a", "b")
    assert merged["mergedInto"] == "a"
    assert merged["moved"] == {
        "orders": 2,
        "contacts": 1,
        "feedback": 1,
        "addresses": 1,
        "location_history": 1,
        "behavior_events": 1,
    }
    assert merged["customer"]["loyaltyPoints"] == 15
    orders = (await client.get("/api/customers/a/orders")).json()["items"]
    assert {order["id"] for order in orders} == {"o1", "o2", "o3"}
    metrics = (await client.get("/api/customers/a/profile")).json()["metrics"]
    assert metrics["countedOrders"] == 3
    assert metrics["revenue"] == "3000.00"
    async with database.tenant_transaction(tenant.id) as connection:
        assert (await connection.execute(text(totals))).one() == before
        assert await connection.scalar(text("SELECT count(*) FROM customers")) == 1
        assert await connection.scalar(text("SELECT count(*) FROM customer_analytics")) == 1
        present = await connection.scalar(
            text("SELECT sum(customers) FROM population_totals WHERE figure = 'lifecycle'")
        )
        assert present == 1


async def test_the_target_keeps_what_it_declares_and_is_filled_up(
    client: httpx.AsyncClient,
) -> None:
    await _customer(client, "a", phone="0811", code="A-1", communityTags=["x"])
    await _customer(
        client,
        "b",
        phone="0822",
        email="b@example.com",
        code="B-1",
        communityTags=["x", "y"],
        lastKnownLatitude=-6.2,
        lastKnownLongitude=106.8,
        gender="female",
    )
    customer = (await _merge(client, "a", "b"))["customer"]
    assert customer["name"] == "A"
    assert customer["phone"] == "0811"
    assert customer["code"] == "A-1"
    assert customer["email"] == "b@example.com"
    assert customer["communityTags"] == ["x", "y"]
    assert customer["lastKnownLongitude"] == 106.8
    assert customer["gender"] == "female"
    found = (await client.get("/api/customers", params={"q": "b@example.com"})).json()["items"]
    assert [item["id"] for item in found] == ["a"]


async def test_a_code_can_pass_to_the_target(client: httpx.AsyncClient) -> None:
    await _customer(client, "a")
    await _customer(client, "b", code="B-1")
    assert (await _merge(client, "a", "b"))["customer"]["code"] == "B-1"


@pytest.mark.parametrize("rest", ["", "/profile", "/orders"])
async def test_the_old_id_points_to_the_customer(client: httpx.AsyncClient, rest: str) -> None:
    await _customer(client, "a/1")
    await _customer(client, "b/1")
    await _merge(client, "a%2F1", "b/1")
    moved = await client.get(f"/api/customers/b%2F1{rest}?anonymize=false")
    assert moved.status_code == 301
    assert moved.json() == {"mergedInto": "a/1"}
    assert moved.headers["Location"] == f"/api/customers/a%2F1{rest}?anonymize=false"
    assert (await client.get(moved.headers["Location"])).status_code == 200


async def test_the_pointer_is_not_for_others(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _customer(client, "a")
    await _customer(client, "b")
    await _merge(client, "a", "b")
    other = await make_key(database, await make_tenant(database, "other"))
    blind = await make_key(
        database, tenant, scopes={Scope.CUSTOMERS_READ, Scope.CUSTOMERS_ANONYMIZED}
    )
    for key in (other, blind):
        answer = await anonymous.get("/api/customers/b", headers={"X-API-Key": key})
        assert answer.status_code == 404


async def test_aliases_follow_a_second_merge(client: httpx.AsyncClient) -> None:
    for customer in "abc":
        await _customer(client, customer)
    await _merge(client, "b", "c")
    await _merge(client, "a", "b")
    for former_id in "bc":
        assert (await client.get(f"/api/customers/{former_id}")).json() == {"mergedInto": "a"}


async def test_writes_that_name_the_old_id_go_to_the_customer(
    client: httpx.AsyncClient,
) -> None:
    await _customer(client, "a")
    await _customer(client, "b")
    await _merge(client, "a", "b")
    for create in ("false", "true"):
        answer = await client.post(
            "/api/orders",
            json=ORDER | {"id": f"o-{create}", "customerId": "b"},
            params={"createCustomers": create},
        )
        assert answer.status_code == 201, answer.text
        assert answer.json()["customerId"] == "a"
    many = [ORDER | {"id": f"n-{n}", "customerId": "ab"[n % 2]} for n in range(600)]
    batch = await client.post("/api/orders/batch", json=many, params={"createCustomers": "true"})
    assert batch.json()["accepted"] == 600
    changed = await client.patch("/api/customers/b", json={"membershipTier": "gold"})
    assert changed.status_code == 200
    assert (changed.json()["id"], changed.json()["membershipTier"]) == ("a", "gold")
    batch = await client.post("/api/customers/batch", json=[{"id": "b", "email": "b@example.com"}])
    assert batch.json()["items"][0]["status"] == "updated"
    assert (await client.get("/api/customers/a")).json()["email"] == "b@example.com"
    again = await client.post("/api/customers", json={"id": "b", "name": "B"})
    assert again.status_code == 409
    assert (await client.get("/api/customers")).json()["items"][0]["id"] == "a"
    profile = (await client.get("/api/customers/a/profile")).json()
    assert profile["metrics"]["countedOrders"] == 602


async def test_both_ids_in_one_batch_are_one_customer(client: httpx.AsyncClient) -> None:
    await _customer(client, "a")
    await _customer(client, "b")
    await _merge(client, "a", "b")
    batch = await client.post(
        "/api/customers/batch", json=[{"id": "a", "name": "A1"}, {"id": "b", "name": "B1"}]
    )
    assert [item["status"] for item in batch.json()["items"]] == ["updated", "rejected"]


async def test_a_file_that_names_the_old_id_goes_to_the_customer(
    fresh_database: Database, tmp_path: Path
) -> None:
    tenant = await make_tenant(fresh_database)
    await make_customer(fresh_database, tenant, "a")
    await make_customer(fresh_database, tenant, "b")
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        await merge_customers(connection, tenant, target_id="a", duplicate_id="b", actor=None)
    file = tmp_path / "orders.csv"
    file.write_text("id,customerId,orderedAt,totalAmount\no-1,b,2026-03-01T10:00:00Z,5\n")
    report = await import_orders(fresh_database, tenant, file, create_customers=True, actor=None)
    assert report.rejected == 0
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        owners = await connection.execute(
            text("SELECT c.id FROM orders o JOIN customers c ON c.sk = o.customer_sk")
        )
        assert list(owners.scalars()) == ["a"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"c": "b"}, {"a": None, "c": "a"}),
        ({"b": "c"}, {"a": "c", "c": None}),
        ({"a": "c", "b": "d"}, {"a": "c", "c": None, "d": None}),
        ({"a": "b"}, {"a": None}),
        ({"b": "a"}, {"a": None}),
        # The target came by a customer whom the duplicate brought in.
        ({"a": "c", "c": "b", "b": "d"}, {"a": "d", "c": "a", "d": None}),
        ({"b": "c", "c": "a"}, {"a": None, "c": "a"}),
    ],
)
async def test_referrals_move_and_never_close_a_circle(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    before: dict[str, str],
    after: dict[str, str | None],
) -> None:
    for customer in sorted({"a", "b", *before, *before.values()}):
        await _customer(client, customer)
    for customer, referrer in before.items():
        answer = await client.patch(
            f"/api/customers/{customer}", json={"referredByCustomerId": referrer}
        )
        assert answer.status_code == 200, answer.text
    await _merge(client, "a", "b")
    assert await _referrers(database, tenant) == after


async def test_what_cannot_be_merged(client: httpx.AsyncClient) -> None:
    await _customer(client, "a")
    await _customer(client, "b")
    for target, duplicate, status in (
        ("a", "a", 422),
        ("a", "nobody", 422),
        ("nobody", "a", 404),
    ):
        answer = await client.post(
            f"/api/customers/{target}/merge", json={"duplicateId": duplicate}
        )
        assert answer.status_code == status, answer.text
    await _merge(client, "a", "b")
    for target, duplicate in (("a", "b"), ("b", "a")):
        answer = await client.post(
            f"/api/customers/{target}/merge", json={"duplicateId": duplicate}
        )
        assert answer.status_code == 409, answer.text


async def test_merges_into_each_other_and_orders_meanwhile_end_in_one_customer(
    fresh_database: Database,
) -> None:
    tenant = await make_tenant(fresh_database)
    await make_customer(fresh_database, tenant, "a")
    await make_customer(fresh_database, tenant, "b")
    await make_order(fresh_database, tenant, "a", "old-a")
    await make_order(fresh_database, tenant, "b", "old-b")

    async def merge(target: str, duplicate: str) -> str:
        try:
            async with fresh_database.tenant_transaction(tenant.id) as connection:
                await merge_customers(
                    connection, tenant, target_id=target, duplicate_id=duplicate, actor=None
                )
        except Conflict:
            return "one already"
        return "merged"

    async def order(number: int) -> str:
        record = OrderRecord.model_validate(
            ORDER | {"id": f"o-{number}", "customerId": "ab"[number % 2]}
        )
        async with fresh_database.tenant_transaction(tenant.id) as connection:
            [outcome] = await record_orders(
                connection, tenant, [record], create_customers=True, actor=None
            )
        return outcome.status

    results = await asyncio.gather(
        *(order(number) for number in range(3)),
        merge("a", "b"),
        merge("b", "a"),
        *(order(number) for number in range(3, 6)),
    )
    assert sorted(results) == ["created"] * 6 + ["merged", "one already"]
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        rows = await connection.execute(
            text(
                "SELECT a.counted_orders, count(*) FROM customer_analytics a"
                " JOIN orders o ON o.customer_sk = a.customer_sk GROUP BY 1"
            )
        )
        assert [tuple(row) for row in rows] == [(8, 8)]


@pytest.mark.parametrize(
    ("of_target", "of_duplicate", "kept"),
    [
        ("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z", "duplicate"),
        ("2026-03-02T00:00:00Z", "2026-03-01T00:00:00Z", "target"),
        (None, "2026-03-01T00:00:00Z", "duplicate"),
        ("2026-03-01T00:00:00Z", None, "target"),
        (None, None, "target"),
    ],
)
async def test_the_later_of_two_places_is_the_last_known_one(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    of_target: str | None,
    of_duplicate: str | None,
    kept: str,
) -> None:
    latitudes = {"target": -6.1, "duplicate": -6.2}
    for customer, captured_at in (("target", of_target), ("duplicate", of_duplicate)):
        await make_customer(
            database,
            tenant,
            customer,
            last_known_latitude=latitudes[customer],
            last_known_longitude=106.8,
            last_location_captured_at=captured_at and datetime.fromisoformat(captured_at),
        )
    merged = await client.post("/api/customers/target/merge", json={"duplicateId": "duplicate"})
    assert merged.status_code == 200, merged.text
    found = (await client.get("/api/customers/target")).json()
    assert found["lastKnownLatitude"] == latitudes[kept]
