"""Customers by cell of the geohash grid: how many, what they bring, who they are.

There are two ways to a page. With coarse cells, or where customers are wanted of a part of the map,
everybody wanted beyond the page before is read once and counted by cell. With fine cells, of which
there may be as many as customers, the geohash index is followed from cell to cell, until the page
is full.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    FromClause,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.geometry import AFTER_GEOHASH, cell_centre
from app.repositories.customer import CustomerFilter, conditions
from app.repositories.district import list_told, without_places
from app.repositories.page import page_size
from app.repositories.tables import customer_analytics, customers

#: Cells of more characters are found one after the other in the index.
COARSE_PRECISION = 5


@dataclass(frozen=True, slots=True)
class Cell:
    """The customers of one cell. Amounts are minor units, `churn` adds up the scores of `rated`.

    `latitudes` and `longitudes` add up the places. `segments` counts those with an RFM segment.
    """

    geohash: str
    customers: int
    revenue: int
    value_at_risk: int
    churn: float
    rated: int
    latitudes: float
    longitudes: float
    segments: dict[str, int]


def together(cells: Sequence[Cell]) -> Cell:
    """One or more cells as one, under the name of the first."""
    segments: Counter[str] = Counter()
    for each in cells:
        segments.update(each.segments)
    return Cell(
        cells[0].geohash,
        sum(each.customers for each in cells),
        sum(each.revenue for each in cells),
        sum(each.value_at_risk for each in cells),
        math.fsum(each.churn for each in cells),
        sum(each.rated for each in cells),
        math.fsum(each.latitudes for each in cells),
        math.fsum(each.longitudes for each in cells),
        dict(sorted(segments.items())),
    )


# An alias, because the conditions of a filter ask the table by its own name.
_scores = customer_analytics.alias("scores")
_OF_CUSTOMER = and_(
    _scores.c.tenant_id == customers.c.tenant_id,
    _scores.c.customer_sk == customers.c.sk,
)
_WITH_SCORES = customers.outerjoin(_scores, _OF_CUSTOMER)
_SEGMENT = _scores.c.rfm_segment.label("segment")

#: Sums of the customers of one segment.
_SUMS: list[ColumnElement[Any]] = [
    func.count().label("customers"),
    func.sum(_scores.c.revenue).label("revenue"),
    func.sum(_scores.c.value_at_risk).label("value_at_risk"),
    func.sum(_scores.c.churn_score).label("churn"),
    func.count(_scores.c.churn_score).label("rated"),
    func.sum(customers.c.last_known_latitude).label("latitudes"),
    func.sum(customers.c.last_known_longitude).label("longitudes"),
]


def _totals(by_segment: FromClause) -> list[ColumnElement[Any]]:
    """The sums over all segments, and how many of each segment."""
    c = by_segment.c
    return [
        cast(func.coalesce(func.sum(c.customers), 0), BigInteger).label("customers"),
        cast(func.coalesce(func.sum(c.revenue), 0), BigInteger).label("revenue"),
        cast(func.coalesce(func.sum(c.value_at_risk), 0), BigInteger).label("value_at_risk"),
        func.coalesce(func.sum(c.churn), 0.0).label("churn"),
        cast(func.coalesce(func.sum(c.rated), 0), BigInteger).label("rated"),
        func.sum(c.latitudes).label("latitudes"),
        func.sum(c.longitudes).label("longitudes"),
        func.array_agg(c.segment, type_=ARRAY(Text))
        .filter(c.segment.is_not(None))
        .label("segments"),
        func.array_agg(c.customers, type_=ARRAY(BigInteger))
        .filter(c.segment.is_not(None))
        .label("counts"),
    ]


async def list_cells(
    connection: AsyncConnection,
    tenant_id: int,
    wanted: CustomerFilter,
    *,
    precision: int,
    least: int,
    after: str | None,
    limit: int,
) -> list[Cell]:
    """Up to `limit` cells with `least` wanted customers or more, by geohash, beyond `after`."""
    in_part = wanted.box is not None or wanted.zone_sk is not None
    build = _counted if in_part or precision <= COARSE_PRECISION else _followed
    statement = build(tenant_id, wanted, precision, max(least, 1), after).limit(page_size(limit))
    return [_cell(row) for row in await connection.execute(statement)]


def _counted(
    tenant_id: int, wanted: CustomerFilter, precision: int, least: int, after: str | None
) -> Select[Any]:
    """By counting everybody beyond `after`."""
    geohash = customers.c.last_known_geohash
    cell = func.left(geohash, literal_column(f"{precision:d}", Integer)).label("geohash")
    by_segment = (
        select(cell, _SEGMENT, *_SUMS)
        .select_from(_WITH_SCORES)
        .where(
            customers.c.tenant_id == tenant_id,
            geohash.is_not(None),
            *conditions(tenant_id, wanted),
        )
        .group_by(cell, _SEGMENT)
    )
    if after is not None:
        by_segment = by_segment.where(geohash > after + AFTER_GEOHASH)
    each = by_segment.subquery("by_segment")
    return (
        select(each.c.geohash, *_totals(each))
        .group_by(each.c.geohash)
        .having(func.sum(each.c.customers) >= least)
        .order_by(each.c.geohash)
    )


def _followed(
    tenant_id: int, wanted: CustomerFilter, precision: int, least: int, after: str | None
) -> Select[Any]:
    """By following the index: the first geohash beyond a cell is in the next one."""
    geohash = customers.c.last_known_geohash
    cell = func.left(geohash, literal_column(f"{precision:d}", Integer))
    first = select(cell).where(customers.c.tenant_id == tenant_id, geohash.is_not(None))
    if after is not None:
        first = first.where(geohash > after + AFTER_GEOHASH)
    if wanted.geohash is not None:
        first = first.where(geohash >= wanted.geohash, geohash < wanted.geohash + AFTER_GEOHASH)
    first = first.order_by(geohash).limit(page_size(1))
    cells = select(first.scalar_subquery().label("geohash")).cte("cells", recursive=True)
    following = select(cell).where(
        customers.c.tenant_id == tenant_id, geohash > cells.c.geohash + AFTER_GEOHASH
    )
    if wanted.geohash is not None:
        following = following.where(geohash < wanted.geohash + AFTER_GEOHASH)
    following = following.order_by(geohash).limit(page_size(1))
    cells = cells.union_all(select(following.scalar_subquery()).where(cells.c.geohash.is_not(None)))
    # Rows come as the recursion makes them, in the order of the index, and only as many as wanted.
    return _of_each(tenant_id, cells, cells.c.geohash, conditions(tenant_id, wanted), least)


def _of_each(
    tenant_id: int,
    cells: FromClause,
    cell: ColumnElement[str],
    others: Sequence[ColumnElement[bool]],
    least: int,
) -> Select[Any]:
    """The sums of each of `cells`, one after the other."""
    by_segment = (
        select(_SEGMENT, *_SUMS)
        .select_from(_WITH_SCORES)
        .where(
            customers.c.tenant_id == tenant_id,
            customers.c.last_known_geohash >= cell,
            customers.c.last_known_geohash < cell + AFTER_GEOHASH,
            *others,
        )
        .group_by(_SEGMENT)
        .correlate(cells)
        .subquery("by_segment")
    )
    totals = select(*_totals(by_segment)).lateral("totals")
    return (
        select(cell, *totals.c)
        .select_from(cells.join(totals, true()))
        .where(totals.c.customers >= least)
    )


async def list_districts(
    connection: AsyncConnection, tenant_id: int, wanted: CustomerFilter
) -> list[Cell]:
    """The districts that may be told of, by geohash, for those who may not learn places.

    Everybody is taken to be in the middle of the district.
    """
    told = await list_told(connection, tenant_id, wanted)
    cells = (
        func.unnest(bindparam("cells", type_=ARRAY(Text)))
        .table_valued("geohash")
        .render_derived("told")
    )
    cell = cast(cells.c.geohash, Text(collation="C"))
    statement = _of_each(tenant_id, cells, cell, conditions(tenant_id, without_places(wanted)), 1)
    rows = await connection.execute(statement, {"cells": [each.geohash for each in told]})
    return sorted((_in_the_middle(_cell(row)) for row in rows), key=lambda each: each.geohash)


def _in_the_middle(district: Cell) -> Cell:
    latitude, longitude = cell_centre(district.geohash)
    return replace(
        district,
        latitudes=latitude * district.customers,
        longitudes=longitude * district.customers,
    )


def coarsened(cells: Iterable[Cell], precision: int) -> list[Cell]:
    """The cells of `precision` characters that these are in, by geohash."""
    found: dict[str, list[Cell]] = {}
    for each in cells:
        found.setdefault(each.geohash[:precision], []).append(each)
    return [replace(together(found[name]), geohash=name) for name in sorted(found)]


def _cell(row: Sequence[Any]) -> Cell:
    *sums, segments, counts = row
    return Cell(*[*sums, dict(sorted(zip(segments or (), counts or (), strict=True)))])


def _place(row: Sequence[Any]) -> Cell:
    *figures, segment = row
    return Cell(*[*figures, {} if segment is None else {segment: 1}])


async def list_places(
    connection: AsyncConnection, tenant_id: int, wanted: CustomerFilter, *, limit: int
) -> list[Cell]:
    """Up to `limit` of the wanted customers whose place is known, as cells of one customer each.

    In the order in which they were first recorded.
    """
    a = _scores.c
    statement = (
        select(
            customers.c.last_known_geohash,
            literal_column("1"),
            func.coalesce(a.revenue, 0),
            func.coalesce(a.value_at_risk, 0),
            func.coalesce(a.churn_score, 0.0),
            case((a.churn_score.is_(None), 0), else_=1),
            customers.c.last_known_latitude,
            customers.c.last_known_longitude,
            _SEGMENT,
        )
        .select_from(_WITH_SCORES)
        .where(*_located(tenant_id, wanted))
        .order_by(customers.c.sk)
        .limit(page_size(limit))
    )
    return [_place(row) for row in await connection.execute(statement)]


async def count_places(connection: AsyncConnection, tenant_id: int, wanted: CustomerFilter) -> int:
    """How many of the wanted customers have a known place."""
    statement = select(func.count()).select_from(customers).where(*_located(tenant_id, wanted))
    return int((await connection.execute(statement)).scalar_one())


def _located(tenant_id: int, wanted: CustomerFilter) -> list[ColumnElement[bool]]:
    return [
        customers.c.tenant_id == tenant_id,
        customers.c.last_known_geohash.is_not(None),
        *conditions(tenant_id, wanted),
    ]
