"""Where customers are, added up in the squares of a grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Double,
    and_,
    cast,
    func,
    literal_column,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.geometry import AFTER_GEOHASH, Box, cell_box
from app.domain.heat_grid import LAST_LATITUDE, Grid
from app.repositories.cluster import Cell
from app.repositories.customer import CustomerFilter, area_of, conditions
from app.repositories.page import page_size
from app.repositories.tables import customer_analytics, customers


class Weight(StrEnum):
    """What makes a square hot."""

    CUSTOMERS = "customers"
    REVENUE = "revenue"
    CHURN = "churn"
    VALUE_AT_RISK = "value_at_risk"


@dataclass(frozen=True, slots=True)
class Square:
    """A square of a grid that has customers. Amounts of money are minor units."""

    column: int
    row: int
    customers: int
    weight: float


# An alias, because the conditions of a filter ask the table by its own name.
_scores = customer_analytics.alias("scores")
_OF_CUSTOMER = and_(
    _scores.c.tenant_id == customers.c.tenant_id, _scores.c.customer_sk == customers.c.sk
)
_WEIGHTS: dict[Weight, ColumnElement[Any]] = {
    Weight.REVENUE: _scores.c.revenue,
    Weight.CHURN: _scores.c.churn_score,
    Weight.VALUE_AT_RISK: _scores.c.value_at_risk,
}


async def list_squares(
    connection: AsyncConnection,
    tenant_id: int,
    wanted: CustomerFilter,
    *,
    grid: Grid,
    weight: Weight,
) -> list[Square]:
    """Every square with wanted customers, by row and column."""
    column, row = _column_and_row(grid)
    count = func.count()
    total = count if weight is Weight.CUSTOMERS else func.coalesce(func.sum(_WEIGHTS[weight]), 0)
    statement = (
        select(column, row, count, cast(total, Double))
        .where(
            customers.c.tenant_id == tenant_id,
            customers.c.last_known_geohash.is_not(None),
            *conditions(tenant_id, wanted),
        )
        .group_by(column, row)
        .order_by(row, column)
    )
    if weight is not Weight.CUSTOMERS:
        statement = statement.select_from(customers.outerjoin(_scores, _OF_CUSTOMER))
    return [Square(*found) for found in await connection.execute(statement)]


def _column_and_row(grid: Grid) -> tuple[ColumnElement[int], ColumnElement[int]]:
    """As `Grid.cell_at` has them."""
    edge = literal_column(repr(LAST_LATITUDE), Double)
    latitude = func.least(func.greatest(customers.c.last_known_latitude, -edge), edge)
    x = (customers.c.last_known_longitude + 180) / 360
    y = (1 - func.asinh(func.tan(func.radians(latitude))) / func.pi()) / 2
    side = literal_column(f"{grid.side:d}", BigInteger)
    last = literal_column(f"{grid.side - 1:d}", BigInteger)
    zero = literal_column("0", BigInteger)
    column, row = (
        func.least(
            func.greatest(cast(func.floor(each * side), BigInteger), zero), last, type_=BigInteger
        )
        for each in (x, y)
    )
    return column.label("grid_column"), row.label("grid_row")


def squares_of(districts: list[Cell], grid: Grid, weight: Weight) -> list[Square]:
    """The squares that the middles of districts are in, by row and column."""
    found: dict[tuple[int, int], Square] = {}
    for each in districts:
        at = grid.cell_at(each.latitudes / each.customers, each.longitudes / each.customers)
        before = found.get(at, Square(*at, 0, 0.0))
        found[at] = Square(
            *at, before.customers + each.customers, before.weight + _weight_of(each, weight)
        )
    return sorted(found.values(), key=lambda square: (square.row, square.column))


def _weight_of(cell: Cell, weight: Weight) -> float:
    return {
        Weight.CUSTOMERS: cell.customers,
        Weight.REVENUE: cell.revenue,
        Weight.CHURN: cell.churn,
        Weight.VALUE_AT_RISK: cell.value_at_risk,
    }[weight]


#: Cells of so many characters, of 20 by 40 km, tell roughly where the customers of a tenant are.
_EXTENT_PRECISION = 4


async def find_extent(
    connection: AsyncConnection, tenant_id: int, wanted: CustomerFilter
) -> Box | None:
    """A box around all places that are wanted, not much larger; None where there is none.

    That is the wanted box itself, one around the wanted zone or cell, or else around everybody.
    """
    if wanted.box is not None:
        return wanted.box
    if wanted.zone_sk is not None:
        area = area_of(tenant_id, wanted.zone_sk)
        corners = (func.ST_XMin(area), func.ST_YMin(area), func.ST_XMax(area), func.ST_YMax(area))
        return Box(*(await connection.execute(select(*corners))).one())
    if wanted.geohash is not None:
        return cell_box(wanted.geohash)
    return around_cells(await _cells(connection, tenant_id))


def around_cells(geohashes: Sequence[str]) -> Box | None:
    """The box around cells; None of none."""
    boxes = [cell_box(each) for each in geohashes]
    if not boxes:
        return None
    return Box(
        min(box.west for box in boxes),
        min(box.south for box in boxes),
        max(box.east for box in boxes),
        max(box.north for box in boxes),
    )


async def _cells(connection: AsyncConnection, tenant_id: int) -> list[str]:
    """The cells of the tenant's places: the first geohash beyond a cell is in the next one."""
    geohash = customers.c.last_known_geohash
    cell = func.left(geohash, literal_column(f"{_EXTENT_PRECISION:d}"))
    located = select(cell).where(customers.c.tenant_id == tenant_id)
    first = located.where(geohash.is_not(None)).order_by(geohash).limit(page_size(1))
    cells = select(first.scalar_subquery().label("geohash")).cte("cells", recursive=True)
    following = (
        located.where(geohash > cells.c.geohash + AFTER_GEOHASH)
        .order_by(geohash)
        .limit(page_size(1))
    )
    cells = cells.union_all(select(following.scalar_subquery()).where(cells.c.geohash.is_not(None)))
    statement = select(cells.c.geohash).where(cells.c.geohash.is_not(None))
    return list(await connection.scalars(statement))
