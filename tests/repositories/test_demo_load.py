"""A made-up business in the tables, and its orders in files."""

import csv
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from app.database import Database
from app.domain import search
from app.domain.demo.options import CHUNK, DemoOptions
from app.services.demo import load_demo, write_orders_csv, write_orders_ndjson
from tests.factories import make_tenant

SMALL = DemoOptions(as_of=date(2025, 6, 30), customers=250)


@pytest.fixture
def database(fresh_database: Database) -> Database:
    """A load commits, so it needs a database of its own."""
    return fresh_database


@pytest.fixture
async def tenant_id(database: Database) -> int:
    return (await make_tenant(database, "demo", timezone="Asia/Makassar")).id


async def ask(database: Database, tenant_id: int, question: str, **values: Any) -> Any:
    async with database.tenant_transaction(tenant_id) as connection:
        return (await connection.execute(text(question), values)).one()


async def count(database: Database, tenant_id: int, table: str) -> int:
    return int((await ask(database, tenant_id, f"SELECT count(*) FROM {table}"))[0])


async def test_load_writes_every_row_it_reports(database: Database, tenant_id: int) -> None:
    loaded = await load_demo(database, tenant_id, SMALL)
    assert loaded.customers == 250
    for table, written in {
        "stores": loaded.stores,
        "customers": loaded.customers,
        "addresses": loaded.addresses,
        "orders": loaded.orders,
        "order_items": loaded.order_items,
        "contacts": loaded.contacts,
        "feedback": loaded.feedback,
        "location_history": loaded.locations,
        "behavior_events": loaded.events,
    }.items():
        assert written > 0, table
        assert await count(database, tenant_id, table) == written, table


async def test_ids_of_captures_and_events_are_received(database: Database, tenant_id: int) -> None:
    await load_demo(database, tenant_id, SMALL)
    for table, kind in (("location_history", "capture"), ("behavior_events", "event")):
        unknown = await ask(
            database,
            tenant_id,
            f"SELECT count(*) FROM {table} WHERE received_digest(id) NOT IN"
            " (SELECT digest FROM received_ids WHERE kind = :kind)",
            kind=kind,
        )
        assert unknown[0] == 0, table


async def test_orders_and_feedback_carry_the_clock_of_the_tenant(
    database: Database, tenant_id: int
) -> None:
    await load_demo(database, tenant_id, SMALL)
    for table, instant in (("orders", "ordered_at"), ("feedback", "given_at")):
        wrong = await ask(
            database,
            tenant_id,
            f"SELECT count(*) FROM {table}"
            f" WHERE local_at <> {instant} AT TIME ZONE 'Asia/Makassar'",
        )
        assert wrong[0] == 0, table


async def test_items_belong_to_the_order_they_add_up_to(database: Database, tenant_id: int) -> None:
    await load_demo(database, tenant_id, SMALL)
    wrong = await ask(
        database,
        tenant_id,
        "SELECT count(*) FROM (SELECT o.sk FROM orders o"
        " JOIN order_items i ON i.tenant_id = o.tenant_id AND i.order_sk = o.sk"
        " GROUP BY o.sk, o.total_amount"
        " HAVING sum(i.quantity * i.unit_price - i.discount_amount) <> o.total_amount) AS wrong",
    )
    assert wrong[0] == 0


async def test_customers_are_found_by_what_people_type(database: Database, tenant_id: int) -> None:
    await load_demo(database, tenant_id, SMALL)
    customer = await ask(
        database,
        tenant_id,
        "SELECT * FROM customers WHERE company_name IS NOT NULL AND phone IS NOT NULL"
        " AND email IS NOT NULL ORDER BY sk LIMIT 1",
    )
    found = await ask(
        database,
        tenant_id,
        "SELECT array_agg(term) FROM customer_terms WHERE customer_sk = :sk",
        sk=customer.sk,
    )
    typed = f"{customer.company_name} 0{customer.phone.removeprefix('+62')} {customer.email}"
    for word in search.words(typed):
        assert any(term.startswith(spelling) for spelling in word for term in found[0]), word


async def test_places_are_where_the_columns_say(database: Database, tenant_id: int) -> None:
    await load_demo(database, tenant_id, SMALL)
    store = await ask(
        database,
        tenant_id,
        "SELECT ST_Y(location), ST_X(location), ST_SRID(location) FROM stores"
        " WHERE name = 'Margo City'",
    )
    assert tuple(store) == (-6.3730, 106.8343, 4326)


async def test_an_occupied_tenant_keeps_what_it_has(database: Database, tenant_id: int) -> None:
    first = await load_demo(database, tenant_id, SMALL)
    with pytest.raises(IntegrityError):
        await load_demo(database, tenant_id, SMALL)
    assert await count(database, tenant_id, "orders") == first.orders
    assert await count(database, tenant_id, "stores") == first.stores


async def test_a_larger_business_is_written_whole(database: Database, tenant_id: int) -> None:
    size = DemoOptions(
        as_of=date(2025, 6, 30),
        customers=CHUNK + 200,
        orders_per_customer=1.5,
        with_items=False,
        with_engagement=False,
        with_places=False,
        with_events=False,
    )
    loaded = await load_demo(database, tenant_id, size)
    assert await count(database, tenant_id, "customers") == CHUNK + 200
    assert await count(database, tenant_id, "orders") == loaded.orders


def test_orders_as_csv(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    written = write_orders_csv(path, SMALL)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == written
    assert list(rows[0]) == [
        "order_id",
        "customer_id",
        "ordered_at",
        "status",
        "total_amount",
        "discount_amount",
        "payment_method",
        "store_id",
        "item_count",
    ]
    assert all(row["ordered_at"].endswith("Z") and "T" in row["ordered_at"] for row in rows)
    assert all(row["total_amount"].endswith(".00") for row in rows)


def test_orders_as_ndjson_are_those_of_the_csv(tmp_path: Path) -> None:
    written = write_orders_ndjson(tmp_path / "orders.ndjson", SMALL)
    write_orders_csv(tmp_path / "orders.csv", SMALL)
    orders = [json.loads(line) for line in (tmp_path / "orders.ndjson").read_text().splitlines()]
    with (tmp_path / "orders.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(orders) == written == len(rows)
    for order, row in zip(orders, rows, strict=True):
        assert order["id"] == row["order_id"]
        assert order["totalAmount"] == row["total_amount"]
        assert (order["storeId"] or "") == row["store_id"]
        assert str(order["itemCount"]) == row["item_count"]
