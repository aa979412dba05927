"""Delivery zones: drawn and refused, asked what and who is in them, proposed from the stores."""

import csv
import io
import math
import random
from itertools import pairwise
from typing import Any

import httpx
import pytest
from sqlalchemy import event, insert, text

from app.database import Database, set_tenant
from app.domain.access import ROLES
from app.domain.tenant import Tenant
from app.repositories import zone as zone_repository
from app.repositories.tables import customers, stores
from tests.factories import make_customer, make_key, make_tenant

ZONES = "/api/geo/zones"
WEST, SOUTH, EAST, NORTH = 106.80, -6.30, 106.90, -6.20


def _box(west: float, south: float, east: float, north: float) -> list[list[float]]:
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


SQUARE = {"type": "Polygon", "coordinates": [_box(WEST, SOUTH, EAST, NORTH)]}
HOLED = {
    "type": "Polygon",
    "coordinates": [
        _box(WEST, SOUTH, EAST, NORTH),
        list(reversed(_box(106.84, -6.26, 106.86, -6.24))),
    ],
}


async def _draw(
    client: httpx.AsyncClient, area: Any = SQUARE, zone_id: str = "zone-1", **more: Any
) -> dict[str, Any]:
    answer = await client.post(ZONES, json={"id": zone_id, "name": "Zone", "area": area, **more})
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def _place(
    database: Database, tenant: Tenant, customer_id: str, latitude: float, longitude: float
) -> None:
    await make_customer(
        database,
        tenant,
        customer_id,
        last_known_latitude=latitude,
        last_known_longitude=longitude,
    )


async def _open_store(
    database: Database, tenant: Tenant, store_id: str, latitude: float, longitude: float
) -> None:
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(
            insert(stores).values(
                tenant_id=tenant.id,
                id=store_id,
                name=store_id.title(),
                location=f"SRID=4326;POINT({longitude} {latitude})",
            )
        )


