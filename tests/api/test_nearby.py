"""Customers near a point: true metres, the nearest first, anywhere on the globe."""

from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.database import Database
from app.domain.geometry import cell_centre, geohash_of
from app.domain.tenant import Tenant
from app.repositories import nearby
from tests.api.places import make_district, place, scattered, walk
from tests.factories import make_customer, make_tenant

NEARBY = "/api/geo/nearby/customers"
MONAS: dict[str, Any] = {"latitude": -6.1754, "longitude": 106.8272}


async def ids_of(client: httpx.AsyncClient, **query: Any) -> list[str]:
    return [item["customerId"] async for item in walk(client, NEARBY, **query)]


async def by_distance(
    database: Database, tenant: Tenant, point: dict[str, float]
) -> list[tuple[str, float]]:
    """Every customer's id and distance, as PostGIS has them without any index."""
    async with database.tenant_transaction(tenant.id) as connection:
        rows = await connection.execute(
            text(
                "SELECT id, ST_Distance(last_known_geography, ST_SetSRID(ST_MakePoint("
                ":longitude, :latitude), 4326)::geography) AS metres FROM customers "
                "WHERE last_known_latitude IS NOT NULL ORDER BY metres, sk"
            ),
            point,
        )
        return [(row.id, row.metres) for row in rows]


