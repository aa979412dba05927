"""Refusals are problem documents that say where and why, and tell nothing of the inside."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.api.dependencies import DatabaseAccess
from app.api.errors import KINDS
from app.database import Database
from app.domain.errors import DomainError
from app.main import create_app
from app.settings import Settings
from tests.factories import make_key, make_tenant

JSON = {"Content-Type": "application/json"}


def _subclasses(error: type[Exception]) -> Iterator[type[Exception]]:
    for child in error.__subclasses__():
        yield child
        yield from _subclasses(child)


def test_every_domain_error_has_its_row() -> None:
    assert [error for error in _subclasses(DomainError) if error not in KINDS] == []


def test_every_row_has_a_slug_of_its_own() -> None:
    slugs = [kind.slug for kind in KINDS.values()]
    assert len(slugs) == len(set(slugs))


async def _problem(answer: httpx.Response, status: int) -> dict[str, object]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, object] = answer.json()
    assert problem["status"] == status
    assert problem["requestId"] == answer.headers["X-Request-Id"]
    assert {"type", "title", "detail", "instance"} <= set(problem)
    return problem


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"", 422),
        (b'{"id": "s", "name": "n", "latitude": NaN, "longitude": 1}', 400),
        (b'{"id": "s", "name": "n", "latitude": Infinity, "longitude": 1}', 400),
        (b'{"id": "s", "name": "n", "latitude": 1e999, "longitude": 1}', 400),
        (b"[" * 100_000, 400),
        (b'{"id": "s", "name": "n", "x": ' + b"[" * 900 + b"]" * 900 + b"}", 422),
        (b'{"id": "\xff", "name": "n"}', 400),
        (b'{"id": "s", "name": ' + b"9" * 5000 + b"}", 400),
        (b'{"id": "s\\u0000", "name": "n"}', 422),
        (b'{"id": "s\\ud800", "name": "n"}', 422),
        (b"[]", 422),
        (b"null", 422),
    ],
)
async def test_an_unreadable_body_is_refused(
    client: httpx.AsyncClient, body: bytes, status: int
) -> None:
    await _problem(await client.post("/api/stores", content=body, headers=JSON), status)


async def test_a_value_that_will_not_do_is_pointed_at(client: httpx.AsyncClient) -> None:
    body = {"id": "c", "name": "n", "communityTags": ["ok", "bad\0tag"]}
    problem = await _problem(await client.post("/api/customers", json=body), 422)
    assert [each["pointer"] for each in problem["errors"]] == ["/communityTags/1"]  # type: ignore[attr-defined]
    body = {"id": "c", "name": "n", "optInSms": "perhaps", "colour": "red"}
    problem = await _problem(await client.post("/api/customers", json=body), 422)
    pointers = {each["pointer"] for each in problem["errors"]}  # type: ignore[attr-defined]
    assert pointers == {"/optInSms", "/colour"}


async def test_a_parameter_that_will_not_do_is_named(client: httpx.AsyncClient) -> None:
    problem = await _problem(await client.get("/api/customers?limit=501"), 422)
    assert problem["errors"][0]["parameter"] == "limit"  # type: ignore[index]
    await _problem(await client.get("/api/customers?q=a%00b"), 422)
    await _problem(await client.get("/api/customers/a%00b"), 422)


@pytest.mark.parametrize(
    "cursor", ["x", "!!!", "bnVsbA", "WyJhIl0", "WzFd" * 900, "W1tbW1tb", "WzFlOTldCg"]
)
async def test_a_foreign_cursor_is_refused(client: httpx.AsyncClient, cursor: str) -> None:
    answer = await client.get("/api/customers", params={"cursor": cursor})
    assert answer.status_code in (400, 422)


async def test_unknown_addresses_methods_and_types(client: httpx.AsyncClient) -> None:
    await _problem(await client.get("/api/nothing"), 404)
    problem = await _problem(await client.put("/api/stores"), 405)
    assert problem["type"] == "/problems/method-not-allowed"
    await _problem(
        await client.post("/api/stores", content=b"id=1", headers={"Content-Type": "text/plain"}),
        415,
    )


async def test_a_body_beyond_the_limit_is_not_read_to_its_end(
    client: httpx.AsyncClient, app: FastAPI
) -> None:
    limit = app.state.settings.max_json_bytes
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 1
            yield b" " * (limit // 10)

    await _problem(await client.post("/api/stores", content=endless(), headers=JSON), 413)
    assert sent < 15
    announced = {**JSON, "Content-Length": str(limit + 1)}
    await _problem(await client.post("/api/stores", content=b"{}", headers=announced), 413)


async def test_a_request_id_is_taken_over_if_it_is_sane(anonymous: httpx.AsyncClient) -> None:
    answer = await anonymous.get("/healthz", headers={"X-Request-Id": "till-3:42"})
    assert answer.headers["X-Request-Id"] == "till-3:42"
    answer = await anonymous.get("/healthz", headers={"X-Request-Id": "bad id\t<script>"})
    assert len(answer.headers["X-Request-Id"]) == 32


async def test_a_bug_tells_nothing_of_the_inside(
    app: FastAPI, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("secret of the inside")

    problem = await _problem(await client.get("/broken"), 500)
    assert "secret" not in json.dumps(problem)
    assert "secret of the inside" in caplog.text
    assert str(problem["requestId"]) in caplog.text


async def test_a_database_out_of_reach_is_a_503_that_passes() -> None:
    app = create_app(Settings(_env_file=None))
    app.state.database = Database("postgresql://nobody@127.0.0.1:1/none", pool_timeout=0.5)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    key = {"X-API-Key": "bps_abc.def"}
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.get("/api/stores", headers=key)
        await _problem(answer, 503)
        assert int(answer.headers["Retry-After"]) > 0
        await _problem(await client.get("/readyz"), 503)
        assert (await client.get("/healthz")).status_code == 200


async def test_the_service_recovers_when_its_connections_are_cut(
    fresh_database: Database, fresh_database_url: str
) -> None:
    tenant = await make_tenant(fresh_database)
    key = await make_key(fresh_database, tenant)
    app = create_app(Settings(_env_file=None))
    app.state.database = fresh_database
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"X-API-Key": key}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test", headers=headers
    ) as client:
        await asyncio.gather(*(client.get("/api/stores") for _ in range(8)))
        owner = await asyncpg.connect(fresh_database_url)
        await owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await owner.close()
        answers = await asyncio.gather(*(client.get("/api/stores") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}


async def test_a_statement_that_takes_too_long_is_a_504(fresh_database_url: str) -> None:
    database = Database(fresh_database_url, statement_timeout=0.05)
    app = create_app(Settings(_env_file=None))
    app.state.database = database

    @app.get("/slow")
    async def slow(database: DatabaseAccess) -> None:
        async with database.transaction() as connection:
            await connection.execute(text("SELECT pg_sleep(5)"))

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        await _problem(await client.get("/slow"), 504)
    await database.close()