async def test_a_zone_is_answered_as_it_was_drawn(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _open_store(database, tenant, "store-1", -6.25, 106.85)
    zone = await _draw(
        client, HOLED, description="By motorbike", storeId="store-1", properties={"fee": [1, 2]}
    )
    assert zone["area"] == HOLED
    assert (zone["name"], zone["description"]) == ("Zone", "By motorbike")
    assert (zone["storeId"], zone["properties"]) == ("store-1", {"fee": [1, 2]})
    assert zone["customers"] is None
    assert (await client.get(f"{ZONES}/zone-1")).json() == zone


async def test_an_area_is_measured_on_the_globe(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    far_north = {"type": "Polygon", "coordinates": [_box(10, 60, 10.1, 60.1)]}
    slanting = {"type": "Polygon", "coordinates": [[[0, 40], [30, 60], [0, 60], [0, 40]]]}
    world = {"type": "Polygon", "coordinates": [_world()]}
    for number, area in enumerate((SQUARE, HOLED, far_north)):
        zone = await _draw(client, area, f"zone-{number}")
        async with database.tenant_transaction(tenant.id) as connection:
            geodesic = await connection.scalar(
                text("SELECT ST_Area(area::geography) / 1e6 FROM delivery_zones WHERE id = :id"),
                {"id": f"zone-{number}"},
            )
        # Geodesic edges bulge a little towards the pole.
        assert zone["areaKm2"] == pytest.approx(geodesic, rel=1e-5)
    assert (await _draw(client, world, "world"))["areaKm2"] == pytest.approx(510_065_621.7)
    radius_squared = 510_065_621.7 / (4 * math.pi)
    expected = radius_squared * _slanting_share()
    assert (await _draw(client, slanting, "slanting"))["areaKm2"] == pytest.approx(
        expected, rel=5e-3
    )


def _slanting_share() -> float:
    """The triangle (0, 40), (30, 60), (0, 60) on a sphere of radius one, edges straight in degrees.

    The integral of the width in longitude, 30 (latitude - 40) / 20 degrees, over the latitudes.
    """
    steps = 2000
    height = math.radians(20) / steps
    return sum(
        math.radians(30 * (step + 0.5) / steps)
        * math.cos(math.radians(40 + 20 * (step + 0.5) / steps))
        * height
        for step in range(steps)
    )


def _world() -> list[list[float]]:
    return [[-180, -90], [0, -90], [180, -90], [180, 90], [0, 90], [-180, 90], [-180, -90]]


async def test_winding_is_put_right_and_heights_are_left_out(client: httpx.AsyncClient) -> None:
    clockwise = list(reversed(_box(WEST, SOUTH, EAST, NORTH)))
    area = {"type": "Polygon", "coordinates": [[[*position, 12] for position in clockwise]]}
    ring = (await _draw(client, area))["area"]["coordinates"][0]
    doubled = sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(ring))
    assert doubled > 0
    assert all(len(position) == 2 for position in ring)


async def test_several_parts_stay_a_multipolygon(client: httpx.AsyncClient) -> None:
    fiji = {
        "type": "MultiPolygon",
        "coordinates": [[_box(177, -19, 180, -16)], [_box(-180, -19, -178, -16)]],
    }
    zone = await _draw(client, fiji)
    assert zone["area"]["type"] == "MultiPolygon"
    assert len(zone["area"]["coordinates"]) == 2
    for longitude in (179.9, 180, -180, -179.9):
        found = await client.get(f"{ZONES}/at", params={"lat": -17, "lng": longitude})
        assert [each["id"] for each in found.json()["items"]] == ["zone-1"]


async def test_a_feature_brings_its_properties(client: httpx.AsyncClient) -> None:
    feature = {"type": "Feature", "geometry": SQUARE, "properties": {"fee": 3}}
    assert (await _draw(client, feature))["properties"] == {"fee": 3}
    assert (await _draw(client, feature, "zone-2", properties={}))["properties"] == {}


async def test_without_an_id_one_is_given(client: httpx.AsyncClient) -> None:
    answer = await client.post(ZONES, json={"name": "Zone", "area": SQUARE})
    assert answer.status_code == 201
    assert (await client.get(answer.headers["Location"])).json() == answer.json()


@pytest.mark.parametrize(
    ("area", "pointer", "reason"),
    [
        (
            {"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]},
            "/area",
            "Self-intersection at longitude 1, latitude 1",
        ),
        (
            {
                "type": "MultiPolygon",
                "coordinates": [[_box(0, 0, 2, 2)], [_box(1, 1, 3, 3)]],
            },
            "/area",
            "Self-intersection",
        ),
        (
            {"type": "Polygon", "coordinates": [_box(0, 0, 2, 2), _box(5, 5, 6, 6)]},
            "/area",
            "Hole lies outside shell",
        ),
        (
            {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 0], [0, 0]]]},
            "/area",
            "at longitude",
        ),
        (
            {"type": "Polygon", "coordinates": [_box(179, -17, -179, -16)]},
            "/area/coordinates/0/1",
            "antimeridian",
        ),
        (
            {"type": "Polygon", "coordinates": [[[-6.3, 106.8], *SQUARE["coordinates"][0][1:]]]},
            "/area/coordinates/0/0/1",
            "swapped",
        ),
        ({"type": "MultiPolygon", "coordinates": []}, "/area/coordinates", "empty"),
        ({"type": "GeometryCollection", "geometries": []}, "/area/type", "Polygon"),
        ([], "/area", "dictionary"),
    ],
)
async def test_what_is_no_area_is_refused_with_the_place(
    client: httpx.AsyncClient, area: Any, pointer: str, reason: str
) -> None:
    for method, path in (("POST", ZONES), ("PUT", f"{ZONES}/zone-1")):
        answer = await client.request(method, path, json={"name": "Zone", "area": area})
        assert answer.status_code == 422, answer.text
        (error,) = answer.json()["errors"]
        assert error["pointer"] == pointer
        assert reason in error["reason"]
    assert (await client.get(ZONES)).json()["items"] == []


async def test_a_body_that_is_too_long_or_not_finite_is_refused(client: httpx.AsyncClient) -> None:
    nan = b'{"name":"Z","area":{"type":"Polygon","coordinates":[[[NaN,0],[1,0],[1,1],[NaN,0]]]}}'
    headers = {"Content-Type": "application/json"}
    assert (await client.post(ZONES, content=nan, headers=headers)).status_code == 400
    huge = {"type": "Polygon", "coordinates": [[[106.123456, -6.123456]] * 400_000]}
    answer = await client.post(ZONES, json={"name": "Zone", "area": huge})
    assert answer.status_code == 413


