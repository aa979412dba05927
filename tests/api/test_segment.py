"""Segments over HTTP: criteria in, members out, kept up live and by the job."""

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.database import Database
from app.domain.access import Scope
from app.domain.scoring_run import RunMode
from app.domain.tenant import Tenant
from app.repositories import audience
from app.services import scoring, segmentation
from tests.factories import make_customer, make_key, make_tenant

SEGMENTS = "/api/segmentation/segments"


async def _create(client: httpx.AsyncClient, criteria: Any, **fields: Any) -> dict[str, Any]:
    body = {"name": "S", "segmentType": "behavioral", "criteria": criteria, **fields}
    answer = await client.post(SEGMENTS, json=body)
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


async def _order(
    client: httpx.AsyncClient, customer: str, number: str, days_ago: float = 1, **fields: Any
) -> None:
    ordered_at = (datetime.now(UTC) - timedelta(days=days_ago)).isoformat()
    order = {"id": number, "customerId": customer, "orderedAt": ordered_at, "totalAmount": "1000"}
    answer = await client.post("/api/orders", json=order | fields)
    assert answer.status_code == 201, answer.text


async def _customer(client: httpx.AsyncClient, customer_id: str, **fields: Any) -> None:
    answer = await client.post(
        "/api/customers", json={"id": customer_id, "name": f"Name {customer_id}", **fields}
    )
    assert answer.status_code == 201, answer.text


async def _members(client: httpx.AsyncClient, segment: dict[str, Any], **query: Any) -> set[str]:
    answer = await client.get(f"{SEGMENTS}/{segment['id']}/members", params=query)
    assert answer.status_code == 200, answer.text
    return {each["customerId"] for each in answer.json()["items"]}


async def _get(client: httpx.AsyncClient, segment: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(f"{SEGMENTS}/{segment['id']}")).json()
    return found


