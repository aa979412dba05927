"""Heat maps."""

from collections import defaultdict
from decimal import Decimal
from typing import Any

import httpx
import pytest
from sqlalchemy import insert, text

from app.database import Database
from app.domain.geometry import Box, cell_centre
from app.domain.heat_grid import MOST_CELLS, Grid, grid_for
from app.domain.tenant import Tenant
from app.repositories.tables import delivery_zones
from tests.api.places import give_scores, make_district, place, scattered
from tests.factories import make_tenant

HEATMAP = "/api/geo/heatmap"
JAKARTA = "106.6,-6.4,107,-6.0"

_EXPRESSIONS = {
    "customers": "1",
    "revenue": "coalesce(revenue, 0) / 100.0",
    "churn": "coalesce(churn_score, 0)",
    "value_at_risk": "coalesce(value_at_risk, 0) / 100.0",
}


async def _expected(
    database: Database, tenant: Tenant, weight: str, grid: Grid, where: str
) -> list[dict[str, Any]]:
    """The squares by plain counting."""
    async with database.tenant_transaction(tenant.id) as connection:
        rows = await connection.execute(
            text(
                "SELECT last_known_latitude AS latitude, last_known_longitude AS longitude, "
                f"{_EXPRESSIONS[weight]} AS weight FROM customers c "
                "LEFT JOIN customer_analytics a ON a.customer_sk = c.sk "
                f"WHERE last_known_latitude IS NOT NULL AND {where}"
            )
        )
        squares: dict[tuple[int, int], list[float]] = defaultdict(list)
        for row in rows:
            column, line = grid.cell_at(row.latitude, row.longitude)
            squares[line, column].append(float(row.weight))
    greatest = max(map(sum, squares.values()), default=0)
    found = []
    for (line, column), weights in sorted(squares.items()):
        latitude, longitude = grid.centre_of(column, line)
        found.append(
            {
                "latitude": pytest.approx(latitude, abs=1e-6),
                "longitude": pytest.approx(longitude, abs=1e-6),
                "customers": len(weights),
                "weight": pytest.approx(sum(weights), abs=1e-3),
                "intensity": pytest.approx(sum(weights) / greatest, abs=1e-3),
            }
        )
    return found


def _numeric(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [cell | {"weight": float(Decimal(cell["weight"]))} for cell in cells]


@pytest.mark.parametrize("weight", [*_EXPRESSIONS])
@pytest.mark.parametrize("zoom", [0, 6, 11])
async def test_squares_are_as_added_up(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, weight: str, zoom: int
) -> None:
    await place(database, tenant, [*scattered(120), (51.5, 0.0)])
    await give_scores(database, tenant)
    await place(database, await make_tenant(database, "other"), scattered(9))
    query: dict[str, Any] = {"weight": weight, "zoom": zoom, "bbox": JAKARTA}
    answer = (await client.get(HEATMAP, params=query)).json()
    grid = grid_for(zoom, Box(106.6, -6.4, 107, -6.0))
    inside = (
        "last_known_longitude BETWEEN 106.6 AND 107 AND last_known_latitude BETWEEN -6.4 AND -6"
    )
    expected = await _expected(database, tenant, weight, grid, inside)
    assert _numeric(answer["cells"]) == expected
    assert answer["gridZoom"] == zoom
    assert answer["bbox"] == [106.6, -6.4, 107, -6.0]
    assert max(cell["intensity"] for cell in answer["cells"]) == 1.0
    assert Decimal(answer["greatest"]) == max(Decimal(c["weight"]) for c in answer["cells"])


async def test_without_a_box_it_shows_everybody(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await place(database, tenant, [(-6.2, 106.8), (-6.9, 107.6), (90.0, 180.0), (-90.0, -180.0)])
    answer = (await client.get(HEATMAP, params={"zoom": 22})).json()
    assert sum(cell["customers"] for cell in answer["cells"]) == 4
    assert answer["gridZoom"] < 22
    assert Grid(answer["gridZoom"] + 5).squares_in(Box(*answer["bbox"])) <= MOST_CELLS
    narrow = (await client.get(HEATMAP, params={"zoom": 22, "geohash": "qqg"})).json()
    assert narrow["gridZoom"] > answer["gridZoom"]


async def test_a_zone_is_shown_by_itself(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await place(database, tenant, [(-6.2, 106.8), (-6.21, 106.81), (-6.9, 107.6)])
    async with database.tenant_transaction(tenant.id) as connection:
        area = "SRID=4326;MULTIPOLYGON(((106.7 -6.3,106.9 -6.3,106.9 -6.1,106.7 -6.1,106.7 -6.3)))"
        await connection.execute(
            insert(delivery_zones).values(tenant_id=tenant.id, id="z", name="Z", area=area)
        )
    answer = (await client.get(HEATMAP, params={"zone": "z"})).json()
    assert sum(cell["customers"] for cell in answer["cells"]) == 2
    assert answer["bbox"] == [106.7, -6.3, 106.9, -6.1]
    assert (await client.get(HEATMAP, params={"zone": "nowhere"})).status_code == 404


async def test_across_the_antimeridian(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await place(database, tenant, [(-16.8, 179.9), (-16.8, -179.9), (-16.8, 0.0)])
    answer = (await client.get(HEATMAP, params={"bbox": "179,-17,-179,-16"})).json()
    assert [round(cell["longitude"]) for cell in answer["cells"]] == [-180, 180]


async def test_nobody_is_cold(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    answer = (await client.get(HEATMAP)).json()
    assert (answer["cells"], answer["bbox"], answer["greatest"]) == ([], None, None)
    await place(database, tenant, [(-6.2, 106.8)])  # without any score
    answer = (await client.get(HEATMAP, params={"weight": "churn"})).json()
    assert [cell["intensity"] for cell in answer["cells"]] == [0.0]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ({"zoom": -1}, "zoom"),
        ({"zoom": 23}, "zoom"),
        ({"weight": "age"}, "weight"),
        ({"bbox": "nan,0,1,1"}, "bbox"),
        ({"bbox": "0,1,1,0"}, "bbox"),
        # Latitude before longitude.
        ({"bbox": "-6.4,106.6,-6.0,107"}, "bbox"),
    ],
)
async def test_what_cannot_be_asked(
    client: httpx.AsyncClient, query: dict[str, Any], parameter: str
) -> None:
    answer = await client.get(HEATMAP, params=query)
    assert answer.status_code == 422
    assert [each["parameter"] for each in answer.json()["errors"]] == [parameter]


async def test_anonymous_callers_see_districts(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    cell = await make_district(database, tenant, 7, (-6.2, 106.8))
    await make_district(database, tenant, 4, (-6.4, 106.9))
    for zoom in (3, 12, 22):
        answer = (await client.get(HEATMAP, params={"zoom": zoom, "anonymize": "true"})).json()
        [square] = answer["cells"]
        assert square["customers"] == 7
        grid = Grid(answer["gridZoom"] + 5)
        middle = grid.centre_of(*grid.cell_at(*cell_centre(cell)))
        assert square["latitude"] == pytest.approx(middle[0], abs=1e-6)
        assert square["longitude"] == pytest.approx(middle[1], abs=1e-6)
    latitude, longitude = cell_centre(cell)
    corners = (longitude - 0.0101, latitude + 0.0099, longitude - 0.0099, latitude + 0.0101)
    around: dict[str, Any] = {"bbox": ",".join(f"{each:.6f}" for each in corners), "zoom": 18}
    assert (await client.get(HEATMAP, params=around)).json()["cells"]
    assert not (await client.get(HEATMAP, params=around | {"anonymize": "true"})).json()["cells"]
