"""No route tells a caller who must not know who a customer is: all of them are walked."""

from typing import Any

import httpx
import pytest

from app.database import Database
from app.domain.access import Scope
from app.domain.privacy import pseudonym
from app.domain.tenant import Tenant
from app.repositories import tenant as tenants
from tests.api.operations import EXAMPLES, furnish
from tests.api.test_tenancy import OPERATIONS
from tests.factories import make_customer, make_key, make_order, make_tenant

#: What furnish says of one customer.
PERSONAL = (
    "cus-mark",
    "Widjajakusuma",
    "Ratna",
    "0b8f2c52.example",
    "CODE-0b8f2c52",
    "tag-0b8f2c52",
    "76543210",
    "7654 3210",
    "6.2145",
    "106.845",
)
READS = [
    (path, operation)
    for method, path, operation in OPERATIONS
    if method == "GET" and operation["operationId"] in EXAMPLES
]
ANONYMIZABLE = [
    (path, operation)
    for path, operation in READS
    if any(parameter["name"] == "anonymize" for parameter in operation.get("parameters", []))
]


def _ids(operations: list[tuple[str, dict[str, Any]]]) -> list[str]:
    return [operation["operationId"] for _, operation in operations]


def _told(answer: httpx.Response) -> list[str]:
    """What the answer tells of the person, besides the path that was asked for."""
    return [mark for mark in PERSONAL if mark in answer.text.replace(answer.request.url.path, "")]


@pytest.mark.parametrize(("path", "operation"), READS, ids=_ids(READS))
async def test_a_key_for_anonymous_reads_learns_no_person(
    anonymous: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    path: str,
    operation: dict[str, Any],
) -> None:
    await furnish(database, tenant)
    key = await make_key(database, tenant, scopes=frozenset(Scope))
    example = EXAMPLES[operation["operationId"]]
    needed = {each["name"] for each in operation.get("parameters", []) if each["required"]}
    query = {name: value for name, value in example.query.items() if name != "q" or name in needed}
    answer = await anonymous.get(
        path.format(**example.path), params=query, headers={"X-API-Key": key}
    )
    # What can only be asked by a name is refused altogether.
    refused = "q" in needed or example.never_anonymized
    assert answer.status_code == (403 if refused else 200), answer.text
    assert not _told(answer)


@pytest.mark.parametrize(("path", "operation"), ANONYMIZABLE, ids=_ids(ANONYMIZABLE))
async def test_an_answer_may_be_asked_for_without_persons(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    path: str,
    operation: dict[str, Any],
) -> None:
    await furnish(database, tenant)
    example = EXAMPLES[operation["operationId"]]
    answer = await client.get(
        path.format(**example.path), params=example.query | {"anonymize": "true"}
    )
    assert answer.status_code == (403 if example.never_anonymized else 200), answer.text
    assert not _told(answer)


@pytest.mark.parametrize(
    "operation_id",
    [
        "list_customers",
        "get_customer",
        "get_customer_profile",
        "get_order",
        "list_customer_orders",
        "list_at_risk",
        "list_duplicates",
    ],
)
def test_what_shows_customers_can_be_asked_not_to(operation_id: str) -> None:
    assert operation_id in _ids(ANONYMIZABLE)


async def test_a_key_for_anonymous_reads_writes_nothing(
    anonymous: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await furnish(database, tenant)
    key = await make_key(database, tenant, scopes=frozenset(Scope))
    writes = [each for each in OPERATIONS if each[0] != "GET"]
    assert writes
    for method, path, operation in writes:
        example = EXAMPLES[operation["operationId"]]
        answer = await anonymous.request(
            method,
            path.format(**example.path),
            params=example.query,
            json=example.json,
            headers={"X-API-Key": key},
        )
        assert answer.status_code == 403, operation["operationId"]


async def test_a_key_for_anonymous_reads_cannot_search_for_a_person(
    anonymous: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await furnish(database, tenant)
    key = await make_key(
        database, tenant, scopes={Scope.CUSTOMERS_READ, Scope.CUSTOMERS_ANONYMIZED}
    )
    answer = await anonymous.get(
        "/api/customers", params={"q": "ratna"}, headers={"X-API-Key": key}
    )
    assert answer.status_code == 403
    assert "customers:anonymized" in answer.json()["detail"]


async def test_what_is_left_of_a_customer(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "friend")
    await client.post(
        "/api/customers",
        json={
            "id": "c",
            "name": "Siti",
            "npwp": "01.234",
            "companyName": "Toko Siti",
            "occupation": "mayor",
            "dateOfBirth": "1988-04-21",
            "gender": "female",
            "membershipTier": "gold",
            "lastKnownLatitude": -6.2,
            "lastKnownLongitude": 106.8,
            "referredByCustomerId": "friend",
            "socialConnections": ["friend"],
            "communityTags": ["arisan"],
            "serviceArea": {
                "type": "Polygon",
                "coordinates": [[[106, -6], [107, -6], [107, -7], [106, -6]]],
            },
        },
    )
    full = (await client.get("/api/customers/c")).json()
    told = (await client.get("/api/customers/c", params={"anonymize": "true"})).json()
    async with database.tenant_transaction(tenant.id) as connection:
        key = await tenants.get_pseudonym_key(connection)
    assert told["id"] == pseudonym(key, "c")
    assert told["referredByCustomerId"] == pseudonym(key, "friend")
    assert told["lastKnownGeohash"] == full["lastKnownGeohash"][:5]
    assert told["communityTags"] == told["socialConnections"] == []
    assert {"gender", "membershipTier"} <= {name for name in told if told[name] == full[name]}
    for name in (
        "name",
        "npwp",
        "companyName",
        "occupation",
        "dateOfBirth",
        "serviceArea",
        "lastKnownLatitude",
        "lastKnownLongitude",
    ):
        assert full[name] is not None
        assert told[name] is None, name


async def test_pages_join_by_pseudonym_and_cursors_tell_nothing(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    for number in range(3):
        await make_customer(database, tenant, f"secret-{number}")
    await make_order(database, tenant, "secret-0", notes="for secret-0")
    query: dict[str, Any] = {"anonymize": "true", "limit": 1}
    found = []
    while True:
        page = (await client.get("/api/customers", params=query)).json()
        found += [item["id"] for item in page["items"]]
        if page["nextCursor"] is None:
            break
        assert page["nextCursor"].isascii()
        query["cursor"] = page["nextCursor"]
    assert len(set(found)) == 3
    orders = (
        await client.get("/api/customers/secret-0/orders", params={"anonymize": "true"})
    ).json()["items"]
    assert orders[0]["customerId"] == found[0]
    assert orders[0]["id"] != "ord-1"
    assert orders[0]["notes"] is None


async def test_pseudonyms_of_two_tenants_differ(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    other = await make_tenant(database, "other")
    await make_customer(database, tenant, "c")
    await make_customer(database, other, "c")
    key = await make_key(database, other)
    mine = await client.get("/api/customers/c", params={"anonymize": "true"})
    theirs = await anonymous.get(
        "/api/customers/c", params={"anonymize": "true"}, headers={"X-API-Key": key}
    )
    assert mine.json()["id"] != theirs.json()["id"]