async def test_what_a_zone_refers_to_has_to_exist(client: httpx.AsyncClient) -> None:
    answer = await client.post(ZONES, json={"name": "Z", "area": SQUARE, "storeId": "nowhere"})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"pointer": "/storeId", "reason": "There is no store with the id 'nowhere'."}
    ]


async def test_an_id_is_taken_once_and_some_never(client: httpx.AsyncClient) -> None:
    await _draw(client)
    again = await client.post(ZONES, json={"id": "zone-1", "name": "Other", "area": SQUARE})
    assert again.status_code == 409
    for reserved in ("at", "voronoi"):
        body = {"name": "Zone", "area": SQUARE}
        assert (await client.post(ZONES, json=body | {"id": reserved})).status_code == 422
        assert (await client.put(f"{ZONES}/{reserved}", json=body)).status_code == 422


async def test_putting_replaces_the_whole_zone(client: httpx.AsyncClient) -> None:
    body = {"name": "Zone", "area": SQUARE, "description": "Old", "properties": {"a": 1}}
    first = await client.put(f"{ZONES}/a%2Fb", json=body)
    assert first.status_code == 201
    second = await client.put(f"{ZONES}/a%2Fb", json={"name": "New", "area": HOLED})
    assert second.status_code == 200
    zone = (await client.get(f"{ZONES}/a%2Fb")).json()
    assert (zone["id"], zone["name"], zone["description"]) == ("a/b", "New", None)
    assert (zone["area"], zone["properties"]) == (HOLED, {})
    assert zone["createdAt"] == first.json()["createdAt"]
    assert (await client.delete(f"{ZONES}/a%2Fb")).status_code == 204
    assert (await client.get(f"{ZONES}/a%2Fb")).status_code == 404
    assert (await client.delete(f"{ZONES}/a%2Fb")).status_code == 404


async def test_the_list_comes_in_pages_and_as_geojson(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _open_store(database, tenant, "store-1", -6.25, 106.85)
    for number in range(5):
        ring = _box(number, 0, number + 0.5, 1)
        await _draw(
            client,
            {"type": "Polygon", "coordinates": [ring]},
            f"zone-{number}",
            properties={"fee": number, "id": "mine"},
            **({"storeId": "store-1"} if number == 3 else {}),
        )
    found, cursor = [], None
    while True:
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await client.get(ZONES, params=query)).json()
        found += [each["id"] for each in page["items"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert found == [f"zone-{number}" for number in range(5)]
    answer = await client.get(ZONES, params={"format": "geojson", "limit": "2"})
    assert answer.headers["Content-Type"] == "application/geo+json"
    collection = answer.json()
    assert collection["type"] == "FeatureCollection"
    assert collection["nextCursor"]
    feature = collection["features"][1]
    assert feature["geometry"]["type"] == "Polygon"
    assert (feature["id"], feature["properties"]["id"]) == ("zone-1", "zone-1")
    assert (feature["properties"]["fee"], feature["properties"]["name"]) == (1, "Zone")
    one = (await client.get(f"{ZONES}/zone-1", params={"format": "geojson"})).json()
    assert one == feature
    for query, expected in (
        ({"store": "store-1"}, ["zone-3"]),
        ({"bbox": "0.2,0,1.2,1"}, ["zone-0", "zone-1"]),
        ({"bbox": "3.9,0,0.1,1"}, ["zone-0", "zone-4"]),
        ({"bbox": "0.6,0,0.9,1"}, []),
    ):
        items = (await client.get(ZONES, params=query)).json()["items"]
        assert [each["id"] for each in items] == expected, query


async def test_the_zones_at_a_point_come_smallest_first(client: httpx.AsyncClient) -> None:
    await _draw(client, HOLED, "holed")
    await _draw(client, {"type": "Polygon", "coordinates": [_box(106, -7, 107, -6)]}, "province")
    await _draw(
        client,
        {"type": "Polygon", "coordinates": [_box(106.81, -6.29, 106.82, -6.28)]},
        "quarter",
    )

    async def at(latitude: float, longitude: float, **more: str) -> list[str]:
        query = {"lat": str(latitude), "lng": str(longitude), **more}
        found = await client.get(f"{ZONES}/at", params=query)
        return [each["id"] for each in found.json()["items"]]

    assert await at(-6.285, 106.815) == ["quarter", "holed", "province"]
    assert await at(-6.25, 106.85) == ["province"]  # in the hole
    assert await at(-6.30, 106.80) == ["holed", "province"]  # a corner
    assert await at(6.285, 106.815) == []
    query = {"latitude": "-6.285", "longitude": "106.815", "limit": "2"}
    first = (await client.get(f"{ZONES}/at", params=query)).json()
    second = await client.get(f"{ZONES}/at", params=query | {"cursor": first["nextCursor"]})
    pages = [each["id"] for each in first["items"] + second.json()["items"]]
    assert pages == ["quarter", "holed", "province"]
    assert second.json()["nextCursor"] is None


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"lat": "-6.2"},
        {"lat": "106.8", "lng": "-6.2"},
        {"lat": "nan", "lng": "1"},
        {"lat": "inf", "lng": "1"},
        {"lat": "1", "latitude": "2", "lng": "1"},
    ],
)
async def test_a_point_has_to_be_one(client: httpx.AsyncClient, query: dict[str, str]) -> None:
    assert (await client.get(f"{ZONES}/at", params=query)).status_code == 422


