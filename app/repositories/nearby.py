"""Customers around a point, the nearest first.

The index hands out places by their distance on a sphere. True distances, on the ellipsoid, differ
by up to 0.6 %, so a few places more than wanted are read, and put in order by true distance. Where
that does not settle who comes first, because many are about as far, everybody up to the distance
found is read.

A condition besides the place may hold for few customers, far away. So at most `REACH` places are
tried in order of distance; who is still missing then is found among all who meet the conditions, by
one pass over them, or over those within the radius.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from geoalchemy2 import Geography
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Double,
    FromClause,
    Select,
    Text,
    and_,
    bindparam,
    cast,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.geodesy import in_order, is_settled
from app.domain.geometry import AFTER_GEOHASH
from app.repositories.customer import CustomerFilter, conditions
from app.repositories.district import (
    centre_on_map,
    list_told,
    point_on_globe,
    without_places,
)
from app.repositories.page import page_size
from app.repositories.tables import customer_analytics, customers

#: Places that are tried in order of distance where customers have to meet conditions, too.
REACH = 10_000


@dataclass(frozen=True, slots=True)
class Around:
    """A point in degrees, and metres around it; None reaches around the globe."""

    latitude: float
    longitude: float
    radius: float | None = None


@dataclass(frozen=True, slots=True)
class NearCustomer:
    """A customer near a point. `distance` is in metres on the ellipsoid, `sphere` on a sphere.

    `bearing` is the direction in which the way from the point begins, in degrees clockwise from
    north; None where there is no way to go.
    """

    sk: int
    id: str
    code: str | None
    name: str
    customer_type: str
    membership_tier: str | None
    status: str
    rfm_segment: str | None
    churn_band: str | None
    last_order_at: datetime | None
    last_known_latitude: float
    last_known_longitude: float
    last_known_geohash: str
    last_location_captured_at: datetime | None
    distance: float
    bearing: float | None
    sphere: float


_MEASURES = ("distance", "bearing", "sphere")
# An alias, because the conditions of a filter ask the table by its own name.
_scores = customer_analytics.alias("scores")
_SCORED = {"rfm_segment", "churn_band", "last_order_at"}
_COLUMNS: list[ColumnElement[Any]] = [
    (_scores if field.name in _SCORED else customers).c[field.name]
    for field in fields(NearCustomer)
    if field.name not in _MEASURES
]
_OF_CUSTOMER = and_(
    _scores.c.tenant_id == customers.c.tenant_id,
    _scores.c.customer_sk == customers.c.sk,
)
_place = customers.alias("place")


async def list_near(
    connection: AsyncConnection,
    tenant_id: int,
    around: Around,
    wanted: CustomerFilter,
    *,
    after: tuple[float, int] | None,
    limit: int,
) -> list[NearCustomer]:
    """Up to `limit` customers by true distance and sk, beyond that distance and sk `after`."""
    others = conditions(tenant_id, wanted)
    asked = limit + max(8, limit // 16)
    reach = REACH if others else asked
    found = [
        NearCustomer(*row)
        for row in await connection.execute(
            _nearest(tenant_id, around, others, after, reach=reach, limit=asked)
        )
    ]
    if len(found) < asked and not others:
        return in_order(found)[:limit]
    farthest = around.radius
    if len(found) >= limit:
        if is_settled(found, limit):
            return in_order(found)[:limit]
        farthest = in_order(found)[limit - 1].distance
    within = Around(around.latitude, around.longitude, farthest)
    rows = await connection.execute(_all(tenant_id, within, others, after, limit))
    return [NearCustomer(*row) for row in rows]


def _nearest(
    tenant_id: int,
    around: Around,
    others: Sequence[ColumnElement[bool]],
    after: tuple[float, int] | None,
    *,
    reach: int,
    limit: int,
) -> Select[Any]:
    """By distance on the sphere: of the first `reach` places those that meet the conditions."""
    point = point_on_globe(around)
    geography = _place.c.last_known_geography
    sphere: ColumnElement[float] = geography.op("<->", return_type=Double())(point)
    near = (
        select(
            _place.c.sk,
            sphere.label("sphere"),
            func.ST_Distance(geography, point, type_=Double).label("distance"),
        )
        .where(_place.c.tenant_id == tenant_id, *_within(geography, point, around, _place.c, after))
        .order_by(sphere)
        .limit(page_size(reach))
        .subquery("near")
    )
    # One row after the other, in the order of `near`: OFFSET 0 leaves the planner no other way.
    summary = (
        select(*_COLUMNS, customers.c.last_known_geography)
        .outerjoin(_scores, _OF_CUSTOMER)
        .where(customers.c.tenant_id == tenant_id, customers.c.sk == near.c.sk, *others)
        .offset(literal_column("0"))
        .lateral("summary")
    )
    return (
        select(
            *_summary_columns(summary),
            near.c.distance,
            _bearing(point, summary.c.last_known_geography),
            near.c.sphere,
        )
        .select_from(near.join(summary, true()))
        .order_by(near.c.sphere)
        .limit(page_size(limit))
    )


def _all(
    tenant_id: int,
    around: Around,
    others: Sequence[ColumnElement[bool]],
    after: tuple[float, int] | None,
    limit: int,
) -> Select[Any]:
    """By true distance and sk, of everybody who meets the conditions."""
    point = point_on_globe(around)
    geography = customers.c.last_known_geography
    distance = func.ST_Distance(geography, point, type_=Double).label("distance")
    return (
        select(*_COLUMNS, distance, _bearing(point, geography), literal_column("0.0"))
        .outerjoin(_scores, _OF_CUSTOMER)
        .where(
            customers.c.tenant_id == tenant_id,
            *_within(geography, point, around, customers.c, after),
            *others,
        )
        .order_by(distance, customers.c.sk)
        .limit(page_size(limit))
    )


def _within(
    geography: ColumnElement[Any],
    point: ColumnElement[Any],
    around: Around,
    columns: Any,
    after: tuple[float, int] | None,
) -> list[ColumnElement[bool]]:
    """Places within the radius, beyond those of the pages before."""
    found: list[ColumnElement[bool]] = [geography.is_not(None)]
    distance = func.ST_Distance(geography, point, type_=Double)
    if around.radius is not None:
        found += [
            geography.op("&&", is_comparison=True)(func._ST_Expand(point, around.radius)),
            distance <= around.radius,
        ]
    if after is not None:
        found.append(_beyond(distance, columns.sk, after))
    return found


def _beyond(
    distance: ColumnElement[float], sk: ColumnElement[int], after: tuple[float, int]
) -> ColumnElement[bool]:
    return or_(distance > after[0], and_(distance == after[0], sk > after[1]))


def _summary_columns(summary: FromClause) -> list[ColumnElement[Any]]:
    return [summary.c[column.name] for column in _COLUMNS]


def _bearing(point: ColumnElement[Any], geography: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.degrees(func.ST_Azimuth(point, geography), type_=Double)


async def list_near_roughly(
    connection: AsyncConnection,
    tenant_id: int,
    around: Around,
    wanted: CustomerFilter,
    *,
    after: tuple[float, int] | None,
    limit: int,
) -> list[NearCustomer]:
    """`list_near` for those who may not learn places: by the distance of each one's district."""
    told = await list_told(connection, tenant_id, wanted, point=around, radius=around.radius)
    told = sorted(
        (each for each in told if after is None or each.distance >= after[0]),
        key=lambda each: each.distance,
    )
    # The districts that hold the page: one more than `limit` customers, not counting those of the
    # pages before, who are all in districts at the distance where the page begins.
    cells: list[str] = []
    distances: list[float] = []
    beyond = 0
    for district in told:
        if beyond >= limit and district.distance > distances[-1]:
            break
        cells.append(district.geohash)
        distances.append(district.distance)
        if after is None or district.distance > after[0]:
            beyond += district.customers
    if not cells:
        return []
    statement = _roughly(tenant_id, around, wanted, after, limit)
    rows = await connection.execute(statement, {"cells": cells, "distances": distances})
    return [NearCustomer(*row) for row in rows]


