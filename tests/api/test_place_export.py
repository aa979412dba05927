"""Exports of places, read back by those who are to read them."""

import asyncio
import csv
import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import geopandas
import httpx
import pytest
from fastapi import FastAPI
from pyarrow import parquet
from sqlalchemy import text

from app.api import export_stream, place_format
from app.database import Database, driver_of
from app.domain.geometry import Box, cell_centre, geohash_of
from app.domain.tenant import Tenant
from app.repositories.customer import CustomerFilter
from app.repositories.place_export import (
    ADDRESSES,
    CUSTOMERS,
    PlaceExport,
    Values,
    statement_of,
)
from tests.api.streaming import take_first_part
from tests.api.test_figures import scored
from tests.factories import make_address, make_customer, make_key, make_tenant

FORMATS = ["geojson", "ndjson", "wkt", "csv", "geoparquet"]

#: Places in the south of Jakarta, all of them in the district qqguy.
HERE = (106.8456, -6.2088)

TROUBLE = 'Toko "Ceria"\\n, Jl.\tKemang\r\n12 \\N %s ñ 店'


async def place(
    database: Database,
    tenant: Tenant,
    customer_id: str,
    longitude: float = HERE[0],
    latitude: float = HERE[1],
    **columns: Any,
) -> int:
    return await make_customer(
        database,
        tenant,
        customer_id,
        last_known_longitude=longitude,
        last_known_latitude=latitude,
        **columns,
    )


async def run(database: Database, owner: Tenant, statement: str, **arguments: Any) -> None:
    async with database.tenant_transaction(owner.id) as connection:
        await connection.execute(text(statement), arguments)


async def export(
    client: httpx.AsyncClient, what: str = "customers", **query: Any
) -> httpx.Response:
    answer = await client.get(f"/api/geo/export/{what}", params=query)
    assert answer.status_code == 200, answer.text
    return answer


async def features(
    client: httpx.AsyncClient, what: str = "customers", **query: Any
) -> dict[str, dict[str, Any]]:
    """The features by the ids in their properties."""
    found = (await export(client, what, **query)).json()["features"]
    return {feature["properties"]["id"]: feature for feature in found}


async def ids(client: httpx.AsyncClient, what: str = "customers", **query: Any) -> list[str]:
    return list(await features(client, what, **query))


async def frame(
    client: httpx.AsyncClient, directory: Path, kind: str, what: str = "customers", **query: Any
) -> Any:
    """The export as GeoPandas reads it, once it is saved under the name it came with."""
    answer = await export(client, what, format=kind, **query)
    name = answer.headers["content-disposition"].partition('filename="')[2].rstrip('"')
    file = directory / name
    file.write_bytes(answer.content)
    if kind == "geoparquet":
        return geopandas.read_parquet(file)
    if kind == "csv":
        return geopandas.read_file(
            file, X_POSSIBLE_NAMES="longitude", Y_POSSIBLE_NAMES="latitude", engine="pyogrio"
        )
    return geopandas.read_file(file, engine="pyogrio")


@pytest.fixture
async def business(client: httpx.AsyncClient, database: Database, tenant: Tenant) -> list[str]:
    """Customers at the ends of the world and with texts that want escaping; some have bought."""
    await place(
        database,
        tenant,
        "cus-1",
        code="CUS-0001",
        name="Siti Rahayu",
        membership_tier="gold",
        last_location_accuracy=8.5,
        last_location_captured_at=datetime(2026, 2, 11, 9, 30, 0, 250_000, tzinfo=UTC),
    )
    await place(database, tenant, 'cus "2\\', 180.0, 90.0, name=TROUBLE)
    await place(database, tenant, "=3", -180.0, -90.0, name="+62 Toko", customer_type="wholesale")
    await place(database, tenant, "0004", 0.00001, -0.00001, name="", status="blocked")
    await make_customer(database, tenant, "nowhere", name="No place")
    for number, customer in enumerate(("cus-1", "=3")):
        answer = await client.post(
            "/api/orders",
            json={
                "id": f"ord-{number}",
                "customerId": customer,
                "orderedAt": "2026-02-11T09:30:00Z",
                "totalAmount": "1250000.05",
                "status": "completed",
            },
        )
        assert answer.status_code == 201, answer.text
    return ["cus-1", 'cus "2\\', "=3", "0004"]


async def profile(client: httpx.AsyncClient, customer_id: str) -> Any:
    return (await client.get(f"/api/customers/{customer_id}/profile")).json()


