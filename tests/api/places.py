"""Customers on the map, for tests of the routes about places."""

import random
from collections.abc import AsyncIterator
from typing import Any

import httpx
from sqlalchemy import insert, text

from app.database import Database
from app.domain.geometry import cell_centre, geohash_of
from app.domain.tenant import Tenant
from app.repositories.tables import customer_analytics, customers
from tests.factories import make_customer


async def place(
    database: Database, tenant: Tenant, places: list[tuple[float, float]], **columns: Any
) -> list[str]:
    """Customers at these latitudes and longitudes; their ids."""
    ids = [f"cus-{number:05}" for number in range(len(places))]
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(
            insert(customers),
            [
                {
                    "tenant_id": tenant.id,
                    "id": identity,
                    "name": f"Name of {identity}",
                    "last_known_latitude": latitude,
                    "last_known_longitude": longitude,
                    **columns,
                }
                for identity, (latitude, longitude) in zip(ids, places, strict=True)
            ],
        )
    return ids


async def walk(client: httpx.AsyncClient, path: str, **query: Any) -> AsyncIterator[dict[str, Any]]:
    """The items of all pages."""
    cursor: dict[str, str] = {}
    while True:
        answer = await client.get(path, params={**query, **cursor})
        assert answer.status_code == 200, answer.text
        for item in answer.json()["items"]:
            yield item
        if answer.json()["nextCursor"] is None:
            return
        cursor = {"cursor": answer.json()["nextCursor"]}


def scattered(count: int, *, seed: int = 1, spread: float = 0.1) -> list[tuple[float, float]]:
    """Latitudes and longitudes around Jakarta."""
    chance = random.Random(seed)
    return [
        (-6.2 + spread * chance.gauss(0, 1), 106.8 + spread * chance.gauss(0, 1))
        for _ in range(count)
    ]


async def make_district(
    database: Database, tenant: Tenant, number: int, at: tuple[float, float]
) -> str:
    """A district with so many customers."""
    cell = geohash_of(*at, 5)
    latitude, longitude = cell_centre(cell)
    for each in range(number):
        await make_customer(
            database,
            tenant,
            f"{cell}-{each}",
            last_known_latitude=latitude + 0.01,
            last_known_longitude=longitude - 0.01 + 0.0001 * each,
            membership_tier="gold" if each < 5 else "silver",
        )
    return cell


_NOTHING = [
    column.name
    for column in customer_analytics.columns
    if not column.nullable and column.server_default is None and column.computed is None
]
_FIGURES = {
    "tenant_id": "tenant_id",
    "customer_sk": "sk",
    "as_of": "now()",
    "model_version": "'retail-1'",
    "rfm_status": "'ok'",
    "clv_status": "'ok'",
    "churn_status": "'ok'",
    "churn_reasons": "'{}'",
    "lifecycle_segment": "'regular'",
    "standing_since": "current_date",
    "revenue": "100 * (sk % 1000)",
    "value_at_risk": "10 * (sk % 1000)",
    "churn_score": "CASE WHEN sk % 5 > 0 THEN (sk % 10) / 10.0 END",
    "churn_band": "CASE WHEN sk % 10 > 7 THEN 'high' ELSE 'low' END",
    "rfm_segment": "CASE WHEN sk % 4 > 0 THEN (ARRAY['champion', 'loyal', 'lost'])[sk % 4] END",
}


async def give_scores(database: Database, tenant: Tenant) -> None:
    """Scores for every customer that follow from the sk."""
    columns = {name: _FIGURES.get(name, "0") for name in [*_NOTHING, *_FIGURES]}
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(
            text(
                f"INSERT INTO customer_analytics ({', '.join(columns)}) "
                f"SELECT {', '.join(columns.values())} FROM customers"
            )
        )