async def test_a_segment_is_made_listed_changed_and_deleted(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _customer(client, "a", communityTags=["vip"])
    await _customer(client, "b")
    body = {
        "userId": tenant.slug,
        "name": "At-Risk Customers",
        "segmentType": "behavioral",
        "description": "Customers with declining activity",
        "criteria": {"daysInactive": 30, "minPreviousPurchases": 3},
    }
    created = await client.post(SEGMENTS, json=body)
    assert created.status_code == 201
    segment = created.json()
    assert segment["criteria"] == body["criteria"]
    assert segment["normalizedCriteria"] == {
        "all": [
            {"field": "daysSinceLastOrder", "gte": 30},
            {"field": "countedOrders", "gte": 3},
        ]
    }
    assert segment["computedAt"] is None
    assert segment["lag"] is None
    assert segment["isCurrent"] is False
    assert segment["evaluation"]["state"] == "queued"

    await segmentation.evaluate_requested(database, tenant)
    segment = await _get(client, segment)
    assert segment["memberCount"] == 0
    assert segment["isCurrent"] is True
    assert 0 <= segment["lag"] < 60

    path = f"{SEGMENTS}/{segment['id']}"
    changed = await client.patch(path, json={"criteria": {"tag": "vip"}, "name": "VIP"})
    assert changed.status_code == 200, changed.text
    assert changed.json()["isCurrent"] is False
    assert changed.json()["computedAt"] == segment["computedAt"]
    await segmentation.evaluate_requested(database, tenant)
    assert await _members(client, segment) == {"a"}
    assert (await _get(client, segment))["memberCount"] == 1

    listed = (await client.get(SEGMENTS, params={"userId": tenant.slug})).json()
    assert listed["total"] == 1
    assert listed["nextCursor"] is None
    assert [each["name"] for each in listed["data"]] == ["VIP"]
    assert (await client.get(SEGMENTS, params={"userId": "other"})).status_code == 403

    assert (await client.delete(path)).status_code == 204
    assert (await client.get(SEGMENTS)).json() == {"data": [], "total": 0, "nextCursor": None}
    assert (await _get(client, segment))["isActive"] is False
    resting = (await client.get(SEGMENTS, params={"isActive": False})).json()
    assert resting["total"] == 1
    # Taken up again, it is evaluated again.
    revived = await client.patch(path, json={"isActive": True})
    assert revived.json()["evaluation"]["state"] == "queued"


async def test_segments_come_in_pages(client: httpx.AsyncClient) -> None:
    made = [(await _create(client, {"tag": f"t{number}"}))["id"] for number in range(3)]
    first = (await client.get(SEGMENTS, params={"limit": 2})).json()
    assert first["total"] == 3
    second = await client.get(SEGMENTS, params={"limit": 2, "cursor": first["nextCursor"]})
    found = [each["id"] for each in first["data"] + second.json()["data"]]
    assert found == made
    assert second.json()["nextCursor"] is None


async def test_an_order_changes_memberships_at_once(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _customer(client, "a")
    await _customer(client, "b")
    buyers = await _create(client, {"field": "countedOrders", "gte": 1})
    new = await _create(client, {"field": "countedOrders", "eq": 0})
    both = await _create(client, {"all": [{"segment": buyers["id"]}, {"tag": "vip"}]})
    await segmentation.evaluate_requested(database, tenant)
    assert await _members(client, new) == {"a", "b"}
    await _order(client, "a", "o-1")
    assert await _members(client, buyers) == {"a"}
    assert await _members(client, new) == {"b"}
    # An attribute that no score depends on.
    await client.patch("/api/customers/a", json={"communityTags": ["vip"]})
    assert await _members(client, both) == {"a"}
    await client.patch("/api/customers/a", json={"communityTags": []})
    assert await _members(client, both) == set()
    await client.patch("/api/orders/o-1", json={"status": "cancelled"})
    assert await _members(client, buyers) == set()
    assert [(await _get(client, each))["memberCount"] for each in (buyers, new, both)] == [0, 2, 0]
    changes = (await client.get(f"{SEGMENTS}/{buyers['id']}/changes")).json()["items"]
    assert [(each["customerId"], each["change"]) for each in changes] == [
        ("a", "left"),
        ("a", "joined"),
    ]


async def test_windows_are_left_to_the_job(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _customer(client, "a")
    frequent = await _create(client, {"orders": {"count": {"gte": 2}, "within": "P30D"}})
    await segmentation.evaluate_requested(database, tenant)
    await _order(client, "a", "o-1", 1)
    await _order(client, "a", "o-2", 40)
    assert await segmentation.evaluate_touched(database, tenant) > 0
    assert await _members(client, frequent) == set()
    await _order(client, "a", "o-3", 29)
    assert await _members(client, frequent) == set()
    await segmentation.evaluate_touched(database, tenant)
    assert await _members(client, frequent) == {"a"}
    assert await segmentation.evaluate_touched(database, tenant) == 0


async def test_captures_and_events_change_memberships(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _customer(client, "a")
    near = await _create(client, {"place": {"geohash": "qqg"}})
    viewers = await _create(client, {"events": {"type": "page_view", "within": "P1D"}})
    await segmentation.evaluate_requested(database, tenant)
    now = datetime.now(UTC).isoformat()
    capture = {"customerId": "a", "latitude": -6.2, "longitude": 106.8}
    answer = await client.post("/api/geo/capture", json=capture)
    assert answer.status_code == 201, answer.text
    assert await _members(client, near) == {"a"}
    event = {"customerId": "a", "eventType": "page_view", "occurredAt": now}
    answer = await client.post("/api/segmentation/events", json=event)
    assert answer.status_code == 201, answer.text
    assert await segmentation.evaluate_touched(database, tenant) == 1
    assert await _members(client, viewers) == {"a"}
    for criteria, count in (
        ({"field": "pageViews", "gte": 1, "lt": 2}, 1),
        ({"field": "lastEventAt", "within": "P1D"}, 1),
        ({"field": "purchaseEventValue", "gt": 0}, 0),
    ):
        found = await client.post(f"{SEGMENTS}/preview", json={"criteria": criteria})
        assert found.json()["count"] == count, criteria


async def _see(client: httpx.AsyncClient, customer: str) -> None:
    event = {"customerId": customer, "eventType": "product_view"}
    answer = await client.post("/api/segmentation/events", json=event)
    assert answer.status_code == 201, answer.text


async def test_events_are_left_to_the_job_where_a_segment_asks_of_them(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _customer(client, "a")
    await _customer(client, "b")
    await _create(client, {"field": "countedOrders", "eq": 0})
    await segmentation.evaluate_requested(database, tenant)
    await _see(client, "a")
    assert await segmentation.evaluate_touched(database, tenant) == 0
    keen = await _create(client, {"events": {"type": "product_view", "count": {"gte": 2}}})
    seen = await _create(client, {"field": "eventCount", "gte": 2})
    await segmentation.evaluate_requested(database, tenant)
    assert await _members(client, keen) == set()
    await _see(client, "a")
    await _see(client, "b")
    assert await _members(client, keen) == set()
    assert await segmentation.evaluate_touched(database, tenant) == 2
    assert await _members(client, keen) == {"a"}
    assert await _members(client, seen) == {"a"}
    for each in (keen, seen):
        assert (await client.delete(f"{SEGMENTS}/{each['id']}")).status_code == 204
    await _see(client, "b")
    assert await segmentation.evaluate_touched(database, tenant) == 0


async def test_a_capture_changes_memberships_at_once(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _customer(client, "host")
    await _customer(client, "a", referredByCustomerId="host")
    near = await _create(
        client, {"place": {"within": {"latitude": -6.2, "longitude": 106.8, "metres": 500}}}
    )
    await segmentation.evaluate_requested(database, tenant)
    for latitude, expected in ((-6.2001, {"a"}), (-6.3, set())):
        capture = {"customerId": "a", "latitude": latitude, "longitude": 106.8}
        answer = await client.post("/api/geo/capture", json=capture)
        assert answer.status_code == 201, answer.text
        assert await _members(client, near) == expected


async def test_every_kind_of_clause_reaches_its_customers(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await client.post("/api/stores", json={"id": "s-1", "name": "Kemang"})
    place = {"lastKnownLatitude": -6.2, "lastKnownLongitude": 106.8}
    await _customer(client, "a", dateOfBirth="1990-01-01", homeStoreId="s-1", **place)
    await _customer(client, "b", email="b@example.com", optInEmail=True)
    item = {"productId": "p", "category": "toys", "quantity": 1, "unitPrice": "5000"}
    fields = {"items": [item], "totalAmount": "5000", "storeId": "s-1"}
    await _order(client, "a", "o-1", 3, **fields)
    await _order(client, "a", "o-2", 4, status="cancelled")
    async with database.tenant_transaction(tenant.id) as connection:
        for statement in (
            "SELECT ensure_partition('behavior_events', date_trunc('month', now())::date)",
            "INSERT INTO delivery_zones (tenant_id, id, name, area) VALUES (:t, 'z', 'Z',"
            " ST_Multi(ST_MakeEnvelope(106, -7, 107, -6, 4326)))",
            "INSERT INTO behavior_events (tenant_id, id, customer_sk, occurred_at, event_type,"
            " event_category, event_value, properties) SELECT :t, 'e-' || n, sk, now(), 'view',"
            """ 'web', 100, '{"colour": "red", "size": 3}'"""
            " FROM customers, generate_series(1, 3) n WHERE id = 'a'",
        ):
            await connection.execute(text(statement), {"t": tenant.id} if ":t" in statement else {})
    circle = {"latitude": -6.2, "longitude": 106.801, "metres": 200}
    for criteria, expected in (
        ({"field": "age", "gte": 30}, {"a"}),
        ({"field": "age", "exists": False}, {"b"}),
        ({"field": "homeStoreId", "eq": "s-1"}, {"a"}),
        ({"field": "email", "contains": "@example"}, {"b"}),
        ({"field": "email", "startsWith": "b@"}, {"b"}),
        ({"field": "optInEmail", "eq": True}, {"b"}),
        ({"field": "name", "in": ["Name a", "Name c"]}, {"a"}),
        ({"field": "name", "notIn": ["Name a"]}, {"b"}),
        ({"field": "email", "ne": "b@example.com"}, {"a"}),
        ({"field": "lastOrderAt", "within": "P4D"}, {"a"}),
        ({"field": "lastOrderAt", "before": "P1D"}, {"a"}),
        ({"field": "lastOrderAt", "after": "P2D"}, set()),
        ({"field": "createdAt", "after": "2020-01-01"}, {"a", "b"}),
        ({"field": "dateOfBirth", "eq": "1990-01-01"}, {"a"}),
        ({"field": "dateOfBirth", "before": "P10Y"}, {"a"}),
        ({"field": "revenue", "gte": "5000.00", "lt": 5000.01}, {"a"}),
        ({"not": {"field": "revenue", "gte": 1}}, {"b"}),
        ({"field": "preferredCategories", "contains": "toys"}, {"a"}),
        ({"orders": {"sum": {"gte": 5000}, "category": "toys"}}, {"a"}),
        ({"orders": {"average": {"lt": 6000}, "store": "s-1"}}, {"a"}),
        ({"orders": {"status": "cancelled"}}, {"a"}),
        ({"orders": {"status": ["cancelled", "completed"], "count": {"eq": 2}}}, {"a"}),
        ({"orders": {"count": {"eq": 0}}}, {"b"}),
        ({"orders": {"within": "P2D"}}, set()),
        ({"events": {"type": "view", "count": {"gte": 3}, "within": "P1D"}}, {"a"}),
        ({"events": {"type": "view", "category": "app"}}, set()),
        ({"events": {"properties": {"colour": "red", "size": 3}}}, {"a"}),
        ({"events": {"properties": {"colour": "blue"}}}, set()),
        ({"events": {"sum": {"gte": 3}}}, {"a"}),
        ({"place": {"within": circle}}, {"a"}),
        ({"place": {"within": circle | {"metres": 50}}}, set()),
        ({"place": {"zone": "z"}}, {"a"}),
        ({"place": {"zone": "y"}}, set()),
        ({"place": {"geohash": "qqg"}}, {"a"}),
        ({"high_churn_risk": False}, {"a", "b"}),
        ({"any": [{"tag": "x"}, {"all": [{"field": "name", "eq": "Name b"}]}]}, {"b"}),
    ):
        answer = await client.post(f"{SEGMENTS}/preview", json={"criteria": criteria})
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert {each["customerId"] for each in found["sample"]} == expected, criteria
        assert found["count"] == len(expected)
        assert found["customers"] == 2
        assert found["share"] == len(expected) / 2
        # The job reads the same as the preview.
        again = {"criteria": found["normalizedCriteria"]}
        repeated = (await client.post(f"{SEGMENTS}/preview", json=again)).json()
        assert repeated == found, criteria


async def test_what_cannot_be_counted_in_time_is_estimated(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abcd":
        await _customer(client, name)
    await _see(client, "a")
    criteria = {"events": {"type": "product_view", "count": {"gte": 1}, "within": "P30D"}}
    body = {"criteria": criteria}
    counted = (await client.post(f"{SEGMENTS}/preview", json=body)).json()
    assert counted["countBetween"] is None
    in_time = audience._in_time
    asked = 0

    async def slow_at_first(connection: Any, statement: str, parameters: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked <= slow:
            return await in_time(connection, "SELECT pg_sleep(10)", {})
        return await in_time(connection, statement, parameters)

    monkeypatch.setattr(audience, "_in_time", slow_at_first)
    monkeypatch.setattr(audience, "_EXACT_SECONDS", 0.2)
    monkeypatch.setattr(audience, "_ESTIMATE_SECONDS", 0.2)
    slow = 1
    # So few are all asked, and nothing is left to estimate.
    estimated = (await client.post(f"{SEGMENTS}/preview", json=body)).json()
    assert estimated == counted | {"countBetween": [1, 1]}
    asked, slow = 0, 2
    given_up = await client.post(f"{SEGMENTS}/preview", json=body)
    assert given_up.status_code == 504, given_up.text
    assert "neither counted nor estimated" in given_up.json()["detail"]


@pytest.mark.parametrize(
    ("criteria", "pointer", "nearest"),
    [
        ({"field": "churnscore", "gte": 0.5}, "/criteria/field", "churnScore"),
        ({"field": "churnScore", "gte": "x"}, "/criteria/gte", "number"),
        ({"all": [{"field": "churnScore", "gt_e": 1}]}, "/criteria/all/0/gt_e", "gte"),
        ({"not": {"field": "name", "gte": 1}}, "/criteria/not/gte", "texts"),
        ({"minFrequncy": 3}, "/criteria/minFrequncy", "min_frequency"),
        ({"orders": {"cont": {"gte": 1}}}, "/criteria/orders/cont", "count"),
        ({"orders": {"status": "complete"}}, "/criteria/orders/status", "completed"),
        ({"events": {"within": "30 days"}}, "/criteria/events/within", "ISO 8601"),
        ({"place": {"geohash": "aaa"}}, "/criteria/place/geohash", "geohash"),
        ({"any": []}, "/criteria/any", "empty"),
        ({"tag": "a", "all": [{"tag": "b"}]}, "/criteria/tag", "all"),
        ({"field": "revenue", "gte": "0.001"}, "/criteria/gte", "decimal places"),
        ({"segment": "nowhere"}, "/criteria/segment", "active segment"),
        ({"cohort": "nowhere"}, "/criteria/cohort", "cohort"),
        ({"field": "totalOrders", "gte": 1.5}, "/criteria/gte", "whole"),
    ],
)
async def test_what_criteria_cannot_say_is_refused_at_its_place(
    client: httpx.AsyncClient, criteria: Any, pointer: str, nearest: str
) -> None:
    body = {"name": "S", "segmentType": "rfm", "criteria": criteria}
    for path, sent in ((SEGMENTS, body), (f"{SEGMENTS}/preview", {"criteria": criteria})):
        answer = await client.post(path, json=sent)
        assert answer.status_code == 422, answer.text
        [error] = answer.json()["errors"]
        assert error["pointer"] == pointer
        assert nearest in error["reason"]


async def test_segments_do_not_lead_back_to_themselves(client: httpx.AsyncClient) -> None:
    first = await _create(client, {"tag": "a"})
    second = await _create(client, {"any": [{"not": {"segment": first["id"]}}]})
    for segment in (first, second):
        answer = await client.patch(
            f"{SEGMENTS}/{first['id']}", json={"criteria": {"not": {"segment": segment["id"]}}}
        )
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["pointer"] == "/criteria/not/segment"
    # And what another refers to is not taken away.
    refused = await client.delete(f"{SEGMENTS}/{first['id']}")
    assert refused.status_code == 409
    assert second["id"] in refused.json()["detail"]
    assert (await client.delete(f"{SEGMENTS}/{second['id']}")).status_code == 204
    assert (await client.delete(f"{SEGMENTS}/{first['id']}")).status_code == 204


async def test_members_by_hand_stay(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    for customer in ("a", "b"):
        await _customer(client, customer)
    hand = await _create(client, None, segmentType="custom")
    other = await _create(client, {"tag": "x"})
    follower = await _create(client, {"segment": hand["id"]})
    await segmentation.evaluate_requested(database, tenant)
    path = f"{SEGMENTS}/{hand['id']}/members"
    added = await client.post(path, json={"customerId": "a"})
    assert (added.status_code, added.json()) == (201, {"status": "added"})
    assert (await client.post(f"{path}/a")).json() == {"status": "unchanged"}
    assert (await client.post(path, json={"customerId": "nobody"})).status_code == 422
    refused = await client.post(f"{SEGMENTS}/{other['id']}/members", json={"customerId": "a"})
    assert refused.status_code == 409
    assert await _members(client, follower) == {"a"}
    await client.post(f"{SEGMENTS}/{hand['id']}/evaluation")
    await segmentation.evaluate_requested(database, tenant)
    assert await _members(client, hand) == {"a"}
    assert (await client.get(f"{path}/a")).json()["manual"] is True
    assert (await client.delete(f"{path}/b")).status_code == 404
    assert (await client.delete(f"{path}/a")).status_code == 204
    assert (await client.get(f"{path}/a")).status_code == 404
    assert await _members(client, follower) == set()
    assert (await _get(client, hand))["memberCount"] == 0
    # With criteria, who meets them is a member whatever the hand does.
    await client.patch(f"{SEGMENTS}/{hand['id']}", json={"criteria": {"field": "id", "eq": "b"}})
    await segmentation.evaluate_requested(database, tenant)
    assert (await client.delete(f"{path}/b")).status_code == 409
    await client.post(f"{path}/b")
    assert (await client.delete(f"{path}/b")).status_code == 204
    assert await _members(client, hand) == {"b"}


async def test_an_explanation_shows_each_clause(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, anonymous: httpx.AsyncClient
) -> None:
    await _customer(client, "a", email="a@example.com")
    await _order(client, "a", "o-1", 2, totalAmount="1500.50")
    segment = await _create(
        client,
        {
            "all": [
                {"field": "revenue", "gte": 1000},
                {"any": [{"field": "email", "exists": True}, {"tag": "vip"}]},
                {"not": {"orders": {"average": {"lt": 10}}}},
                {"orders": {"count": {"gte": 2}, "within": "P30D"}},
            ]
        },
    )
    await segmentation.evaluate_requested(database, tenant)
    path = f"{SEGMENTS}/{segment['id']}/explain/a"
    found = (await client.get(path)).json()
    assert found["holds"] is False
    assert found["isMember"] is False
    assert [(each["pointer"], each["value"], each["holds"]) for each in found["clauses"]] == [
        ("/all/0", "1500.50", True),
        ("/all/1/any/0", "a@example.com", True),
        ("/all/1/any/1", [], False),
        ("/all/2/not", "1500.50", False),
        ("/all/3", 1, False),
    ]
    assert found["clauses"][0]["clause"] == {"field": "revenue", "gte": "1000.00"}
    await _order(client, "a", "o-2", 2)
    await segmentation.evaluate_touched(database, tenant)
    found = (await client.get(path)).json()
    assert (found["holds"], found["isMember"]) == (True, True)
    assert (await client.get(f"{SEGMENTS}/{segment['id']}/explain/nobody")).status_code == 404
    hidden = (await client.get(path, params={"anonymize": True})).json()
    assert "a@example.com" not in str(hidden)
    assert hidden["customerId"] != "a"


async def test_members_of_a_past_day_pages_and_file(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    for number in range(5):
        await _customer(client, f"c-{number}", communityTags=["x"])
    segment = await _create(client, {"tag": "x"})
    await segmentation.evaluate_requested(database, tenant)
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(
            text("UPDATE segment_members SET joined_at = joined_at - interval '10 days'")
        )
        await connection.execute(
            text(
                "UPDATE segment_members SET left_at = now() - interval '5 days' WHERE customer_sk"
                " = (SELECT sk FROM customers WHERE id = 'c-0')"
            )
        )
    path = f"{SEGMENTS}/{segment['id']}/members"
    today = tenant.local_day(datetime.now(UTC))
    all_five = {f"c-{number}" for number in range(5)}
    assert await _members(client, segment) == all_five - {"c-0"}
    assert await _members(client, segment, at=today) == all_five - {"c-0"}
    assert await _members(client, segment, at=today - timedelta(days=7)) == all_five
    assert await _members(client, segment, at=today - timedelta(days=12)) == set()
    ahead = await client.get(path, params={"at": str(today + timedelta(days=1))})
    assert ahead.status_code == 422
    for query in ({}, {"at": str(today - timedelta(days=7))}):
        shown: list[str] = []
        cursor: str | None = None
        while True:
            page: dict[str, int | str] = {"limit": 2, **query}
            if cursor is not None:
                page["cursor"] = cursor
            answer = (await client.get(path, params=page)).json()
            shown += [each["customerId"] for each in answer["items"]]
            cursor = answer["nextCursor"]
            if cursor is None:
                break
        assert len(shown) == len(set(shown)) == (5 if query else 4)
    file = await client.get(f"{path}.csv", params={"at": str(today - timedelta(days=7))})
    rows = list(csv.DictReader(io.StringIO(file.text)))
    assert {row["customerId"] for row in rows} == all_five
    changes: list[tuple[str, str]] = []
    cursor = None
    while True:
        page = {"limit": 1}
        if cursor is not None:
            page["cursor"] = cursor
        answer = (await client.get(f"{SEGMENTS}/{segment['id']}/changes", params=page)).json()
        changes += [(each["customerId"], each["change"]) for each in answer["items"]]
        cursor = answer["nextCursor"]
        if cursor is None:
            break
    assert changes[0] == ("c-0", "left")
    assert sorted(changes) == sorted([(each, "joined") for each in all_five] + [("c-0", "left")])


async def test_lookalikes_are_near_the_members(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    for number in range(8):
        await _customer(client, f"c-{number}", communityTags=["seed"] if number < 2 else [])
        for order in range(4 if number < 4 else 1):
            amount = "90000" if number < 4 else "100"
            await _order(
                client, f"c-{number}", f"o-{number}-{order}", order + 1, totalAmount=amount
            )
    segment = await _create(client, {"tag": "seed"})
    empty = await _create(client, {"tag": "none"})
    await segmentation.evaluate_requested(database, tenant)
    path = f"{SEGMENTS}/{segment['id']}/lookalike"
    found = (await client.post(path, json={"limit": 3})).json()
    assert found["members"] == 2
    assert [each["customerId"] for each in found["items"]][:2] == ["c-2", "c-3"]
    similarities = [each["similarity"] for each in found["items"]]
    assert similarities == sorted(similarities, reverse=True)
    assert 0 <= similarities[2] < 0.5 < similarities[0] <= 1
    assert len((await client.post(path)).json()["items"]) == 6
    refused = await client.post(f"{SEGMENTS}/{empty['id']}/lookalike", json={"limit": 3})
    assert refused.status_code == 409


async def test_segments_overlap(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    for customer, tags in (("a", ["x"]), ("b", ["x", "y"]), ("c", ["y"]), ("d", ["y"])):
        await _customer(client, customer, communityTags=tags)
    made = [await _create(client, {"tag": tag}) for tag in ("x", "y", "z")]
    await segmentation.evaluate_requested(database, tenant)
    ids = [each["id"] for each in made]
    found = (await client.post(f"{SEGMENTS}/overlap", json={"segmentIds": ids})).json()
    assert [(each["members"], each["onlyHere"]) for each in found["segments"]] == [
        (2, 1),
        (3, 2),
        (0, 0),
    ]
    assert found["pairs"][0] == {
        "segmentIds": ids[:2],
        "both": 1,
        "either": 4,
        "jaccard": 0.25,
    }
    assert (found["inAll"], found["inAny"]) == (0, 4)
    unknown = await client.post(f"{SEGMENTS}/overlap", json={"segmentIds": [ids[0], "nowhere"]})
    assert unknown.status_code == 422
    assert unknown.json()["errors"][0]["pointer"] == "/segmentIds/1"


async def test_a_failing_segment_keeps_its_members_and_says_so(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _customer(client, "a", communityTags=["x"])
    broken = await _create(client, {"tag": "x"})
    sound = await _create(client, {"tag": "x"})
    await segmentation.evaluate_requested(database, tenant)
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(
            text('UPDATE segments SET normalized = \'{"field": "gone"}\' WHERE id = :id'),
            {"id": broken["id"]},
        )
        await segmentation.request_all(connection, tenant)
    await _customer(client, "b", communityTags=["x"])
    await segmentation.evaluate_requested(database, tenant)
    found = await _get(client, broken)
    assert found["evaluation"]["state"] == "failed"
    assert "gone" in found["lastError"] or "field" in found["lastError"]
    assert found["memberCount"] == 1
    assert await _members(client, broken) == {"a"}
    assert await _members(client, sound) == {"a", "b"}


async def test_a_waiting_evaluation_is_cancelled(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _customer(client, "a", communityTags=["x"])
    segment = await _create(client, {"tag": "x"})
    path = f"{SEGMENTS}/{segment['id']}/evaluation"
    cancelled = await client.delete(path)
    assert cancelled.status_code == 202
    assert cancelled.json()["evaluation"]["state"] == "cancelled"
    await segmentation.evaluate_requested(database, tenant)
    assert await _members(client, segment) == set()
    assert (await client.delete(path)).status_code == 409
    assert (await client.post(path)).status_code == 202
    await segmentation.evaluate_requested(database, tenant)
    assert await _members(client, segment) == {"a"}


async def test_runs_of_scores_bring_memberships_up_to_date(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _customer(client, "a")
    segment = await _create(client, {"field": "lastOrderAt", "within": "P30D"})
    await segmentation.evaluate_requested(database, tenant)
    # Imported customers are scored by a run, which leaves them to the job.
    await make_customer(database, tenant, "b", community_tags=["x"])
    tagged = await _create(client, {"tag": "x"})
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(
            text("UPDATE segments SET state = 'succeeded', evaluated_revision = revision")
        )
    now = datetime.now(UTC)
    await scoring.run_scores(database, tenant, mode=RunMode.RECENT, as_of=now)
    await segmentation.evaluate_touched(database, tenant)
    assert await _members(client, tagged) == {"b"}
    await scoring.run_scores(database, tenant, mode=RunMode.FULL, as_of=now)
    assert (await _get(client, segment))["evaluation"]["state"] == "queued"
    await segmentation.evaluate_requested(database, tenant)
    # What drifts is evaluated each hour, what does not is not.
    async with database.tenant_transaction(tenant.id) as connection:
        await segmentation.request_due_evaluations(connection, tenant)
    assert (await _get(client, segment))["evaluation"]["state"] == "queued"
    assert (await _get(client, tagged))["evaluation"]["state"] == "succeeded"


async def test_a_key_that_may_not_know_customers_sees_pseudonyms(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _customer(client, "cus-secret", name="Siti Rahayu", communityTags=["x"])
    segment = await _create(client, {"tag": "x"})
    await segmentation.evaluate_requested(database, tenant)
    scopes = {Scope.SEGMENTS_READ, Scope.EXPORTS_READ, Scope.CUSTOMERS_ANONYMIZED}
    key = await make_key(database, tenant, scopes=scopes)
    for path in ("members", "changes", "members.csv", "explain/cus-secret"):
        answer = await anonymous.get(
            f"{SEGMENTS}/{segment['id']}/{path}", headers={"X-API-Key": key}
        )
        assert answer.status_code == 200, answer.text
        assert "cus-secret" not in answer.text
        assert "Siti" not in answer.text


async def test_segments_of_another_tenant_stay_theirs(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _customer(client, "a", communityTags=["x"])
    segment = await _create(client, {"tag": "x"})
    other = await make_tenant(database, "other")
    key = {"X-API-Key": await make_key(database, other)}
    refused = await anonymous.post(
        f"{SEGMENTS}/preview", json={"criteria": {"segment": segment["id"]}}, headers=key
    )
    assert refused.status_code == 422
    preview = await anonymous.post(
        f"{SEGMENTS}/preview", json={"criteria": {"tag": "x"}}, headers=key
    )
    assert preview.json()["count"] == 0
