"""Erasing a customer: nothing is left in any table, the totals stay, the person stays away."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.database import Connection, Database
from app.domain.errors import NotFound, RunInProgress
from app.domain.privacy import id_hash
from app.domain.tenant import Tenant
from app.repositories import former
from app.repositories import tenant as tenants
from app.repositories.tables import metadata
from app.services.customer_records import record_customers
from app.services.erasure import erase_customer
from app.services.importing import import_customers, import_orders
from app.services.ingestion import record_orders
from app.services.records import CustomerRecord, OrderRecord
from tests.factories import make_customer, make_key, make_order, make_tenant

MARK = "zq7markzq7"
ORDER = {"orderedAt": "2026-03-02T03:30:00Z", "totalAmount": "1000.00"}

#: A row in every table that has a key to a customer, the customer being :sk.
_ROWS = {
    "addresses": "(tenant_id, id, customer_sk, label) VALUES (:t, :mark, :sk, :mark)",
    "contacts": "(tenant_id, id, customer_sk, channel, purpose, sent_at)"
    " VALUES (:t, :mark, :sk, 'email', 'promo', '2026-03-01Z')",
    "feedback": "(tenant_id, id, customer_sk, kind, score, comment, given_at, local_at)"
    " VALUES (:t, :mark, :sk, 'nps', 9, :mark, '2026-03-01Z', '2026-03-01')",
    "location_history": "(tenant_id, id, customer_sk, captured_at, location, source)"
    " VALUES (:t, :mark, :sk, now(), ST_SetSRID(ST_MakePoint(106.8, -6.2), 4326), 'gps')",
    "behavior_events": "(tenant_id, id, customer_sk, occurred_at, event_type)"
    " VALUES (:t, :mark, :sk, now(), 'view')",
    "behavior_summaries": "(tenant_id, customer_sk, events, page_views, product_views,"
    " cart_additions, purchases, spent, first_event_at, last_event_at, categories, devices,"
    " sources) VALUES (:t, :sk, 1, 0, 0, 0, 0, 0, now(), now(), '{}', '{}', '{}')",
    "external_run_rows": "(tenant_id, run_id, customer_sk) SELECT :t, id, :sk FROM external_runs",
    "customer_aliases": "(tenant_id, id, customer_sk) VALUES (:t, :alias, :sk)",
    "referral_networks": "(tenant_id, customer_sk, customers, revenue) VALUES (:t, :sk, 1, 1)",
    "segment_members": "(tenant_id, segment_sk, customer_sk, joined_at) VALUES (:t, 1, :sk, now())",
    "segment_touched": "(tenant_id, customer_sk) VALUES (:t, :sk)",
    "face_consents": "(tenant_id, customer_sk, purpose, notice_version, notice_sha256, method,"
    " evidence, given_at) VALUES (:t, :sk, 'enrol', '1', sha256('notice'), 'app', :mark, now())",
    "face_users": "(tenant_id, user_id, customer_sk) VALUES (:t, gen_random_uuid(), :sk)",
    "faces": "(tenant_id, id, customer_sk, user_id)"
    " SELECT :t, gen_random_uuid(), :sk, user_id FROM face_users",
    "face_sightings": "(tenant_id, day, store_sk, customer_sk) VALUES (:t, '2026-03-01', 0, :sk)",
    "cohort_members": "(tenant_id, cohort_sk, customer_sk) SELECT :t, sk, :sk FROM cohorts",
    "customer_stages": "(tenant_id, customer_sk, stage, entered_at)"
    " VALUES (:t, :sk, 'decision', now())",
    "stage_moves": "(tenant_id, customer_sk, stage, entered_at)"
    " VALUES (:t, :sk, 'decision', now())",
    "ltv_predictions": "(tenant_id, customer_sk, predicted_at, current_ltv, predicted_1_year,"
    " churn_probability, growth_potential) VALUES (:t, :sk, now(), 1, 2, 0.5, 'high')",
    "duplicate_pairs": "(tenant_id, customer_sk, other_sk, score, reasons)"
    " SELECT :t, least(:sk, sk), greatest(:sk, sk), 60, '{phone}' FROM customers"
    " WHERE id = 'friend'",
}


async def _keys(connection: Connection) -> list[tuple[str, str]]:
    """Every table and column with a key to customers, as the database has it."""
    rows = await connection.execute(
        text("""
            SELECT DISTINCT conrelid::regclass::text, attname FROM pg_constraint c
            JOIN pg_class r ON r.oid = c.conrelid
            JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum = ANY (c.conkey)
            WHERE c.contype = 'f' AND c.confrelid = 'customers'::regclass AND NOT r.relispartition
              AND attname <> 'tenant_id'
            ORDER BY 1, 2
        """)
    )
    return [(table, column) for table, column in rows]


async def _furnish(client: httpx.AsyncClient, database: Database, tenant: Tenant) -> int:
    """A customer whose mark is in every table that a customer is in; its key."""
    await make_customer(database, tenant, "sponsor", name="Budi")
    await make_customer(
        database,
        tenant,
        "friend",
        name="Dewi",
        social_connections=["sponsor", MARK],
    )
    created = await client.post(
        "/api/customers",
        json={
            "id": MARK,
            "name": f"Siti {MARK}",
            "email": f"{MARK}@example.com",
            "referredByCustomerId": "sponsor",
        },
        headers={"Idempotency-Key": "create"},
    )
    assert created.status_code == 201, created.text
    item = {"productId": "p", "quantity": 1, "unitPrice": "1000.00"}
    for number in range(2):
        recorded = await client.post(
            "/api/orders",
            json=ORDER | {"id": f"o-{number}", "customerId": MARK, "items": [item]},
            headers={"Idempotency-Key": f"order-{number}"},
        )
        assert recorded.status_code == 201, recorded.text
    await client.post("/api/orders", json=ORDER | {"id": "o-friend", "customerId": "friend"})
    async with database.tenant_transaction(tenant.id) as connection:
        sk = await connection.scalar(text("SELECT sk FROM customers WHERE id = :id"), {"id": MARK})
        await connection.execute(
            text("UPDATE customers SET referred_by_sk = :sk WHERE id = 'friend'"), {"sk": sk}
        )
        await connection.execute(
            text(
                "INSERT INTO external_runs (tenant_id, as_of, model_version)"
                " VALUES (:t, now(), 'x')"
            ),
            {"t": tenant.id},
        )
        await connection.execute(
            text(
                "INSERT INTO cohorts (tenant_id, id, name, cohort_type, criteria)"
                " VALUES (:t, 'c', 'Liked', 'value', '{}')"
            ),
            {"t": tenant.id},
        )
        for table, row in _ROWS.items():
            await connection.execute(
                text(f"INSERT INTO {table} {row}"),
                {
                    name: value
                    for name, value in {
                        "t": tenant.id,
                        "mark": MARK,
                        "sk": sk,
                        "alias": f"{MARK}-old",
                    }.items()
                    if f":{name}" in row
                },
            )
        found = set()
        for table, column in await _keys(connection):
            query = text(f"SELECT count(*) FROM {table} WHERE {column} = :sk")
            if await connection.scalar(query, {"sk": sk}):
                found.add(table)
        missing = {table for table, _ in await _keys(connection)} - found
        assert not missing, f"Add rows of {missing} to _ROWS: erasing has to empty them."
    assert isinstance(sk, int)
    return sk


async def _totals(database: Database, tenant: Tenant) -> list[Any]:
    async with database.tenant_transaction(tenant.id) as connection:
        return [
            [tuple(row) for row in await connection.execute(text(statement))]
            for statement in (
                "SELECT day, store_sk, sum(orders), sum(revenue) FROM sales_days"
                " GROUP BY 1, 2 ORDER BY 1, 2",
                "SELECT month, kind, sum(answers), sum(score_sum), sum(promoters), sum(detractors)"
                " FROM satisfaction_months GROUP BY 1, 2 ORDER BY 1, 2",
            )
        ]


async def test_nothing_is_left_in_any_table(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    sk = await _furnish(client, database, tenant)
    answer = await client.delete(f"/api/customers/{MARK}")
    assert answer.status_code == 200, answer.text
    async with database.tenant_transaction(tenant.id) as connection:
        for table, column in await _keys(connection):
            left = await connection.scalar(
                text(f"SELECT count(*) FROM {table} WHERE {column} = :sk"), {"sk": sk}
            )
            assert left == 0, table
        in_hex = MARK.encode().hex()
        everywhere = [
            *(table.name for table in metadata.sorted_tables),
            "queue.pgqueuer",
            "queue.pgqueuer_log",
        ]
        for table in everywhere:
            left = await connection.scalar(
                text(
                    f"SELECT count(*) FROM {table} r WHERE strpos(r::text, :mark) > 0"
                    " OR strpos(r::text, :in_hex) > 0"
                ),
                {"mark": MARK, "in_hex": in_hex},
            )
            assert left == 0, table


async def test_the_receipt_counts_and_names_nobody(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _furnish(client, database, tenant)
    receipt = (await client.delete(f"/api/customers/{MARK}")).json()
    removed = receipt["removed"]
    assert removed["customers"] == 1
    assert removed["orders"] == removed["order_items"] == 2
    assert removed["idempotency_keys"] == 3
    assert {"customer_terms", "customer_analytics", *_ROWS} <= set(removed)
    assert MARK not in json.dumps(receipt)
    listed = (await client.get("/api/privacy/erasures")).json()["items"]
    assert listed == [receipt]


async def test_receipts_come_in_pages(client: httpx.AsyncClient) -> None:
    receipts = []
    for number in range(3):
        await client.post("/api/customers", json={"id": f"c{number}", "name": "Siti"})
        receipts.append((await client.delete(f"/api/customers/c{number}")).json()["receiptId"])
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await client.get("/api/privacy/erasures", params={"limit": 1, **cursor})).json()
        found += [item["receiptId"] for item in page["items"]]
        if page["nextCursor"] is None:
            break
        cursor = {"cursor": page["nextCursor"]}
    assert sorted(found) == sorted(receipts)
    refused = await client.get("/api/privacy/erasures", params={"cursor": "WyJ4IiwieSJd"})
    assert refused.status_code == 400


async def test_sales_and_answers_stay_in_their_totals(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _furnish(client, database, tenant)
    before = await _totals(database, tenant)
    assert before[0][0][2:] == (3, 300_000)
    assert before[1][0][2:] == (1, 9, 1, 0)
    await client.delete(f"/api/customers/{MARK}")
    assert await _totals(database, tenant) == before
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(text("SELECT rebuild_sales_days(:t)"), {"t": tenant.id})
        await connection.execute(text("SELECT rebuild_satisfaction_months(:t)"), {"t": tenant.id})
    assert await _totals(database, tenant) == before


async def test_the_population_is_one_less_and_adds_up(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _furnish(client, database, tenant)

    async def population() -> list[Any]:
        async with database.tenant_transaction(tenant.id) as connection:
            rows = await connection.execute(
                text(
                    "SELECT figure, a, b, sum(customers), sum(revenue) FROM population_totals"
                    " GROUP BY 1, 2, 3 HAVING sum(customers) <> 0 ORDER BY 1, 2, 3"
                )
            )
            return [tuple(row) for row in rows]

    await client.delete(f"/api/customers/{MARK}")
    live = await population()
    assert live
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(text("SELECT rebuild_population_totals(:t)"), {"t": tenant.id})
    assert await population() == live


async def test_who_was_connected_is_not_any_more(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _furnish(client, database, tenant)
    await client.delete(f"/api/customers/{MARK}")
    friend = (await client.get("/api/customers/friend")).json()
    assert friend["socialConnections"] == ["sponsor"]
    assert friend["referredByCustomerId"] is None


async def test_the_erased_is_refused_from_then_on(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, tmp_path: Path
) -> None:
    await _furnish(client, database, tenant)
    await client.delete(f"/api/customers/{MARK}")
    assert (await client.get(f"/api/customers/{MARK}")).status_code == 404
    assert (await client.delete(f"/api/customers/{MARK}")).status_code == 404
    for erased in (MARK, f"{MARK}-old"):
        posted = await client.post("/api/customers", json={"id": erased, "name": "Siti"})
        assert posted.status_code == 422
        assert "was erased on" in posted.text
        ordered = await client.post(
            "/api/orders",
            json=ORDER | {"id": "again", "customerId": erased},
            params={"createCustomers": "true"},
        )
        assert ordered.status_code == 422
        assert "was erased on" in ordered.text
    batch = await client.post(
        "/api/customers/batch",
        json=[
            {"id": MARK, "name": "Siti"},
            {"id": "new", "name": "New"},
            {"id": "referred", "name": "New", "referredByCustomerId": MARK},
        ],
    )
    assert batch.status_code == 207
    assert [item["status"] for item in batch.json()["items"]] == ["rejected", "created", "rejected"]
    assert batch.json()["items"][2]["error"]["pointer"] == "/referredByCustomerId"
    many = [ORDER | {"id": f"n-{n}", "customerId": "new"} for n in range(600)]
    batch = await client.post(
        "/api/orders/batch",
        json=[*many, ORDER | {"id": "n-x", "customerId": MARK}],
        params={"createCustomers": "true"},
    )
    assert batch.json()["accepted"] == 600
    assert "was erased on" in batch.json()["items"][-1]["error"]["reason"]


async def test_a_file_does_not_bring_the_erased_back(
    fresh_database: Database, tmp_path: Path
) -> None:
    tenant = await make_tenant(fresh_database)
    await make_customer(fresh_database, tenant, MARK)
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        await erase_customer(connection, tenant, MARK, actor=None)
    orders, people = tmp_path / "orders.csv", tmp_path / "customers.csv"
    orders.write_text(
        "id,customerId,orderedAt,totalAmount\n"
        f"o-1,{MARK},2026-03-01T10:00:00Z,5\no-2,other,2026-03-01T10:00:00Z,5\n"
    )
    people.write_text(f"id,name\n{MARK},Siti\nsecond,Budi\n")
    rejects = tmp_path / "rejects.csv"
    report = await import_orders(
        fresh_database, tenant, orders, create_customers=True, actor=None, rejects=rejects
    )
    assert report.rejected == 1
    assert "was erased on" in rejects.read_text()
    rejects.unlink()
    report = await import_customers(fresh_database, tenant, people, actor=None, rejects=rejects)
    assert report.rejected == 1
    assert "was erased on" in rejects.read_text()
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        ids = (await connection.execute(text("SELECT id FROM customers ORDER BY id"))).scalars()
        assert list(ids) == ["other", "second"]


async def test_another_tenants_customer_of_the_same_id_is_another_person(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "c")
    other = await make_tenant(database, "other")
    key = await make_key(database, other)
    assert (await client.delete("/api/customers/c")).status_code == 200
    created = await anonymous.post(
        "/api/customers", json={"id": "c", "name": "Budi"}, headers={"X-API-Key": key}
    )
    assert created.status_code == 201


async def test_the_database_hashes_as_the_service_does(database: Database, tenant: Tenant) -> None:
    ids = ["a", "", "é山", "x" * 255]
    async with database.tenant_transaction(tenant.id) as connection:
        key = await tenants.get_pseudonym_key(connection)
        for identity in ids:
            await connection.execute(
                text(
                    "INSERT INTO erasures (tenant_id, id_hash, receipt_id, receipt)"
                    " VALUES (:t, :hash, gen_random_uuid(), '{}')"
                ),
                {"t": tenant.id, "hash": id_hash(key, identity)},
            )
        gone = await former.find_former(connection, tenant.id, [*ids, "b"])
    assert set(gone.erased) == set(ids)


async def test_a_run_and_an_erasure_do_not_meet(fresh_database: Database) -> None:
    tenant = await make_tenant(fresh_database)
    await make_customer(fresh_database, tenant, MARK)
    async with fresh_database.tenant_transaction(tenant.id) as running:
        await running.execute(
            text("SELECT pg_advisory_xact_lock_shared(hashtext('customers leave'), :t)"),
            {"t": tenant.id},
        )
        with pytest.raises(RunInProgress):
            async with fresh_database.tenant_transaction(tenant.id) as connection:
                await erase_customer(connection, tenant, MARK, actor=None)
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        await erase_customer(connection, tenant, MARK, actor=None)


async def test_orders_that_come_in_meanwhile_do_not_bring_the_erased_back(
    fresh_database: Database,
) -> None:
    tenant = await make_tenant(fresh_database)
    await make_customer(fresh_database, tenant, MARK)
    for number in range(5):
        await make_order(fresh_database, tenant, MARK, f"old-{number}")

    async def order(number: int) -> str:
        record = OrderRecord.model_validate(ORDER | {"id": f"o-{number}", "customerId": MARK})
        async with fresh_database.tenant_transaction(tenant.id) as connection:
            [outcome] = await record_orders(
                connection, tenant, [record], create_customers=True, actor=None
            )
        return outcome.status

    async def state(number: int) -> str:
        record = CustomerRecord.model_validate({"id": MARK, "name": f"Siti {number}"})
        async with fresh_database.tenant_transaction(tenant.id) as connection:
            [outcome] = await record_customers(connection, tenant, [record], actor=None)
        return outcome.status

    async def erase() -> str:
        await asyncio.sleep(0.02)
        async with fresh_database.tenant_transaction(tenant.id) as connection:
            await erase_customer(connection, tenant, MARK, actor=None)
        return "erased"

    results = await asyncio.gather(
        *(order(number) for number in range(3)),
        erase(),
        state(1),
        *(order(number) for number in range(3, 6)),
    )
    assert "erased" in results
    assert set(results) <= {"created", "updated", "unchanged", "rejected", "erased"}
    assert await order(99) == "rejected"
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        left = await connection.scalar(text("SELECT count(*) FROM customers"))
        orders = await connection.scalar(text("SELECT count(*) FROM orders"))
    assert (left, orders) == (0, 0)


async def test_two_erasures_of_one_customer_leave_one_receipt(fresh_database: Database) -> None:
    tenant = await make_tenant(fresh_database)
    await make_customer(fresh_database, tenant, MARK)

    async def erase() -> bool:
        try:
            async with fresh_database.tenant_transaction(tenant.id) as connection:
                await erase_customer(connection, tenant, MARK, actor=None)
        except NotFound:
            return False
        return True

    assert sorted(await asyncio.gather(erase(), erase())) == [False, True]
