"""The totals that dashboards read are what counting everything again would give."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Table, delete, func, select, text, update

from app.database import Database
from app.domain.feedback import FeedbackKind
from app.domain.scoring_run import RunMode
from app.domain.tenant import Tenant
from app.repositories import scoring as scores
from app.repositories.tables import (
    customer_analytics,
    feedback,
    orders,
    population_totals,
    sales_days,
    satisfaction_months,
)
from app.services.scoring import refresh_customers, run_scores
from tests.factories import make_tenant
from tests.scoring_oracle import Contact, Customer, Opinion, Order
from tests.scoring_rows import STORES, add_orders, record

NOW = datetime(2026, 3, 20, 4, 0, tzinfo=UTC)
DAY = timedelta(days=1)

KEYS = {
    population_totals: ("figure", "a", "b"),
    sales_days: ("day", "store_sk"),
    satisfaction_months: ("month", "store_sk", "rfm_segment", "kind"),
}


def shop() -> list[Customer]:
    return [
        Customer(
            f"cus-{number:02}",
            tuple(
                Order(
                    NOW - DAY * (number + 40 * place),
                    total_amount=1000 * (place + 1),
                    store_sk=(None, *STORES)[number % 3],
                )
                for place in range(number % 5)
            ),
            ("gold", None)[number % 2],
            contacts=(Contact(NOW - DAY * 3, responded_at=NOW - DAY * 2),) * (number % 3),
            opinions=(
                Opinion(NOW - DAY * 30, FeedbackKind.NPS, number % 11),
                Opinion(NOW - DAY * 2, FeedbackKind.COMPLAINT),
            )[: number % 3],
            loyalty_points=number,
            gender=("female", "male")[number % 2],
            age_estimate=15 + 3 * number,
        )
        for number in range(15)
    ]


async def sums(database: Database, tenant: Tenant, table: Table) -> dict[tuple[Any, ...], Any]:
    """What the rows of each key add up to, without keys that came to nothing."""
    keys = [table.c[name] for name in KEYS[table]]
    measures = [c for c in table.c if c.name not in {"tenant_id", "seq", *KEYS[table]}]
    query = select(*keys, *(func.sum(measure) for measure in measures)).group_by(*keys)
    async with database.tenant_transaction(tenant.id) as connection:
        rows = (await connection.execute(query)).all()
    return {
        tuple(row[: len(keys)]): tuple(row[len(keys) :]) for row in rows if any(row[len(keys) :])
    }


async def everything(database: Database, tenant: Tenant) -> dict[str, Any]:
    return {table.name: await sums(database, tenant, table) for table in KEYS}


async def count_again(database: Database, tenant: Tenant) -> dict[str, Any]:
    async with database.tenant_transaction(tenant.id) as connection:
        for table in KEYS:
            await connection.execute(text(f"SELECT rebuild_{table.name}({tenant.id})"))
    return await everything(database, tenant)


async def test_totals_follow_every_change(fresh_database: Database) -> None:
    tenant = await make_tenant(fresh_database)
    sks = await record(fresh_database, tenant, shop())
    await run_scores(fresh_database, tenant, mode=RunMode.FULL, as_of=NOW)
    before = await everything(fresh_database, tenant)
    assert before == await count_again(fresh_database, tenant)
    assert sum(row[0] for key, row in before["population_totals"].items() if key[0] == "tier") == 15

    touched = [sks["cus-03"], sks["cus-07"], sks["cus-10"]]
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        await scores.lock_customers(connection, tenant.id, touched)
        await add_orders(connection, tenant, [(touched[0], Order(NOW - DAY, store_sk=STORES[0]))])
        await connection.execute(
            update(orders)
            .where(orders.c.customer_sk == touched[1])
            .values(status="cancelled", refund_amount=0)
        )
        await connection.execute(delete(orders).where(orders.c.customer_sk == touched[2]))
        await connection.execute(
            update(feedback).where(feedback.c.kind == "nps").values(score=10, rfm_segment="loyal")
        )
        await connection.execute(delete(feedback).where(feedback.c.customer_sk == sks["cus-08"]))
        await refresh_customers(connection, tenant, touched, now=NOW)
    after = await everything(fresh_database, tenant)
    assert after != before
    assert after == await count_again(fresh_database, tenant)

    async with fresh_database.tenant_transaction(tenant.id) as connection:
        await connection.execute(
            delete(customer_analytics).where(customer_analytics.c.customer_sk == touched[0])
        )
    assert await everything(fresh_database, tenant) == await count_again(fresh_database, tenant)


async def test_compaction_leaves_one_row_a_key_and_the_same_sums(
    fresh_database: Database,
) -> None:
    tenant = await make_tenant(fresh_database)
    other = await make_tenant(fresh_database, "other")
    sks = await record(fresh_database, tenant, shop())
    await record(fresh_database, other, shop())
    for hours in range(5):
        async with fresh_database.tenant_transaction(tenant.id) as connection:
            await add_orders(
                connection, tenant, [(sks["cus-01"], Order(NOW - DAY + hours * DAY / 24))]
            )
            await refresh_customers(connection, tenant, [sks["cus-01"]], now=NOW)
    before = [await everything(fresh_database, each) for each in (tenant, other)]
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        await connection.execute(text(f"SELECT compact_totals({tenant.id})"))
    assert [await everything(fresh_database, each) for each in (tenant, other)] == before
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        for table, names in KEYS.items():
            rows = await connection.scalar(select(func.count()).select_from(table))
            keys = select(*(table.c[name] for name in names)).distinct().subquery()
            assert rows == await connection.scalar(select(func.count()).select_from(keys))


async def test_a_run_and_live_writers_at_once_count_nobody_twice(
    fresh_database: Database,
) -> None:
    tenant = await make_tenant(fresh_database)
    sks = await record(fresh_database, tenant, shop())
    await run_scores(fresh_database, tenant, mode=RunMode.FULL, as_of=NOW)

    async def sell(customer_sk: int) -> None:
        for hour in range(6):
            async with fresh_database.tenant_transaction(tenant.id) as connection:
                await scores.lock_customers(connection, tenant.id, [customer_sk])
                await add_orders(
                    connection, tenant, [(customer_sk, Order(NOW - DAY * 2 + hour * DAY / 24))]
                )
                await refresh_customers(connection, tenant, [customer_sk], now=NOW)

    async def compact() -> None:
        for _ in range(6):
            async with fresh_database.tenant_transaction(tenant.id) as connection:
                await connection.execute(text(f"SELECT compact_totals({tenant.id})"))

    async def run() -> None:
        for _ in range(2):
            await run_scores(fresh_database, tenant, mode=RunMode.FULL, as_of=NOW)

    await asyncio.gather(run(), compact(), *(sell(sks[f"cus-0{number}"]) for number in range(4)))
    assert await everything(fresh_database, tenant) == await count_again(fresh_database, tenant)
