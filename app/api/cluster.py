"""Where customers are many: cells of the geohash grid, and crowds wherever they are."""

import asyncio
from enum import StrEnum
from typing import Annotated

import numpy as np
from fastapi import Query

from app import database as db
from app.api import audit
from app.api.dependencies import Caller, Connection, UserId, check_user_id, requires
from app.api.disclosure import Disclosed
from app.api.errors import BadCursor, bad_parameter
from app.api.pagination import DEFAULT_LIMIT, Cursor, Limit, decode, encode, page_of
from app.api.place_filter import Places
from app.api.route import router as routes
from app.api.schemas.cluster import ClustersView, ClusterView
from app.domain import dbscan
from app.domain.access import Scope
from app.domain.geometry import FINEST_PRECISION
from app.domain.privacy import ROUGH_GEOHASH, Disclosure
from app.repositories import cluster as clusters
from app.repositories.cluster import Cell
from app.repositories.customer import CustomerFilter

router = routes("geo", "/api/geo/clusters")

Reader = Annotated[Caller, requires(Scope.GEO_READ)]

DEFAULT_CELL = 5
DEFAULT_RADIUS = 500.0
DEFAULT_MIN_POINTS = 5

#: What one answer of dbscan is made of: some seconds of a processor at the worst.
MOST_PLACES = 100_000


class Method(StrEnum):
    """What makes customers a cluster."""

    GEOHASH = "geohash"
    DBSCAN = "dbscan"


@router.get("/customers")
async def list_customer_clusters(
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
    places: Places,
    method: Annotated[
        Method, Query(description="Cells of a grid, or crowds by density (DBSCAN).")
    ] = Method.GEOHASH,
    precision: Annotated[
        int | None,
        Query(
            ge=1,
            le=FINEST_PRECISION,
            description="Characters of the geohash of a cell, 5 by default. Anonymized answers "
            "have 5 at most.",
        ),
    ] = None,
    radius: Annotated[
        float | None,
        Query(
            ge=dbscan.LEAST_RADIUS_METRES,
            le=dbscan.MOST_RADIUS_METRES,
            allow_inf_nan=False,
            description="With dbscan: neighbours are within so many metres; 500 by default.",
        ),
    ] = None,
    min_points: Annotated[
        int | None,
        Query(
            alias="minPoints",
            ge=2,
            le=1000,
            description="With dbscan: neighbours, oneself included, that make the core of a "
            "cluster; 5 by default.",
        ),
    ] = None,
    min_count: Annotated[
        int,
        Query(alias="minCount", ge=1, le=1_000_000, description="Hide clusters of fewer."),
    ] = 1,
    user_id: UserId = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> ClustersView:
    """Clusters of customers by their last known place: cells by geohash, crowds by size."""
    check_user_id(caller, user_id)
    _check_parameters(method, precision, radius, min_points)
    audit.note_shown(0)  # it tells of groups
    wanted = await places.resolve(connection, caller.tenant.id)
    if method is Method.DBSCAN:
        return await _crowds(
            caller,
            connection,
            disclosure,
            wanted,
            radius=radius or DEFAULT_RADIUS,
            min_points=min_points or DEFAULT_MIN_POINTS,
            min_count=min_count,
            limit=limit,
            cursor=cursor,
        )
    after = None if cursor is None else _cell_after(cursor)
    characters = precision or DEFAULT_CELL
    if disclosure.anonymous:
        characters = min(characters, ROUGH_GEOHASH)
        districts = await clusters.list_districts(connection, caller.tenant.id, wanted)
        found = [
            each
            for each in clusters.coarsened(districts, characters)
            if each.customers >= min_count and (after is None or each.geohash > after)
        ][: limit + 1]
    else:
        found = await clusters.list_cells(
            connection,
            caller.tenant.id,
            wanted,
            precision=characters,
            least=min_count,
            after=after,
            limit=limit + 1,
        )
    shown, next_cursor = page_of(found, limit, lambda cell: encode(cell.geohash))
    currency = caller.tenant.currency
    return ClustersView(
        method=method,
        precision=characters,
        radius=None,
        min_points=None,
        noise=None,
        currency=currency,
        items=[ClusterView.of_cell(cell, currency) for cell in shown],
        next_cursor=next_cursor,
    )


def _check_parameters(
    method: Method, precision: int | None, radius: float | None, min_points: int | None
) -> None:
    """Refuse what the other method asks for: it would change nothing."""
    if method is Method.DBSCAN and precision is not None:
        raise bad_parameter("query", "precision", "goes with method=geohash only")
    if method is Method.GEOHASH:
        for name, value in (("radius", radius), ("minPoints", min_points)):
            if value is not None:
                raise bad_parameter("query", name, "goes with method=dbscan only")


def _cell_after(cursor: str) -> str:
    cell: str = decode(cursor, str)[0]
    if len(cell) > FINEST_PRECISION:
        raise BadCursor
    return cell


async def _crowds(
    caller: Caller,
    connection: db.Connection,
    disclosure: Disclosure,
    wanted: CustomerFilter,
    *,
    radius: float,
    min_points: int,
    min_count: int,
    limit: int,
    cursor: str | None,
) -> ClustersView:
    """Clusters by density, the largest first: found anew for each page, always the same."""
    places = await _places(caller, connection, disclosure, wanted)
    labels = await asyncio.to_thread(_label, places, radius, min_points)
    crowds: list[list[Cell]] = [[] for _ in range(max(labels, default=dbscan.NOISE) + 1)]
    noise = 0
    for place, label in zip(places, labels, strict=True):
        if label == dbscan.NOISE:
            noise += place.customers
        else:
            crowds[label].append(place)
    large = [crowd for crowd in crowds if sum(each.customers for each in crowd) >= min_count]
    first = 0 if cursor is None else decode(cursor, int)[0]
    if first < 0:
        raise BadCursor
    currency = caller.tenant.currency
    items = [ClusterView.of_crowd(crowd, currency) for crowd in large[first : first + limit]]
    return ClustersView(
        method=Method.DBSCAN,
        precision=None,
        radius=radius,
        min_points=min_points,
        noise=noise,
        currency=currency,
        items=items,
        next_cursor=encode(first + limit) if len(large) > first + limit else None,
    )


async def _places(
    caller: Caller, connection: db.Connection, disclosure: Disclosure, wanted: CustomerFilter
) -> list[Cell]:
    tenant_id = caller.tenant.id
    if disclosure.anonymous:
        places = await clusters.list_districts(connection, tenant_id, wanted)
        count = sum(each.customers for each in places)
    else:
        places = await clusters.list_places(connection, tenant_id, wanted, limit=MOST_PLACES + 1)
        count = len(places)
        if count > MOST_PLACES:
            count = await clusters.count_places(connection, tenant_id, wanted)
    if count > MOST_PLACES:
        raise bad_parameter(
            "query",
            "method",
            f"dbscan takes {MOST_PLACES:,} customers at most, and these are {count:,}; ask for a "
            "part of them by bbox, zone, geohash or another filter",
        )
    return places


def _label(places: list[Cell], radius: float, min_points: int) -> list[int]:
    """The cluster of each place, all of whose customers count."""
    counts = np.array([each.customers for each in places], dtype=np.int64)
    latitudes = np.array([each.latitudes for each in places]) / counts
    longitudes = np.array([each.longitudes for each in places]) / counts
    labels = dbscan.cluster(
        np.repeat(latitudes, counts), np.repeat(longitudes, counts), radius, min_points
    )
    return [int(each) for each in labels[np.cumsum(counts) - counts]]
