"""Sums over all customers by a key, and what they were on earlier days.

Triggers append to `population_totals` whatever changes in `customer_analytics`; readers add up the
rows of a key. So an answer about a million customers reads some dozens of rows, and is live.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

#: The figures whose past is kept.
KEPT_FIGURES = ("segment", "band", "lifecycle", "tier", "clv_tier")


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the customers of one key (`a`, `b`) of a figure. Amounts are minor units.

    `revenue` is of all time; `order_values` adds up the customers' average order values,
    `churn_points` their churn scores times 10,000.
    """

    a: str
    b: str
    customers: int
    buyers: int
    repeat_buyers: int
    revenue: int
    revenue_365d: int
    revenue_90d: int
    orders_365d: int
    orders_90d: int
    order_values: int
    days_since: int
    active_30d: int
    inactive_90d: int
    tenure_days: int
    clv: int
    value_at_risk: int
    churn_rated: int
    churn_points: int
    declining_orders: int
    declining_spend: int
    loyalty_points: int
    contacts: int
    responses: int


_SUMS = tuple(Totals.__dataclass_fields__)[2:]

_TOTALS = text(f"""
    SELECT figure, a, b, {", ".join(f"sum({name})" for name in _SUMS)}
    FROM population_totals
    WHERE tenant_id = :tenant_id AND figure = ANY(CAST(:figures AS text[]))
    GROUP BY figure, a, b HAVING sum(customers) <> 0
    ORDER BY figure, a, b
""")


async def list_totals(
    connection: AsyncConnection, tenant_id: int, *figures: str
) -> dict[str, list[Totals]]:
    """The totals of each of `figures`, keys without customers left out."""
    found: dict[str, list[Totals]] = {figure: [] for figure in figures}
    parameters = {"tenant_id": tenant_id, "figures": list(figures)}
    for figure, a, b, *sums in await connection.execute(_TOTALS, parameters):
        found[figure].append(Totals(a, b, *map(int, sums)))
    return found


_AS_OF = text("""
    SELECT max(run.as_of)
    FROM (VALUES ('full'), ('recent')) AS kinds (kind)
    CROSS JOIN LATERAL (
        SELECT as_of FROM job_runs
        WHERE tenant_id = :tenant_id AND job_runs.kind = kinds.kind AND status = 'succeeded'
        ORDER BY requested_at DESC LIMIT 1
    ) AS run
""")


async def find_as_of(connection: AsyncConnection, tenant_id: int) -> datetime | None:
    """The instant that the last run of scores was for; None before the first."""
    found: datetime | None = await connection.scalar(_AS_OF, {"tenant_id": tenant_id})
    return found


@dataclass(frozen=True, slots=True)
class NewCustomers:
    """Customers by the day, or by the store (0 is none), of their first counted order."""

    by_day: dict[date, int]
    by_store: dict[int, int]


# ISO days sort as text.
_NEW_CUSTOMERS = text("""
    SELECT a, b, sum(customers)
    FROM population_totals
    WHERE tenant_id = :tenant_id AND figure = 'first_order'
      AND a >= CAST(:first AS text) AND a <= CAST(:last AS text)
      AND (CAST(:store_sk AS text) IS NULL OR b = CAST(:store_sk AS text))
    GROUP BY GROUPING SETS ((a), (b)) HAVING sum(customers) <> 0
""")


async def get_new_customers(
    connection: AsyncConnection, tenant_id: int, first: date, last: date, store_sk: int | None
) -> NewCustomers:
    """Who first bought from `first` to `last`, both included; of one store where one is given."""
    parameters = _of_days(tenant_id, first, last, store_sk)
    found = NewCustomers({}, {})
    for day, store, customers in await connection.execute(_NEW_CUSTOMERS, parameters):
        if day is not None:
            found.by_day[date.fromisoformat(day)] = int(customers)
        else:
            found.by_store[int(store)] = int(customers)
    return found


_COUNT_NEW = text("""
    SELECT coalesce(sum(customers), 0)
    FROM population_totals
    WHERE tenant_id = :tenant_id AND figure = 'first_order'
      AND a >= CAST(:first AS text) AND a <= CAST(:last AS text)
      AND (CAST(:store_sk AS text) IS NULL OR b = CAST(:store_sk AS text))
""")


async def count_new_customers(
    connection: AsyncConnection, tenant_id: int, first: date, last: date, store_sk: int | None
) -> int:
    """How many `get_new_customers` has."""
    parameters = _of_days(tenant_id, first, last, store_sk)
    return int((await connection.execute(_COUNT_NEW, parameters)).scalar_one())


