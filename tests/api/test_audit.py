"""The audit trail: who read what of whom."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from sqlalchemy import text

from app.api.dependencies import Caller, admits
from app.api.disclosure import Anonymize
from app.api.route import router as routes
from app.database import Database, DatabaseUnavailableError
from app.domain.access import Scope
from app.domain.privacy import pseudonym
from app.domain.tenant import Tenant
from app.main import create_app
from app.repositories import tenant as tenants
from app.services.auditing import AccessLog, Read, forget_old_reads
from app.settings import Settings
from tests.factories import make_customer, make_key, make_order, make_tenant


async def _trail(
    app: FastAPI, client: httpx.AsyncClient, database: Database, **query: Any
) -> list[dict[str, Any]]:
    await app.state.access_log.flush(database)
    answer = await client.get("/api/privacy/audit", params=query)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def test_reads_of_customers_are_noted(
    app: FastAPI, client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    for customer in ("a", "b/1"):
        await make_customer(database, tenant, customer)
    await make_order(database, tenant, "a")
    for path in (
        "/api/customers/a",
        "/api/customers/b%2F1/profile",
        "/api/customers?anonymize=true",
        "/api/customers/a/orders",
        "/api/orders/ord-1",
        "/api/stores",
        "/api/customers/nobody",
    ):
        await client.get(path, headers={"X-Request-Id": path.replace("/", ".")[:20]})
    trail = await _trail(app, client, database)
    async with database.tenant_transaction(tenant.id) as connection:
        key = await tenants.get_pseudonym_key(connection)
    a, b = pseudonym(key, "a"), pseudonym(key, "b/1")
    assert [
        (each["operation"], each["subject"], each["customers"], each["anonymized"])
        for each in reversed(trail)
    ] == [
        ("get_customer", a, 1, False),
        ("get_customer_profile", b, 1, False),
        ("list_customers", None, 2, True),
        ("list_customer_orders", a, 1, False),
        ("get_order", a, 1, False),
    ]
    token = client.headers["Authorization"]
    assert {each["keyId"] for each in trail} == {token.partition("_")[2].partition(".")[0]}
    assert trail[-1]["requestId"] == ".api.customers.a"


async def test_what_did_not_succeed_is_not_a_read(
    app: FastAPI, client: httpx.AsyncClient, database: Database
) -> None:
    assert (await client.get("/api/customers/nobody")).status_code == 404
    assert (await client.get("/api/customers", params={"limit": 0})).status_code == 422
    assert await _trail(app, client, database) == []


async def test_the_trail_is_narrowed_and_comes_in_pages(
    app: FastAPI, client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    for customer in ("a", "b"):
        await make_customer(database, tenant, customer)
        for _ in range(3):
            await client.get(f"/api/customers/{customer}")
    everything = await _trail(app, client, database)
    assert len(everything) == 6
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"customer": "a", "limit": 2}
    while True:
        page = (await client.get("/api/privacy/audit", params=query)).json()
        found += page["items"]
        if page["nextCursor"] is None:
            break
        query["cursor"] = page["nextCursor"]
    assert found == everything[3:]
    assert await _trail(app, client, database, key="other") == []
    late = everything[0]["at"]
    assert await _trail(app, client, database, **{"from": late}) == everything[:1]
    assert await _trail(app, client, database, to=everything[-1]["at"]) == everything[-1:]
    assert (await client.get("/api/privacy/audit", params={"from": "noon"})).status_code == 422
    assert (await client.get("/api/privacy/audit", params={"cursor": "x"})).status_code == 400


async def test_each_tenant_has_a_trail_of_its_own(
    app: FastAPI,
    client: httpx.AsyncClient,
    anonymous: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
) -> None:
    other = await make_tenant(database, "other")
    key = await make_key(database, other)
    await make_customer(database, tenant, "a")
    await make_customer(database, other, "a")
    await client.get("/api/customers/a")
    await anonymous.get("/api/customers", headers={"X-API-Key": key})
    [mine] = await _trail(app, client, database)
    theirs = await anonymous.get("/api/privacy/audit", headers={"X-API-Key": key})
    assert mine["operation"] == "get_customer"
    assert [each["operation"] for each in theirs.json()["items"]] == ["list_customers"]


async def test_an_export_is_written_down_before_its_first_byte(
    app: FastAPI, client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    router = routes("exports")
    noted: list[int] = []

    @router.get("/api/export")
    async def export_customers(
        caller: Annotated[Caller, admits(Scope.EXPORTS_READ)], anonymize: Anonymize = False
    ) -> StreamingResponse:
        async def rows() -> Any:
            async with database.tenant_transaction(tenant.id) as connection:
                noted.append(await connection.scalar(text("SELECT count(*) FROM access_log")) or 0)
            yield "id\n"

        return StreamingResponse(rows())

    app.router.routes.extend(router.routes)
    assert (await client.get("/api/export")).text == "id\n"
    assert noted == [1]
    [export] = await _trail(app, client, database)
    assert (export["operation"], export["customers"]) == ("export_customers", 0)


def _read(tenant_id: int, customer_id: str = "a") -> Read:
    return Read(datetime.now(UTC), tenant_id, "k", "get_customer", customer_id, 1, False, None)


async def test_what_cannot_be_written_is_kept(
    database: Database, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AccessLog()
    log.note(_read(tenant.id))

    def away(tenant_id: int) -> None:
        raise DatabaseUnavailableError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(database, "tenant_transaction", away)
        await log.flush(database)
    await log.flush(database)
    await log.flush(database)
    async with database.tenant_transaction(tenant.id) as connection:
        assert await connection.scalar(text("SELECT count(*) FROM access_log")) == 1


async def test_a_process_that_is_told_to_stop_writes_what_it_noted(
    fresh_database: Database, fresh_database_url: str
) -> None:
    tenant = await make_tenant(fresh_database)
    app = create_app(Settings(_env_file=None, database_url=fresh_database_url))
    async with app.router.lifespan_context(app):
        app.state.access_log.note(_read(tenant.id))
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        assert await connection.scalar(text("SELECT count(*) FROM access_log")) == 1


async def test_months_of_more_than_400_days_ago_are_dropped(database: Database) -> None:
    today = date(2026, 7, 15)
    async with database.transaction() as connection:

        async def months() -> list[str]:
            rows = await connection.execute(
                text(
                    "SELECT inhrelid::regclass::text FROM pg_inherits"
                    " WHERE inhparent = 'access_log'::regclass ORDER BY 1"
                )
            )
            return list(rows.scalars())

        present = await months()
        for month in (date(2025, 4, 1), date(2025, 5, 1), date(2025, 6, 1)):
            await connection.execute(
                text("SELECT ensure_partition('access_log', :month)"), {"month": month}
            )
        assert today - timedelta(days=400) == date(2025, 6, 10)
        assert await forget_old_reads(connection, today) == 2
        assert await months() == ["access_log_202506", *present]
