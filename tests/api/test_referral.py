"""The referral tree over HTTP, checked against a tree walked by hand."""

import random
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import insert, select, update

from app.database import Database
from app.domain.scoring_run import RunMode
from app.domain.tenant import Tenant
from app.repositories.tables import customer_analytics, customers
from app.services.scoring import run_scores
from tests.factories import make_customer


async def get(client: httpx.AsyncClient, identity: str, **query: Any) -> Any:
    answer = await client.get(f"/api/customers/{identity}/referrals", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def grow(database: Database, tenant: Tenant, size: int) -> dict[int, int | None]:
    """A random forest of customers c-0…; returns the referrer of each by number."""
    chance = random.Random(7)
    referrers: dict[int, int | None] = {
        number: chance.randrange(number) if number and chance.random() < 0.9 else None
        for number in range(size)
    }
    async with database.tenant_transaction(tenant.id) as connection:
        made = await connection.execute(
            insert(customers).returning(customers.c.sk, sort_by_parameter_order=True),
            [{"tenant_id": tenant.id, "id": f"c-{n}", "name": f"Name {n}"} for n in referrers],
        )
        sks = list(made.scalars())
        for number, referrer in referrers.items():
            if referrer is not None:
                await connection.execute(
                    update(customers)
                    .where(customers.c.sk == sks[number])
                    .values(referred_by_sk=sks[referrer])
                )
    await run_scores(database, tenant, mode=RunMode.FULL, as_of=datetime.now(UTC))
    async with database.tenant_transaction(tenant.id) as connection:
        for number, sk in enumerate(sks):
            await connection.execute(
                update(customer_analytics)
                .where(customer_analytics.c.customer_sk == sk)
                .values(revenue=number * 100, counted_orders=number % 3)
            )
    return referrers


async def test_levels_are_those_of_the_tree(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    referrers = await grow(database, tenant, 60)
    for root in (0, 1, 5, 59):
        for depth in (1, 3, 6):
            answer = await get(client, f"c-{root}", depth=depth)
            level_of = {root: 0}
            for number in range(root + 1, 60):
                parent = referrers[number]
                if parent in level_of:
                    level_of[number] = level_of[parent] + 1
            below = [n for n, level in level_of.items() if 1 <= level <= depth]
            assert answer["depth"] == depth
            assert {level["level"]: level["customers"] for level in answer["levels"]} == Counter(
                level_of[n] for n in below
            )
            assert answer["totals"] == {
                "customers": len(below),
                "buyers": sum(n % 3 > 0 for n in below),
                "revenue": f"{sum(below)}.00",
            }
            direct = [n for n in below if level_of[n] == 1]
            assert [item["customerId"] for item in answer["items"]] == [f"c-{n}" for n in direct]
            for item, n in zip(answer["items"], direct, strict=True):
                assert item["name"] == f"Name {n}"
                assert item["revenue"] == f"{n}.00"
                assert item["referredCustomers"] == list(referrers.values()).count(n)


async def test_a_circle_neither_hangs_nor_counts_anybody_twice(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    sks = [await make_customer(database, tenant, f"c-{n}") for n in range(3)]
    async with database.tenant_transaction(tenant.id) as connection:
        # The API refuses circles; this one was made behind its back.
        for sk, referrer in zip(sks, (sks[2], sks[0], sks[1]), strict=True):
            await connection.execute(
                update(customers).where(customers.c.sk == sk).values(referred_by_sk=referrer)
            )
        assert await connection.scalar(
            select(customers.c.referred_by_sk).where(customers.c.sk == sks[0])
        )
    for root in range(3):
        answer = await get(client, f"c-{root}", depth=6)
        assert [level["customers"] for level in answer["levels"]] == [1, 1]
        assert answer["totals"]["customers"] == 2


async def test_direct_referrals_come_in_pages_and_without_names_for_strangers(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    root = await make_customer(database, tenant, "root")
    for number in range(5):
        await make_customer(database, tenant, f"c-{number}", referred_by_sk=root)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = await get(client, "root", limit=2, **cursor)
        assert page["totals"]["customers"] == 5
        seen += [item["customerId"] for item in page["items"]]
        if page["nextCursor"] is None:
            break
        cursor = {"cursor": page["nextCursor"]}
    assert seen == [f"c-{number}" for number in range(5)]
    rough = await get(client, "root", anonymize="true")
    assert {item["name"] for item in rough["items"]} == {None}
    assert not {item["customerId"] for item in rough["items"]} & set(seen)
    assert rough["customerId"] != "root"


@pytest.mark.parametrize("depth", [0, 7, "deep"])
async def test_depth_is_bounded(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, depth: object
) -> None:
    await make_customer(database, tenant, "root")
    answer = await client.get("/api/customers/root/referrals", params={"depth": str(depth)})
    assert answer.status_code == 422