def _roughly(
    tenant_id: int,
    around: Around,
    wanted: CustomerFilter,
    after: tuple[float, int] | None,
    limit: int,
) -> Select[Any]:
    told = (
        func.unnest(
            bindparam("cells", type_=ARRAY(Text)), bindparam("distances", type_=ARRAY(Double))
        )
        .table_valued("geohash", "distance")
        .render_derived("told")
    )
    cell: ColumnElement[str] = cast(told.c.geohash, Text(collation="C"))
    summary = (
        select(*_COLUMNS)
        .outerjoin(_scores, _OF_CUSTOMER)
        .where(
            customers.c.tenant_id == tenant_id,
            customers.c.last_known_geohash >= cell,
            customers.c.last_known_geohash < cell + AFTER_GEOHASH,
            *conditions(tenant_id, without_places(wanted)),
        )
        .offset(literal_column("0"))
        .lateral("summary")
    )
    middle = cast(centre_on_map(told.c.geohash), Geography(srid=4326))
    statement = (
        select(
            *_summary_columns(summary),
            told.c.distance,
            _bearing(point_on_globe(around), middle),
            literal(0.0, Double),
        )
        .select_from(told.join(summary, true()))
        .order_by(told.c.distance, summary.c.sk)
        .limit(page_size(limit))
    )
    if after is not None:
        statement = statement.where(_beyond(told.c.distance, summary.c.sk, after))
    return statement
