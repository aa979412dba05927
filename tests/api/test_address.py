"""Addresses of customers over HTTP."""

from typing import Any
from urllib.parse import quote

import httpx
import pytest

from app.api.schemas.address import EXAMPLE
from app.database import Database
from app.domain.tenant import Tenant
from tests.factories import make_address, make_customer

PATH = "/api/customers/cus-1/addresses"


@pytest.fixture(autouse=True)
async def customer(database: Database, tenant: Tenant) -> int:
    return await make_customer(database, tenant)


async def primaries(client: httpx.AsyncClient) -> dict[str, bool]:
    items = (await client.get(PATH)).json()["items"]
    return {item["id"]: item["isPrimary"] for item in items}


async def test_an_address_comes_back_as_it_was_added(client: httpx.AsyncClient) -> None:
    added = await client.post(PATH, json=EXAMPLE)
    assert added.status_code == 201, added.text
    read = await client.get(added.headers["Location"])
    assert read.json() == added.json()
    assert {key: read.json()[key] for key in EXAMPLE} == EXAMPLE
    assert read.json()["geohash"].startswith("qqg")
    assert (await client.post(PATH, json=EXAMPLE)).status_code == 409


async def test_an_address_without_an_id_is_given_one(client: httpx.AsyncClient) -> None:
    ids = {(await client.post(PATH, json={"city": "Depok"})).json()["id"] for _ in range(2)}
    assert len(ids) == 2
    assert set(await primaries(client)) == ids


@pytest.mark.parametrize(
    "body",
    [
        {"latitude": 1.0},
        {"longitude": 1.0},
        {"latitude": 91, "longitude": 0},
        {"latitude": 0, "longitude": -181},
        {"isPrimary": None},
        {"street": "x"},
        {"postalCode": ""},
    ],
)
async def test_what_is_no_address_is_refused(
    client: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    assert (await client.post(PATH, json=body)).status_code == 422
    await client.post(PATH, json={"id": "a", "latitude": 1, "longitude": 2})
    assert (await client.patch(f"{PATH}/a", json=body)).status_code == 422
    assert (await client.patch(f"{PATH}/a", json={})).status_code == 422


async def test_there_is_one_primary_address(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "cus-2")
    await make_address(database, tenant, "cus-2", "theirs", is_primary=True)
    await client.post(PATH, json={"id": "a", "isPrimary": True})
    await client.post(PATH, json={"id": "b", "isPrimary": True})
    assert await primaries(client) == {"a": False, "b": True}
    await client.patch(f"{PATH}/a", json={"isPrimary": True})
    assert await primaries(client) == {"a": True, "b": False}
    await client.patch(f"{PATH}/a", json={"city": "Bogor"})
    assert await primaries(client) == {"a": True, "b": False}
    taken = await client.post(PATH, json={"id": "theirs", "isPrimary": True})
    assert taken.status_code == 409
    assert await primaries(client) == {"a": True, "b": False}
    theirs = (await client.get("/api/customers/cus-2/addresses")).json()["items"]
    assert [each["isPrimary"] for each in theirs] == [True]


async def test_a_patch_changes_what_it_names_and_null_clears(client: httpx.AsyncClient) -> None:
    await client.post(PATH, json=EXAMPLE)
    place = f"{PATH}/{EXAMPLE['id']}"
    moved = await client.patch(place, json={"latitude": -6.5, "longitude": 107, "line": None})
    assert moved.status_code == 200, moved.text
    assert (moved.json()["latitude"], moved.json()["longitude"]) == (-6.5, 107.0)
    assert (moved.json()["line"], moved.json()["city"]) == (None, EXAMPLE["city"])
    lost = await client.patch(place, json={"latitude": None, "longitude": None})
    assert (lost.json()["latitude"], lost.json()["geohash"]) == (None, None)


async def test_an_address_is_removed(client: httpx.AsyncClient) -> None:
    await client.post(PATH, json={"id": "a"})
    assert (await client.delete(f"{PATH}/a")).status_code == 204
    assert (await client.delete(f"{PATH}/a")).status_code == 404
    assert await primaries(client) == {}


async def test_an_address_of_somebody_else_is_not_there(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "cus-2")
    await make_address(database, tenant, "cus-2", "theirs")
    for method, body in (("GET", None), ("PATCH", {"city": "x"}), ("DELETE", None)):
        for path in (f"{PATH}/theirs", "/api/customers/none/addresses/theirs"):
            assert (await client.request(method, path, json=body)).status_code == 404
    for method in ("GET", "POST"):
        path = "/api/customers/none/addresses"
        assert (await client.request(method, path, json={})).status_code == 404


async def test_ids_may_hold_slashes(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "a/b")
    path = f"/api/customers/{quote('a/b', safe='')}/addresses"
    added = await client.post(path, json={"id": "x/y", "city": "Depok"})
    assert added.headers["Location"] == f"{path}/x%2Fy"
    changed = await client.patch(added.headers["Location"], json={"city": "Bogor"})
    assert (changed.json()["id"], changed.json()["city"]) == ("x/y", "Bogor")
    assert (await client.delete(added.headers["Location"])).status_code == 204


async def test_pages_cover_the_addresses_once(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    for number in range(5):
        await make_address(database, tenant, address_id=f"adr-{number}")
    first = (await client.get(PATH, params={"limit": 3})).json()
    rest = (await client.get(PATH, params={"limit": 3, "cursor": first["nextCursor"]})).json()
    ids = [each["id"] for each in (*first["items"], *rest["items"])]
    assert ids == [f"adr-{number}" for number in range(5)]
    assert rest["nextCursor"] is None


async def test_an_anonymous_reader_gets_the_district(client: httpx.AsyncClient) -> None:
    await client.post(PATH, json=EXAMPLE)
    answer = await client.get(PATH, params={"anonymize": "true"})
    [item] = answer.json()["items"]
    assert (item["latitude"], item["line"], len(item["geohash"])) == (None, None, 5)
    assert not any(str(EXAMPLE[key]) in answer.text for key in ("id", "line", "latitude"))