async def test_what_is_told_of_a_customer(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(
        database,
        tenant,
        "cus-1",
        code="CUS-0001",
        membership_tier="gold",
        last_known_latitude=-6.1754,
        last_known_longitude=106.8363,
    )
    item = (await client.get(NEARBY, params=MONAS)).json()["items"][0]
    assert item == {
        "customerId": "cus-1",
        "code": "CUS-0001",
        "name": "Siti Rahayu",
        "customerType": "retail",
        "membershipTier": "gold",
        "status": "active",
        "rfmSegment": None,
        "churnBand": None,
        "lastOrderAt": None,
        "location": {"latitude": -6.1754, "longitude": 106.8363},
        "geohash": geohash_of(-6.1754, 106.8363, 9),
        "locatedAt": None,
        # By Vincenty's formulae: 1,007.2 m due east, less half a thousandth of a degree.
        "distance": pytest.approx(1007.2, abs=0.3),
        "bearing": 90.0,
    }


async def test_the_order_is_by_true_metres_not_by_those_on_a_sphere(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    # On a sphere the one in the north is nearer by 0.03 %, on the ellipsoid farther... by 0.6 %.
    places = [(0.0, 1.0), (1.003, 0.0)]
    await place(database, tenant, places)
    items = (await client.get(NEARBY, params={"latitude": 0, "longitude": 0})).json()["items"]
    assert [item["customerId"] for item in items] == ["cus-00001", "cus-00000"]
    assert [item["distance"] for item in items] == [110906.1, 111319.5]
    assert (await client.get(NEARBY, params={"latitude": 0, "longitude": 0, "k": 1})).json()[
        "items"
    ] == items[:1]


@pytest.mark.parametrize("limit", [1, 7, 100])
async def test_pages_hold_everybody_once_in_order(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, limit: int
) -> None:
    places = scattered(60)
    # Many stand at the same place, some at the very point.
    places += [places[0]] * 15 + [(MONAS["latitude"], MONAS["longitude"])] * 12
    await place(database, tenant, places)
    expected = [identity for identity, _ in await by_distance(database, tenant, MONAS)]
    assert await ids_of(client, **MONAS, limit=limit) == expected
    assert await ids_of(client, **MONAS, limit=limit, k=33) == expected[:33]


async def test_a_radius_ends_at_its_metre(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await place(database, tenant, scattered(200))
    expected = await by_distance(database, tenant, MONAS)
    for radius in (0, 3_000, 10_000.5, 20_000_000):
        found = await ids_of(client, **MONAS, radius=radius, limit=20)
        assert found == [identity for identity, metres in expected if metres <= radius]
    nearest = expected[4]
    assert (await ids_of(client, **MONAS, radius=nearest[1]))[-1] == nearest[0]
    assert await ids_of(client, **MONAS, radius=10_000, k=3) == [each[0] for each in expected[:3]]


async def test_a_radius_of_nothing_finds_who_is_there(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    ids = await place(database, tenant, [(-6.1754, 106.8272)] * 30 + [(-6.1754, 106.82721)])
    found = [item async for item in walk(client, NEARBY, **MONAS, radius=0, limit=7)]
    assert [item["customerId"] for item in found] == ids[:30]
    assert {(item["distance"], item["bearing"]) for item in found} == {(0.0, None)}


@pytest.mark.parametrize(
    ("point", "places", "bearings"),
    [
        ((10.0, 180.0), [(10.0, 179.999), (10.0, -179.998)], [270.0, 90.0]),
        ((10.0, -179.9999), [(10.0, 179.999), (10.0, -179.99)], [270.0, 90.0]),
        ((89.9999, 0.0), [(89.9999, 90.0), (89.999, 180.0)], [45.0, 0.0]),
        ((-90.0, 0.0), [(-89.9999, -120.0), (-89.999, 60.0)], None),
    ],
)
async def test_the_antimeridian_and_the_poles_are_places_like_others(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    point: tuple[float, float],
    places: list[tuple[float, float]],
    bearings: list[float] | None,
) -> None:
    ids = await place(database, tenant, places)
    query = {"latitude": point[0], "longitude": point[1]}
    for radius in (2_000, 20_000_000):
        answer = await client.get(NEARBY, params=query | {"radius": radius})
        items = answer.json()["items"]
        assert [item["customerId"] for item in items] == ids
        assert all(item["distance"] < 2_000 for item in items)
        if bearings is not None:
            assert [item["bearing"] for item in items] == pytest.approx(bearings, abs=0.2)


@pytest.mark.parametrize(
    ("query", "parameter", "reason"),
    [
        ({"latitude": 106.8, "longitude": -6.2}, "latitude", "swapped"),
        ({"latitude": 100, "longitude": 100}, "latitude", "beyond 90"),
        ({"latitude": 0, "longitude": 180.1}, "longitude", "beyond 180"),
        ({"latitude": "NaN", "longitude": 0}, "latitude", "finite"),
        ({"latitude": 0, "longitude": "inf"}, "longitude", "finite"),
        ({"latitude": 0}, "longitude", "required"),
        (MONAS | {"radius": -1}, "radius", "greater"),
        (MONAS | {"radius": "nan"}, "radius", "finite"),
        (MONAS | {"radius": 20_000_001}, "radius", "less"),
        (MONAS | {"k": 0}, "k", "greater"),
        (MONAS | {"k": -5}, "k", "greater"),
        (MONAS | {"bbox": "107,-6.1,106,-6.4"}, "bbox", "north"),
        (MONAS | {"bbox": "106,nan,107,-6"}, "bbox", "finite"),
        (MONAS | {"geohash": "qqa"}, "geohash", "holds a"),
    ],
)
async def test_what_cannot_be_asked(
    client: httpx.AsyncClient, query: dict[str, Any], parameter: str, reason: str
) -> None:
    answer = await client.get(NEARBY, params=query)
    assert answer.status_code == 422
    errors = {each["parameter"]: each["reason"] for each in answer.json()["errors"]}
    assert reason in errors[parameter]


async def test_nobody_is_near(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    assert (await client.get(NEARBY, params=MONAS)).json() == {"items": [], "nextCursor": None}
    await make_customer(database, tenant)  # whose place is not known
    assert await ids_of(client, **MONAS) == []


async def test_a_user_id_of_another_tenant_is_refused(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    assert (await client.get(NEARBY, params=MONAS | {"userId": "other"})).status_code == 403
    assert (await client.get(NEARBY, params=MONAS | {"userId": tenant.slug})).status_code == 200


async def test_only_the_own_customers_are_near(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await place(database, await make_tenant(database, "other"), scattered(20))
    ids = await place(database, tenant, scattered(3))
    assert sorted(await ids_of(client, **MONAS)) == ids


async def test_any_filter_of_customers(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # So that who meets the conditions is far beyond those that are tried first.
    monkeypatch.setattr(nearby, "REACH", 10)
    await place(database, tenant, scattered(120))
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(
            text("UPDATE customers SET membership_tier = 'gold' WHERE sk % 17 = 0")
        )
        await connection.execute(
            text("UPDATE customers SET last_known_latitude = 40 WHERE sk % 34 = 0")
        )
        chosen = text("SELECT id FROM customers WHERE membership_tier = 'gold'")
        gold = set(await connection.scalars(chosen))
        chosen = text(
            "SELECT id FROM customers WHERE last_known_longitude BETWEEN 106.8 AND 107"
            " AND last_known_latitude BETWEEN -6.9 AND -5.5"
        )
        in_box = set(await connection.scalars(chosen))
    order = [identity for identity, _ in await by_distance(database, tenant, MONAS)]
    wanted = [each for each in order if each in gold]
    assert len(wanted) >= 6
    for query in ({}, {"radius": 20_000_000}):
        assert await ids_of(client, **MONAS, **query, tier="gold", limit=2) == wanted
        assert await ids_of(client, **MONAS, **query, tier="gold", k=3) == wanted[:3]
    bbox = "106.8,-6.9,107,-5.5"
    assert await ids_of(client, **MONAS, bbox=bbox, tier="gold") == [
        each for each in wanted if each in in_box
    ]
    assert await ids_of(client, **MONAS, segment="champion") == []


async def test_a_cursor_of_another_list_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.get(NEARBY, params=MONAS | {"cursor": "WzFd"})).status_code == 400


async def test_anonymous_callers_learn_districts_of_five_or_more(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    large = await make_district(database, tenant, 9, (-6.2, 106.8))
    await make_district(database, tenant, 4, (-6.3, 106.9))
    far = await make_district(database, tenant, 5, (-6.5, 106.8))
    latitude, longitude = cell_centre(large)
    query: dict[str, Any] = {"latitude": latitude, "longitude": longitude, "anonymize": "true"}
    found = [item async for item in walk(client, NEARBY, **query, limit=4)]
    assert [item["geohash"] for item in found] == [large] * 9 + [far] * 5
    assert {item["distance"] for item in found[:9]} == {0.0}
    assert all(item["name"] is item["location"] is None for item in found)
    assert "-" not in "".join(item["customerId"] for item in found)
    assert [each async for each in walk(client, NEARBY, **query, limit=4, k=11)] == found[:11]
    # Of the nine, four are silver: too few to be told.
    silver = [each async for each in walk(client, NEARBY, **query, tier="silver")]
    assert silver == []
    gold = [each async for each in walk(client, NEARBY, **query, tier="gold", radius=1_000)]
    assert [item["geohash"] for item in gold] == [large] * 5


async def test_anonymous_callers_cannot_find_a_house_by_asking(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    """A small radius, box or prefix around somebody tells no more than the district."""
    cell = await make_district(database, tenant, 6, (-6.2, 106.8))
    latitude, longitude = cell_centre(cell)
    house = {"latitude": latitude + 0.01, "longitude": longitude - 0.01}
    assert len(await ids_of(client, **house, radius=5)) == 1
    assert await ids_of(client, **house, radius=5, anonymize=True) == []
    everybody = await ids_of(client, **house, anonymize=True)
    assert len(everybody) == 6
    box = [house["longitude"] - 1e-5, house["latitude"] - 1e-5]
    box += [house["longitude"] + 1e-5, house["latitude"] + 1e-5]
    bbox = ",".join(f"{each:.6f}" for each in box)
    assert len(await ids_of(client, **house, bbox=bbox)) == 1
    assert await ids_of(client, **house, bbox=bbox, anonymize=True) == []
    around = f"{longitude - 1e-5},{latitude - 1e-5},{longitude + 1e-5},{latitude + 1e-5}"
    assert await ids_of(client, **house, bbox=around, anonymize=True) == everybody
    assert await ids_of(client, **house, bbox=around) == []
    exact = geohash_of(house["latitude"], house["longitude"], 9)
    assert await ids_of(client, **house, geohash=exact, anonymize=True) == everybody
    distances = {item["distance"] async for item in walk(client, NEARBY, **house, anonymize="true")}
    assert len(distances) == 1
