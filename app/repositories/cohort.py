"""Cohorts, their members, and the months of those who first bought in the same one."""

import json
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.cohort import CohortType
from app.domain.criteria import Clock, Criteria
from app.domain.errors import AlreadyExists, NotFound
from app.repositories.criteria import Compiler
from app.repositories.page import limited


@dataclass(frozen=True, slots=True)
class Cohort:
    """A group of customers: those who first bought in certain days, or who met some criteria once.

    `customers` is how many there are now.
    """

    sk: int
    id: str
    name: str
    description: str | None
    cohort_type: CohortType
    acquisition_start: date | None
    acquisition_end: date | None
    criteria: Any
    is_active: bool
    customers: int
    created_at: datetime
    created_by: str | None


@dataclass(frozen=True, slots=True)
class Member:
    """A customer of a cohort. `revenue` is net and of all time, in minor units."""

    sk: int
    customer_id: str
    name: str
    joined_on: date
    counted_orders: int | None
    revenue: int | None
    rfm_segment: str | None


@dataclass(frozen=True, slots=True)
class CohortMonth:
    """What the customers who first bought in `cohort_month` did in `month`; both are first days."""

    cohort_month: date
    month: date
    customers: int
    orders: int
    revenue: Decimal
    computed_at: datetime


_INSERT = text("""
    INSERT INTO cohorts (
        tenant_id, id, name, description, cohort_type, acquisition_start, acquisition_end,
        criteria, created_by
    )
    VALUES (
        :tenant_id, :id, :name, :description, :cohort_type, :acquisition_start, :acquisition_end,
        CAST(:criteria AS jsonb), :created_by
    )
    ON CONFLICT (tenant_id, id) DO NOTHING
    RETURNING sk
""")

_COHORT = """
SELECT c.sk, c.id, c.name, c.description, c.cohort_type, c.acquisition_start, c.acquisition_end,
       c.criteria, c.is_active, c.created_at, c.created_by,
       CASE c.cohort_type
           WHEN 'acquisition' THEN (
               SELECT coalesce(sum(t.customers), 0) FROM population_totals t
               WHERE t.tenant_id = c.tenant_id AND t.figure = 'first_order'
                 AND t.a BETWEEN CAST(c.acquisition_start AS text)
                             AND CAST(c.acquisition_end AS text)
           )
           ELSE (
               SELECT count(*) FROM cohort_members m
               WHERE m.tenant_id = c.tenant_id AND m.cohort_sk = c.sk
           )
       END AS customers
FROM cohorts c
"""
_GET = text(_COHORT + "WHERE c.tenant_id = :tenant_id AND c.id = :cohort_id")
_LIST = (
    _COHORT
    + """
WHERE c.tenant_id = :tenant_id AND c.sk > :after
  AND (CAST(:cohort_type AS text) IS NULL OR c.cohort_type = :cohort_type)
  AND (c.is_active OR :with_inactive)
ORDER BY c.sk
LIMIT :limit
"""
)
_RETIRE = text("""
    UPDATE cohorts SET is_active = false WHERE tenant_id = :tenant_id AND id = :cohort_id
""")

_DECLARED_MEMBERS = """
SELECT c.sk, c.id AS customer_id, c.name,
       CAST(m.joined_at AT TIME ZONE :timezone AS date) AS joined_on,
       a.counted_orders, a.revenue, a.rfm_segment
FROM cohort_members m
JOIN customers c ON c.tenant_id = m.tenant_id AND c.sk = m.customer_sk
LEFT JOIN customer_analytics a ON a.tenant_id = m.tenant_id AND a.customer_sk = m.customer_sk
WHERE m.tenant_id = :tenant_id AND m.cohort_sk = :cohort_sk AND m.customer_sk > :after
ORDER BY m.customer_sk
LIMIT :limit
"""
_ACQUIRED_MEMBERS = """
SELECT c.sk, c.id AS customer_id, c.name, a.first_order_day AS joined_on, a.counted_orders,
       a.revenue, a.rfm_segment
FROM customer_analytics a
JOIN customers c ON c.tenant_id = a.tenant_id AND c.sk = a.customer_sk
WHERE a.tenant_id = :tenant_id
  AND a.first_order_day BETWEEN :first AND :last
  AND (a.first_order_day, a.customer_sk) > (:after_day, :after)
ORDER BY a.first_order_day, a.customer_sk
LIMIT :limit
"""

_FORGET_MONTHS = text("DELETE FROM cohort_months WHERE tenant_id = :tenant_id")

# A customer's month is added up before the customers of a cohort are: counting the different
# customers among the orders would sort all of them. OFFSET keeps the month of a customer from being
# worked out for each of their months.
_KEEP_MONTHS = text("""
    INSERT INTO cohort_months (tenant_id, cohort_month, month, customers, orders, revenue)
    SELECT :tenant_id, b.cohort_month, m.month, count(*) FILTER (WHERE m.orders > 0),
           sum(m.orders), sum(m.revenue)
    FROM (
        SELECT customer_sk, CAST(date_trunc('month', local_at) AS date) AS month,
               count(*) FILTER (WHERE counted) AS orders, sum(net_amount) AS revenue
        FROM orders
        WHERE tenant_id = :tenant_id AND (counted OR net_amount <> 0)
        GROUP BY 1, 2
    ) AS m
    JOIN (
        SELECT customer_sk,
               CAST(date_trunc('month', CAST(first_order_day AS timestamp)) AS date)
                   AS cohort_month
        FROM customer_analytics
        WHERE tenant_id = :tenant_id AND first_order_day IS NOT NULL
        OFFSET 0
    ) AS b USING (customer_sk)
    WHERE m.month >= b.cohort_month
    GROUP BY b.cohort_month, m.month
""")
_LIST_MONTHS = text("""
    SELECT cohort_month, month, customers, orders, revenue, computed_at
    FROM cohort_months
    WHERE tenant_id = :tenant_id AND cohort_month BETWEEN :first AND :last
    ORDER BY cohort_month, month
""")


