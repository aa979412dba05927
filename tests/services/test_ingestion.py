"""Orders and customers written by many at once: exact figures, and nobody waits in a circle."""

import asyncio
import random
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from app.database import Connection, Database
from app.domain.tenant import Tenant
from app.services.customer_records import record_customers, record_imported_customers
from app.services.engagement import record_contacts, record_feedback
from app.services.ingestion import change_order, record_orders, record_store
from app.services.outcomes import ItemOutcome
from app.services.records import (
    ContactRecord,
    CustomerRecord,
    FeedbackRecord,
    OrderPatch,
    OrderRecord,
    StoreRecord,
)
from tests.factories import make_customer, make_tenant


def order(order_id: str, customer_id: str = "cus-1", **changes: Any) -> OrderRecord:
    values = {
        "id": order_id,
        "customerId": customer_id,
        "orderedAt": datetime(2026, 3, 2, tzinfo=UTC),
        "totalAmount": Decimal(1000),
    }
    return OrderRecord.model_validate(values | changes)


async def record(
    database: Database, tenant: Tenant, *records: OrderRecord, create: bool = True
) -> list[ItemOutcome]:
    async with database.tenant_transaction(tenant.id) as connection:
        return await record_orders(
            connection, tenant, records, create_customers=create, actor="test"
        )


async def figures(database: Database, tenant: Tenant) -> list[tuple[Any, ...]]:
    """Per customer: stored orders and revenue, and the same counted from the orders."""
    async with database.tenant_transaction(tenant.id) as connection:
        rows = await connection.execute(
            text("""
                SELECT c.id, a.total_orders, a.revenue, count(o.sk), sum(o.net_amount)::bigint
                FROM customers c
                JOIN orders o ON o.tenant_id = c.tenant_id AND o.customer_sk = c.sk
                LEFT JOIN customer_analytics a
                    ON a.tenant_id = c.tenant_id AND a.customer_sk = c.sk
                GROUP BY 1, 2, 3 ORDER BY 1
            """)
        )
        return [tuple(row) for row in rows]


@pytest.fixture
async def wide_database(fresh_database_url: str) -> Any:
    database = Database(fresh_database_url, pool_size=20, pool_timeout=60)
    yield database
    await database.close()


async def test_twenty_connections_post_orders_of_one_customer(wide_database: Database) -> None:
    tenant = await make_tenant(wide_database)
    await make_customer(wide_database, tenant)
    await asyncio.gather(
        *(record(wide_database, tenant, order(f"ord-{number}")) for number in range(100))
    )
    assert await figures(wide_database, tenant) == [("cus-1", 100, 10_000_000, 100, 10_000_000)]


