"""Customers at one venue: the figures are those of a customer who never bought anywhere else."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import insert, select, text, update

from app.database import Database
from app.domain.access import ROLES
from app.domain.scoring_run import RunMode
from app.domain.tenant import Tenant
from app.repositories.tables import contacts, customers, feedback, order_items, stores
from app.services.scoring import run_scores
from tests.factories import make_customer, make_key, make_order, make_tenant

AS_OF = datetime(2026, 3, 2, 5, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
async def chain(database: Database) -> Tenant:
    """A tenant with a closed log and two venues.

    Siti buys in both, Twin did in the mall what Siti did there and nothing else, Budi buys in the
    park only, Nia nowhere.
    """
    tenant = await make_tenant(
        database,
        "chain",
        currency="USD",
        profile={"preset": "ticketing", "asOf": AS_OF.isoformat()},
    )
    sks = {name: await make_customer(database, tenant, name, name=name.title())
           for name in ("siti", "twin", "budi", "nia")}  # fmt: skip
    async with database.tenant_transaction(tenant.id) as connection:
        venues = {
            name: await connection.scalar(
                insert(stores)
                .values(tenant_id=tenant.id, id=name, name=name)
                .returning(stores.c.sk)
            )
            for name in ("mall", "park", "new")
        }
    mall = ((10, 300_00, "completed"), (40, 500_00, "accepted"), (60, 999_00, "cancelled"))
    park = ((5, 100_00, "completed"), (100, 50_00, "completed"), (390, 7_00, "completed"))
    placed = (
        [("siti", "mall", each) for each in mall]
        + [("siti", "park", each) for each in park]
        + [("twin", "mall", each) for each in mall]
        + [("budi", "park", park[2])]
    )
    for number, (name, venue, (days, amount, status)) in enumerate(placed):
        sk = await make_order(
            database, tenant, name, f"ord-{number}", ordered_at=AS_OF - days * DAY,
            total_amount=amount, status=status, store_sk=venues[venue],
        )  # fmt: skip
        async with database.tenant_transaction(tenant.id) as connection:
            await connection.execute(
                insert(order_items).values(
                    tenant_id=tenant.id, order_sk=sk, line_no=1, product_id="p", quantity=1,
                    category={"mall": "toys", "park": "tickets"}[venue], unit_price=amount,
                )
            )  # fmt: skip
    async with database.tenant_transaction(tenant.id) as connection:
        for number, (venue, score) in enumerate((("mall", 2), ("park", 10))):
            await connection.execute(
                insert(feedback).values(
                    tenant_id=tenant.id, id=f"fee-{number}", customer_sk=sks["siti"], kind="csat",
                    score=score, store_sk=venues[venue], given_at=AS_OF - 2 * DAY,
                    local_at=tenant.local(AS_OF - 2 * DAY),
                )
            )  # fmt: skip
        await connection.execute(
            insert(contacts).values(
                tenant_id=tenant.id, id="con-1", customer_sk=sks["siti"], channel="email",
                purpose="promo", sent_at=AS_OF - DAY,
            )
        )  # fmt: skip
    await run_scores(database, tenant, mode=RunMode.FULL, as_of=AS_OF)
    return tenant


@pytest.fixture
async def till(app: FastAPI, database: Database, chain: Tenant) -> AsyncIterator[httpx.AsyncClient]:
    key = await make_key(database, chain)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test", headers={"X-API-Key": key}
    ) as client:
        yield client


async def get(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    answer = await client.get(f"/api/customers/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_profile_knows_the_orders_there_only(till: httpx.AsyncClient) -> None:
    assert await get(till, "venue/mall/siti") == {
        "customerId": "siti",
        "venueId": "mall",
        "currency": "USD",
        "firstSeen": "2026-01-21T05:00:00Z",
        "lastSeen": "2026-02-20T05:00:00Z",
        "totalSpent": "800.00",
        "totalTickets": 2,
        "averageOrderValue": "400.00",
        "purchaseFrequency": 2,
        "daysSinceLastPurchase": 10,
        "segment": "occasional",
        # 400 x 365 / 30 days x 3 years
        "predictedLifetimeValue": "14600.00",
        "churnProbability": 0.1,
        "attributes": {
            "preferences": {"categories": ["toys"]},
            "behavior": {"purchaseTime": "afternoon"},
        },
        "asOf": "2026-03-02T05:00:00Z",
        "modelVersion": "ticketing-2",
    }
    park = await get(till, "venue/park/siti")
    assert (park["totalTickets"], park["totalSpent"]) == (3, "157.00")
    assert park["attributes"]["preferences"]["categories"] == ["tickets"]


async def test_scores_are_those_of_who_bought_nowhere_else(till: httpx.AsyncClient) -> None:
    for name in ("rfm", "clv"):
        there = await get(till, f"venue/mall/siti/{name}")
        twin = await get(till, f"twin/{name}")
        assert there[name] == twin[name]
        assert there["venueId"] == "mall"
        assert there[name] != (await get(till, f"siti/{name}"))[name]
    rfm = await get(till, "venue/mall/siti/rfm")
    assert rfm["cutoffs"] == (await get(till, "siti/rfm"))["cutoffs"]
    assert rfm["rfm"]["status"] == "ok"


async def test_reading_a_venue_writes_nothing(
    till: httpx.AsyncClient, database: Database, chain: Tenant
) -> None:
    before = await get(till, "siti/profile")
    for path in ("", "/rfm", "/clv", "/insights", "/journey"):
        await get(till, f"venue/mall/siti{path}")
    await get(till, "venue/mall/segments")
    assert await get(till, "siti/profile") == before


async def test_without_an_order_there_a_customer_is_new(till: httpx.AsyncClient) -> None:
    profile = await get(till, "venue/mall/nia")
    assert (profile["segment"], profile["totalTickets"]) == ("new", 0)
    assert profile["totalSpent"] == "0.00"
    assert profile["firstSeen"] is profile["predictedLifetimeValue"] is None
    assert profile["attributes"] == {
        "preferences": {"categories": []},
        "behavior": {"purchaseTime": None},
    }
    assert (await get(till, "venue/mall/nia/rfm"))["rfm"]["status"] == "insufficient_data"


async def test_insights_are_told_from_the_orders_and_the_feedback_there(
    till: httpx.AsyncClient,
) -> None:
    mall = await get(till, "venue/mall/siti/insights")
    assert (mall["venueId"], mall["customerId"]) == ("mall", "siti")
    found = {item["type"]: item["description"] for item in mall["items"]}
    assert found["unhappy"] == "Satisfaction is 2.0 of 10."
    park = await get(till, "venue/park/siti/insights")
    assert "unhappy" not in {item["type"] for item in park["items"]}
    lost = {item["type"] for item in (await get(till, "venue/park/budi/insights"))["items"]}
    assert {"low_engagement", "churn_risk"} <= lost


async def test_the_journey_has_the_orders_and_the_feedback_there(
    till: httpx.AsyncClient,
) -> None:
    items = (await get(till, "venue/mall/siti/journey"))["items"]
    assert [(item["kind"], item["id"]) for item in items] == [
        ("feedback", "fee-0"),
        ("order", "ord-0"),
        ("order", "ord-1"),
        ("order", "ord-2"),
    ]
    first = await get(till, "venue/mall/siti/journey", limit=2)
    second = await get(till, "venue/mall/siti/journey", limit=2, cursor=first["nextCursor"])
    assert first["items"] + second["items"] == items
    assert (await get(till, "venue/mall/siti/journey", kinds="contact"))["items"] == []


async def test_search_finds_who_ordered_there(till: httpx.AsyncClient) -> None:
    found = (await get(till, "venue/mall/search", q="si"))["items"]
    assert found == [
        {
            "customerId": "siti",
            "code": None,
            "name": "Siti",
            "email": None,
            "phone": None,
            "membershipTier": None,
            "lastSeen": "2026-02-20T05:00:00Z",
            "totalTickets": 2,
            "totalSpent": "800.00",
        }
    ]
    assert (await get(till, "venue/mall/search", q="budi"))["items"] == []
    assert len((await get(till, "venue/park/search", q="budi"))["items"]) == 1
    rough = (await get(till, "venue/mall/search", q="si", anonymize="true"))["items"]
    assert (rough[0]["name"], rough[0]["totalTickets"]) == (None, 2)
    assert rough[0]["customerId"] != "siti"
    for query in ({}, {"q": ""}, {"q": "..."}, {"q": "a b c d e f g h i"}):
        answer = await till.get("/api/customers/venue/mall/search", params=query)
        assert answer.status_code == 422, query


async def test_whoever_may_not_know_persons_cannot_search_for_them(
    anonymous: httpx.AsyncClient, database: Database, chain: Tenant
) -> None:
    key = await make_key(database, chain, scopes=ROLES["analyst"])
    headers = {"X-API-Key": key}
    answer = await anonymous.get(
        "/api/customers/venue/mall/search", params={"q": "siti"}, headers=headers
    )
    assert answer.status_code == 403
    answer = await anonymous.get("/api/customers/venue/mall/siti", headers=headers)
    assert answer.status_code == 200
    assert answer.json()["customerId"] != "siti"


async def test_search_comes_in_pages(
    till: httpx.AsyncClient, database: Database, chain: Tenant
) -> None:
    async with database.tenant_transaction(chain.id) as connection:
        mall = await connection.scalar(select(stores.c.sk).where(stores.c.id == "mall"))
    for number in range(3):
        await make_customer(database, chain, f"sis-{number}", name="Sister")
        await make_order(database, chain, f"sis-{number}", f"sis-{number}", store_sk=mall)
    first = await get(till, "venue/mall/search", q="sister", limit=2)
    rest = await get(till, "venue/mall/search", q="sister", limit=2, cursor=first["nextCursor"])
    ids = [item["customerId"] for item in first["items"] + rest["items"]]
    assert ids == ["sis-0", "sis-1", "sis-2"]
    assert rest["nextCursor"] is None


async def test_segments_count_the_customers_of_the_venue_by_what_they_did_there(
    till: httpx.AsyncClient,
) -> None:
    mall = await get(till, "venue/mall/segments")
    assert (mall["venueId"], mall["customers"], mall["currency"]) == ("mall", 2, "USD")
    lifecycle = {each["segment"]: each for each in mall["lifecycle"]}
    assert lifecycle["occasional"] == {
        "segment": "occasional",
        "name": None,
        "customers": 2,
        "share": 1.0,
        "revenue": "1600.00",
    }
    assert sum(each["customers"] for each in mall["lifecycle"]) == 2
    code = (await get(till, "twin/rfm"))["rfm"]["segment"]
    assert {each["segment"]: each["customers"] for each in mall["rfm"] if each["customers"]} == {
        code: 2
    }
    park = await get(till, "venue/park/segments")
    stages = {each["segment"]: each["revenue"] for each in park["lifecycle"] if each["customers"]}
    assert stages == {"occasional": "157.00", "lost": "7.00"}
    # Budi has not bought for over a year, so there is no RFM segment.
    assert sum(each["customers"] for each in park["rfm"]) == 1
    empty = await get(till, "venue/new/segments")
    assert empty["customers"] == 0
    assert {each["share"] for each in empty["rfm"]} == {0.0}


async def test_segments_are_counted_once_an_hour_and_under_the_rules_in_force(
    till: httpx.AsyncClient, database: Database, chain: Tenant
) -> None:
    first = await get(till, "venue/mall/segments")
    async with database.tenant_transaction(chain.id) as connection:
        await connection.execute(
            update(customers).where(customers.c.id == "siti").values(name="Somebody")
        )
        await connection.execute(text("UPDATE orders SET total_amount = 1"))
    assert await get(till, "venue/mall/segments") == first
    async with database.tenant_transaction(chain.id) as connection:
        await connection.execute(
            text("UPDATE venue_segments SET computed_at = computed_at - interval '61 minutes'")
        )
    second = await get(till, "venue/mall/segments")
    assert second["computedAt"] > first["computedAt"]
    assert sum(float(each["revenue"]) for each in second["lifecycle"]) == 0.04
    changed = {"profile": {"preset": "commerce", "asOf": AS_OF.isoformat()}}
    assert (await till.patch("/api/admin/tenant", json=changed)).status_code == 200
    third = await get(till, "venue/mall/segments")
    assert {each["segment"] for each in third["rfm"]} != {each["segment"] for each in second["rfm"]}
    assert third["computedAt"] > second["computedAt"]


@pytest.mark.parametrize("path", ["", "/insights", "/rfm", "/clv", "/journey"])
async def test_unknown_venues_and_customers_are_not_found(
    till: httpx.AsyncClient, path: str
) -> None:
    for venue, customer in (("nowhere", "siti"), ("mall", "nobody")):
        answer = await till.get(f"/api/customers/venue/{venue}/{customer}{path}")
        assert answer.status_code == 404
    assert (await till.get("/api/customers/venue/nowhere/segments")).status_code == 404
    answer = await till.get("/api/customers/venue/nowhere/search", params={"q": "siti"})
    assert answer.status_code == 404