async def test_geojson_has_the_shape_that_was_agreed(
    client: httpx.AsyncClient, business: list[str]
) -> None:
    answer = await export(client)
    assert answer.headers["content-type"] == "application/geo+json"
    assert answer.headers["content-disposition"] == 'attachment; filename="customers.geojson"'
    assert answer.headers["cache-control"] == "no-store"
    document = answer.json()
    assert list(document) == ["type", "features", "metadata"]
    assert document["type"] == "FeatureCollection"
    assert document["metadata"] == {"crs": {"type": "name", "properties": {"name": "EPSG:4326"}}}
    first = document["features"][0]
    assert list(first) == ["type", "geometry", "properties"]
    assert first["type"] == "Feature"
    assert first["geometry"] == {"type": "Point", "coordinates": [106.8456, -6.2088]}
    assert list(first["properties"])[:7] == [
        "id", "code", "name", "customerType", "totalSpent", "geohash", "rfmSegment",
    ]  # fmt: skip
    seen = await profile(client, "cus-1")
    assert first["properties"] == {
        "id": "cus-1",
        "code": "CUS-0001",
        "name": "Siti Rahayu",
        "customerType": "retail",
        "totalSpent": 1250000.05,
        "geohash": geohash_of(-6.2088, 106.8456),
        "rfmSegment": seen["scores"]["rfm"]["segment"],
        "churnBand": seen["scores"]["churn"]["band"],
        "churnScore": seen["scores"]["churn"]["score"],
        "clv": float(seen["scores"]["clv"]["value"]),
        "membershipTier": "gold",
        "status": "active",
        "lastLocationAccuracy": 8.5,
        "lastLocationCapturedAt": "2026-02-11T09:30:00.25Z",
        "updatedAt": first["properties"]["updatedAt"],
        "currency": "IDR",
    }
    updated = datetime.fromisoformat(first["properties"]["updatedAt"])
    assert updated == datetime.fromisoformat(seen["customer"]["updatedAt"])


async def test_amounts_are_written_as_the_profile_writes_them(
    client: httpx.AsyncClient, business: list[str]
) -> None:
    seen = await profile(client, "cus-1")
    exact = json.loads((await export(client)).text, parse_float=Decimal)
    properties = exact["features"][0]["properties"]
    assert str(properties["totalSpent"]) == seen["metrics"]["revenue"]
    assert str(properties["clv"]) == seen["scores"]["clv"]["value"]


@pytest.mark.parametrize(("currency", "written"), [("JPY", "1250"), ("KWD", "1.250")])
async def test_amounts_have_the_places_of_their_currency(
    anonymous: httpx.AsyncClient,
    database: Database,
    tmp_path: Path,
    currency: str,
    written: str,
) -> None:
    other = await make_tenant(database, "other", currency=currency)
    anonymous.headers["X-API-Key"] = await make_key(database, other)
    await scored(database, other, "cus-1", revenue=1250, clv=None)
    await run(
        database, other, "UPDATE customers SET last_known_longitude = 1, last_known_latitude = 2"
    )
    assert f'"totalSpent":{written},' in (await export(anonymous)).text
    rows = await frame(anonymous, tmp_path, "geoparquet")
    assert str(rows["totalSpent"][0]) == written
    assert rows["currency"][0] == currency


#: Anonymised, only the district with seven customers is left.
_EXPECTED = {
    ("customers", False): 10,
    ("customers", True): 7,
    ("addresses", False): 9,
    ("addresses", True): 7,
}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("what", ["customers", "addresses"])
@pytest.mark.parametrize("anonymize", [False, True])
async def test_geopandas_reads_every_row_of_every_format(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, business: list[str],
    tmp_path: Path, kind: str, what: str, anonymize: bool,
) -> None:  # fmt: skip
    for number in range(6):
        # Its own name is longer than the others, so that no column is taken for a number.
        await place(database, tenant, f"neighbour-{number}", name=f"Dewi {number}")
    for number, (longitude, latitude) in enumerate([HERE, (-180.0, 0.0), (12.5, 89.9999)]):
        await make_address(
            database,
            tenant,
            "cus-1",
            f"adr-{number}",
            line=TROUBLE,
            postal_code="012 30",
            is_primary=number == 0,
            location=f"SRID=4326;POINT({longitude} {latitude})",
        )
    for number in range(6):
        await make_address(
            database,
            tenant,
            f"neighbour-{number}",
            f"adr-n{number}",
            label="Rumah",
            location=f"SRID=4326;POINT({HERE[0]} {HERE[1]})",
        )
    await make_address(database, tenant, "cus-1", "adr-unknown", line="Nowhere")
    anonymous = {"anonymize": "true"} if anonymize else {}
    expected = list((await features(client, what, **anonymous)).values())
    assert len(expected) == _EXPECTED[what, anonymize]
    rows = await frame(client, tmp_path, kind, what, **anonymous)
    assert len(rows) == len(expected)
    if kind in ("geojson", "ndjson", "geoparquet"):
        assert rows.crs.to_authority() in (("EPSG", "4326"), ("OGC", "CRS84"))
    for (_, row), feature in zip(rows.iterrows(), expected, strict=True):
        assert [row.geometry.x, row.geometry.y] == feature["geometry"]["coordinates"]
        for name, value in feature["properties"].items():
            _assert_same(row[name], value, spreadsheet=kind in ("csv", "wkt"))


