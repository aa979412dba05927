"""The way of a customer as a file, and where somebody stayed."""

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree as ET

import geopandas
import httpx
import pytest
from sqlalchemy import text

from app.api import trace as traces
from app.database import Database, fetch_rows
from app.domain.access import Scope
from app.domain.tenant import Tenant
from app.repositories import capture as captures
from tests.factories import make_address, make_customer, make_key

TRACE = "/api/geo/export/location-history/cus-1"
VISITS = "/api/geo/visits"
START = (datetime.now(UTC) - timedelta(days=2)).replace(microsecond=0)
METRE = 1 / 110_574  # degrees of latitude at the equator


def _at(minutes: float) -> str:
    return (START + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")


async def _capture(client: httpx.AsyncClient, *places: tuple[Any, ...], **fields: Any) -> None:
    """Captures of minute, longitude, latitude."""
    items = [
        {
            "captureId": f"cap-{minute}-{number}",
            "customerId": "cus-1",
            "capturedAt": _at(minute),
            "longitude": longitude,
            "latitude": latitude,
            "accuracy": 10,
            **fields,
        }
        for number, (minute, longitude, latitude) in enumerate(places)
    ]
    answer = await client.post("/api/geo/capture/batch", json=items)
    assert answer.status_code == 200, answer.text


@pytest.fixture(autouse=True)
async def customer(database: Database, tenant: Tenant) -> None:
    await make_customer(database, tenant, "cus-1")


async def _trace(client: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    answer = await client.get(TRACE, params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/geo+json"
    document: dict[str, Any] = answer.json()
    return document


async def test_a_way_is_a_line_with_times_and_length(client: httpx.AsyncClient) -> None:
    await _capture(client, (2, 106.81, -6.2), (0, 106.8, -6.2), (1, 106.805, -6.2))
    feature = await _trace(client)
    assert feature == {
        "type": "Feature",
        "bbox": [106.8, -6.2, 106.81, -6.2],
        "geometry": {
            "type": "LineString",
            "coordinates": [[106.8, -6.2], [106.805, -6.2], [106.81, -6.2]],
        },
        "properties": {
            "customerId": "cus-1",
            "captures": 3,
            "from": _at(0),
            "to": _at(2),
            # A degree of longitude at 6.2 degrees south, by Vincenty's formula.
            "lengthMetres": pytest.approx(1106.8, abs=0.3),
            "times": [_at(0), _at(1), _at(2)],
            "accuracies": [10, 10, 10],
        },
    }


async def test_a_way_is_split_at_gaps(client: httpx.AsyncClient) -> None:
    await _capture(client, (0, 1, 1), (10, 1.001, 1), (41, 2, 1), (50, 2.001, 1), (90, 3, 1))
    feature = await _trace(client)
    assert feature["geometry"]["type"] == "MultiLineString"
    assert feature["geometry"]["coordinates"] == [
        [[1, 1], [1.001, 1]],
        [[2, 1], [2.001, 1]],
        [[3, 1], [3, 1]],
    ]
    assert feature["properties"]["times"] == [
        [_at(0), _at(10)],
        [_at(41), _at(50)],
        [_at(90), _at(90)],
    ]
    # What was passed in the gaps is not known.
    assert feature["properties"]["lengthMetres"] == pytest.approx(222.6, abs=0.2)
    whole = await _trace(client, gapMinutes=60)
    assert whole["geometry"]["type"] == "LineString"
    assert (await _trace(client, gapMinutes=5))["geometry"]["type"] == "MultiPoint"


async def test_one_place_is_a_point_and_none_is_no_geometry(client: httpx.AsyncClient) -> None:
    empty = await _trace(client)
    assert (empty["geometry"], "bbox" in empty) == (None, False)
    assert empty["properties"] == {
        "customerId": "cus-1",
        "captures": 0,
        "from": None,
        "to": None,
        "lengthMetres": 0,
        "times": [],
        "accuracies": [],
    }
    await _capture(client, (0, 106.8, -6.2))
    point = await _trace(client)
    assert point["geometry"] == {"type": "Point", "coordinates": [106.8, -6.2]}
    assert point["properties"]["times"] == _at(0)


async def test_a_way_across_the_antimeridian_is_cut(client: httpx.AsyncClient) -> None:
    await _capture(client, (0, 179.99, -17), (2, -179.99, -17))
    feature = await _trace(client)
    assert feature["geometry"]["coordinates"] == [
        [[179.99, -17], [180, -17]],
        [[-180, -17], [-179.99, -17]],
    ]
    assert feature["bbox"] == [179.99, -17, -179.99, -17]
    assert feature["properties"]["times"] == [[_at(0), _at(1)], [_at(1), _at(2)]]
    assert feature["properties"]["lengthMetres"] == pytest.approx(2129, abs=2)


async def test_a_way_is_simplified_in_metres(client: httpx.AsyncClient) -> None:
    bend = 5 * METRE
    await _capture(client, (0, 106.8, 0), (1, 106.81, bend), (2, 106.82, 0), (3, 106.83, 0))
    whole = await _trace(client)
    assert len(whole["geometry"]["coordinates"]) == 4
    fine = await _trace(client, simplify=4)
    assert fine["geometry"]["coordinates"] == [[106.8, 0], [106.81, bend], [106.83, 0]]
    assert fine["properties"]["times"] == [_at(0), _at(1), _at(3)]
    rough = await _trace(client, simplify=6)
    assert rough["geometry"]["coordinates"] == [[106.8, 0], [106.83, 0]]
    assert rough["properties"]["lengthMetres"] == whole["properties"]["lengthMetres"]
    assert rough["properties"]["captures"] == 4


async def test_a_time_is_asked_for_from_and_to(client: httpx.AsyncClient) -> None:
    await _capture(client, (0, 1, 1), (1, 1, 1.1), (2, 1, 1.2), (3, 1, 1.3))
    part = await _trace(client, **{"from": _at(1), "to": _at(3)})
    assert part["properties"]["times"] == [_at(1), _at(2)]
    answer = await client.get(TRACE, params={"from": _at(3), "to": _at(1)})
    assert answer.status_code == 422


async def test_what_is_not_believed_is_left_out_unless_asked_for(
    client: httpx.AsyncClient,
) -> None:
    await _capture(client, (0, 10, 1), (1, 0, 0), (2, 10, 1.001))
    assert (await _trace(client))["properties"]["captures"] == 2
    assert (await _trace(client, flagged="include"))["properties"]["captures"] == 3


async def test_one_feature_has_a_limit(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "MOST_POINTS", 2)
    await _capture(client, (0, 1, 1), (1, 1, 1.1), (2, 1, 1.2))
    answer = await client.get(TRACE)
    assert answer.status_code == 422
    assert "csv or gpx" in answer.text
    assert (await client.get(TRACE, params={"format": "csv"})).text.count("\n") == 4


async def test_geopandas_reads_the_feature(client: httpx.AsyncClient) -> None:
    await _capture(client, (0, 1, 1), (10, 1.001, 1), (90, 2, 1), (95, 2.001, 1))
    frame = geopandas.read_file(io.BytesIO((await client.get(TRACE)).content))
    (geometry,) = frame.geometry
    assert [list(line.coords) for line in geometry.geoms] == [
        [(1, 1), (1.001, 1)],
        [(2, 1), (2.001, 1)],
    ]
    assert frame.customerId[0] == "cus-1"
    assert frame.crs.to_epsg() == 4326


async def test_gpx_is_xml_with_a_segment_between_gaps(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, 'cus <&"1>')
    await _capture(
        client,
        (0, 1, 1),
        (10, 1.001, 1),
        (90, 2, 1),
        customerId='cus <&"1>',
        notes="a < b & \x01c",
        altitude=8.5,
        visitType="survey",
    )
    answer = await client.get(
        '/api/geo/export/location-history/cus <&"1>', params={"format": "gpx"}
    )
    assert answer.headers["content-type"] == "application/gpx+xml"
    space = {"g": "http://www.topografix.com/GPX/1/1"}
    document = ET.fromstring(answer.content)
    assert document.attrib["version"] == "1.1"
    assert document.findtext("g:trk/g:name", namespaces=space) == 'cus <&"1>'
    segments = document.findall("g:trk/g:trkseg", space)
    assert [len(each) for each in segments] == [2, 1]
    point = segments[0][0]
    assert point.attrib == {"lat": "1.0", "lon": "1.0"}
    assert [(each.tag.partition("}")[2], each.text) for each in point] == [
        ("ele", "8.5"),
        ("time", _at(0)),
        ("cmt", "a < b & c"),
        ("src", "gps"),
        ("type", "survey"),
    ]
    empty = await client.get(TRACE, params={"format": "gpx"})
    assert ET.fromstring(empty.content).findall("g:trk/g:trkseg", space) == []


async def test_csv_has_every_capture(client: httpx.AsyncClient) -> None:
    await _capture(client, (1, 106.8, -6.2), (0, 106.7, -6.1), notes="=1+1", capturedBy="emp-1")
    answer = await client.get(TRACE, params={"format": "csv"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["capturedAt"], row["latitude"], row["longitude"]) for row in rows] == [
        (_at(0), "-6.1", "106.7"),
        (_at(1), "-6.2", "106.8"),
    ]
    assert rows[0]["notes"] == "'=1+1"
    assert rows[0]["capturedBy"] == "emp-1"
    assert rows[1]["flags"] == ""


async def test_a_former_id_leads_to_the_way_of_the_present_customer(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "cus-2")
    await _capture(client, (0, 1, 1), customerId="cus-2")
    assert (
        await client.post("/api/customers/cus-1/merge", json={"duplicateId": "cus-2"})
    ).is_success
    answer = await client.get("/api/geo/export/location-history/cus-2")
    assert answer.json()["properties"]["customerId"] == "cus-1"
    assert answer.json()["properties"]["captures"] == 1
    assert (await client.get("/api/geo/export/location-history/nobody")).status_code == 404


async def test_a_trace_is_not_told_without_names(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _capture(client, (0, 1, 1))
    scopes = {Scope.GEO_READ, Scope.EXPORTS_READ, Scope.CUSTOMERS_ANONYMIZED}
    headers = {"X-API-Key": await make_key(database, tenant, scopes=scopes)}
    for path, query in ((TRACE, {}), (VISITS, {"customerId": "cus-1"})):
        assert (await anonymous.get(path, params=query, headers=headers)).status_code == 403
        asked = await client.get(path, params=query | {"anonymize": "true"})
        assert asked.status_code == 403
        assert "names" in asked.json()["detail"]


# --- visits -----------------------------------------------------------------------------------

HOME = (106.8, -6.2)


def _stay(place: tuple[float, float], first: int, last: int) -> list[tuple[float, float, float]]:
    return [(minute, place[0], place[1] + minute % 3 * METRE) for minute in range(first, last + 1)]


async def test_stays_of_a_device_with_the_nearest_store(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await client.post(
        "/api/stores",
        json={"id": "s-1", "name": "Kemang", "longitude": 106.8, "latitude": -6.2 + 500 * METRE},
    )
    shop = (106.9, -6.2)
    await _capture(client, *_stay(HOME, 0, 15), *_stay(shop, 40, 45), deviceId="d-1")
    await make_customer(database, tenant, "cus-2")
    await _capture(client, *_stay(shop, 46, 60), deviceId="d-1", customerId="cus-2")
    answer = await client.get(VISITS, params={"deviceId": "d-1"})
    assert answer.status_code == 200, answer.text
    first, second = answer.json()["items"]
    assert (first["arrival"], first["departure"], first["minutes"]) == (_at(0), _at(15), 15)
    assert (first["stayed"], first["captures"]) == (True, 16)
    assert first["latitude"] == pytest.approx(-6.2, abs=3 * METRE)
    assert first["nearestStore"]["id"] == "s-1"
    assert first["nearestStore"]["distanceMetres"] == pytest.approx(499, abs=3)
    assert first["customerIds"] == ["cus-1"]
    assert (second["arrival"], second["departure"]) == (_at(40), _at(60))
    assert second["customerIds"] == ["cus-1", "cus-2"]
    assert first["salesVisits"] == second["salesVisits"] == []
    longer = await client.get(VISITS, params={"deviceId": "d-1", "minutes": 18})
    assert [each["arrival"] for each in longer.json()["items"]] == [_at(40)]
    of_customer = await client.get(VISITS, params={"customerId": "cus-1"})
    assert [each["arrival"] for each in of_customer.json()["items"]] == [_at(0)]


async def test_a_sales_visit_is_verified_by_the_address(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "cus-2")
    await make_address(database, tenant, "cus-1", "adr-far", location="SRID=4326;POINT(1 1)")
    await make_address(database, tenant, "cus-1", location="SRID=4326;POINT(106.8 -6.2)")
    await make_address(database, tenant, "cus-2", "adr-2")  # with no place

    async def visit(minute: int, metres: float, customer_id: str = "cus-1", **fields: Any) -> None:
        await _capture(
            client,
            (minute, 106.8, -6.2 + metres * METRE),
            customerId=customer_id,
            capturedBy="emp-1",
            **{"visitType": "sales_visit", **fields},
        )

    await visit(0, 100)
    await visit(60, 300)
    await visit(120, 300, accuracy=400)
    await visit(180, 100, "cus-2")
    await visit(240, 0, visitType="delivery")
    answer = await client.get(VISITS, params={"capturedBy": "emp-1"})
    visits = answer.json()["items"]
    assert [(each["stayed"], each["minutes"]) for each in visits] == [(False, 0)] * 5
    sales = [sale for each in visits for sale in each["salesVisits"]]
    assert [sale["verified"] for sale in sales] == [True, False, True, None]
    distances = [sale["distanceMetres"] for sale in sales]
    assert distances == [
        pytest.approx(100, abs=1),
        pytest.approx(300, abs=2),
        pytest.approx(300, abs=2),
        None,
    ]


async def test_visits_come_in_pages(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [(106.8 + number / 100, -6.2) for number in range(5)]
    await _capture(
        client,
        *(fix for n, place in enumerate(places) for fix in _stay(place, n * 40, n * 40 + 20)),
    )

    async def pages(limit: int) -> list[list[str]]:
        found: list[list[str]] = []
        query: dict[str, Any] = {"customerId": "cus-1", "limit": limit}
        while True:
            page = (await client.get(VISITS, params=query)).json()
            found.append([each["arrival"] for each in page["items"]])
            if page["nextCursor"] is None:
                return found
            query["cursor"] = page["nextCursor"]

    arrivals = [_at(number * 40) for number in range(5)]
    assert await pages(50) == [arrivals]
    assert await pages(2) == [arrivals[:2], arrivals[2:4], arrivals[4:]]
    # Where a page may not look at all captures, what it breaks off begins the next one.
    monkeypatch.setattr(traces, "LOOKED_AT", 50)
    assert [each for page in await pages(50) for each in page] == arrivals


async def test_visits_of_exactly_one_trace_are_asked_for(client: httpx.AsyncClient) -> None:
    assert (await client.get(VISITS)).status_code == 422
    both = {"customerId": "cus-1", "deviceId": "d-1"}
    assert (await client.get(VISITS, params=both)).status_code == 422
    assert (await client.get(VISITS, params={"customerId": "nobody"})).status_code == 404
    assert (await client.get(VISITS, params={"deviceId": "nobody"})).json() == {
        "items": [],
        "nextCursor": None,
    }


# --- indexes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("follow", "whom", "index"),
    [
        ("CUSTOMER", None, "customer_sk"),
        ("CAPTURED_BY", "emp-3", "captured_by"),
        ("DEVICE", "d-3", "device_id"),
    ],
)
async def test_a_trace_is_read_by_its_index(
    database: Database, tenant: Tenant, follow: str, whom: str | None, index: str
) -> None:
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(
            text("SELECT ensure_partition('location_history', CAST(:at AS date))"), {"at": START}
        )
        await connection.execute(
            text("""
                INSERT INTO customers (tenant_id, id, name)
                SELECT :tenant, 'many-' || n, 'Many' FROM generate_series(1, 300) n
            """),
            {"tenant": tenant.id},
        )
        await connection.execute(
            text("""
                INSERT INTO location_history
                    (tenant_id, id, customer_sk, captured_at, location, source, captured_by,
                     device_id)
                SELECT :tenant, c.id || '-' || n, c.sk,
                       CAST(:at AS timestamptz) + n * interval '1 second',
                       ST_SetSRID(ST_MakePoint(106.8, -6.2), 4326), 'gps', 'emp-' || c.sk % 50,
                       'd-' || c.sk % 50
                FROM customers c CROSS JOIN generate_series(1, 10) n
                WHERE c.tenant_id = :tenant AND c.id LIKE 'many-%'
            """),
            {"tenant": tenant.id, "at": START},
        )
        kind = captures.Follow[follow]
        sk = await connection.scalar(text("SELECT max(sk) FROM customers"))
        statement = captures._trace(kind, 100)
        arguments = captures._trace_arguments(
            tenant.id,
            captures.TraceFilter(
                follow=kind,
                whom=sk if whom is None else whom,
                since=START - timedelta(days=1),
                until=START + timedelta(days=1),
                with_flagged=False,
            ),
        )
        plan = "\n".join(
            row[0] for row in await fetch_rows(connection, f"EXPLAIN {statement}", *arguments)
        )
    assert "Seq Scan" not in plan
    assert f"{index} = " in plan