async def test_mixed_batches_neither_deadlock_nor_lose_an_order(wide_database: Database) -> None:
    """Orders move between customers, customers are made and changed, all in any order."""
    tenant = await make_tenant(wide_database)
    chance = random.Random(7)

    async def orders_of(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(6):
            batch = {f"ord-{draw.randrange(40)}": None for _ in range(12)}
            await record(
                wide_database,
                tenant,
                *(order(each, f"cus-{draw.randrange(15)}") for each in batch),
            )

    async def customers_of(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(6):
            ids = [f"cus-{draw.randrange(15)}" for _ in range(5)]
            batch = [
                CustomerRecord.model_validate(
                    {"id": each, "name": f"Name {draw.random()}", "code": f"K{draw.randrange(30)}"}
                )
                for each in ids
            ]
            async with wide_database.tenant_transaction(tenant.id) as connection:
                await record_customers(connection, tenant, batch, actor="test")

    tasks = [orders_of(chance.randrange(10**6)) for _ in range(10)]
    tasks += [customers_of(chance.randrange(10**6)) for _ in range(6)]
    # Waiting in a circle is an error of PostgreSQL after a second, which fails the test here.
    await asyncio.gather(*tasks)
    for _, total_orders, revenue, counted, summed in await figures(wide_database, tenant):
        assert (total_orders, revenue) == (counted, summed)


async def test_an_order_that_moved_meanwhile_is_written_under_the_right_locks(
    wide_database: Database,
) -> None:
    """The order has another owner by the time its old one is locked: locks are taken again."""
    tenant = await make_tenant(wide_database)
    for customer_id in ("cus-1", "cus-2", "cus-3"):
        await make_customer(wide_database, tenant, customer_id)
    await record(wide_database, tenant, order("ord-1", "cus-1"))
    async with wide_database.tenant_transaction(tenant.id) as connection:
        await record_orders(
            connection, tenant, [order("ord-1", "cus-3")], create_customers=False, actor=None
        )
        waiting = asyncio.create_task(record(wide_database, tenant, order("ord-1", "cus-2")))
        await asyncio.sleep(0.3)
        assert not waiting.done()
    assert [each.status for each in await waiting] == ["updated"]
    assert await figures(wide_database, tenant) == [("cus-2", 1, 100_000, 1, 100_000)]


async def test_corrections_and_new_orders_of_one_customer_meet(wide_database: Database) -> None:
    tenant = await make_tenant(wide_database)
    await make_customer(wide_database, tenant)
    await record(wide_database, tenant, *(order(f"ord-{number}") for number in range(20)))

    async def refund(number: int) -> None:
        patch = OrderPatch.model_validate({"refundAmount": 100})
        async with wide_database.tenant_transaction(tenant.id) as connection:
            await change_order(connection, tenant, f"ord-{number}", patch)

    await asyncio.gather(
        *(refund(number) for number in range(20)),
        *(record(wide_database, tenant, order(f"new-{number}")) for number in range(20)),
    )
    expected = 40 * 100_000 - 20 * 10_000
    assert await figures(wide_database, tenant) == [("cus-1", 40, expected, 40, expected)]


async def test_the_old_owner_of_a_moved_order_is_refreshed(
    database: Database, tenant: Tenant
) -> None:
    await record(database, tenant, order("ord-1"), order("ord-2"))
    await record(database, tenant, order("ord-2", "cus-2"))
    assert await figures(database, tenant) == [
        ("cus-1", 1, 100_000, 1, 100_000),
        ("cus-2", 1, 100_000, 1, 100_000),
    ]


async def test_an_unknown_store_refuses_the_order_and_makes_no_customer(
    database: Database, tenant: Tenant
) -> None:
    [outcome] = await record(database, tenant, order("ord-1", storeId="none"))
    assert outcome.status == "rejected"
    async with database.tenant_transaction(tenant.id) as connection:
        assert await connection.scalar(text("SELECT count(*) FROM customers")) == 0
        store = StoreRecord.model_validate({"id": "none", "name": "Kemang"})
        assert await record_store(connection, tenant, store)
        assert not await record_store(connection, tenant, store)
    assert [each.status for each in await record(database, tenant, order("ord-1", storeId="none"))]


async def test_items_that_change_alone_update_the_order(database: Database, tenant: Tenant) -> None:
    item = {"productId": "a", "quantity": 2, "unitPrice": 500}
    other = {"productId": "b", "quantity": 1, "unitPrice": 0}
    statuses = []
    for items in ([item], [item], [item, other], [other], None, []):
        [outcome] = await record(database, tenant, order("ord-1", items=items, itemCount=3))
        statuses.append(outcome.status)
    assert statuses == ["created", "unchanged", "updated", "updated", "unchanged", "updated"]


async def test_without_a_zone_a_time_is_the_tenants(database: Database, tenant: Tenant) -> None:
    await record(database, tenant, order("ord-1", orderedAt="2026-03-02T01:00:00"))
    async with database.tenant_transaction(tenant.id) as connection:
        row = (await connection.execute(text("SELECT ordered_at, local_at FROM orders"))).one()
    assert row.ordered_at == datetime(2026, 3, 1, 18, tzinfo=UTC)
    assert row.local_at == datetime(2026, 3, 2, 1)  # noqa: DTZ001 - a wall clock


async def test_a_customer_keeps_what_a_record_leaves_out(
    database: Database, tenant: Tenant
) -> None:
    async def state(*documents: dict[str, Any]) -> list[str]:
        async with database.tenant_transaction(tenant.id) as connection:
            records = [CustomerRecord.model_validate(each) for each in documents]
            outcomes = await record_customers(connection, tenant, records, actor="test")
        return [each.status for each in outcomes]

    day = "2026-03-0{}T00:00:00Z".format
    assert await state({"id": "a", "name": "Ana", "phone": "0812", "code": "K1"}) == ["created"]
    assert await state({"id": "a", "email": "a@b.c", "updatedAt": day(2)}) == ["updated"]
    assert await state({"id": "a", "email": "a@b.c", "updatedAt": day(2)}) == ["unchanged"]
    assert await state({"id": "a", "email": None, "updatedAt": day(1)}) == ["stale"]
    assert await state({"id": "b", "name": "B", "code": "K1"}) == ["rejected"]
    async with database.tenant_transaction(tenant.id) as connection:
        row = (await connection.execute(text("SELECT name, phone, email FROM customers"))).one()
    assert tuple(row) == ("Ana", "0812", "a@b.c")


async def test_two_writers_do_not_close_a_circle_together(wide_database: Database) -> None:
    """Each alone is right; together they would have brought in each other."""
    tenant = await make_tenant(wide_database)
    pairs = [(f"left-{number}", f"right-{number}") for number in range(4)]
    for customer_id in (each for pair in pairs for each in pair):
        await make_customer(wide_database, tenant, customer_id)

    async def refer(customer_id: str, referrer: str) -> str:
        record = CustomerRecord.model_validate(
            {"id": customer_id, "referredByCustomerId": referrer}
        )
        async with wide_database.tenant_transaction(tenant.id) as connection:
            [outcome] = await record_customers(connection, tenant, [record], actor="test")
        return outcome.status

    statuses = await asyncio.gather(
        *(refer(left, right) for left, right in pairs),
        *(refer(right, left) for left, right in pairs),
    )
    for left, right in zip(statuses[:4], statuses[4:], strict=True):
        assert sorted((left, right)) == ["rejected", "updated"]


async def test_the_first_of_two_is_waited_for_before_a_circle_is_looked_for(
    wide_database: Database,
) -> None:
    tenant = await make_tenant(wide_database)
    for customer_id in ("a", "b", "c"):
        await make_customer(wide_database, tenant, customer_id)

    def referred(customer_id: str, referrer: str) -> list[CustomerRecord]:
        document = {"id": customer_id, "referredByCustomerId": referrer}
        return [CustomerRecord.model_validate(document)]

    async def refer(customer_id: str, referrer: str) -> str:
        async with wide_database.tenant_transaction(tenant.id) as connection:
            [outcome] = await record_customers(
                connection, tenant, referred(customer_id, referrer), actor="test"
            )
        return outcome.status

    async with wide_database.tenant_transaction(tenant.id) as connection:
        await record_customers(connection, tenant, referred("a", "b"), actor="test")
        waiting = asyncio.create_task(refer("b", "c"))
        closing = asyncio.create_task(refer("c", "a"))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        assert not closing.done()
    assert sorted([await waiting, await closing]) == ["rejected", "updated"]


async def test_whoever_writes_about_a_customer_waits_in_no_circle(
    wide_database: Database,
) -> None:
    """Orders, contacts, feedback, attributes and referrers of the same few customers, at once."""
    tenant = await make_tenant(wide_database)
    for number in range(8):
        await make_customer(wide_database, tenant, f"cus-{number}")
    moment = datetime(2026, 3, 2, tzinfo=UTC)

    async def contacts_of(connection: Connection, draw: random.Random) -> None:
        records = [
            ContactRecord.model_validate(
                {
                    "id": f"con-{each}",
                    "customerId": f"cus-{draw.randrange(8)}",
                    "channel": "email",
                    "purpose": "promo",
                    "sentAt": moment,
                    "converted": draw.random() < 0.5,
                }
            )
            for each in draw.sample(range(20), 6)
        ]
        outcomes = await record_contacts(connection, tenant, records)
        assert not [each for each in outcomes if each.error]

    async def feedback_of(connection: Connection, draw: random.Random) -> None:
        records = [
            FeedbackRecord.model_validate(
                {
                    "id": f"fb-{each}",
                    "customerId": f"cus-{draw.randrange(8)}",
                    "kind": "nps",
                    "score": draw.randrange(11),
                    "givenAt": moment,
                }
            )
            for each in draw.sample(range(20), 6)
        ]
        outcomes = await record_feedback(connection, tenant, records)
        assert not [each for each in outcomes if each.error]

    async def customers_of(connection: Connection, draw: random.Random) -> None:
        records = [
            CustomerRecord.model_validate(
                {
                    "id": f"cus-{each}",
                    "loyaltyPoints": draw.randrange(100),
                    "referredByCustomerId": draw.choice([None, f"cus-{draw.randrange(8)}"]),
                }
            )
            for each in draw.sample(range(8), 4)
        ]
        await record_customers(connection, tenant, records, actor="test")

    async def orders_of(connection: Connection, draw: random.Random) -> None:
        records = [
            order(f"ord-{each}", f"cus-{draw.randrange(8)}") for each in draw.sample(range(20), 6)
        ]
        await record_orders(connection, tenant, records, create_customers=False, actor="test")

    async def write(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(4):
            kind = draw.choice([contacts_of, feedback_of, customers_of, orders_of])
            async with wide_database.tenant_transaction(tenant.id) as connection:
                await kind(connection, draw)

    await asyncio.gather(*(write(seed) for seed in range(14)))
    async with wide_database.tenant_transaction(tenant.id) as connection:
        circles = await connection.scalar(
            text("""
                WITH RECURSIVE upwards AS (
                    SELECT sk AS start, referred_by_sk FROM customers
                    UNION
                    SELECT start, c.referred_by_sk FROM upwards
                    JOIN customers c ON c.sk = upwards.referred_by_sk
                )
                SELECT count(*) FROM upwards WHERE start = referred_by_sk
            """)
        )
    assert circles == 0


async def test_an_import_touches_the_referrers_of_before(database: Database) -> None:
    tenant = await make_tenant(database)
    for customer_id in ("a", "b", "c"):
        await make_customer(database, tenant, customer_id)

    async def import_one(referrer: str) -> list[str]:
        document = {"id": "a", "referredByCustomerId": referrer}
        async with database.tenant_transaction(tenant.id) as connection:
            await connection.execute(text("UPDATE customers SET updated_at = '2000-01-01'"))
        records = [CustomerRecord.model_validate(document)]
        outcomes = await record_imported_customers(database, tenant, records, actor=None)
        async with database.tenant_transaction(tenant.id) as connection:
            touched = await connection.execute(
                text("SELECT id FROM customers WHERE updated_at > '2001-01-01' ORDER BY id")
            )
            assert await connection.scalar(text("SELECT count(*) FROM customer_analytics")) == 0
            return [outcomes[0].status, *touched.scalars()]

    assert await import_one("b") == ["updated", "a"]
    assert await import_one("c") == ["updated", "a", "b"]
    assert await import_one("a") == ["rejected"]
