"""The nearest stores, to a point and to each customer."""

import csv
import io
import random
from typing import Any

import httpx
import pytest
from sqlalchemy import insert, text

from app.database import Database
from app.domain.geometry import cell_centre
from app.domain.tenant import Tenant
from app.repositories import store_distance
from app.repositories.tables import stores
from tests.api.places import make_district, place, scattered, walk
from tests.factories import make_tenant

NEAREST = "/api/geo/stores/nearest"
MONAS: dict[str, Any] = {"latitude": -6.1754, "longitude": 106.8272}


async def make_stores(
    database: Database, tenant: Tenant, places: list[tuple[float, float] | None]
) -> None:
    """Stores at these latitudes and longitudes, or without a place."""
    async with database.tenant_transaction(tenant.id) as connection:
        for number, at in enumerate(places):
            location = None if at is None else f"SRID=4326;POINT({at[1]} {at[0]})"
            await connection.execute(
                insert(stores).values(
                    tenant_id=tenant.id,
                    id=f"store-{number}",
                    name=f"Store {number}",
                    location=location,
                )
            )


async def test_stores_by_their_distance_from_a_point(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_stores(database, tenant, [*scattered(30), *scattered(30), None])
    await make_stores(database, await make_tenant(database, "other"), [*scattered(5)])
    async with database.tenant_transaction(tenant.id) as connection:
        rows = await connection.execute(
            text(
                "SELECT id, ST_Distance(location::geography, ST_SetSRID(ST_MakePoint("
                ":longitude, :latitude), 4326)::geography) AS metres FROM stores "
                "WHERE location IS NOT NULL ORDER BY metres, sk"
            ),
            MONAS,
        )
        expected = [(row.id, round(row.metres, 1)) for row in rows]
    for limit in (1, 7, 100):
        found = [item async for item in walk(client, NEAREST, **MONAS, limit=limit)]
        assert [(item["id"], item["distance"]) for item in found] == expected
    [nearest] = [item async for item in walk(client, NEAREST, **MONAS, k=1)]
    assert nearest == found[0]
    assert 0 <= nearest["bearing"] < 360


async def test_a_store_at_the_point_has_no_bearing(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_stores(database, tenant, [(-6.1754, 106.8272), (-6.1754, -73.1728)])
    first, second = [item async for item in walk(client, NEAREST, **MONAS)]
    assert (first["distance"], first["bearing"]) == (0.0, None)
    assert second["distance"] == pytest.approx(18_638_197.7, abs=1)


async def test_the_nearest_store_of_each_customer(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    chance = random.Random(5)
    await make_stores(database, tenant, [*scattered(12, seed=9), (0.0, 179.99), None])
    places = [*scattered(60), (0.0, -179.99), (90.0, 0.0), (-89.0, 12.0)]
    ids = await place(database, tenant, places)
    async with database.tenant_transaction(tenant.id) as connection:
        sks = list(await connection.scalars(text("SELECT sk FROM stores ORDER BY sk")))
        for identity in ids[::2]:
            await connection.execute(
                text("UPDATE customers SET home_store_sk = :store WHERE id = :id"),
                {"store": chance.choice(sks), "id": identity},
            )
        rows = await connection.execute(
            text(
                "SELECT c.id, s.id AS store, ST_Distance(c.last_known_geography, s.geography) AS "
                "metres, h.id AS home, ST_Distance(c.last_known_geography, h.geography) AS away "
                "FROM customers c LEFT JOIN stores h ON h.sk = c.home_store_sk "
                "CROSS JOIN LATERAL (SELECT * FROM stores WHERE geography IS NOT NULL "
                "ORDER BY ST_Distance(c.last_known_geography, geography), sk LIMIT 1) s "
                "ORDER BY c.sk"
            )
        )
        expected = [
            (
                row.id,
                row.store,
                round(row.metres, 1),
                row.home,
                None if row.away is None else round(row.away, 1),
            )
            for row in rows
        ]

    def told(item: dict[str, Any]) -> tuple[Any, ...]:
        names = ("customerId", "storeId", "distance", "homeStoreId", "homeStoreDistance")
        return tuple(item[name] for name in names)

    found = [item async for item in walk(client, NEAREST, limit=9)]
    assert [told(item) for item in found] == expected
    assert found[60]["storeId"] == "store-12"  # across the antimeridian
    boxed = [item async for item in walk(client, NEAREST, limit=9, bbox="106.8,-6.3,107,-6.1")]
    assert [told(item) for item in boxed] == [
        each
        for each, (latitude, longitude) in zip(expected, places, strict=True)
        if 106.8 <= longitude <= 107 and -6.3 <= latitude <= -6.1
    ]
    assert boxed
    homed = [item async for item in walk(client, NEAREST, store="store-1")]
    assert [told(item) for item in homed] == [each for each in expected if each[3] == "store-1"]


async def test_no_store_has_a_place(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    for query in (MONAS, {}):
        answer = await client.get(NEAREST, params=query)
        assert answer.json() == {"items": [], "nextCursor": None}
    await place(database, tenant, [(1.0, 2.0)])
    await make_stores(database, tenant, [None])
    [item] = [item async for item in walk(client, NEAREST)]
    assert (item["storeId"], item["distance"], item["bearing"]) == (None, None, None)


async def test_a_file_of_everybody(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store_distance, "_STREAMED_ROWS", 10)
    await make_stores(database, tenant, [*scattered(3, seed=9)])
    await place(database, tenant, scattered(40))
    answer = await client.get(f"{NEAREST}.csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    items = [item async for item in walk(client, NEAREST)]
    assert [row["customerId"] for row in rows] == [item["customerId"] for item in items]
    assert [float(row["distance"]) for row in rows] == [item["distance"] for item in items]
    answer = await client.get(f"{NEAREST}.csv", params={"bbox": "0,0,1,1"})
    assert list(csv.DictReader(io.StringIO(answer.text))) == []
    assert (await client.get(f"{NEAREST}.csv", params={"zone": "none"})).status_code == 404


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ({"latitude": -6.2}, "longitude"),
        ({"longitude": 106.8}, "latitude"),
        ({"latitude": 106.8, "longitude": -6.2}, "latitude"),
        ({"latitude": "nan", "longitude": 0}, "latitude"),
        (MONAS | {"k": 0}, "k"),
        (MONAS | {"bbox": "0,0,1,1"}, "latitude"),
        ({"k": 3}, "k"),
    ],
)
async def test_what_cannot_be_asked(
    client: httpx.AsyncClient, query: dict[str, Any], parameter: str
) -> None:
    answer = await client.get(NEAREST, params=query)
    assert answer.status_code == 422
    assert [each["parameter"] for each in answer.json()["errors"]] == [parameter]


async def test_anonymous_callers_learn_the_way_from_the_district(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    cell = await make_district(database, tenant, 6, (-6.2, 106.8))
    await make_district(database, tenant, 4, (-6.3, 106.9))
    latitude, longitude = cell_centre(cell)
    # Two stores: the first is at somebody's door, the second nearer to the district's middle.
    house = (latitude + 0.01, longitude - 0.01)
    await make_stores(database, tenant, [house, (latitude + 0.001, longitude)])
    query = {"anonymize": "true"}
    items = [item async for item in walk(client, NEAREST, **query, limit=4)]
    assert len(items) == 6
    assert {item["storeId"] for item in items} == {"store-1"}
    assert len({item["distance"] for item in items}) == 1
    assert {(item["latitude"], item["name"], item["geohash"]) for item in items} == {
        (None, None, cell)
    }
    corners = (house[1] - 1e-5, house[0] - 1e-5, house[1] + 1e-5, house[0] + 1e-5)
    bbox = ",".join(f"{each:.6f}" for each in corners)
    assert len([item async for item in walk(client, NEAREST, bbox=bbox)]) == 1
    assert [item async for item in walk(client, NEAREST, **query, bbox=bbox)] == []
    everybody = [item async for item in walk(client, NEAREST, **query, geohash=cell + "9")]
    assert everybody == items
    rows = list(
        csv.DictReader(io.StringIO((await client.get(f"{NEAREST}.csv", params=query)).text))
    )
    assert [row["customerId"] for row in rows] == [item["customerId"] for item in items]
    silver = {"tier": "silver", **query}
    assert [item async for item in walk(client, NEAREST, **silver)] == []
