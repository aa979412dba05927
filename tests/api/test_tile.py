"""Vector tiles: what is drawn where, for whom, at what cost."""

import math
import random
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
import mapbox_vector_tile
import pytest
from sqlalchemy import event, insert, text

from app.api.tile import MEDIA_TYPE
from app.database import Connection, Database, set_tenant
from app.domain.access import ROLES
from app.domain.geometry import cell_centre, geohash_of
from app.domain.scoring_run import RunMode
from app.domain.tenant import Tenant
from app.domain.tile import Tile
from app.repositories import district
from app.repositories import tile as tile_repository
from app.repositories.customer import CustomerFilter
from app.repositories.tables import customers, stores
from app.services.scoring import run_scores
from tests.factories import make_customer, make_key, make_order, make_tenant

# Kemang, Jakarta, and its tiles.
LATITUDE, LONGITUDE = -6.2607, 106.8134
Places = Sequence[tuple[float, float]]


def _address(zoom: int, latitude: float = LATITUDE, longitude: float = LONGITUDE) -> str:
    down = 0.5 - math.asinh(math.tan(math.radians(latitude))) / (2 * math.pi)
    x, y = int((longitude + 180) / 360 * (1 << zoom)), int(down * (1 << zoom))
    return f"/api/geo/tiles/{zoom}/{x}/{y}.mvt"


async def _settle(
    database: Database, tenant: Tenant, places: Places, prefix: str = "cus", **columns: Any
) -> None:
    """Customers at these latitudes and longitudes."""
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(
            insert(customers),
            [
                {
                    "tenant_id": tenant.id,
                    "id": f"{prefix}-{number}",
                    "name": "Siti Rahayu",
                    "last_known_latitude": latitude,
                    "last_known_longitude": longitude,
                    **columns,
                }
                for number, (latitude, longitude) in enumerate(places)
            ],
        )


def _scattered(number: int, spread: float, seed: str = "places") -> Places:
    draw = random.Random(seed)
    return [(draw.gauss(LATITUDE, spread), draw.gauss(LONGITUDE, spread)) for _ in range(number)]


async def _layers(
    client: httpx.AsyncClient, address: str, **query: str
) -> dict[str, list[dict[str, Any]]]:
    """The features of each layer of a tile, y counted from the south as the decoder does."""
    answer = await client.get(address, params=query)
    if answer.status_code == 204:
        assert answer.content == b""
        return {}
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == MEDIA_TYPE
    decoded = mapbox_vector_tile.decode(answer.content)
    return {name: layer["features"] for name, layer in decoded.items()}


def _counted(layers: dict[str, list[dict[str, Any]]]) -> int:
    return sum(each["properties"].get("customers", 1) for each in layers.get("customers", []))