def _assert_same(read: Any, written: Any, *, spreadsheet: bool) -> None:
    if written is None:
        assert read is None or read != read or read == "", read  # noqa: PLR0124 - NaN and NaT
    elif isinstance(written, bool):
        assert read in (written, str(written).lower(), str(int(written)))
    elif isinstance(written, int | float):
        assert float(read) == written
    elif isinstance(read, datetime):
        # GDAL keeps milliseconds.
        assert abs((read - datetime.fromisoformat(written)).total_seconds()) < 0.001
    elif spreadsheet and written.startswith(("=", "+")):
        assert read == f"'{written}"
    elif spreadsheet and written.endswith("Z") and "T" in written:
        assert datetime.fromisoformat(str(read)) == datetime.fromisoformat(written)
    else:
        # GDAL reads the ends of lines within a cell as its own.
        assert read == (written.replace("\r\n", "\n") if spreadsheet else written)


async def test_a_spreadsheet_finds_texts_and_no_formulas(
    client: httpx.AsyncClient, business: list[str]
) -> None:
    answer = await export(client, format="csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [row["id"] for row in rows] == ["cus-1", 'cus "2\\', "'=3", "0004"]
    assert [row["name"] for row in rows] == ["Siti Rahayu", TROUBLE, "'+62 Toko", ""]
    assert [row["longitude"] for row in rows] == ["106.8456", "180", "-180", "1e-05"]
    assert rows[0]["totalSpent"] == "1250000.05"
    assert (rows[1]["totalSpent"], rows[1]["rfmSegment"]) == ("", "")
    wkt = (await export(client, format="wkt")).text.splitlines()
    assert wkt[0].startswith("wkt,id,code,name")
    assert wkt[1].startswith('POINT (106.8456 -6.2088),"cus-1","CUS-0001","Siti Rahayu"')


async def test_ndjson_is_one_feature_a_line(client: httpx.AsyncClient, business: list[str]) -> None:
    answer = await export(client, format="ndjson")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["content-disposition"] == 'attachment; filename="customers.ndjson"'
    assert answer.text.endswith("}\n")
    lines = [json.loads(line) for line in answer.text.removesuffix("\n").split("\n")]
    assert lines == list((await features(client)).values())


async def test_geoparquet_says_what_the_specification_asks_for(
    client: httpx.AsyncClient, business: list[str]
) -> None:
    answer = await export(client, format="geoparquet")
    assert answer.headers["content-type"] == "application/vnd.apache.parquet"
    file = parquet.ParquetFile(io.BytesIO(answer.content))
    geo = json.loads(file.metadata.metadata[b"geo"])
    assert geo == {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {
            "geometry": {
                "encoding": "WKB",
                "geometry_types": ["Point"],
                "bbox": [-180.0, -90.0, 180.0, 90.0],
            }
        },
    }
    column = file.schema.column(0)
    assert (column.name, column.physical_type, column.max_repetition_level) == (
        "geometry", "BYTE_ARRAY", 0,
    )  # fmt: skip
    assert str(file.schema_arrow.field("totalSpent").type) == "decimal128(19, 2)"


async def test_a_file_of_many_parts_is_one_file(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(place_format.PlaceFile, "part_bytes", 1)
    monkeypatch.setattr(place_format.GeoParquetPlaceFile, "part_bytes", 1)
    await _many(database, tenant, 3000)
    expected = [f"many-{number}" for number in range(3000)]
    assert await ids(client) == expected
    for kind in FORMATS:
        rows = await frame(client, tmp_path, kind)
        assert list(rows["id"]) == expected
    file = parquet.ParquetFile(tmp_path / "customers.parquet")
    assert file.num_row_groups > 1


async def _many(database: Database, tenant: Tenant, customers: int) -> None:
    await run(
        database,
        tenant,
        """
        INSERT INTO customers (tenant_id, id, name, last_known_longitude, last_known_latitude)
        SELECT :tenant, 'many-' || n, repeat('x', 200), -180 + 360.0 * n / :customers,
               -90 + 180.0 * n / :customers
        FROM generate_series(0, :customers - 1) AS n ORDER BY n
        """,
        tenant=tenant.id,
        customers=customers,
    )


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("anonymize", [False, True])
async def test_of_nobody_each_format_is_a_valid_file(
    client: httpx.AsyncClient, tmp_path: Path, kind: str, anonymize: bool
) -> None:
    query = {"anonymize": "true"} if anonymize else {}
    content = (await export(client, format=kind, **query)).content
    if kind == "ndjson":
        assert content == b""
    elif kind in ("csv", "wkt"):
        [header] = content.decode().splitlines()
        assert header.endswith(",updatedAt,currency")
    elif kind == "geojson":
        assert json.loads(content)["features"] == []
    if kind in ("geojson", "geoparquet"):
        assert len(await frame(client, tmp_path, kind, **query)) == 0


async def _zone(database: Database, tenant: Tenant, zone_id: str, box: Box) -> None:
    await run(
        database,
        tenant,
        """
        INSERT INTO delivery_zones (tenant_id, id, name, area)
        VALUES (:tenant, :id, :id, ST_Multi(ST_MakeEnvelope(:w, :s, :e, :n, 4326)))
        """,
        tenant=tenant.id, id=zone_id, w=box.west, s=box.south, e=box.east, n=box.north,
    )  # fmt: skip


async def test_filters_choose_by_the_place_of_what_is_exported(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await place(database, tenant, "here", membership_tier="gold")
    await place(database, tenant, "fiji", 179.9, -17.0)
    await place(database, tenant, "samoa", -172.0, -13.8, customer_type="wholesale")
    for identity, owner, point in [
        ("adr-here", "fiji", f"{HERE[0]} {HERE[1]}"),
        ("adr-fiji", "here", "179.9 -17"),
        ("adr-samoa", "here", "-172 -13.8"),
    ]:
        await make_address(database, tenant, owner, identity, location=f"SRID=4326;POINT({point})")
    await _zone(database, tenant, "south", Box(106.8, -6.3, 106.9, -6.2))
    cell = geohash_of(HERE[1], HERE[0], 9)
    for place_filter, found in [
        ({"bbox": "106.8,-6.3,106.9,-6.2"}, ["here"]),
        ({"bbox": "179,-20,-170,-10"}, ["fiji", "samoa"]),
        ({"bbox": "106.8456,-6.2088,106.8456,-6.2088"}, ["here"]),
        ({"zone": "south"}, ["here"]),
        ({"geohash": cell[:5]}, ["here"]),
        ({"geohash": cell}, ["here"]),
        ({"geohash": cell, "bbox": "179,-20,-170,-10"}, []),
    ]:
        assert await ids(client, **place_filter) == found
        addresses = [f"adr-{each}" for each in found]
        assert await ids(client, "addresses", **place_filter) == addresses
    assert await ids(client, tier="gold") == ["here"]
    assert await ids(client, type="wholesale") == ["samoa"]
    assert await ids(client, "addresses", tier="gold") == ["adr-fiji", "adr-samoa"]
    assert await ids(client, segment="champion") == []
    await run(database, tenant, "UPDATE customers SET updated_at = '2020-01-01' WHERE id = 'here'")
    await run(database, tenant, "UPDATE addresses SET updated_at = '2020-01-01' WHERE id LIKE '%i'")
    since = {"updatedSince": "2020-01-01T00:00:01Z"}
    assert await ids(client, **since) == ["fiji", "samoa"]
    assert await ids(client, "addresses", **since) == ["adr-here", "adr-samoa"]


async def test_a_segment_is_a_filter(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, business: list[str]
) -> None:
    await run(
        database,
        tenant,
        "UPDATE customer_analytics SET rfm_segment = 'champion' WHERE customer_sk ="
        " (SELECT sk FROM customers WHERE id = '=3')",
    )
    found = await features(client, segment="champion")
    assert {key: each["properties"]["rfmSegment"] for key, each in found.items()} == {
        "=3": "champion"
    }


@pytest.mark.parametrize("what", ["customers", "addresses"])
async def test_what_is_asked_wrongly_is_refused_before_the_file_begins(
    client: httpx.AsyncClient, what: str
) -> None:
    path = f"/api/geo/export/{what}"
    for query, status in [
        ({"format": "shapefile"}, 422),
        ({"bbox": "106,-6,nan,-5"}, 422),
        ({"bbox": "106,-5,107,-6"}, 422),
        ({"geohash": "aaa"}, 422),
        ({"updatedSince": "2026-01-01T00:00:00"}, 422),
        ({"zone": "nowhere"}, 404),
        ({"userId": "another"}, 403),
    ]:
        answer = await client.get(path, params=query)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await client.get(path, params={"userId": "kidz"})).status_code == 200


async def test_a_statement_that_fails_is_answered_as_an_error(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.repositories.place_export._BETWEEN", "no delimiter")
    answer = await client.get("/api/geo/export/customers")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_export_leaves_a_row_in_the_audit_trail(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await export(client, format="csv", anonymize="true")
    async with database.tenant_transaction(tenant.id) as connection:
        found = await connection.execute(text("SELECT operation, anonymized FROM access_log"))
        assert [tuple(row) for row in found] == [("export_customer_places", True)]


async def _districts(database: Database, tenant: Tenant) -> dict[str, tuple[float, float]]:
    """Six customers in one district, four in the next, each with an address; corners by name."""
    west, east = "qqguw", "qqguy"
    centres = {}
    for cell, people in ((west, 6), (east, 4)):
        latitude, longitude = cell_centre(cell)
        centres[cell] = (longitude, latitude)
        for number in range(people):
            away = 0.001 * (number + 1)
            identity = f"{cell}-{number}"
            await place(
                database,
                tenant,
                identity,
                longitude + away,
                latitude + away,
                code=f"CODE-{identity}",
                name=f"Siti {identity}",
                membership_tier="gold" if number < 5 else "silver",
                last_location_accuracy=3.0,
            )
            await make_address(
                database,
                tenant,
                identity,
                f"adr-{identity}",
                label="Rumah",
                line=f"Gang {identity}",
                postal_code="12730",
                location=f"SRID=4326;POINT({longitude + away} {latitude + away})",
            )
    # A second address does not make another customer.
    await make_address(
        database,
        tenant,
        f"{east}-0",
        "adr-second",
        location=f"SRID=4326;POINT({centres[east][0]} {centres[east][1]})",
    )
    return centres


@pytest.mark.parametrize("what", ["customers", "addresses"])
async def test_anonymous_rows_stand_at_the_centre_of_a_district_of_many(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, what: str
) -> None:
    centres = await _districts(database, tenant)
    answer = await export(client, what, anonymize="true")
    for mark in ("Siti", "CODE-", "qqguw-", "qqguy", "Gang", "12730", "Rumah"):
        assert mark not in answer.text
    found = answer.json()["features"]
    assert len(found) == 6
    for feature in found:
        assert feature["geometry"]["coordinates"] == list(centres["qqguw"])
        properties = feature["properties"]
        assert properties["geohash"] == "qqguw"
        assert len(properties["id"]) == 24
        hidden = (
            ("code", "name", "lastLocationAccuracy")
            if what == "customers"
            else ("customerCode", "customerName", "label", "line", "postalCode")
        )
        assert [properties[name] for name in hidden] == [None] * len(hidden)
    listed = (await client.get("/api/customers", params={"anonymize": "true"})).json()["items"]
    name = "id" if what == "customers" else "customerId"
    assert {each["properties"][name] for each in found} <= {each["id"] for each in listed}


@pytest.mark.parametrize("what", ["customers", "addresses"])
async def test_nobody_is_found_by_small_boxes_or_rare_filters(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, what: str
) -> None:
    centres = await _districts(database, tenant)
    longitude, latitude = centres["qqguw"]

    async def seen(**query: str) -> int:
        return len(await ids(client, what, anonymize="true", **query))

    # Where the first customer is, and nobody else.
    tight = Box(longitude + 0.0009, latitude + 0.0009, longitude + 0.0011, latitude + 0.0011)
    around = f"{tight.west},{tight.south},{tight.east},{tight.north}"
    assert len(await ids(client, what, bbox=around)) == 1
    assert await seen(bbox=around) == 0
    await _zone(database, tenant, "tight", tight)
    assert len(await ids(client, what, zone="tight")) == 1
    assert await seen(zone="tight") == 0
    # A box or zone with the centre of the district in it has the whole district.
    centre = Box(longitude - 1e-6, latitude - 1e-6, longitude + 1e-6, latitude + 1e-6)
    assert await seen(bbox=f"{centre.west},{centre.south},{centre.east},{centre.north}") == 6
    await _zone(database, tenant, "centre", centre)
    assert await seen(zone="centre") == 6
    # A finer geohash is answered as its district.
    exact = geohash_of(latitude + 0.001, longitude + 0.001, 9)
    assert len(await ids(client, what, geohash=exact)) == 1
    assert await seen(geohash=exact) == 6
    assert await seen(geohash="qqguy") == 0
    assert await seen(geohash="qq") == 6
    # Five are enough, the one that remains is not.
    assert await seen(tier="gold") == 5
    assert await seen(tier="silver") == 0


async def _thousands(url: str, tenant: Tenant) -> None:
    owner = await asyncpg.connect(url)
    try:
        await owner.execute(
            """
            INSERT INTO customers (tenant_id, id, name, last_known_longitude, last_known_latitude)
            SELECT $1, 'c' || n, repeat('x', 200), -170 + (n % 340), -80 + (n / 340) * 2
            FROM generate_series(0, 19999) AS n
            """.replace("$1", str(tenant.id))
        )
        await owner.execute(
            """
            INSERT INTO addresses (tenant_id, id, customer_sk, location)
            SELECT tenant_id, 'a' || sk, sk, last_known_location FROM customers
            """
        )
        await owner.execute("ANALYZE customers; ANALYZE addresses")
    finally:
        await owner.close()


async def test_a_client_that_goes_away_or_stalls_ends_the_copy(
    app: FastAPI,
    fresh_database: Database,
    fresh_database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tenant = await make_tenant(fresh_database)
    await _thousands(fresh_database_url, tenant)
    path = "/api/geo/export/customers"
    await asyncio.wait_for(take_first_part(app, fresh_database, tenant, path, disconnects=True), 20)
    assert fresh_database.connections_in_use() == 0
    monkeypatch.setattr(export_stream, "STALLED_SECONDS", 0.2)
    with pytest.raises(TimeoutError):
        await take_first_part(app, fresh_database, tenant, path, disconnects=False)
    assert fresh_database.connections_in_use() == 0
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        copying = (
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY (%' AND state = 'active'"
        )
        assert await connection.scalar(text(copying)) == 0
        # What the copy was allowed ended with it.
        assert await connection.scalar(text("SHOW statement_timeout")) == "30s"


async def test_places_are_found_by_index(fresh_database: Database, fresh_database_url: str) -> None:
    tenant = await make_tenant(fresh_database)
    await _thousands(fresh_database_url, tenant)
    await _zone(fresh_database, tenant, "z", Box(10.0, 10.0, 12.0, 12.0))
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        zone = await connection.scalar(text("SELECT sk FROM delivery_zones"))
    indexes: Mapping[str, tuple[CustomerFilter, PlaceExport]] = {
        "customers_location_idx bbox": (CustomerFilter(box=Box(10, 10, 12, 12)), CUSTOMERS),
        "customers_location_idx both": (CustomerFilter(box=Box(179, 10, -169, 12)), CUSTOMERS),
        "customers_location_idx zone": (CustomerFilter(zone_sk=zone), CUSTOMERS),
        "customers_geohash_idx cell": (CustomerFilter(geohash="s1z0g"), CUSTOMERS),
        "addresses_location_idx bbox": (CustomerFilter(box=Box(10, 10, 12, 12)), ADDRESSES),
        "addresses_location_idx zone": (CustomerFilter(zone_sk=zone), ADDRESSES),
        "addresses_location_idx cell": (CustomerFilter(geohash="s1z0g"), ADDRESSES),
    }
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        driver = driver_of(connection)
        # COPY is planned for the values that it is given.
        await driver.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        assert await driver.fetchval("SELECT current_user") == "bps_app"
        for expected, (wanted, kind) in indexes.items():
            sql, arguments = statement_of(tenant, kind, wanted, Values.JSON, anonymous=False)
            plan = "\n".join(
                row[0] for row in await driver.fetch(f"EXPLAIN (ANALYZE) {sql}", *arguments)
            )
            assert expected.split()[0] in plan, f"{expected}\n{plan}"
