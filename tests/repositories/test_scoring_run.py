"""Live, recent and full runs agree, nothing is lost between them, history says what changed."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import asyncpg
import pytest
from sqlalchemy import TextClause, delete, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database import Connection, Database
from app.domain.errors import RunInProgress
from app.domain.order import OrderStatus
from app.domain.scoring_run import RunMode
from app.domain.tenant import Tenant
from app.repositories import job
from app.repositories import scoring as scores_repository
from app.repositories.tables import (
    customer_analytics,
    customers,
    job_runs,
    orders,
    score_history,
)
from app.services.scoring import refresh_customers, run_scores
from app.services.tenancy import change_profile
from tests import scoring_oracle as oracle
from tests.factories import make_tenant
from tests.repositories.test_scoring import assert_row, compare
from tests.scoring_oracle import Customer, Order
from tests.scoring_rows import add_orders, read_ranks, read_rows, record

NOW = datetime(2026, 3, 20, 4, 0, tzinfo=UTC)
DAY = timedelta(days=1)
STANDING = ("rfm_code", "rfm_segment", "lifecycle_segment", "churn_band", "membership_tier")


def shop(seed: int, size: int = 12) -> list[Customer]:
    """Customers with nought to eight orders each over the last four hundred days."""
    chance = random.Random(seed)
    return [
        Customer(
            f"cus-{number:02}",
            tuple(
                Order(NOW - DAY * chance.randint(1, 400), total_amount=chance.randint(1, 99) * 100)
                for _ in range(number % 9)
            ),
            referred_by=f"cus-{number // 3:02}" if number % 2 else None,
        )
        for number in range(size)
    ]


async def refresh(
    connection: Connection, tenant: Tenant, sks: Sequence[int], now: datetime = NOW
) -> None:
    """What every writer does: lock the customers, write, and bring their figures up to date."""
    await scores_repository.lock_customers(connection, tenant.id, sks)
    await refresh_customers(connection, tenant, sks, now=now)


async def read_customers(database: Database, tenant: Tenant) -> list[Customer]:
    """The customers as the tables have them now."""
    referrer = customers.alias()
    query = (
        select(customers.c.id, customers.c.membership_tier, orders, referrer.c.id.label("referrer"))
        .outerjoin(orders, orders.c.customer_sk == customers.c.sk)
        .outerjoin(referrer, referrer.c.sk == customers.c.referred_by_sk)
        .order_by(customers.c.sk, orders.c.sk)
    )
    found: dict[str, Customer] = {}
    async with database.tenant_transaction(tenant.id) as connection:
        for row in await connection.execute(query):
            customer = found.get(row[0]) or Customer(row[0], (), row[1], referred_by=row.referrer)
            if row.customer_sk is not None:
                placed = Order(
                    row.ordered_at,
                    OrderStatus(row.status),
                    row.total_amount,
                    row.refund_amount,
                    row.discount_amount,
                    row.payment_method,
                    row.item_count,
                    row.notes,
                )
                customer = replace(customer, orders=(*customer.orders, placed))
            found[row[0]] = customer
    return list(found.values())


async def assert_scored(database: Database, tenant: Tenant, as_of: datetime = NOW) -> None:
    """Every row is what a run as of `as_of` on the stored cutoffs would leave."""
    ranks = await read_ranks(database, tenant)
    rows = await read_rows(database, tenant)
    made = await read_customers(database, tenant)
    features = oracle.population(made, tenant, as_of)
    assert {customer.id for customer in made} == set(rows)
    for customer in made:
        assert_row(rows[customer.id], oracle.expected(features[customer.id], tenant, ranks))


async def job_of(database: Database, tenant: Tenant, run_id: Any) -> job.JobRun:
    async with database.tenant_transaction(tenant.id) as connection:
        return await job.get(connection, run_id)


async def jobs(database: Database, tenant: Tenant) -> list[job.JobRun]:
    async with database.tenant_transaction(tenant.id) as connection:
        return await job.list_latest(connection, 50)


@asynccontextmanager
async def held_row(database: Database, tenant: Tenant, customer_sk: int) -> AsyncIterator[None]:
    """Nobody else writes the scores of this customer inside the block."""
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(
            text("SELECT FROM customer_analytics WHERE customer_sk = :sk FOR UPDATE"),
            {"sk": customer_sk},
        )
        yield


async def wait_until_blocked(owner: asyncpg.Connection, *, sessions: int = 1) -> list[int]:
    """The backends of this database that wait for a lock, once there are so many."""
    query = """
        SELECT pid FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'"""
    async with asyncio.timeout(20):
        while True:
            pids = [row["pid"] for row in await owner.fetch(query)]
            if len(pids) >= sessions:
                return pids
            await asyncio.sleep(0.02)