async def insert(
    connection: AsyncConnection,
    tenant_id: int,
    *,
    cohort_id: str,
    name: str,
    description: str | None,
    cohort_type: CohortType,
    acquisition: tuple[date, date] | None,
    criteria: Any,
    created_by: str | None,
) -> int:
    """Make a cohort without members and return its sk. Raises AlreadyExists."""
    first, last = acquisition or (None, None)
    sk = await connection.scalar(
        _INSERT,
        {
            "tenant_id": tenant_id,
            "id": cohort_id,
            "name": name,
            "description": description,
            "cohort_type": cohort_type,
            "acquisition_start": first,
            "acquisition_end": last,
            "criteria": None if criteria is None else json.dumps(criteria),
            "created_by": created_by,
        },
    )
    if sk is None:
        raise AlreadyExists("cohort", cohort_id)
    return int(sk)


async def add_members(
    connection: AsyncConnection,
    tenant_id: int,
    cohort_sk: int,
    *,
    criteria: Criteria,
    compiler: Compiler,
    clock: Clock,
) -> int:
    """Make whoever meets the criteria now a member; how many do."""
    predicate = compiler.predicate(criteria)
    statement = f"""
        INSERT INTO cohort_members (tenant_id, cohort_sk, customer_sk, joined_at)
        SELECT :tenant_id, :cohort_sk, c.sk, :joined_at
        {compiler.everybody()} AND {predicate}
        ORDER BY c.sk
    """
    result = await connection.execute(
        text(statement),
        compiler.parameters(clock)
        | {"tenant_id": tenant_id, "cohort_sk": cohort_sk, "joined_at": clock.as_of},
    )
    return result.rowcount


async def get(connection: AsyncConnection, tenant_id: int, cohort_id: str) -> Cohort:
    """The cohort called `cohort_id`. Raises NotFound."""
    rows = await connection.execute(_GET, {"tenant_id": tenant_id, "cohort_id": cohort_id})
    row = rows.first()
    if row is None:
        raise NotFound("cohort", cohort_id)
    return _read(row)


async def list_page(
    connection: AsyncConnection,
    tenant_id: int,
    *,
    cohort_type: CohortType | None,
    with_inactive: bool,
    after: int,
    limit: int,
) -> list[Cohort]:
    """Cohorts with an `sk` beyond `after`, in the order in which they were made."""
    rows = await connection.execute(
        limited(_LIST, limit),
        {
            "tenant_id": tenant_id,
            "after": after,
            "cohort_type": cohort_type,
            "with_inactive": with_inactive,
        },
    )
    return [_read(row) for row in rows]


async def retire(connection: AsyncConnection, tenant_id: int, cohort_id: str) -> None:
    """Take a cohort out of the lists; its members stay. Raises NotFound."""
    result = await connection.execute(_RETIRE, {"tenant_id": tenant_id, "cohort_id": cohort_id})
    if not result.rowcount:
        raise NotFound("cohort", cohort_id)


async def list_members(
    connection: AsyncConnection,
    tenant_id: int,
    cohort: Cohort,
    timezone: str,
    *,
    after: tuple[date, int] | None,
    limit: int,
) -> list[Member]:
    """Members beyond a day and a key: of an acquisition cohort by day, of others by key alone."""
    day, sk = after or (date.min, 0)
    if cohort.cohort_type is CohortType.ACQUISITION:
        rows = await connection.execute(
            limited(_ACQUIRED_MEMBERS, limit),
            {
                "tenant_id": tenant_id,
                "first": cohort.acquisition_start,
                "last": cohort.acquisition_end,
                "after_day": day,
                "after": sk,
            },
        )
    else:
        rows = await connection.execute(
            limited(_DECLARED_MEMBERS, limit),
            {
                "tenant_id": tenant_id,
                "cohort_sk": cohort.sk,
                "timezone": timezone,
                "after": sk,
            },
        )
    return [Member(**row._mapping) for row in rows]


async def keep_months(connection: AsyncConnection, tenant_id: int) -> None:
    """Add up every month of every monthly cohort anew."""
    await connection.execute(_FORGET_MONTHS, {"tenant_id": tenant_id})
    await connection.execute(_KEEP_MONTHS, {"tenant_id": tenant_id})


async def list_months(
    connection: AsyncConnection, tenant_id: int, first: date, last: date
) -> list[CohortMonth]:
    """The months of the cohorts from `first` to `last`, which are first days of months."""
    rows = await connection.execute(
        _LIST_MONTHS, {"tenant_id": tenant_id, "first": first, "last": last}
    )
    return [CohortMonth(**row._mapping) for row in rows]


def _read(row: Row[Any]) -> Cohort:
    values = dict(row._mapping)
    values["cohort_type"] = CohortType(values["cohort_type"])
    values["customers"] = int(values["customers"])
    return Cohort(**values)