async def test_customers_of_a_zone_come_in_pages_and_as_a_file(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _draw(client, HOLED)
    draw = random.Random(7)
    inside = set()
    async with database.tenant_transaction(tenant.id) as connection:
        rows = []
        for number in range(200):
            latitude, longitude = draw.uniform(-6.35, -6.15), draw.uniform(106.75, 106.95)
            hole = 106.84 < longitude < 106.86 and -6.26 < latitude < -6.24
            if SOUTH <= latitude <= NORTH and WEST <= longitude <= EAST and not hole:
                inside.add(f"cus-{number}")
            rows.append(
                {
                    "tenant_id": tenant.id,
                    "id": f"cus-{number}",
                    "name": "=Siti",
                    "last_known_latitude": latitude,
                    "last_known_longitude": longitude,
                }
            )
        await connection.execute(insert(customers), rows)
    assert 20 < len(inside) < 180
    await _place(database, tenant, "corner", NORTH, EAST)
    await _place(database, tenant, "in the hole", -6.25, 106.85)
    inside.add("corner")
    found: list[str] = []
    cursor = None
    while True:
        query = {"limit": "17"} | ({"cursor": cursor} if cursor else {})
        page = (await client.get(f"{ZONES}/zone-1/customers", params=query)).json()
        found += [each["id"] for each in page["items"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert len(found) == len(set(found))
    assert set(found) == inside
    zone = await client.get(f"{ZONES}/zone-1", params={"customers": "true"})
    assert zone.json()["customers"] == len(inside)
    answer = await client.get(f"{ZONES}/zone-1/customers.csv")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    assert [line["id"] for line in lines] == found
    assert lines[0]["name"] == "'=Siti"
    for path in ("customers", "customers.csv"):
        assert (await client.get(f"{ZONES}/nowhere/{path}")).status_code == 404


async def test_nobody_is_found_by_drawing_zones_around_them(
    client: httpx.AsyncClient,
    anonymous: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
) -> None:
    # Five together in one district, whose centre is (-6.262, 106.809); and one alone.
    crowd = [(-6.2607 + 0.001 * number, 106.8134) for number in range(5)]
    for number, place in enumerate(crowd):
        await _place(database, tenant, f"crowd-{number}", *place)
    await _place(database, tenant, "lonely", -6.05, 106.5)
    headers = {
        "X-API-Key": await make_key(database, tenant, scopes=ROLES["analyst"]),
        "Authorization": "",
    }

    async def seen(zone_id: str) -> list[dict[str, Any]]:
        answer = await anonymous.get(f"{ZONES}/{zone_id}/customers", headers=headers)
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        count = await anonymous.get(
            f"{ZONES}/{zone_id}", params={"customers": "true"}, headers=headers
        )
        assert count.json()["customers"] == len(items)
        file = await anonymous.get(f"{ZONES}/{zone_id}/customers.csv", headers=headers)
        assert len(file.text.splitlines()) == len(items) + 1
        return items

    def around(latitude: float, longitude: float, degrees: float) -> dict[str, Any]:
        box = (longitude - degrees, latitude - degrees, longitude + degrees, latitude + degrees)
        return {"type": "Polygon", "coordinates": [_box(*box)]}

    await _draw(client, around(*crowd[0], 0.0001), "one of five")
    await _draw(client, around(-6.262, 106.809, 0.01), "centre")
    await _draw(client, around(-6.05, 106.5, 0.5), "lonely")
    assert await seen("one of five") == []
    shown = await seen("centre")
    assert len(shown) == 5
    assert {each["geohash"] for each in shown} == {shown[0]["geohash"]}
    assert len(shown[0]["geohash"]) == 5
    assert all(
        each["name"] is None and each["latitude"] is None and each["longitude"] is None
        for each in shown
    )
    assert not {each["id"] for each in shown} & {f"crowd-{number}" for number in range(5)}
    # Its zone holds the district of the five as well, but nothing of the one.
    assert len(await seen("lonely")) == 5


async def test_another_tenant_has_other_zones(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, database: Database
) -> None:
    await _draw(client)
    other = await make_tenant(database, "other")
    headers = {"X-API-Key": await make_key(database, other)}
    assert (await anonymous.get(ZONES, headers=headers)).json()["items"] == []
    at = await anonymous.get(f"{ZONES}/at?lat=-6.25&lng=106.85", headers=headers)
    assert at.json()["items"] == []
    body = {"name": "Theirs", "area": SQUARE}
    theirs = await anonymous.put(f"{ZONES}/zone-1", json=body, headers=headers)
    assert theirs.status_code == 201
    assert (await client.get(f"{ZONES}/zone-1")).json()["name"] == "Zone"


def _metres(one: tuple[float, float], other: tuple[float, float]) -> float:
    """On a sphere, which is right to half a percent."""
    (a, b), (c, d) = one, other
    a, b, c, d = map(math.radians, (a, b, c, d))
    half = math.sin((c - a) / 2) ** 2 + math.cos(a) * math.cos(c) * math.sin((d - b) / 2) ** 2
    return 2 * 6_371_009 * math.asin(math.sqrt(half))


async def test_service_areas_hold_what_their_store_is_nearest_to(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    # Oslo, where a degree of longitude is half as long as one of latitude.
    places = {
        "a": (59.91, 10.75),
        "b": (59.95, 10.95),
        "c": (59.83, 10.80),
        "d": (59.93, 10.60),
        "e": (59.90, 10.85),
    }
    for store_id, place in places.items():
        await _open_store(database, tenant, store_id, *place)
    bounds = [10.5, 59.8, 11.0, 60.0]
    proposed = await client.post(f"{ZONES}/voronoi", json={"bounds": bounds})
    assert proposed.status_code == 200, proposed.text
    areas = proposed.json()
    assert areas["bounds"] == bounds
    assert areas["withoutArea"] == []
    assert [each["storeId"] for each in areas["items"]] == list("abcde")
    assert all(each["zoneId"] is None for each in areas["items"])
    assert (await client.get(ZONES)).json()["items"] == []
    await client.post(f"{ZONES}/voronoi", json={"bounds": bounds, "save": True})
    whole = await _draw(client, {"type": "Polygon", "coordinates": [_box(*bounds)]}, "whole")
    total = sum(each["areaKm2"] for each in areas["items"])
    assert total == pytest.approx(whole["areaKm2"], rel=1e-6)
    draw = random.Random(3)
    undecided = 0
    for _ in range(60):
        point = (draw.uniform(59.8, 60.0), draw.uniform(10.5, 11.0))
        nearest, second = sorted(places, key=lambda each: _metres(point, places[each]))[:2]
        if _metres(point, places[second]) < 1.01 * _metres(point, places[nearest]):
            undecided += 1
            continue
        at = await client.get(f"{ZONES}/at", params={"lat": point[0], "lng": point[1]})
        found = [each["id"] for each in at.json()["items"] if each["id"] != "whole"]
        assert found == [f"service-area-{nearest}"], point
    assert undecided < 10


async def test_service_areas_of_a_continent_are_true_as_well(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    places = {
        "oslo": (59.9, 10.7),
        "lisbon": (38.7, -9.1),
        "istanbul": (41.0, 29.0),
        "munich": (48.1, 11.5),
    }
    for store_id, place in places.items():
        await _open_store(database, tenant, store_id, *place)
    saved = (await client.post(f"{ZONES}/voronoi", json={"save": True})).json()
    west, south, east, north = saved["bounds"]
    draw = random.Random(5)
    for _ in range(40):
        point = (draw.uniform(south, north), draw.uniform(west, east))
        at = await client.get(f"{ZONES}/at", params={"lat": point[0], "lng": point[1]})
        (found,) = [each["storeId"] for each in at.json()["items"]]
        nearest = min(_metres(point, place) for place in places.values())
        assert _metres(point, places[found]) < 1.02 * nearest


async def test_a_store_beyond_the_antimeridian_is_as_near_as_it_is(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _open_store(database, tenant, "west", -17.0, 179.8)
    await _open_store(database, tenant, "east", -17.0, -179.9)
    together = await client.post(f"{ZONES}/voronoi", json={})
    assert together.status_code == 422
    assert together.json()["errors"][0]["pointer"] == "/bounds"
    body = {"save": True, "bounds": [179, -18, 180, -16]}
    found = (await client.post(f"{ZONES}/voronoi", json=body)).json()
    assert [each["storeId"] for each in found["items"]] == ["east", "west"]
    # The middle between the two is at 179.95.
    for longitude, store_id in ((179.94, "west"), (179.96, "east")):
        at = await client.get(f"{ZONES}/at", params={"lat": -17, "lng": longitude})
        assert [each["storeId"] for each in at.json()["items"]] == [store_id]


async def test_saving_service_areas_again_replaces_them(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    for store_id, longitude in (("a", 106.7), ("b", 106.9)):
        await _open_store(database, tenant, store_id, -6.2, longitude)
    first = (await client.post(f"{ZONES}/voronoi", json={"save": True})).json()
    assert [each["zoneId"] for each in first["items"]] == ["service-area-a", "service-area-b"]
    # 10 km beyond the outermost stores.
    assert first["bounds"] == pytest.approx([106.6096, -6.2898, 106.9904, -6.1102], abs=1e-3)
    zone = (await client.get(f"{ZONES}/service-area-a")).json()
    assert (zone["name"], zone["storeId"]) == ("Service area of A", "a")
    assert zone["properties"] == {"proposedBy": "voronoi", "sharedWith": []}
    assert zone["area"] == first["items"][0]["area"]
    alone = {"save": True, "storeIds": ["a"], "bounds": [106, -7, 107, -6]}
    again = (await client.post(f"{ZONES}/voronoi", json=alone)).json()
    (only,) = again["items"]
    assert only["area"]["coordinates"] == [_box(106, -7, 107, -6)]
    assert (await client.get(f"{ZONES}/service-area-a")).json()["areaKm2"] == only["areaKm2"]
    assert len((await client.get(ZONES)).json()["items"]) == 2


async def test_stores_at_one_place_share_an_area(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    for store_id, longitude in (("a", 106.7), ("b", 106.9), ("c", 106.7)):
        await _open_store(database, tenant, store_id, -6.2, longitude)
    items = (await client.post(f"{ZONES}/voronoi", json={})).json()["items"]
    assert [(each["storeId"], each["sharedWith"]) for each in items] == [("a", ["c"]), ("b", [])]
    assert items[0]["name"] == "Service area of A and C"
    body = {"storeIds": ["a", "c"], "bounds": [106, -7, 107, -6]}
    (shared,) = (await client.post(f"{ZONES}/voronoi", json=body)).json()["items"]
    assert shared["sharedWith"] == ["c"]


async def test_a_store_far_from_the_bounds_may_have_no_area(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    for store_id, longitude in (("a", 106.7), ("b", 106.8), ("far", 120.0)):
        await _open_store(database, tenant, store_id, -6.2, longitude)
    body = {"bounds": [106.6, -6.3, 106.9, -6.1]}
    found = (await client.post(f"{ZONES}/voronoi", json=body)).json()
    assert [each["storeId"] for each in found["items"]] == ["a", "b"]
    assert found["withoutArea"] == ["far"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/storeIds"),
        ({"storeIds": ["nowhere"]}, "/storeIds/0"),
        ({"storeIds": ["unplaced"]}, "/storeIds/0"),
        ({"storeIds": []}, "/storeIds"),
    ],
)
async def test_without_a_place_there_is_no_service_area(
    client: httpx.AsyncClient, body: dict[str, Any], pointer: str
) -> None:
    await client.post("/api/stores", json={"id": "unplaced", "name": "Unplaced"})
    answer = await client.post(f"{ZONES}/voronoi", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(
    "bounds",
    [
        [1, 2, 1, 3],
        [1, 3, 2, 2],
        [179, 0, -179, 1],
        [0, 0, 200, 1],
        [0, 0, 1],
        [0, 80, 1, 90],
        [-60, -40, 60, 40],
    ],
)
async def test_bounds_have_to_be_an_area(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, bounds: list[float]
) -> None:
    await _open_store(database, tenant, "a", 0.5, 1.5)
    answer = await client.post(f"{ZONES}/voronoi", json={"bounds": bounds})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith("/bounds")


async def test_zones_and_their_customers_are_looked_up_in_indexes(
    fresh_database: Database,
) -> None:
    tenant = await make_tenant(fresh_database)
    draw = random.Random(1)
    async with fresh_database.transaction() as connection:
        await connection.execute(text("SET ROLE NONE"))
        await set_tenant(connection, tenant.id)
        await connection.execute(
            insert(customers),
            [
                {
                    "tenant_id": tenant.id,
                    "id": f"cus-{number}",
                    "name": "Siti",
                    "last_known_latitude": draw.uniform(-9, 5),
                    "last_known_longitude": draw.uniform(95, 140),
                }
                for number in range(4000)
            ],
        )
        await connection.execute(
            text("""
                INSERT INTO delivery_zones (tenant_id, id, name, area)
                SELECT :tenant, 'zone-' || n, 'Zone', ST_Multi(ST_MakeEnvelope(
                    95 + n % 45, -9 + n / 45 * 0.5, 95.5 + n % 45, -8.6 + n / 45 * 0.5, 4326))
                FROM generate_series(0, 999) AS n
            """),
            {"tenant": tenant.id},
        )
        await connection.execute(text("ANALYZE customers, delivery_zones"))
        await connection.execute(text("SET ROLE bps_app"))
        statements: list[tuple[str, Any]] = []

        def keep(_: Any, __: Any, statement: str, parameters: Any, ___: Any, ____: Any) -> None:
            statements.append((statement, parameters))

        engine = fresh_database.engine.sync_engine
        sk = await zone_repository.get_sk(connection, tenant.id, "zone-500")
        event.listen(engine, "before_cursor_execute", keep)
        await zone_repository.list_at(
            connection, tenant.id, latitude=-6.2, longitude=106.8, after=(-1.0, 0), limit=51
        )
        await zone_repository.count_customers(connection, tenant.id, sk)
        await zone_repository.list_customers(connection, tenant.id, sk, after=("", 0), limit=51)
        event.remove(engine, "before_cursor_execute", keep)
        plans = []
        for statement, parameters in statements:
            rows = await connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)
            plans.append("\n".join(row[0] for row in rows))
    at, counted, _, listed = plans
    assert "delivery_zones_area_idx" in at
    assert "area &&" in at.partition("Index Cond: ")[2].partition("\n")[0]
    assert "customers_location_idx" in counted
    assert "last_known_location &&" in counted
    assert "customers_geohash_idx" in listed
    assert "last_known_geohash >= " in listed.partition("customers_geohash_idx")[2]
    for plan in plans:
        assert "Seq Scan" not in plan