def _of_days(
    tenant_id: int, first: date, last: date, store_sk: int | None
) -> dict[str, int | str | None]:
    return {
        "tenant_id": tenant_id,
        "first": first.isoformat(),
        "last": last.isoformat(),
        "store_sk": None if store_sk is None else str(store_sk),
    }


@dataclass(frozen=True, slots=True)
class KeptTotals:
    """What the totals of one key were on a day. Amounts are minor units."""

    figure: str
    a: str
    customers: int
    buyers: int
    repeat_buyers: int
    revenue_365d: int
    clv: int
    value_at_risk: int
    loyalty_points: int


_KEPT_SUMS = tuple(KeptTotals.__dataclass_fields__)[2:]

_FORGET_DAY = text("DELETE FROM population_total_days WHERE tenant_id = :tenant_id AND day = :day")
_KEEP_DAY = text(f"""
    INSERT INTO population_total_days (tenant_id, day, figure, a, b, {", ".join(_KEPT_SUMS)})
    SELECT :tenant_id, :day, figure, a, b, {", ".join(f"sum({name})" for name in _KEPT_SUMS)}
    FROM population_totals
    WHERE tenant_id = :tenant_id AND figure = ANY(CAST(:figures AS text[]))
    GROUP BY figure, a, b HAVING sum(customers) <> 0
""")


async def keep_totals(connection: AsyncConnection, tenant_id: int, day: date) -> None:
    """Keep what the totals are now as those of `day`; in the caller's transaction."""
    await connection.execute(_FORGET_DAY, {"tenant_id": tenant_id, "day": day})
    parameters = {"tenant_id": tenant_id, "day": day, "figures": list(KEPT_FIGURES)}
    await connection.execute(_KEEP_DAY, parameters)


_KEPT = text(f"""
    SELECT day, figure, a, {", ".join(_KEPT_SUMS)}
    FROM population_total_days
    WHERE tenant_id = :tenant_id AND figure = ANY(CAST(:figures AS text[]))
      AND day = (
          SELECT day FROM population_total_days
          WHERE tenant_id = :tenant_id AND day <= :day ORDER BY day DESC LIMIT 1
      )
    ORDER BY figure, a, b
""")


async def find_kept_totals(
    connection: AsyncConnection, tenant_id: int, day: date, figures: Sequence[str]
) -> tuple[date, list[KeptTotals]] | None:
    """The totals kept last on or before `day`, with their day; None where none were."""
    parameters = {"tenant_id": tenant_id, "day": day, "figures": list(figures)}
    rows = (await connection.execute(_KEPT, parameters)).all()
    if not rows:
        return None
    return rows[0].day, [KeptTotals(figure, a, *map(int, sums)) for _, figure, a, *sums in rows]


_FORGET_BEFORE = text(
    "DELETE FROM population_total_days WHERE tenant_id = :tenant_id AND day < :day"
)


async def forget_kept_totals(connection: AsyncConnection, tenant_id: int, before: date) -> int:
    """Drop the kept totals of the days before; how many rows."""
    parameters = {"tenant_id": tenant_id, "day": before}
    return (await connection.execute(_FORGET_BEFORE, parameters)).rowcount


async def compact(connection: AsyncConnection, tenant_id: int) -> None:
    """Make one row of the rows of each key, in every table of totals."""
    await connection.execute(_COMPACT, {"tenant_id": tenant_id})


_COMPACT = text("SELECT compact_totals(:tenant_id)")


async def rebuild(connection: AsyncConnection, tenant_id: int) -> None:
    """Add up all customers anew; in the caller's transaction.

    A compaction under way is waited for: what it had taken out and put back would otherwise be
    missed by the one statement that throws the old totals away.
    """
    await connection.execute(_AWAIT_COMPACTION, {"tenant_id": tenant_id})
    await connection.execute(_REBUILD, {"tenant_id": tenant_id})


_AWAIT_COMPACTION = text("SELECT pg_advisory_xact_lock(hashtext('compact totals'), :tenant_id)")
_REBUILD = text("SELECT rebuild_population_totals(:tenant_id)")


async def read_everybody(connection: AsyncConnection) -> None:
    """Let the rest of the transaction read all customers, in whatever way suits their number."""
    await connection.execute(_READ_EVERYBODY)


_READ_EVERYBODY = text("""
    SELECT set_config('work_mem', '256MB', true), set_config('statement_timeout', '0', true),
           set_config('enable_nestloop', 'off', true), set_config('enable_seqscan', 'on', true)
""")
