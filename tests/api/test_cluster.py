"""Customers by cell of the geohash grid and by density."""

from collections import Counter, defaultdict
from decimal import Decimal
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.api import cluster as cluster_route
from app.database import Database
from app.domain.geometry import cell_box, cell_centre, geohash_of
from app.domain.tenant import Tenant
from tests.api.places import give_scores, make_district, place, scattered, walk
from tests.factories import make_tenant

CLUSTERS = "/api/geo/clusters/customers"


async def _rows(database: Database, tenant: Tenant, where: str = "true") -> list[Any]:
    async with database.tenant_transaction(tenant.id) as connection:
        found = await connection.execute(
            text(
                "SELECT last_known_geohash AS geohash, last_known_latitude AS latitude, "
                "last_known_longitude AS longitude, revenue, value_at_risk, churn_score, "
                "rfm_segment FROM customers c LEFT JOIN customer_analytics a "
                f"ON a.customer_sk = c.sk WHERE last_known_geohash IS NOT NULL AND {where}"
            )
        )
        return list(found)


def _expected(rows: list[Any], precision: int, least: int = 1) -> list[dict[str, Any]]:
    """The cells by plain counting."""
    cells: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        cells[row.geohash[:precision]].append(row)
    expected = []
    for geohash, members in sorted(cells.items()):
        if len(members) < least:
            continue
        churn = [each.churn_score for each in members if each.churn_score is not None]
        expected.append(
            {
                "geohash": geohash,
                "customers": len(members),
                "revenue": sum(each.revenue or 0 for each in members) / 100,
                "valueAtRisk": sum(each.value_at_risk or 0 for each in members) / 100,
                "averageChurn": pytest.approx(sum(churn) / len(churn), abs=1e-4) if churn else None,
                "segments": dict(Counter(each.rfm_segment for each in members if each.rfm_segment)),
                "latitude": sum(each.latitude for each in members) / len(members),
                "longitude": sum(each.longitude for each in members) / len(members),
            }
        )
    return expected


def _flat(item: dict[str, Any]) -> dict[str, Any]:
    return {
        "geohash": item["geohash"],
        "customers": item["customers"],
        "revenue": float(Decimal(item["revenue"])),
        "valueAtRisk": float(Decimal(item["valueAtRisk"])),
        "averageChurn": item["averageChurn"],
        "segments": item["segments"],
        "latitude": pytest.approx(item["centroid"]["latitude"], abs=1e-6),
        "longitude": pytest.approx(item["centroid"]["longitude"], abs=1e-6),
    }


async def _cells(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    return [item async for item in walk(client, CLUSTERS, **query)]


@pytest.mark.parametrize("precision", [1, 4, 5, 6, 9])
@pytest.mark.parametrize(
    ("query", "where"),
    [
        ({}, "true"),
        ({"segment": "champion"}, "rfm_segment = 'champion'"),
        ({"geohash": "qqgu"}, "left(last_known_geohash, 4) = 'qqgu'"),
        (
            {"bbox": "106.7,-6.25,106.85,-6.1"},
            "last_known_longitude BETWEEN 106.7 AND 106.85"
            " AND last_known_latitude BETWEEN -6.25 AND -6.1",
        ),
        ({"minCount": 3}, "true"),
    ],
)
async def test_cells_are_as_counted(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    precision: int,
    query: dict[str, Any],
    where: str,
) -> None:
    places = scattered(80, spread=0.05)
    await place(database, tenant, places + places[:10] * 2 + [(51.5, 0.0), (-33.9, 151.2)])
    await give_scores(database, tenant)
    await place_of_others(database)
    expected = _expected(await _rows(database, tenant, where), precision, query.get("minCount", 1))
    assert expected
    limit = 3 if len(expected) < 20 else 25
    items = await _cells(client, precision=precision, limit=limit, **query)
    assert [_flat(item) for item in items] == expected
    box = cell_box(items[0]["geohash"])
    ring = items[0]["area"]["coordinates"][0]
    assert (ring[0], ring[2]) == ([box.west, box.south], [box.east, box.north])
    assert len(ring) == 5
    assert ring[0] == ring[-1]


async def place_of_others(database: Database) -> None:
    await place(database, await make_tenant(database, "other"), scattered(5))


async def test_the_poles_and_the_antimeridian_are_in_cells(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await place(database, tenant, [(90, 180), (-90, -180), (0, 180), (0, -180), (0, 179.99)])
    items = await _cells(client, precision=3)
    assert [(item["geohash"], item["customers"]) for item in items] == sorted(
        Counter(
            geohash_of(*at, 3) for at in [(90, 180), (-90, -180), (0, 180), (0, -180), (0, 179.99)]
        ).items()
    )
    # A box across the antimeridian has its west beyond its east.
    items = await _cells(client, precision=3, bbox="179.995,-1,-179.995,1")
    assert [item["customers"] for item in items] == [1, 1]


async def test_nobody_makes_no_cluster(client: httpx.AsyncClient) -> None:
    for query in ({}, {"precision": 8}, {"method": "dbscan"}, {"bbox": "0,0,1,1"}):
        answer = (await client.get(CLUSTERS, params=query)).json()
        assert answer["items"] == []
        assert answer["nextCursor"] is None


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ({"precision": 0}, "precision"),
        ({"precision": 10}, "precision"),
        ({"minCount": 0}, "minCount"),
        ({"method": "kmeans"}, "method"),
        ({"method": "dbscan", "radius": 0}, "radius"),
        ({"method": "dbscan", "radius": "nan"}, "radius"),
        ({"method": "dbscan", "radius": 100_001}, "radius"),
        ({"method": "dbscan", "minPoints": 1}, "minPoints"),
        ({"method": "dbscan", "precision": 5}, "precision"),
        ({"radius": 100}, "radius"),
        ({"minPoints": 5}, "minPoints"),
        ({"bbox": "1,2,3"}, "bbox"),
        ({"bbox": "1,nan,3,4"}, "bbox"),
        ({"bbox": "1,5,3,4"}, "bbox"),
    ],
)
async def test_what_cannot_be_asked(
    client: httpx.AsyncClient, query: dict[str, Any], parameter: str
) -> None:
    answer = await client.get(CLUSTERS, params=query)
    assert answer.status_code == 422
    assert [each["parameter"] for each in answer.json()["errors"]] == [parameter]


