"""Sales by the tenant's day and store, kept by triggers as orders are written."""

from dataclasses import dataclass
from datetime import date

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Sales:
    """Counted orders, and net revenue in minor units."""

    orders: int
    revenue: int


NO_SALES = Sales(0, 0)


@dataclass(frozen=True, slots=True)
class SalesOfPeriod:
    """By the tenant's day, and by store (0 is none); what had no sales is absent."""

    by_day: dict[date, Sales]
    by_store: dict[int, Sales]

    @property
    def total(self) -> Sales:
        """Of all days together."""
        sales = self.by_day.values()
        return Sales(sum(s.orders for s in sales), sum(s.revenue for s in sales))


_SALES = text("""
    SELECT day, store_sk, sum(orders), sum(revenue)
    FROM sales_days
    WHERE tenant_id = :tenant_id AND day BETWEEN CAST(:first AS date) AND CAST(:last AS date)
      AND (CAST(:store_sk AS bigint) IS NULL OR store_sk = CAST(:store_sk AS bigint))
    GROUP BY GROUPING SETS ((day), (store_sk))
""")


async def get_sales(
    connection: AsyncConnection, tenant_id: int, first: date, last: date, store_sk: int | None
) -> SalesOfPeriod:
    """Sales from `first` to `last`, both included; of one store where one is given."""
    parameters = {"tenant_id": tenant_id, "first": first, "last": last, "store_sk": store_sk}
    found = SalesOfPeriod({}, {})
    for day, store, orders, revenue in await connection.execute(_SALES, parameters):
        sales = Sales(int(orders), int(revenue))
        if day is not None:
            found.by_day[day] = sales
        else:
            found.by_store[store] = sales
    return found


_TOTAL = text("""
    SELECT coalesce(sum(orders), 0), coalesce(sum(revenue), 0)
    FROM sales_days
    WHERE tenant_id = :tenant_id AND day BETWEEN CAST(:first AS date) AND CAST(:last AS date)
      AND (CAST(:store_sk AS bigint) IS NULL OR store_sk = CAST(:store_sk AS bigint))
""")


async def get_total(
    connection: AsyncConnection, tenant_id: int, first: date, last: date, store_sk: int | None
) -> Sales:
    """The sum of `get_sales`."""
    parameters = {"tenant_id": tenant_id, "first": first, "last": last, "store_sk": store_sk}
    orders, revenue = (await connection.execute(_TOTAL, parameters)).one()
    return Sales(int(orders), int(revenue))
