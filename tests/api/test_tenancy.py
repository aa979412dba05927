"""Every route, walked from the OpenAPI document, keeps tenants and scopes apart.

So it guards the routes that come later, too: each needs a row in `tests.api.operations`.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from app.api.dependencies import Caller, check_user_id
from app.database import Database
from app.domain.access import Scope
from app.domain.errors import Forbidden
from app.domain.tenant import Tenant
from app.main import create_app
from app.services import tenancy
from app.settings import Settings
from tests.api.operations import EXAMPLES, MARKS, Example, furnish
from tests.factories import make_key, make_tenant

#: The photo is open to whoever has the signed link to it.
OPEN = {"check_alive", "check_ready", "show_metrics", "show_face_photo"}


def _operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    document = create_app(Settings(_env_file=None)).openapi()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


OPERATIONS = [each for each in _operations() if each[2]["operationId"] not in OPEN]
guarded = pytest.mark.parametrize(
    ("method", "path", "operation"), OPERATIONS, ids=[each[2]["operationId"] for each in OPERATIONS]
)


def _example(operation: dict[str, Any]) -> Example:
    name = operation["operationId"]
    if name not in EXAMPLES:
        pytest.fail(f"Add an example of {name} to EXAMPLES in tests/api/operations.py.")
    return EXAMPLES[name]


async def _send(
    client: httpx.AsyncClient, method: str, path: str, example: Example, key: str | None
) -> httpx.Response:
    headers = {"X-API-Key": key} if key else {}
    if example.media_type is not None:
        headers["Content-Type"] = example.media_type
    return await client.request(
        method,
        path.format(**example.path),
        params=example.query,
        json=example.json,
        content=example.content,
        headers=headers,
    )


def test_every_operation_without_a_key_is_one_of_the_open_ones() -> None:
    without_security = {
        operation["operationId"] for _, _, operation in _operations() if "security" not in operation
    }
    assert without_security == OPEN


def test_no_example_is_left_of_a_route_that_is_gone() -> None:
    assert set(EXAMPLES) <= {operation["operationId"] for _, _, operation in OPERATIONS}


@guarded
async def test_without_a_key_nothing_answers(
    anonymous: httpx.AsyncClient, method: str, path: str, operation: dict[str, Any]
) -> None:
    answer = await _send(anonymous, method, path, _example(operation), None)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.headers["Content-Type"] == "application/problem+json"


@guarded
async def test_the_owner_is_answered(
    anonymous: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    method: str,
    path: str,
    operation: dict[str, Any],
) -> None:
    await furnish(database, tenant)
    key = await make_key(database, tenant)
    example = _example(operation)
    answer = await _send(anonymous, method, path, example, key)
    assert answer.status_code == example.status, answer.text


@guarded
async def test_a_key_without_the_scope_is_refused(
    anonymous: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    method: str,
    path: str,
    operation: dict[str, Any],
) -> None:
    await furnish(database, tenant)
    needed = Scope(operation["x-required-scope"])
    key = await make_key(database, tenant, scopes=frozenset(Scope) - {needed})
    answer = await _send(anonymous, method, path, _example(operation), key)
    assert answer.status_code == 403


@guarded
async def test_another_tenants_key_finds_nothing(
    anonymous: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    method: str,
    path: str,
    operation: dict[str, Any],
) -> None:
    await furnish(database, tenant)
    other = await make_tenant(database, "other")
    key = await make_key(database, other)
    example = _example(operation)
    answer = await _send(anonymous, method, path, example, key)
    if example.path and not example.common:
        assert answer.status_code == 404
        assert answer.json()["type"] == "/problems/not-found"
    else:
        assert answer.status_code == (example.elsewhere or example.status), answer.text
        assert not [mark for mark in MARKS if mark in answer.text]


async def test_keys_that_do_not_hold_are_refused(
    anonymous: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    token = client.headers["Authorization"].removeprefix("Bearer ")
    for forged in (
        "",
        "bps_",
        "nonsense",
        token[:-1],
        token + "x",
        f"bps_000000000000.{token.partition('.')[2]}",
        token.partition(".")[0] + ".",
    ):
        answer = await anonymous.get("/api/stores", headers={"X-API-Key": forged})
        assert answer.status_code == 401, forged
    answer = await anonymous.get("/api/stores", headers={"X-API-Key": token})
    assert answer.status_code == 200


async def test_an_expired_and_a_revoked_key_are_refused(
    anonymous: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    expired = await make_key(database, tenant, expires_at=past)
    revoked = await make_key(database, tenant)
    async with database.tenant_transaction(tenant.id) as connection:
        await tenancy.revoke_key(connection, revoked[4:].partition(".")[0])
    for key in (expired, revoked):
        answer = await anonymous.get("/api/stores", headers={"X-API-Key": key})
        assert answer.status_code == 401


def test_a_user_id_must_name_the_tenant_of_the_key(tenant: Tenant) -> None:
    caller = Caller(tenant, "k", frozenset())
    for accepted in (None, tenant.slug, str(tenant.id)):
        check_user_id(caller, accepted)
    with pytest.raises(Forbidden):
        check_user_id(caller, "somebody-else")
