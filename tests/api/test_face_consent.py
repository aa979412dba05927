"""Agreeing to the use of one's face: provable, each purpose for itself, as easily taken back."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from app.database import Database
from app.domain.tenant import Tenant
from tests.api.face_story import NOTICE, agree, rows
from tests.factories import make_customer, make_key, make_tenant

SHA256 = hashlib.sha256(NOTICE.encode()).hexdigest()


@pytest.fixture(autouse=True)
async def customer(database: Database, tenant: Tenant) -> int:
    return await make_customer(database, tenant)


async def test_a_consent_says_what_was_agreed_to_and_how(client: httpx.AsyncClient) -> None:
    expires_at = datetime.now(UTC) + timedelta(days=30)
    answer = await agree(client, "cus-1", "enrol", "identify", expiresAt=expires_at.isoformat())
    assert answer.json()["inForce"] == ["enrol", "identify"]
    listed = (await client.get("/api/face/consents/cus-1")).json()
    assert listed["inForce"] == ["enrol", "identify"]
    [first, _] = listed["consents"]
    assert first["noticeSha256"] == SHA256
    assert (first["noticeVersion"], first["method"], first["evidence"]) == (
        "2026-01",
        "paper_form",
        "form 4711",
    )
    assert datetime.fromisoformat(first["expiresAt"]) == expires_at
    assert first["withdrawnAt"] is None
    assert first["recordedBy"]


async def test_a_new_consent_takes_the_place_of_the_one_before_which_is_kept(
    client: httpx.AsyncClient,
) -> None:
    await agree(client, "cus-1", "enrol")
    await agree(client, "cus-1", "enrol", noticeVersion="2026-02")
    listed = (await client.get("/api/face/consents/cus-1")).json()
    assert {(each["noticeVersion"], each["endedAs"]) for each in listed["consents"]} == {
        ("2026-01", "replaced"),
        ("2026-02", None),
    }
    assert listed["inForce"] == ["enrol"]


async def test_a_withdrawal_holds_at_once_and_is_kept(client: httpx.AsyncClient) -> None:
    await agree(client, "cus-1", "enrol", "identify")
    answer = await client.delete("/api/face/consents/cus-1/identify")
    assert answer.status_code == 200  # there is no face to be erased
    assert answer.json()["erasureReceiptId"] is None
    listed = (await client.get("/api/face/consents/cus-1")).json()
    assert listed["inForce"] == ["enrol"]
    withdrawn = next(each for each in listed["consents"] if each["purpose"] == "identify")
    assert withdrawn["withdrawnAt"] is not None
    again = await client.delete("/api/face/consents/cus-1/identify")
    assert again.status_code == 404


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"customerId": "nobody"}, "/customerId"),
        ({"purposes": ["enrol", "sell"]}, "/purposes/1"),
        ({"purposes": []}, "/purposes"),
        ({"method": "telepathy"}, "/method"),
        ({"noticeText": None}, "/noticeSha256"),
        ({"noticeSha256": "0" * 64}, "/noticeSha256"),
        ({"noticeSha256": "abc"}, "/noticeSha256"),
        ({"expiresAt": "2020-01-01T00:00:00Z"}, "/expiresAt"),
        ({"givenAt": "2999-01-01T00:00:00Z"}, "/givenAt"),
        ({"purpose": "enrol"}, ""),
    ],
)
async def test_what_will_not_do_is_named(
    client: httpx.AsyncClient, change: dict[str, Any], pointer: str
) -> None:
    document = {
        "customerId": "cus-1",
        "purposes": ["enrol"],
        "noticeVersion": "2026-01",
        "noticeText": NOTICE,
        "method": "app",
    }
    answer = await client.post("/api/face/consents", json=document | change)
    assert answer.status_code == 422, answer.text
    assert [each["pointer"] for each in answer.json()["errors"]] == [pointer]


async def test_a_time_without_a_zone_is_the_tenants(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await agree(client, "cus-1", "enrol", givenAt="2026-03-01T10:00:00")
    [[given_at]] = await rows(database, tenant, "SELECT given_at FROM face_consents")
    assert given_at == datetime(2026, 3, 1, 3, 0, tzinfo=UTC)  # Jakarta


@pytest.mark.parametrize(
    "change", ["purpose = 'attributes'", "notice_version = 'x'", "given_at = now()"]
)
async def test_no_consent_is_rewritten(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, change: str
) -> None:
    await agree(client, "cus-1", "enrol")
    with pytest.raises(ProgrammingError, match="permission denied"):
        async with database.tenant_transaction(tenant.id) as connection:
            await connection.execute(text(f"UPDATE face_consents SET {change}"))


async def test_another_tenant_sees_and_ends_nothing(
    anonymous: httpx.AsyncClient, client: httpx.AsyncClient, database: Database
) -> None:
    await agree(client)
    other = await make_tenant(database, "other")
    key = {"X-API-Key": await make_key(database, other)}
    assert (await anonymous.get("/api/face/consents/cus-1", headers=key)).status_code == 404
    answer = await anonymous.delete("/api/face/consents/cus-1/enrol", headers=key)
    assert answer.status_code == 404
    listed = await client.get("/api/face/consents/cus-1")
    assert listed.json()["inForce"] == ["enrol", "identify"]
