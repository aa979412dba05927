"""Events of several writers at once: each is taken once, and every one is counted."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from app.database import Database
from app.domain.tenant import Tenant
from app.services.erasure import erase_customer
from app.services.event_recording import Recorded, record_events
from app.services.merging import merge_customers
from app.services.records import EventRecord
from tests.factories import make_customer, make_tenant


class Spoiled(Exception):
    """What makes a transaction fail after its events were written."""


START = datetime(2026, 1, 15, tzinfo=UTC)


def event(number: int, customer: str) -> EventRecord:
    """An event with an id, in one of three months."""
    return EventRecord.model_validate(
        {
            "eventId": f"e-{number}",
            "customerId": customer,
            "eventType": "purchase",
            "eventValue": "2",
            "deviceType": "mobile",
            "occurredAt": START + timedelta(days=number % 70),
        }
    )


async def record(database: Database, tenant: Tenant, *records: EventRecord) -> Recorded:
    async with database.tenant_transaction(tenant.id) as connection:
        return await record_events(connection, tenant, records)


async def spoil(database: Database, tenant: Tenant, *records: EventRecord) -> None:
    async with database.tenant_transaction(tenant.id) as connection:
        await record_events(connection, tenant, records)
        raise Spoiled


async def test_of_one_id_sent_at_once_one_is_taken(fresh_database: Database) -> None:
    tenant = await make_tenant(fresh_database)
    siti = await make_customer(fresh_database, tenant, "siti")
    ani = await make_customer(fresh_database, tenant, "ani")
    # Batches with the same events in different orders, so that they wait for each other.
    batches = [
        [event(number, "siti" if number % 2 else "ani") for number in range(30)],
        [event(number, "siti" if number % 2 else "ani") for number in reversed(range(30))],
    ] * 3
    recorded = await asyncio.gather(*(record(fresh_database, tenant, *batch) for batch in batches))
    statuses = Counter(each.status for every in recorded for each in every.outcomes)
    assert statuses == {"created": 30, "duplicate": 150}
    assert frozenset().union(*(every.touched for every in recorded)) == {siti, ani}
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        assert await connection.scalar(text("SELECT count(*) FROM behavior_events")) == 30
        rows = await connection.execute(
            text("SELECT events, spent, devices FROM behavior_summaries")
        )
        assert [tuple(row) for row in rows] == [(15, 3000, {"mobile": 15})] * 2


async def test_nothing_of_a_write_that_fails_is_remembered(fresh_database: Database) -> None:
    tenant = await make_tenant(fresh_database)
    await make_customer(fresh_database, tenant, "siti")
    with pytest.raises(Spoiled):
        await spoil(fresh_database, tenant, event(1, "siti"))
    [outcome] = (await record(fresh_database, tenant, event(1, "siti"))).outcomes
    assert outcome.status == "created"
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        assert await connection.scalar(text("SELECT events FROM behavior_summaries")) == 1


async def test_writers_get_by_those_who_merge_and_erase(fresh_database: Database) -> None:
    tenant = await make_tenant(fresh_database)
    names = [f"c{number}" for number in range(6)]
    for name in names:
        await make_customer(fresh_database, tenant, name)

    async def write(writer: int) -> None:
        for step in range(8):
            numbers = range(writer * 1000 + step * 12, writer * 1000 + step * 12 + 12)
            await record(
                fresh_database, tenant, *(event(number, names[number % 6]) for number in numbers)
            )

    async def leave() -> None:
        async with fresh_database.tenant_transaction(tenant.id) as connection:
            await merge_customers(connection, tenant, target_id="c0", duplicate_id="c1", actor=None)
        await asyncio.sleep(0.05)
        async with fresh_database.tenant_transaction(tenant.id) as connection:
            await erase_customer(connection, tenant, "c2", actor=None)

    done = await asyncio.gather(
        *(write(each) for each in range(3)), leave(), return_exceptions=True
    )
    assert [each for each in done if isinstance(each, Exception)] == []
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        counts = "SELECT customer_sk, {} FROM {} GROUP BY 1 ORDER BY 1"
        kept = await connection.execute(text(counts.format("sum(events)", "behavior_summaries")))
        stored = await connection.execute(text(counts.format("count(*)", "behavior_events")))
        totals = [tuple(row) for row in kept]
        assert totals == [tuple(row) for row in stored]
        # All that was sent of those who stay, or of the one who was merged, is there.
        assert [events for _, events in totals] == [96, 48, 48, 48]
