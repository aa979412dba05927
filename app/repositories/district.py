"""Customers by districts, the geohash cells of five characters, for those who may not know more.

Such a caller takes a customer to be at the centre of the district. A district with fewer than
`SMALL_CELL` customers in it is not spoken of, whatever else was asked for.
"""

from typing import Any

from sqlalchemy import ARRAY, Select, Text, bindparam, column, func, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.cover import ranges_over
from app.domain.geometry import Box
from app.domain.privacy import ROUGH_GEOHASH, SMALL_CELL
from app.repositories.customer import CustomerFilter, conditions
from app.repositories.tables import customers

EVERYBODY = CustomerFilter()


async def list_told(
    connection: AsyncConnection, tenant_id: int, box: Box, wanted: CustomerFilter = EVERYBODY
) -> dict[str, int]:
    """How many wanted customers are in each district that may be told of and meets `box`.

    Both everybody there and the wanted ones have to be `SMALL_CELL` at least. Some districts
    around the box are among them.
    """
    told = await _count(connection, _by_district(tenant_id), box)
    if wanted == EVERYBODY:
        return told
    found = await _count(connection, _by_district(tenant_id, wanted), box)
    return {district: count for district, count in found.items() if district in told}


async def _count(connection: AsyncConnection, statement: Select[Any], box: Box) -> dict[str, int]:
    ranges = ranges_over(box)
    rows = await connection.execute(
        statement,
        {"firsts": [first for first, _ in ranges], "beyonds": [beyond for _, beyond in ranges]},
    )
    return {row.district: row.customers for row in rows}


_TEXTS = ARRAY(Text)


def _by_district(tenant_id: int, wanted: CustomerFilter = EVERYBODY) -> Select[Any]:
    ranges = (
        func.unnest(bindparam("firsts", type_=_TEXTS), bindparam("beyonds", type_=_TEXTS))
        .table_valued(column("first", Text), column("beyond", Text))
        .render_derived("ranges")
    )
    within = (
        select(func.left(customers.c.last_known_geohash, ROUGH_GEOHASH).label("district"))
        .where(
            customers.c.tenant_id == tenant_id,
            customers.c.last_known_geohash >= ranges.c.first,
            customers.c.last_known_geohash < ranges.c.beyond,
            *conditions(tenant_id, wanted),
        )
        .lateral("within")
    )
    return (
        select(within.c.district, func.count().label("customers"))
        .select_from(ranges.join(within, true()))
        .group_by(within.c.district)
        .having(func.count() >= SMALL_CELL)
        .order_by(within.c.district)
    )
