"""What is asked about places is found by an index, under row-level security.

As the service's role, with its settings, plans made for any parameters. A plan that reads everybody
would show the customers' primary key or a sequential scan.
"""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from sqlalchemy import text

from app.database import Connection, Database
from app.domain.geometry import Box
from app.domain.heat_grid import grid_for
from app.domain.tenant import Tenant
from app.repositories import cluster, district, heatmap, nearby, store_distance
from app.repositories.customer import CustomerFilter
from app.repositories.heatmap import Weight
from app.repositories.nearby import Around
from tests.api.places import give_scores
from tests.factories import make_tenant
from tests.repositories.plans import analyze, plans_of

_CUSTOMERS = """
    INSERT INTO customers (tenant_id, id, name, last_known_latitude, last_known_longitude)
    SELECT :tenant, 'c' || number, 'Name', -6.2 + 0.0001 * (number * 7919 % 2003 - 1000),
           106.8 + 0.0001 * (number * 104729 % 2011 - 1000)
    FROM generate_series(1, 4000) AS number
"""
_STORES = """
    INSERT INTO stores (tenant_id, id, name, location)
    SELECT :tenant, 's' || number, 'Name',
           ST_SetSRID(ST_MakePoint(106.7 + 0.001 * (number * 61 % 200),
                                   -6.3 + 0.001 * (number * 37 % 200)), 4326)
    FROM generate_series(1, 200) AS number
"""

BOX = CustomerFilter(box=Box(106.795, -6.205, 106.805, -6.195))
NEAR = Around(-6.2, 106.8)
WITHIN = Around(-6.2, 106.8, 1_000.0)
EVERYBODY = CustomerFilter()
PREFIX = CustomerFilter(geohash="qqgux")


@pytest.fixture
async def settled(database: Database, tenant: Tenant) -> AsyncIterator[Connection]:
    """A connection of a tenant with 4,000 customers on a map, beside another like it."""
    for each in (tenant, await make_tenant(database, "other")):
        async with database.tenant_transaction(each.id) as connection:
            for statement in (_CUSTOMERS, _STORES):
                await connection.execute(text(statement), {"tenant": each.id})
        await give_scores(database, each)
    async with database.tenant_transaction(tenant.id) as connection:
        await analyze(connection, "customers", "customer_analytics", "stores")
        yield connection


Work = Callable[[Connection, int], Awaitable[object]]

_READS: dict[str, tuple[Work, str]] = {
    "the nearest": (
        lambda c, t: nearby.list_near(c, t, NEAR, EVERYBODY, after=None, limit=21),
        "Index Scan using customers_geography_idx",
    ),
    "the nearest of the second page": (
        lambda c, t: nearby.list_near(c, t, NEAR, EVERYBODY, after=(300.0, 1), limit=21),
        "Index Scan using customers_geography_idx",
    ),
    "within a radius": (
        lambda c, t: nearby.list_near(c, t, WITHIN, EVERYBODY, after=None, limit=21),
        "Index Scan using customers_geography_idx",
    ),
    "a rare kind within a radius": (
        lambda c, t: nearby.list_near(
            c, t, WITHIN, CustomerFilter(membership_tier="none"), after=None, limit=21
        ),
        "customers_geography_idx",
    ),
    "districts within a radius": (
        lambda c, t: district.list_told(c, t, EVERYBODY, point=NEAR, radius=1_000.0),
        "customers_geography_idx",
    ),
    "districts of a box": (
        lambda c, t: district.list_told(c, t, BOX),
        "Index Only Scan using customers_geohash_idx",
    ),
    "districts of a prefix": (
        lambda c, t: district.list_told(c, t, PREFIX),
        "customers_geohash_idx",
    ),
    "cells of a box": (
        lambda c, t: cluster.list_cells(c, t, BOX, precision=7, least=1, after=None, limit=51),
        "customers_location_idx",
    ),
    "cells of a prefix": (
        lambda c, t: cluster.list_cells(c, t, PREFIX, precision=5, least=1, after=None, limit=51),
        "customers_geohash_idx",
    ),
    "fine cells": (
        lambda c, t: cluster.list_cells(
            c, t, EVERYBODY, precision=7, least=1, after="qqgux00", limit=51
        ),
        "Index Scan using customers_geohash_idx",
    ),
    "places of a box": (
        lambda c, t: cluster.list_places(c, t, BOX, limit=1_001),
        "customers_location_idx",
    ),
    "heat of a box": (
        lambda c, t: heatmap.list_squares(
            c, t, BOX, grid=grid_for(12, Box(106, -7, 107, -6)), weight=Weight.REVENUE
        ),
        "customers_location_idx",
    ),
    "the extent": (
        lambda c, t: heatmap.find_extent(c, t, EVERYBODY),
        "Index Only Scan using customers_geohash_idx",
    ),
    "the nearest stores": (
        lambda c, t: store_distance.list_near(c, t, NEAR, after=None, limit=3),
        "Index Scan using stores_geography_idx",
    ),
    "the nearest store of each in a box": (
        lambda c, t: store_distance.list_of_customers(c, t, BOX, districts=None, after=0, limit=51),
        "customers_location_idx",
    ),
}


async def test_an_index_finds(settled: Connection, tenant: Tenant) -> None:
    others = {}
    for name, (work, index) in _READS.items():
        plans = await plans_of(settled, work(settled, tenant.id))
        assert plans
        if not all(index in plan and "Seq Scan" not in plan for plan in plans):
            others[name] = plans
    assert others == {}

    page = store_distance.list_of_customers(
        settled, tenant.id, EVERYBODY, districts=None, after=0, limit=51
    )
    [plan] = await plans_of(settled, page)
    assert plan.count("Index Scan using stores_geography_idx") == 2
    assert "Order By: (geography <-> " in plan

    # No more places than the page and the few that make its order certain; nothing is sorted.
    page_of_nearest = nearby.list_near(settled, tenant.id, NEAR, EVERYBODY, after=None, limit=21)
    [plan] = await plans_of(settled, page_of_nearest)
    assert "rows=24 loops=1" in plan
    assert "Sort" not in plan
    assert "Order By: (last_known_geography <-> " in plan
