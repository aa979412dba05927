"""Evaluations that meet changes, each other, and whoever cancels them."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text

from app.database import Database
from app.domain.tenant import Tenant
from app.repositories import segment as segments
from app.repositories import segment_member as members
from app.repositories.criteria import Compiler
from app.services import segmentation
from app.services.customer_records import record_customers
from app.services.event_recording import record_events
from app.services.merging import merge_customers
from app.services.records import CustomerRecord, EventRecord
from app.services.segment_records import SegmentPatch, SegmentRecord
from tests.factories import make_customer, make_tenant

SLOW = "(SELECT count(*) FROM generate_series(1, 100000000)) >= 0"


async def _segment(database: Database, tenant: Tenant, **fields: Any) -> str:
    body = {"name": "S", "segmentType": "custom", "criteria": {"tag": "x"}, **fields}
    async with database.tenant_transaction(tenant.id) as connection:
        made = await segmentation.create_segment(
            connection, tenant, SegmentRecord.model_validate(body), actor=None
        )
    return str(made.id)


async def _get(database: Database, tenant: Tenant, segment_id: str) -> segments.Segment:
    async with database.tenant_transaction(tenant.id) as connection:
        return await segments.get(connection, tenant.id, segment_id)


async def _members(database: Database, tenant: Tenant, segment_id: str) -> set[str]:
    segment = await _get(database, tenant, segment_id)
    async with database.tenant_transaction(tenant.id) as connection:
        found = await members.list_present(connection, tenant.id, segment.sk, after=0, limit=500)
        past = await members.list_past(
            connection,
            tenant.id,
            segment.sk,
            at=datetime.now(UTC),
            after=(datetime(1970, 1, 1, tzinfo=UTC), 0),
            limit=500,
        )
    ids = {each.customer_id for each in found}
    assert len(found) == len(ids) == segment.member_count
    assert {each.customer_id for each in past} == ids
    return ids


async def _record(database: Database, tenant: Tenant, customer_id: str, tags: list[str]) -> None:
    record = CustomerRecord.model_validate(
        {"id": customer_id, "name": customer_id, "communityTags": tags}
    )
    async with database.tenant_transaction(tenant.id) as connection:
        await record_customers(connection, tenant, [record], actor=None)


async def test_customers_who_change_during_an_evaluation_are_not_missed(
    fresh_database: Database,
) -> None:
    tenant = await make_tenant(fresh_database)
    await _record(fresh_database, tenant, "a", ["x"])
    segment_id = await _segment(fresh_database, tenant)
    await segmentation.evaluate_requested(fresh_database, tenant)
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        # As an evaluation holds it. A change neither waits for it nor writes members meanwhile.
        await members.lock_evaluation(connection, tenant.id)
        async with asyncio.timeout(10):
            await _record(fresh_database, tenant, "b", ["x"])
            await _record(fresh_database, tenant, "a", [])
        assert await _members(fresh_database, tenant, segment_id) == {"a"}
    assert await segmentation.evaluate_touched(fresh_database, tenant) >= 2
    assert await _members(fresh_database, tenant, segment_id) == {"b"}


async def test_an_evaluation_waits_for_changes_under_way(fresh_database: Database) -> None:
    tenant = await make_tenant(fresh_database)
    await _record(fresh_database, tenant, "a", [])
    segment_id = await _segment(fresh_database, tenant, criteria={"tag": "old"})
    await segmentation.evaluate_requested(fresh_database, tenant)
    record = CustomerRecord.model_validate({"id": "a", "communityTags": ["x"]})
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        # Told by the criteria before the edit, and committed after it.
        await record_customers(connection, tenant, [record], actor=None)
        async with fresh_database.tenant_transaction(tenant.id) as editing:
            patch = SegmentPatch.model_validate({"criteria": {"tag": "x"}})
            await segmentation.change_segment(editing, tenant, segment_id, patch, actor=None)
        evaluation = asyncio.create_task(segmentation.evaluate_requested(fresh_database, tenant))
        done, _ = await asyncio.wait({evaluation}, timeout=0.3)
        assert not done
    await evaluation
    assert await _members(fresh_database, tenant, segment_id) == {"a"}


async def test_events_under_way_when_a_segment_is_made_are_not_missed(
    fresh_database: Database,
) -> None:
    tenant = await make_tenant(fresh_database)
    await make_customer(fresh_database, tenant, "a")
    await make_customer(fresh_database, tenant, "b")
    seen, seen_later = (
        EventRecord.model_validate({"customerId": each, "eventType": "seen"}) for each in "ab"
    )
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        # When no segment asks of events yet.
        await record_events(connection, tenant, [seen])
        segment_id = await _segment(
            fresh_database, tenant, criteria={"events": {"type": "seen"}}, segmentType="behavioral"
        )
        evaluation = asyncio.create_task(segmentation.evaluate_requested(fresh_database, tenant))
        done, _ = await asyncio.wait({evaluation}, timeout=0.3)
        assert not done
    await evaluation
    assert await _members(fresh_database, tenant, segment_id) == {"a"}
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        # As an evaluation holds it, which an event does not wait for.
        await members.lock_evaluation(connection, tenant.id)
        async with (
            asyncio.timeout(10),
            fresh_database.tenant_transaction(tenant.id) as recording,
        ):
            await record_events(recording, tenant, [seen_later])
    assert await segmentation.evaluate_touched(fresh_database, tenant) == 1
    assert await _members(fresh_database, tenant, segment_id) == {"a", "b"}


async def test_an_evaluation_under_way_is_cancelled_and_keeps_the_members(
    fresh_database: Database, monkeypatch: Any
) -> None:
    tenant = await make_tenant(fresh_database)
    await _record(fresh_database, tenant, "a", ["x"])
    segment_id = await _segment(fresh_database, tenant)
    other_id = await _segment(fresh_database, tenant, criteria={"tag": "y"})
    await segmentation.evaluate_requested(fresh_database, tenant)
    before = await _get(fresh_database, tenant, segment_id)
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        patch = SegmentPatch.model_validate({"criteria": {"tag": "y"}})
        await segmentation.change_segment(connection, tenant, segment_id, patch, actor=None)
        await segmentation.evaluate_again(connection, tenant, other_id)
    monkeypatch.setattr(segmentation, "CANCEL_SECONDS", 0.05)
    compile_tag = Compiler.predicate
    is_slow = True

    def predicate(self: Any, criteria: Any) -> str:
        compiled = compile_tag(self, criteria)
        return f"({SLOW} AND {compiled})" if is_slow else compiled

    monkeypatch.setattr(Compiler, "predicate", predicate)
    evaluation = asyncio.create_task(segmentation.evaluate_requested(fresh_database, tenant))
    async with asyncio.timeout(20):
        while (await _get(fresh_database, tenant, segment_id)).state != "running":  # noqa: ASYNC110 - a row
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        is_slow = False
        async with fresh_database.tenant_transaction(tenant.id) as connection:
            await segmentation.cancel_evaluation(connection, tenant, segment_id)
        # What was not cancelled is taken up again, and ends.
        await evaluation
    found = await _get(fresh_database, tenant, segment_id)
    assert (found.state, found.computed_at) == ("cancelled", before.computed_at)
    assert not found.is_current
    assert await _members(fresh_database, tenant, segment_id) == {"a"}
    assert (await _get(fresh_database, tenant, other_id)).state == "succeeded"
    # And nothing was left on the connections.
    await _record(fresh_database, tenant, "b", ["y"])
    assert await _members(fresh_database, tenant, other_id) == {"b"}


async def test_an_evaluation_that_died_is_taken_up_again(fresh_database: Database) -> None:
    tenant = await make_tenant(fresh_database)
    await _record(fresh_database, tenant, "a", ["x"])
    segment_id = await _segment(fresh_database, tenant)
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        await segments.start_requested(connection, tenant.id)
    assert (await _get(fresh_database, tenant, segment_id)).state == "running"
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        await segmentation.request_due_evaluations(connection, tenant)
        queued = await connection.scalar(
            text("SELECT count(*) FROM queue.pgqueuer WHERE entrypoint = 'evaluate_segments'")
        )
    assert queued == 2
    await segmentation.evaluate_requested(fresh_database, tenant)
    assert await _members(fresh_database, tenant, segment_id) == {"a"}


async def test_very_many_touched_customers_are_evaluated_with_everybody(
    fresh_database: Database, monkeypatch: Any
) -> None:
    tenant = await make_tenant(fresh_database)
    segment_id = await _segment(fresh_database, tenant)
    await segmentation.evaluate_requested(fresh_database, tenant)
    monkeypatch.setattr(segmentation, "MANY_TOUCHED", 3)
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        for number in range(4):
            sk = await connection.scalar(
                text(
                    "INSERT INTO customers (tenant_id, id, name, community_tags)"
                    " VALUES (:t, :id, 'N', '{x}') RETURNING sk"
                ),
                {"t": tenant.id, "id": f"c-{number}"},
            )
            await connection.execute(
                text("INSERT INTO segment_touched (tenant_id, customer_sk) VALUES (:t, :sk)"),
                {"t": tenant.id, "sk": sk},
            )
    assert await segmentation.evaluate_touched(fresh_database, tenant) == 0
    assert (await _get(fresh_database, tenant, segment_id)).state == "queued"
    await segmentation.evaluate_requested(fresh_database, tenant)
    assert len(await _members(fresh_database, tenant, segment_id)) == 4


async def test_merged_customers_are_one_member(fresh_database: Database) -> None:
    tenant = await make_tenant(fresh_database)
    for name, tags in (("target", []), ("double", ["x"])):
        await make_customer(fresh_database, tenant, name, community_tags=tags)
    by_tag = await _segment(fresh_database, tenant)
    by_hand = await _segment(fresh_database, tenant, criteria=None)
    await segmentation.evaluate_requested(fresh_database, tenant)
    now = datetime.now(UTC)
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        await segmentation.add_member(connection, tenant, by_hand, "double", now=now)
    assert await _members(fresh_database, tenant, by_tag) == {"double"}
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        await merge_customers(
            connection, tenant, target_id="target", duplicate_id="double", actor=None
        )
    # The tag has moved with the duplicate, and so has the hand that put it in.
    assert await _members(fresh_database, tenant, by_tag) == {"target"}
    assert await _members(fresh_database, tenant, by_hand) == {"target"}