@pytest.fixture
async def owner(fresh_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that looks on, past row-level security."""
    connection = await asyncpg.connect(fresh_database_url)
    yield connection
    await connection.close()


@pytest.mark.parametrize("preset", ["retail", "ticketing"])
async def test_live_leaves_what_a_full_run_would(fresh_database: Database, preset: str) -> None:
    tenant = await make_tenant(fresh_database, profile={"preset": preset})
    sks = list((await record(fresh_database, tenant, shop(1))).values())
    await run_scores(fresh_database, tenant, mode=RunMode.FULL, as_of=NOW)
    chance = random.Random(2)
    for _ in range(25):
        async with fresh_database.tenant_transaction(tenant.id) as connection:
            touched = chance.sample(sks, 2)
            await scores_repository.lock_customers(connection, tenant.id, touched)
            await _change_something(connection, tenant, touched, chance)
            await refresh_customers(connection, tenant, touched, now=NOW)
        await assert_scored(fresh_database, tenant)


async def _change_something(
    connection: Connection, tenant: Tenant, touched: list[int], chance: random.Random
) -> None:
    first, second = touched
    await add_orders(
        connection,
        tenant,
        [(first, Order(NOW - DAY * chance.randint(0, 500), total_amount=chance.randint(0, 5000)))],
    )
    theirs = (
        select(orders.c.sk)
        .where(orders.c.customer_sk == second)
        .order_by(orders.c.sk)
        .limit(1)
        .scalar_subquery()
    )
    one_of_them = update(orders).where(orders.c.sk == theirs)
    match chance.randrange(4):
        case 0:
            await connection.execute(one_of_them.values(status="cancelled", refund_amount=0))
        case 1:
            await connection.execute(
                one_of_them.values(status="completed", refund_amount=orders.c.total_amount / 2)
            )
        case 2:
            await connection.execute(one_of_them.values(customer_sk=first))
        case _:
            await connection.execute(delete(orders).where(orders.c.sk == theirs))


async def test_what_others_wrote_stays_unless_the_profile_says_otherwise(
    fresh_database: Database,
) -> None:
    tenant = await make_tenant(fresh_database)
    sks = await record(fresh_database, tenant, shop(7))
    await run_scores(fresh_database, tenant, mode=RunMode.FULL, as_of=NOW)
    ours = (await read_rows(fresh_database, tenant))["cus-08"]
    written = {
        "rfm_segment": "champion",
        "rfm_recency_score": 5,
        "rfm_frequency_score": 5,
        "rfm_monetary_score": 4,
        "clv": 987_654,
        "clv_percentile": 97,
        "churn_score": 0.73,
        "churn_reasons": ["price_war"],
        "influence_score": 88.5,
        "next_purchase_on": date(2026, 4, 1),
        "next_purchase_confidence": 0.9,
    }
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        await connection.execute(
            update(customer_analytics)
            .where(customer_analytics.c.customer_sk == sks["cus-08"])
            .values(
                **written,
                external_scores=["rfm", "clv", "churn", "influence", "next_purchase"],
                external_as_of=NOW,
                external_model_version="theirs-1",
            )
        )
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        await refresh(connection, tenant, [sks["cus-08"]])
    await run_scores(fresh_database, tenant, mode=RunMode.FULL, as_of=NOW)
    kept = (await read_rows(fresh_database, tenant))["cus-08"]
    assert {name: kept[name] for name in written} == written
    derived = (kept["rfm_code"], kept["churn_band"], kept["clv_tier"], kept["value_at_risk"])
    assert derived == ("554", "high", "platinum", round(987_654 * 0.73))

    async with fresh_database.tenant_transaction(tenant.id) as connection:
        changed = await change_profile(connection, tenant, {"externalScores": "overwrite"})
    await run_scores(fresh_database, changed, mode=RunMode.FULL, as_of=NOW)
    again = (await read_rows(fresh_database, tenant))["cus-08"]
    assert {name: again[name] for name in written} == {name: ours[name] for name in written}
    assert again["external_scores"] == []


async def test_live_before_the_first_full_run_says_what_is_missing_and_asks_for_it(
    fresh_database: Database,
) -> None:
    tenant = await make_tenant(fresh_database)
    sks = list((await record(fresh_database, tenant, shop(3))).values())
    for _ in range(2):
        async with fresh_database.tenant_transaction(tenant.id) as connection:
            await refresh(connection, tenant, sks)
    await assert_scored(fresh_database, tenant)
    rows = await read_rows(fresh_database, tenant)
    assert {row["rfm_status"] for row in rows.values()} == {"insufficient_data"}
    assert [(run.kind, run.status) for run in await jobs(fresh_database, tenant)] == [
        ("full", "queued")
    ]


async def test_recent_scores_whoever_changed_and_nobody_else(fresh_database: Database) -> None:
    tenant = await make_tenant(fresh_database)
    sks = await record(fresh_database, tenant, shop(4))
    await run_scores(fresh_database, tenant, mode=RunMode.FULL, as_of=NOW)
    long_ago = {"recorded_at": NOW - 900 * DAY}
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        await connection.execute(update(orders).values(long_ago))
        await connection.execute(update(customers).values(updated_at=NOW - 900 * DAY))
        await add_orders(connection, tenant, [(sks["cus-03"], Order(NOW - DAY))])
        await connection.execute(
            update(customers)
            .where(customers.c.id == "cus-05")
            .values(membership_tier="gold", updated_at=text("now()"))
        )
    await record(fresh_database, tenant, [Customer("newcomer", (Order(NOW - DAY),))])
    run_id = await run_scores(fresh_database, tenant, mode=RunMode.RECENT, as_of=NOW)
    run = await job_of(fresh_database, tenant, run_id)
    # The newcomer, the two who changed, and who brought each of those in.
    assert (run.status, run.rows_read, run.rows_written) == ("succeeded", 4, 4)
    await assert_scored(fresh_database, tenant)


async def test_a_second_run_writes_nothing(fresh_database: Database) -> None:
    tenant = await make_tenant(fresh_database)
    made = shop(5)
    await record(fresh_database, tenant, made)
    first = await run_scores(fresh_database, tenant, mode=RunMode.FULL, as_of=NOW)
    second = await run_scores(fresh_database, tenant, mode=RunMode.FULL, as_of=NOW + DAY / 240)
    recent = await run_scores(fresh_database, tenant, mode=RunMode.RECENT, as_of=NOW + DAY / 120)
    written = [
        (await job_of(fresh_database, tenant, each)).rows_written
        for each in (first, second, recent)
    ]
    assert written == [len(made), 0, 0]


async def test_history_has_the_days_on_which_the_standing_changed(fresh_database: Database) -> None:
    tenant = await make_tenant(fresh_database)
    await record(fresh_database, tenant, shop(6))
    seen: dict[str, list[tuple[date, tuple[Any, ...]]]] = {}
    since: dict[str, date] = {}
    for step in range(0, 420, 30):
        as_of = NOW + DAY * step
        for _ in range(2):
            await run_scores(fresh_database, tenant, mode=RunMode.FULL, as_of=as_of)
        for identity, row in (await read_rows(fresh_database, tenant)).items():
            standing = tuple(row[name] for name in STANDING)
            seen.setdefault(identity, []).append((tenant.local_day(as_of), standing))
            since[identity] = row["standing_since"]
    history = await _history(fresh_database, tenant)
    assert any(len(days) > 3 for days in history.values())
    for identity, standings in seen.items():
        changed = [standings[0][0]] + [
            day for (_, before), (day, after) in pairwise(standings) if before != after
        ]
        assert list(history[identity]) == changed
        assert since[identity] == changed[-1]
        for day, standing in standings:
            latest = max(recorded for recorded in history[identity] if recorded <= day)
            assert history[identity][latest] == standing


async def _history(database: Database, tenant: Tenant) -> dict[str, dict[date, tuple[Any, ...]]]:
    query = (
        select(customers.c.id, score_history)
        .join(customers, customers.c.sk == score_history.c.customer_sk)
        .order_by(score_history.c.day)
    )
    history: dict[str, dict[date, tuple[Any, ...]]] = {}
    async with database.tenant_transaction(tenant.id) as connection:
        for row in (await connection.execute(query)).mappings():
            standing = tuple(row[name] for name in STANDING)
            history.setdefault(row["id"], {})[row["day"]] = standing
    return history


async def test_of_two_runs_at_once_one_is_refused_by_name(
    fresh_database: Database, owner: asyncpg.Connection
) -> None:
    tenant = await make_tenant(fresh_database)
    sks = await record(fresh_database, tenant, shop(7))
    await run_scores(fresh_database, tenant, mode=RunMode.FULL, as_of=NOW)
    async with held_row(fresh_database, tenant, sks["cus-02"]):
        first = asyncio.create_task(
            run_scores(fresh_database, tenant, mode=RunMode.FULL, as_of=NOW + DAY)
        )
        await wait_until_blocked(owner)
        with pytest.raises(RunInProgress):
            await run_scores(fresh_database, tenant, mode=RunMode.RECENT, as_of=NOW + DAY)
    run = await job_of(fresh_database, tenant, await first)
    assert run.status == "succeeded"
    [refused] = [run for run in await jobs(fresh_database, tenant) if run.kind == "recent"]
    assert refused.status == "failed"
    assert refused.error == "Another scoring run of tenant 'kidz' is in progress."
    assert refused.finished_at is not None
    await assert_scored(fresh_database, tenant, NOW + DAY)


@pytest.mark.parametrize("how", ["terminated", "cancelled"])
async def test_a_killed_run_leaves_the_scores_before_it(
    fresh_database: Database, owner: asyncpg.Connection, how: str
) -> None:
    tenant = await make_tenant(fresh_database)
    sks = await record(fresh_database, tenant, shop(8))
    await run_scores(fresh_database, tenant, mode=RunMode.FULL, as_of=NOW)
    before = await read_rows(fresh_database, tenant)
    async with held_row(fresh_database, tenant, sks["cus-07"]):
        run = asyncio.create_task(
            run_scores(fresh_database, tenant, mode=RunMode.FULL, as_of=NOW + DAY)
        )
        [pid] = await wait_until_blocked(owner)
        if how == "terminated":
            await owner.execute("SELECT pg_terminate_backend($1)", pid)
        else:
            run.cancel()
        [ended] = await asyncio.gather(run, return_exceptions=True)
        assert isinstance(ended, BaseException)
    assert await read_rows(fresh_database, tenant) == before
    left = (await jobs(fresh_database, tenant))[0]
    assert left.status == {"terminated": "failed", "cancelled": "running"}[how]
    await run_scores(fresh_database, tenant, mode=RunMode.FULL, as_of=NOW + DAY)
    closed = await job_of(fresh_database, tenant, left.id)
    assert closed.status == "failed"
    assert closed.error
    await assert_scored(fresh_database, tenant, NOW + DAY)


async def test_orders_that_come_in_during_a_full_run_are_in_the_scores_after_it(
    fresh_database: Database, owner: asyncpg.Connection
) -> None:
    tenant = await make_tenant(fresh_database)
    sks = await record(fresh_database, tenant, shop(9))
    await run_scores(fresh_database, tenant, mode=RunMode.FULL, as_of=NOW)
    later = NOW + DAY

    async def sell(customer: str) -> None:
        async with fresh_database.tenant_transaction(tenant.id) as connection:
            await scores_repository.lock_customers(connection, tenant.id, [sks[customer]])
            await add_orders(connection, tenant, [(sks[customer], Order(NOW, total_amount=77_700))])
            await refresh_customers(connection, tenant, [sks[customer]], now=later)

    async with held_row(fresh_database, tenant, sks["cus-05"]):
        run = asyncio.create_task(
            run_scores(fresh_database, tenant, mode=RunMode.FULL, as_of=later)
        )
        await wait_until_blocked(owner)
        # The run has yet to write this customer, and finds that somebody else did.
        await sell("cus-08")
        # This one it has written, so the sale waits for it, and is scored on its cutoffs.
        waiting = asyncio.create_task(sell("cus-01"))
        await wait_until_blocked(owner, sessions=2)
    await asyncio.gather(run, waiting)
    await assert_scored(fresh_database, tenant, later)
    rows = await read_rows(fresh_database, tenant)
    assert rows["cus-08"]["total_orders"] == 9
    assert rows["cus-01"]["total_orders"] == 2


async def test_a_customer_first_scored_during_a_full_run_is_not_lost(
    fresh_database: Database, owner: asyncpg.Connection
) -> None:
    tenant = await make_tenant(fresh_database)
    sks = await record(fresh_database, tenant, shop(10))
    await run_scores(fresh_database, tenant, mode=RunMode.FULL, as_of=NOW)
    new = await record(fresh_database, tenant, [Customer("newcomer", (Order(NOW),))])
    async with held_row(fresh_database, tenant, sks["cus-01"]):
        run = asyncio.create_task(
            run_scores(fresh_database, tenant, mode=RunMode.FULL, as_of=NOW + DAY)
        )
        await wait_until_blocked(owner)
        async with fresh_database.tenant_transaction(tenant.id) as connection:
            await scores_repository.lock_customers(connection, tenant.id, list(new.values()))
            await add_orders(connection, tenant, [(new["newcomer"], Order(NOW))])
            await refresh_customers(connection, tenant, list(new.values()), now=NOW + DAY)
    await run
    rows = await read_rows(fresh_database, tenant)
    assert rows["newcomer"]["total_orders"] == 2
    await assert_scored(fresh_database, tenant, NOW + DAY)


async def test_full_runs_and_many_writers_do_not_wait_for_each_other_in_a_circle(
    fresh_database: Database,
) -> None:
    tenant = await make_tenant(fresh_database)
    sks = list((await record(fresh_database, tenant, shop(11, size=40))).values())
    await run_scores(fresh_database, tenant, mode=RunMode.FULL, as_of=NOW)

    async def write(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(12):
            touched = chance.sample(sks, 15)
            async with fresh_database.tenant_transaction(tenant.id) as connection:
                await scores_repository.lock_customers(connection, tenant.id, touched)
                sold = [(sk, Order(NOW - DAY, total_amount=seed)) for sk in touched]
                await add_orders(connection, tenant, sold)
                await refresh_customers(connection, tenant, touched, now=NOW)

    async def run() -> None:
        for minute in range(6):
            mode = RunMode.RECENT if minute % 3 == 2 else RunMode.FULL
            as_of = NOW + timedelta(minutes=minute % 2)
            await run_scores(fresh_database, tenant, mode=mode, as_of=as_of)

    async with asyncio.timeout(60):
        await asyncio.gather(run(), *(write(seed) for seed in range(1, 6)))
    assert {run.status for run in await jobs(fresh_database, tenant)} == {"succeeded"}
    await run_scores(fresh_database, tenant, mode=RunMode.FULL, as_of=NOW)
    await compare(fresh_database, tenant, await read_customers(fresh_database, tenant), NOW)


async def test_a_closed_log_is_scored_for_its_own_instant_in_every_way(
    fresh_database: Database,
) -> None:
    pinned = datetime(1998, 7, 1, tzinfo=UTC)
    tenant = await make_tenant(
        fresh_database,
        timezone="UTC",
        currency="USD",
        profile={"preset": "commerce", "asOf": "1998-07-01T00:00:00Z"},
    )
    made = [
        Customer(f"cus-{days}", (Order(pinned - DAY * days), Order(pinned - DAY * 2 * days)))
        for days in (1, 20, 100, 300)
    ]
    sks = await record(fresh_database, tenant, made)
    await run_scores(fresh_database, tenant, mode=RunMode.FULL, as_of=tenant.as_of(NOW))
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        sk = sks["cus-100"]
        await add_orders(connection, tenant, [(sk, Order(pinned - DAY)), (sk, Order(pinned))])
        await refresh(connection, tenant, [sk])
    await assert_scored(fresh_database, tenant, pinned)
    await record(fresh_database, tenant, [Customer("late", (Order(pinned - 50 * DAY),))])
    await run_scores(fresh_database, tenant, mode=RunMode.RECENT, as_of=tenant.as_of(NOW))
    await assert_scored(fresh_database, tenant, pinned)
    rows = await read_rows(fresh_database, tenant)
    assert {row["as_of"] for row in rows.values()} == {pinned}
    assert rows["cus-100"]["total_orders"] == 3, "the order at the instant itself is not before it"


async def test_an_abandoned_run_is_forgotten_once_its_job_succeeds(
    fresh_database: Database,
) -> None:
    tenant = await make_tenant(fresh_database)
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        run_id = await job.add(connection, tenant.id, RunMode.FULL, None)
        await connection.execute(
            update(job_runs).values(status="failed", error="It died.", finished_at=NOW)
        )
    await run_scores(fresh_database, tenant, mode=RunMode.FULL, as_of=NOW, run_id=run_id)
    run = await job_of(fresh_database, tenant, run_id)
    assert (run.status, run.error) == ("succeeded", None)


async def test_a_run_locks_rows_in_the_order_of_their_keys(
    fresh_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two writers would wait for each other in a circle, if one of them hashed."""
    tenant = await make_tenant(fresh_database)
    await record(fresh_database, tenant, shop(5))
    await run_scores(fresh_database, tenant, mode=RunMode.FULL, as_of=NOW)
    plans: list[str] = []
    execute = AsyncConnection.execute

    async def explain_first(
        self: AsyncConnection, statement: TextClause, *given: Any, **options: Any
    ) -> Any:
        if "UPDATE customer_analytics AS stored" in str(statement):
            rows = await execute(self, text(f"EXPLAIN {statement.text}"), *given, **options)
            plans.append("\n".join(rows.scalars()))
        return await execute(self, statement, *given, **options)

    monkeypatch.setattr(AsyncConnection, "execute", explain_first)
    await run_scores(fresh_database, tenant, mode=RunMode.FULL, as_of=NOW + DAY)
    [plan] = plans
    update_of_rows = plan[plan.index("Update on customer_analytics stored") :]
    assert "Merge Join" in update_of_rows
    assert "Hash" not in update_of_rows