@pytest.mark.parametrize("cursor", ["WzFd", "WyIwMTIzNDU2Nzg5Il0"])
async def test_a_cursor_of_another_list_is_refused(client: httpx.AsyncClient, cursor: str) -> None:
    assert (await client.get(CLUSTERS, params={"cursor": cursor})).status_code == 400
    crowds = {"cursor": "Wy0xXQ", "method": "dbscan"}
    assert (await client.get(CLUSTERS, params=crowds)).status_code == 400


async def test_crowds(client: httpx.AsyncClient, database: Database, tenant: Tenant) -> None:
    """Two crowds, one across the antimeridian, and somebody on his own."""
    market = [(-6.2 + each % 3 / 1000, (106_800 + each // 3) / 1000) for each in range(9)]
    island = [(-16.8, 179.9995), (-16.8, -179.9995), (-16.7995, 180.0), (-16.8005, -180.0)]
    await place(database, tenant, [*market, *island, (10.0, 10.0)])
    await give_scores(database, tenant)
    query: dict[str, Any] = {"method": "dbscan", "radius": 200, "minPoints": 4}
    answer = (await client.get(CLUSTERS, params=query)).json()
    assert answer["noise"] == 1
    large, small = answer["items"]
    rows = await _rows(database, tenant, "last_known_latitude BETWEEN -7 AND -6")
    [expected] = _expected(rows, 1)
    assert large["geohash"] is None
    assert _flat(large) == expected | {"geohash": None}
    assert large["area"] == {
        "type": "Polygon",
        "coordinates": [
            [[106.8, -6.2], [106.802, -6.2], [106.802, -6.198], [106.8, -6.198], [106.8, -6.2]]
        ],
    }
    assert small["customers"] == 4
    assert abs(small["centroid"]["longitude"]) == pytest.approx(180, abs=1e-6)
    assert small["area"]["type"] == "MultiPolygon"
    west, east = small["area"]["coordinates"]
    assert {lon < 0 for lon, _ in west[0]} != {lon < 0 for lon, _ in east[0]}
    # One after the other, and without the small one.
    assert await _cells(client, **query, limit=1) == [large, small]
    assert await _cells(client, **query, minCount=5) == [large]
    assert await _cells(client, **query, bbox="0,-20,179,-10") == []
    across = await _cells(client, **query, bbox="179,-20,-179,-10")
    assert [item["customers"] for item in across] == [4]


async def test_a_crowd_at_one_address_is_a_point(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await place(database, tenant, [(1.5, 103.8)] * 6)
    [item] = await _cells(client, method="dbscan")
    assert item["area"] == {"type": "Point", "coordinates": [103.8, 1.5]}
    assert item["averageChurn"] is None
    assert item["segments"] == {}


async def test_too_many_for_one_answer_are_refused_with_their_number(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster_route, "MOST_PLACES", 50)
    await place(database, tenant, scattered(80))
    answer = await client.get(CLUSTERS, params={"method": "dbscan"})
    assert answer.status_code == 422
    assert "50 customers at most, and these are 80" in answer.json()["errors"][0]["reason"]
    narrow = {"method": "dbscan", "bbox": "106.8,-6.2,106.9,-6.1"}
    assert (await client.get(CLUSTERS, params=narrow)).status_code == 200


async def test_anonymous_callers_learn_of_groups_of_five_or_more(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    large = await make_district(database, tenant, 9, (-6.2, 106.8))
    small = await make_district(database, tenant, 4, (-6.2, 106.7))
    assert large[:3] == small[:3]
    query = {"anonymize": "true"}
    for precision in (5, 6, 9):
        [item] = await _cells(client, **query, precision=precision)
        assert (item["geohash"], item["customers"]) == (large, 9)
        latitude, longitude = cell_centre(large)
        assert item["centroid"]["latitude"] == pytest.approx(latitude, abs=1e-6)
        assert item["centroid"]["longitude"] == pytest.approx(longitude, abs=1e-6)
    [item] = await _cells(client, **query, precision=3)
    assert item["customers"] == 9
    assert [item["customers"] for item in await _cells(client, precision=3)] == [13]
    # Four of the nine are silver.
    assert await _cells(client, **query, tier="silver") == []
    assert await _cells(client, **query, minCount=10) == []
    [crowd] = await _cells(client, **query, method="dbscan")
    assert crowd["customers"] == 9
    assert crowd["area"]["type"] == "Point"
    # A box around one of them is a box without a district's middle.
    latitude, longitude = latitude + 0.01, longitude - 0.01
    corners = (longitude - 1e-4, latitude - 1e-4, longitude + 1e-4, latitude + 1e-4)
    bbox = ",".join(f"{each:.6f}" for each in corners)
    assert len(await _cells(client, bbox=bbox)) == 1
    assert await _cells(client, **query, bbox=bbox) == []
    assert await _cells(client, **query, bbox=bbox, method="dbscan") == []
