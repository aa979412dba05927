"""Journeys over HTTP: customers advance by rules, and go anywhere by hand."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from app.database import Database
from app.domain.stage import Stage
from app.domain.tenant import Tenant
from app.services import staging
from tests.factories import make_customer

URL = "/api/segmentation/journeys"
NOW = datetime.now(UTC)


async def buy(client: httpx.AsyncClient, number: int, customer: str = "cus-1") -> None:
    order = {
        "id": f"{customer}-{number}",
        "customerId": customer,
        # A decision is one as long as it is fresh.
        "orderedAt": (datetime.now(UTC) - timedelta(days=2)).isoformat(),
        "totalAmount": "100.00",
    }
    answer = await client.post("/api/orders", json=order)
    assert answer.status_code == 201, answer.text


async def advance(
    database: Database,
    tenant: Tenant,
    now: datetime = NOW,
    customer_sks: Collection[int] | None = None,
) -> int:
    async with database.tenant_transaction(tenant.id) as connection:
        return await staging.advance_customers(connection, tenant, customer_sks, now=now)


async def stage_of(client: httpx.AsyncClient, customer: str = "cus-1") -> str:
    answer = await client.get(f"{URL}/{customer}")
    assert answer.status_code == 200, answer.text
    stage: str = answer.json()["currentStage"]
    return stage


async def test_orders_lead_on_and_nothing_leads_back(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant)
    assert await stage_of(client) == "awareness"
    assert await advance(database, tenant) == 1
    await buy(client, 1)
    assert await advance(database, tenant, NOW + timedelta(days=1)) == 1
    assert await stage_of(client) == "decision"
    assert await advance(database, tenant, NOW + timedelta(days=1)) == 0
    await buy(client, 2)
    await advance(database, tenant, NOW + timedelta(days=2))
    assert await stage_of(client) == "retention"
    # An order that is called off later takes nobody back.
    await client.patch("/api/orders/cus-1-2", json={"status": "cancelled"})
    assert await advance(database, tenant, NOW + timedelta(days=3)) == 0
    history = (await client.get(f"{URL}/cus-1/history", params={"limit": 2})).json()
    assert [(each["fromStage"], each["stage"]) for each in history["items"]] == [
        ("decision", "retention"),
        ("awareness", "decision"),
    ]
    rest = await client.get(f"{URL}/cus-1/history", params={"cursor": history["nextCursor"]})
    assert [(each["fromStage"], each["stage"]) for each in rest.json()["items"]] == [
        (None, "awareness")
    ]


async def test_whoever_has_changed_is_looked_at_by_the_worker(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "cus-1")
    await make_customer(database, tenant, "cus-2")
    await buy(client, 1)
    assert await stage_of(client) == "awareness"
    assert await staging.advance_touched(database, tenant) == 1
    assert await stage_of(client) == "decision"
    assert await staging.advance_touched(database, tenant) == 0
    assert await staging.advance_everybody(database, tenant) == 1


async def test_only_the_named_customers_are_looked_at(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    sk = await make_customer(database, tenant, "cus-1")
    await make_customer(database, tenant, "cus-2")
    for customer in ("cus-1", "cus-2"):
        await buy(client, 1, customer)
    assert await advance(database, tenant, customer_sks=[]) == 0
    assert await advance(database, tenant, customer_sks=[sk]) == 1
    assert await stage_of(client, "cus-1") == "decision"
    assert await stage_of(client, "cus-2") == "awareness"


async def test_a_person_may_set_a_stage_in_any_direction(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant)
    for number in range(2):
        await buy(client, number)
    await advance(database, tenant)
    back = await client.put(f"{URL}/cus-1", json={"stage": "consideration"})
    assert back.status_code == 200, back.text
    assert back.json()["setBy"] is not None
    # The rules lead on from there.
    await advance(database, tenant, NOW + timedelta(days=1))
    assert await stage_of(client) == "retention"
    ahead = await client.put(f"{URL}/cus-1", json={"stage": "advocacy"})
    assert ahead.json()["currentStage"] == "advocacy"
    again = await client.put(f"{URL}/cus-1", json={"stage": "advocacy"})
    assert again.json() == ahead.json()
    history = (await client.get(f"{URL}/cus-1/history")).json()["items"]
    assert {each["stage"] for each in history} == {"retention", "consideration", "advocacy"}
    assert len(history) == 4


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("cus-1", {"stage": "purchase"}, 422),
        ("cus-1", {}, 422),
        ("nobody", {"stage": "decision"}, 404),
        ("cus-1", {"stage": "decision", "userId": "other"}, 403),
    ],
)
async def test_what_cannot_be_set_is_refused(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    path: str,
    body: dict[str, Any],
    status: int,
) -> None:
    await make_customer(database, tenant)
    assert (await client.put(f"{URL}/{path}", json=body)).status_code == status


async def test_a_tenant_goes_by_rules_of_its_own(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant)
    await buy(client, 1)
    default = (await client.get(f"{URL}/rules")).json()
    assert default["isDefault"] is True
    assert [each["stage"] for each in default["rules"]] == [
        "consideration",
        "decision",
        "retention",
        "advocacy",
    ]
    own = {
        "rules": [
            {"stage": "advocacy", "criteria": {"field": "countedOrders", "gte": 1}},
            {"stage": "decision", "criteria": {"field": "countedOrders", "gte": 5}},
        ]
    }
    changed = await client.put(f"{URL}/rules", json=own)
    assert changed.status_code == 200, changed.text
    # In the order of the stages, whatever the order they came in.
    assert [each["stage"] for each in changed.json()["rules"]] == ["decision", "advocacy"]
    assert changed.json()["isDefault"] is False
    await advance(database, tenant)
    assert await stage_of(client) == "advocacy"
    assert (await client.delete(f"{URL}/rules")).json() == default


@pytest.mark.parametrize(
    ("rule", "pointer"),
    [
        (
            {"stage": "decision", "criteria": {"field": "countedOrder", "gte": 1}},
            "/rules/0/criteria/field",
        ),
        (
            {"stage": "awareness", "criteria": {"field": "countedOrders", "gte": 1}},
            "/rules/0/stage",
        ),
        ({"stage": "decision", "criteria": {"segment": "none"}}, "/rules/0/criteria/segment"),
    ],
)
async def test_rules_that_will_not_do_are_refused_by_their_place(
    client: httpx.AsyncClient, rule: dict[str, Any], pointer: str
) -> None:
    answer = await client.put(f"{URL}/rules", json={"rules": [rule]})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert (await client.get(f"{URL}/rules")).json()["isDefault"] is True


async def test_stages_are_counted_with_what_became_of_those_who_entered(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    now = datetime.now(UTC)
    for number in range(4):
        await make_customer(database, tenant, f"cus-{number}")
        # Scored, so that everybody counts.
        await buy(client, 1, f"cus-{number}")
    for number in range(3):
        await client.put(f"{URL}/cus-{number}", json={"stage": "decision"})
    await advance(database, tenant, now + timedelta(seconds=30))
    async with database.tenant_transaction(tenant.id) as connection:
        for stage, customer in ((Stage.RETENTION, "cus-0"), (Stage.AWARENESS, "cus-1")):
            await staging.place_customer(connection, tenant, customer, stage, actor="k")
    answer = (await client.get(f"{URL}/stages", params={"stalledAfter": 1})).json()
    found = {each["stage"]: each for each in answer["items"]}
    assert answer["customers"] == 4
    assert {stage: each["customers"] for stage, each in found.items()} == {
        "awareness": 1,
        "consideration": 0,
        "decision": 2,
        "retention": 1,
        "advocacy": 0,
    }
    decision = found["decision"]
    assert (decision["entered"], decision["advanced"], decision["fellBack"]) == (4, 1, 1)
    assert (decision["conversion"], decision["dropOff"]) == (0.25, 0.25)
    assert found["consideration"]["conversion"] is None
    assert (await client.get(URL, params={"stage": "decision"})).json()["items"][0][
        "daysInStage"
    ] == 0