async def test_few_customers_are_points_where_they_are(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(
        database,
        tenant,
        "cus-1",
        name="Dewi",
        last_known_latitude=LATITUDE,
        last_known_longitude=LONGITUDE,
    )
    await make_customer(database, tenant, "nowhere")
    for zoom in (0, 11, 14, 22):
        (found,) = (await _layers(client, _address(zoom)))["customers"]
        assert found["properties"] == {"id": "cus-1", "name": "Dewi"}
        down = 0.5 - math.asinh(math.tan(math.radians(LATITUDE))) / (2 * math.pi)
        x = (LONGITUDE + 180) / 360 * (1 << zoom) % 1 * 4096
        y = down * (1 << zoom) % 1 * 4096
        assert found["geometry"]["type"] == "Point"
        assert found["geometry"]["coordinates"] == pytest.approx([x, 4096 - y], abs=1.01)


async def test_points_tell_the_segment_and_the_band_and_can_be_filtered_by_them(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _settle(database, tenant, [(LATITUDE, LONGITUDE)] * 2)
    for number in range(4):
        await make_order(database, tenant, "cus-0", f"o-{number}")
    await run_scores(database, tenant, mode=RunMode.FULL, as_of=datetime(2026, 3, 3, tzinfo=UTC))
    address = _address(15)
    everybody = {
        each["properties"]["id"]: each["properties"]
        for each in (await _layers(client, address))["customers"]
    }
    assert set(everybody) == {"cus-0", "cus-1"}
    buyer = everybody["cus-0"]
    for name, told in (("segment", "rfmSegment"), ("churnBand", "churnBand")):
        (found,) = (await _layers(client, address, **{name: buyer[told]}))["customers"]
        assert found["properties"] == buyer
    assert await _layers(client, address, segment="lost") == {}


async def test_many_customers_are_counted_and_never_named(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _settle(database, tenant, _scattered(1200, 0.02), name="Widjajakusuma")
    for zoom in range(14):
        answer = await client.get(_address(zoom))
        layers = await _layers(client, _address(zoom))
        clusters = [each["properties"] for each in layers["customers"]]
        if any("id" in each for each in clusters):
            assert len(clusters) <= 500
            continue
        assert all(set(each) == {"cluster", "customers"} for each in clusters)
        assert len(clusters) <= 64 * 64
        assert b"Widja" not in answer.content
        assert b"cus-" not in answer.content


async def test_four_tiles_count_what_the_one_above_them_counts(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _settle(database, tenant, [*_scattered(900, 0.05), *_scattered(300, 3.0, "far")])
    for query in ({}, {"type": "retail"}):
        assert _counted(await _layers(client, "/api/geo/tiles/0/0/0.mvt", **query)) == 1200
        x = y = 0
        above = 1200
        for zoom in range(1, 17):
            tiles = [
                (
                    column,
                    row,
                    _counted(
                        await _layers(client, f"/api/geo/tiles/{zoom}/{column}/{row}.mvt", **query)
                    ),
                )
                for column in (2 * x, 2 * x + 1)
                for row in (2 * y, 2 * y + 1)
            ]
            assert sum(count for _, _, count in tiles) == above, zoom
            x, y, above = max(tiles, key=lambda each: each[2])


async def test_counts_stand_where_their_customers_are(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _settle(database, tenant, [(LATITUDE, LONGITUDE)] * 600)
    zoom = 11
    (counted,) = (await _layers(client, _address(zoom)))["customers"]
    (filtered,) = (await _layers(client, _address(zoom), type="retail"))["customers"]
    assert counted["properties"] == filtered["properties"] == {"cluster": True, "customers": 600}
    # The finest cells of the totals are a 128th of such a tile.
    assert counted["geometry"]["coordinates"] == pytest.approx(
        filtered["geometry"]["coordinates"], abs=4096 / 128
    )


async def test_a_crowd_at_one_address_is_counted_at_every_zoom(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.api.tile.MOST_POINTS", 50)
    await _settle(database, tenant, [(LATITUDE, LONGITUDE)] * 51)
    for zoom in (14, 18, 22):
        (crowd,) = (await _layers(client, _address(zoom)))["customers"]
        assert crowd["properties"] == {"cluster": True, "customers": 51}


async def test_totals_follow_every_write(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _settle(database, tenant, _scattered(40, 0.5))
    statements = (
        "UPDATE customers SET last_known_latitude = last_known_latitude + 0.4 WHERE sk % 3 = 0",
        "UPDATE customers SET last_known_latitude = NULL, last_known_longitude = NULL"
        " WHERE sk % 5 = 0",
        "UPDATE customers SET last_known_latitude = 89, last_known_longitude = 0 WHERE sk % 7 = 0",
        "UPDATE customers SET name = 'Budi'",
        "UPDATE customers SET last_known_latitude = -6.2, last_known_longitude = 180"
        " WHERE sk % 11 = 0",
        "DELETE FROM customers WHERE sk % 4 = 0",
    )
    for statement in statements:
        async with database.tenant_transaction(tenant.id) as connection:
            await connection.execute(text(statement))
            await _assert_totals(connection)
            await tile_repository.compact(connection, tenant.id)
            await _assert_totals(connection)
            rows = await connection.execute(
                text("SELECT count(*) FROM place_totals GROUP BY zoom, code HAVING count(*) > 1")
            )
            assert rows.first() is None


async def _assert_totals(connection: Connection) -> None:
    rows = await connection.execute(
        text("""
            WITH fresh AS (
                SELECT zoom, floor(mercator_x(last_known_longitude) * (1 << zoom)) AS x,
                       floor(mercator_y(last_known_latitude) * (1 << zoom)) AS y, count(*) AS n
                FROM customers CROSS JOIN (VALUES (10), (14), (18)) AS grids (zoom)
                WHERE abs(last_known_latitude) < 85.0511
                GROUP BY 1, 2, 3
            ), kept AS (
                SELECT zoom, x, y, sum(customers) AS n FROM place_totals
                GROUP BY 1, 2, 3 HAVING sum(customers) <> 0
            )
            SELECT * FROM fresh FULL JOIN kept USING (zoom, x, y)
            WHERE fresh.n IS DISTINCT FROM kept.n
        """)
    )
    assert rows.first() is None


async def test_zones_and_stores_have_layers_of_their_own(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(
            insert(stores).values(
                tenant_id=tenant.id,
                id="store-1",
                name="Kemang",
                kind="shop",
                location=f"SRID=4326;POINT({LONGITUDE} {LATITUDE})",
            )
        )
    ring = [[106.8, -6.3], [106.83, -6.3], [106.83, -6.25], [106.8, -6.25], [106.8, -6.3]]
    hole = [[106.81, -6.29], [106.81, -6.28], [106.82, -6.28], [106.82, -6.29], [106.81, -6.29]]
    created = await client.post(
        "/api/geo/zones",
        json={
            "id": "zone-1",
            "name": "Kemang",
            "storeId": "store-1",
            "area": {"type": "Polygon", "coordinates": [ring, hole]},
        },
    )
    assert created.status_code == 201, created.text
    layers = await _layers(client, _address(12))
    assert set(layers) == {"zones", "stores"}
    (zone,) = layers["zones"]
    assert zone["properties"] == {"id": "zone-1", "name": "Kemang", "storeId": "store-1"}
    assert len(zone["geometry"]["coordinates"]) == 2
    (store,) = layers["stores"]
    assert store["properties"] == {"id": "store-1", "name": "Kemang", "kind": "shop"}
    assert set(await _layers(client, _address(12), layers="stores")) == {"stores"}
    # Far beyond the zone there is nothing; a tile within it is filled.
    assert await _layers(client, _address(12, 48.0, 11.0)) == {}
    inside = await _layers(client, _address(18, -6.27, 106.805), layers="zones")
    ((outline,),) = [each["geometry"]["coordinates"] for each in inside["zones"]]
    assert min(x for x, _ in outline) == -64


async def test_the_whole_world_is_a_zone_that_can_be_drawn(client: httpx.AsyncClient) -> None:
    ring = [[-180, -90], [0, -90], [180, -90], [180, 90], [0, 90], [-180, 90], [-180, -90]]
    created = await client.put(
        "/api/geo/zones/world",
        json={"name": "World", "area": {"type": "Polygon", "coordinates": [ring]}},
    )
    assert created.status_code == 201, created.text
    for address in ("/api/geo/tiles/0/0/0.mvt", "/api/geo/tiles/3/7/0.mvt", _address(22)):
        assert len((await _layers(client, address))["zones"]) == 1


async def test_an_answer_is_kept_privately_and_not_sent_twice(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _settle(database, tenant, _scattered(600, 0.02))
    first = await client.get(_address(12))
    tag = first.headers["ETag"]
    assert re.fullmatch('"[0-9a-f]{32}"', tag)
    assert first.headers["Cache-Control"] == "private, max-age=60"
    assert first.headers["Vary"] == "Authorization, X-API-Key"
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await client.get(_address(12), headers={"If-None-Match": known})
        assert again.status_code == 304, known
        assert again.content == b""
        assert again.headers["ETag"] == tag
    await make_customer(
        database,
        tenant,
        "one-more",
        last_known_latitude=LATITUDE,
        last_known_longitude=LONGITUDE,
    )
    changed = await client.get(_address(12), headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != tag


async def test_nothing_is_answered_with_nothing(client: httpx.AsyncClient) -> None:
    answer = await client.get(_address(12))
    assert answer.status_code == 204
    assert answer.headers["Cache-Control"] == "private, max-age=60"


@pytest.mark.parametrize(
    "path", ["23/0/0", "-1/0/0", "3/8/0", "3/0/8", "3/-1/0", "3/a/0", "3/1.5/0"]
)
async def test_there_is_no_tile_off_the_map(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(f"/api/geo/tiles/{path}.mvt")
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_a_layer_that_is_not_there_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.get(_address(3), params={"layers": "customers,roads"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == "layers"
    assert "'roads'" in answer.json()["errors"][0]["reason"]


async def test_another_tenant_sees_none_of_it(
    anonymous: httpx.AsyncClient, client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _settle(database, tenant, _scattered(600, 0.02))
    other = await make_tenant(database, "other")
    await _settle(database, other, [(LATITUDE, LONGITUDE)], "theirs")
    headers = {"X-API-Key": await make_key(database, other)}
    assert _counted(await _layers(client, "/api/geo/tiles/0/0/0.mvt")) == 600
    answer = await anonymous.get("/api/geo/tiles/0/0/0.mvt", headers=headers)
    (found,) = mapbox_vector_tile.decode(answer.content)["customers"]["features"]
    assert found["properties"]["id"] == "theirs-0"
    bounds = (await anonymous.get("/api/geo/tiles.json", headers=headers)).json()["bounds"]
    assert bounds[2] - bounds[0] < 1


async def test_the_document_leads_a_map_to_the_tiles(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    empty = (await client.get("/api/geo/tiles.json")).json()
    assert empty["bounds"] == pytest.approx([-180, -85.0511, 180, 85.0511], abs=1e-4)
    await _settle(database, tenant, [(LATITUDE, LONGITUDE), (-7.25, 112.75)])
    answer = await client.get(
        "/api/geo/tiles.json", params={"layers": "customers,zones", "segment": "champion"}
    )
    document = answer.json()
    assert document["tilejson"] == "3.0.0"
    assert (document["minzoom"], document["maxzoom"]) == (0, 22)
    west, south, east, north = document["bounds"]
    assert west < LONGITUDE < 112.75 < east
    assert south < -7.25 < LATITUDE < north
    assert east - west < 7
    assert [layer["id"] for layer in document["vector_layers"]] == ["customers", "zones"]
    (template,) = document["tiles"]
    assert template == (
        "http://test/api/geo/tiles/{z}/{x}/{y}.mvt?layers=customers%2Czones&segment=champion"
    )
    address = template.removeprefix("http://test").format(z=0, x=0, y=0)
    assert (await client.get(address)).status_code == 204
    everybody = address.replace("&segment=champion", "")
    assert _counted(await _layers(client, everybody)) == 2


async def _analyst(database: Database, tenant: Tenant) -> dict[str, str]:
    return {"X-API-Key": await make_key(database, tenant, scopes=ROLES["analyst"])}


async def test_nobody_is_found_in_anonymized_tiles(
    anonymous: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    lonely = (LATITUDE + 0.2, LONGITUDE + 0.2)
    crowd = [(LATITUDE + 0.0003 * number, LONGITUDE) for number in range(-4, 5)]
    cells = {geohash_of(*place, 5) for place in crowd}
    assert len(cells) == 1
    await _settle(database, tenant, [*crowd, *[lonely] * 4])
    # One of the nine is of a kind of its own.
    await _settle(database, tenant, [(LATITUDE, LONGITUDE)], "rare", customer_type="wholesale")
    headers = await _analyst(database, tenant)
    centre = cell_centre(cells.pop())
    for zoom in range(23):
        answer = await anonymous.get(_address(zoom, *centre), headers=headers)
        (found,) = mapbox_vector_tile.decode(answer.content)["customers"]["features"]
        assert found["properties"] == {"cluster": True, "customers": 10}
        # Where they are themselves there is nothing, unless the tile holds the centre.
        for place in ((LATITUDE, LONGITUDE), lonely):
            if _address(zoom, *place) != _address(zoom, *centre):
                answer = await anonymous.get(_address(zoom, *place), headers=headers)
                assert answer.status_code == 204
        answer = await anonymous.get(
            _address(zoom, *centre), headers=headers, params={"type": "wholesale"}
        )
        assert answer.status_code == 204
    answer = await anonymous.get(_address(9, *centre), headers=headers, params={"type": "retail"})
    (found,) = mapbox_vector_tile.decode(answer.content)["customers"]["features"]
    assert found["properties"]["customers"] == 9


async def test_asking_for_anonymized_tiles_is_the_same(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await _settle(database, tenant, [(LATITUDE, LONGITUDE)] * 4)
    assert await _layers(client, "/api/geo/tiles/0/0/0.mvt", anonymize="true") == {}
    document = (await client.get("/api/geo/tiles.json", params={"anonymize": "true"})).json()
    assert document["bounds"] == pytest.approx([-180, -85.0511, 180, 85.0511], abs=1e-4)
    assert set(document["vector_layers"][0]["fields"]) == {"cluster", "customers"}
    assert document["tiles"][0].endswith("?anonymize=true")


async def test_the_audit_trail_counts_who_was_shown(
    client: httpx.AsyncClient, app: Any, database: Database, tenant: Tenant
) -> None:
    await _settle(database, tenant, _scattered(600, 0.02))
    noted: list[Any] = []
    app.state.access_log.note = noted.append
    await client.get(_address(11))
    layers = await _layers(client, _address(17))
    assert [read.customers for read in noted] == [0, len(layers.get("customers", []))]


@pytest.fixture
async def many(fresh_database: Database) -> Tenant:
    """A tenant with some thousands of customers, counted by the planner."""
    tenant = await make_tenant(fresh_database)
    await _settle(fresh_database, tenant, [*_scattered(4000, 3.0), *_scattered(1000, 0.05, "city")])
    return tenant


async def test_tiles_are_looked_up_in_indexes(fresh_database: Database, many: Tenant) -> None:
    statements: list[tuple[str, Any]] = []

    def keep(_: Any, __: Any, statement: str, parameters: Any, ___: Any, ____: Any) -> None:
        statements.append((statement, parameters))

    city, street = Tile(11, 1631, 1059), Tile(15, 26106, 16956)
    async with fresh_database.transaction() as connection:
        await connection.execute(text("SET ROLE NONE"))
        await connection.execute(text("ANALYZE customers, place_totals"))
        await connection.execute(text("SET ROLE bps_app"))
        await set_tenant(connection, many.id)
        event.listen(fresh_database.engine.sync_engine, "before_cursor_execute", keep)
        await tile_repository.count_by_totals(connection, many.id, city, 18)
        await tile_repository.list_points(connection, many.id, street, CustomerFilter(), limit=500)
        await tile_repository.count_wanted(
            connection, many.id, city, CustomerFilter(customer_type="retail")
        )
        await district.list_told(connection, many.id, CustomerFilter(box=city.box()))
        event.remove(fresh_database.engine.sync_engine, "before_cursor_execute", keep)
        plans = []
        for statement, parameters in statements:
            rows = await connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)
            plans.append("\n".join(row[0] for row in rows))
    totals, points, counted, rough = plans
    assert "Index Only Scan using place_totals_pkey" in totals
    assert "code >= " in totals
    for plan in (points, counted):
        assert "customers_location_idx" in plan
        assert re.search(r"Index Cond: .*last_known_location &&", plan)
    assert "Index Only Scan using customers_geohash_idx" in rough
    for plan in plans:
        assert "Seq Scan" not in plan
