"""A POST with an Idempotency-Key is done once and answered alike each time."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from sqlalchemy import func, select

from app.database import Database
from app.domain.tenant import Tenant
from app.main import create_app
from app.repositories.tables import idempotency_keys, stores
from app.settings import Settings
from tests.factories import make_key, make_tenant

STORE = {"id": "s-1", "name": "Kemang"}
KEY = {"Idempotency-Key": "till-3-000142"}


async def test_the_first_answer_is_replayed(client: httpx.AsyncClient) -> None:
    first = await client.post("/api/stores", json=STORE, headers=KEY)
    again = await client.post("/api/stores", json=STORE, headers=KEY)
    assert first.status_code == again.status_code == 201
    assert again.content == first.content
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers


async def test_the_key_with_another_body_is_refused(client: httpx.AsyncClient) -> None:
    await client.post("/api/stores", json=STORE, headers=KEY)
    other = await client.post("/api/stores", json={**STORE, "name": "Menteng"}, headers=KEY)
    assert other.status_code == 422
    assert other.json()["type"] == "/problems/idempotency-key-reused"


async def test_nothing_is_kept_of_a_refusal(client: httpx.AsyncClient) -> None:
    refused = await client.post("/api/stores", json={"id": "s-1"}, headers=KEY)
    assert refused.status_code == 422
    accepted = await client.post("/api/stores", json=STORE, headers=KEY)
    assert accepted.status_code == 201
    other_key = {"Idempotency-Key": "other"}
    taken = await client.post("/api/stores", json=STORE, headers=other_key)
    assert taken.status_code == 409
    fresh = await client.post("/api/stores", json={**STORE, "id": "s-2"}, headers=other_key)
    assert fresh.status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_of_impossible_length_is_refused(client: httpx.AsyncClient, key: str) -> None:
    answer = await client.post("/api/stores", json=STORE, headers={"Idempotency-Key": key})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == "Idempotency-Key"


async def test_two_tenants_may_use_the_same_key(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, database: Database
) -> None:
    other = await make_key(database, await make_tenant(database, "other"))
    first = await client.post("/api/stores", json=STORE, headers=KEY)
    second = await anonymous.post("/api/stores", json=STORE, headers={**KEY, "X-API-Key": other})
    assert first.status_code == second.status_code == 201
    assert "Idempotent-Replayed" not in second.headers


@pytest.fixture
async def committed_tenant(fresh_database: Database) -> Tenant:
    return await make_tenant(fresh_database)


@pytest.fixture
async def committing(
    fresh_database: Database, committed_tenant: Tenant
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service whose transactions are real ones."""
    app = create_app(Settings(_env_file=None))
    app.state.database = fresh_database
    key = await make_key(fresh_database, committed_tenant)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False),
        base_url="http://test",
        headers={"X-API-Key": key},
    ) as client:
        yield client


async def test_the_same_request_twenty_times_at_once_is_done_once(
    committing: httpx.AsyncClient, fresh_database: Database, committed_tenant: Tenant
) -> None:
    answers = await asyncio.gather(
        *(committing.post("/api/stores", json=STORE, headers=KEY) for _ in range(20))
    )
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert [a.status_code for a in answers if "Idempotent-Replayed" not in a.headers].count(
        201
    ) == 1
    async with fresh_database.tenant_transaction(committed_tenant.id) as connection:
        assert await connection.scalar(select(func.count()).select_from(stores)) == 1
        assert await connection.scalar(select(func.count()).select_from(idempotency_keys)) == 1


async def test_the_transaction_is_committed_before_the_answer_leaves(
    fresh_database: Database, committed_tenant: Tenant
) -> None:
    app = create_app(Settings(_env_file=None))
    app.state.database = fresh_database
    key = await make_key(fresh_database, committed_tenant)
    seen: list[int | None] = []

    async def count_stores_when_the_answer_starts(scope, receive, send):  # type: ignore[no-untyped-def]
        async def observe(message):  # type: ignore[no-untyped-def]
            if message["type"] == "http.response.start":
                async with fresh_database.tenant_transaction(committed_tenant.id) as connection:
                    seen.append(await connection.scalar(select(func.count()).select_from(stores)))
            await send(message)

        await app(scope, receive, observe)

    transport = httpx.ASGITransport(count_stores_when_the_answer_starts)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.post("/api/stores", json=STORE, headers={**KEY, "X-API-Key": key})
    assert answer.status_code == 201
    assert seen == [1]
