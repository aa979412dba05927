"""A full run against SQL written by hand for the same columns, and against a pandas script."""

import re
from datetime import datetime
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.database import asyncpg_url
from app.domain.scoring_run import RunMode
from app.services import scoring
from tests.bench import pandas_script
from tests.bench.ground import Business, Sizes, business
from tests.bench.ratio import Ratio, middle, say, seconds_of

_MINIMAL = [
    text(statement)
    for statement in re.split(
        r";\s*$", Path(__file__).with_name("minimal.sql").read_text(), flags=re.MULTILINE
    )
    if statement.strip()
]

_ADD_UP = text("SELECT rebuild_population_totals(:tenant_id)")


async def measure(cluster_url: str, sizes: Sizes) -> list[Ratio]:
    """The ratios at both sizes, and how the time grows between them."""
    async with business(cluster_url, "scores", sizes.customers) as few:
        ratios, short = await _against_minimal(few, rounds=sizes.rounds)
        ratios.append(await _against_pandas(few, short, sizes))
    async with business(cluster_url, "many_scores", sizes.many_customers) as many:
        more, long = await _against_minimal(many, rounds=1)
    # Twelvefold for ten times the customers; other sizes are held to the same slope.
    growth = 1.2 * sizes.many_customers / sizes.customers
    name = f"scores: {sizes.many_customers:,} customers / {sizes.customers:,} customers"
    return [*ratios, *more, Ratio(name, long / short, at_most=growth)]


async def _against_minimal(of: Business, *, rounds: int) -> tuple[list[Ratio], float]:
    """The ratios of a first run and of later ones, and the seconds that a later one takes."""
    scoring.statements_for(of.tenant)  # compiled once a process, not once a run
    engine = create_async_engine(asyncpg_url(of.url))
    firsts: list[tuple[float, float]] = []
    laters: list[tuple[float, float]] = []
    try:
        for day in range(rounds + 1):
            await of.settle()
            ours = await seconds_of(_run(of, of.day(day)))
            await of.owner.execute(
                "DROP TABLE IF EXISTS ours; CREATE TABLE ours AS SELECT * FROM customer_analytics"
            )
            if day == 0:
                await of.owner.execute("TRUNCATE customer_analytics")
            await of.settle()
            minimal = await seconds_of(_run_minimal(engine, of, of.day(day)))
            await _compare(of)
            say(f"  day {day}: {ours:.2f} s, minimal SQL {minimal:.2f} s, {ours / minimal:.2f}")
            (laters if day else firsts).append((ours, minimal))
    finally:
        await engine.dispose()
    customers = f"{of.options.customers:,} customers"
    return [
        Ratio(f"scores: first run of {customers} / minimal SQL", _ratio(firsts), at_most=1.6),
        Ratio(f"scores: run of {customers} / minimal SQL", _ratio(laters), at_most=1.6),
    ], middle([ours for ours, _ in laters])


def _ratio(rounds: list[tuple[float, float]]) -> float:
    return middle([ours / baseline for ours, baseline in rounds])


async def _run(of: Business, as_of: datetime) -> None:
    await scoring.run_scores(of.database, of.tenant, mode=RunMode.FULL, as_of=as_of)


async def _run_minimal(engine: AsyncEngine, of: Business, as_of: datetime) -> None:
    parameters = {"tenant_id": of.tenant.id, "as_of": as_of, "zone": of.tenant.timezone}
    async with engine.begin() as connection:
        await connection.execute(text("SET LOCAL work_mem = '256MB'"))  # as a full run has it
        # As a full run does: the totals of the dashboards once at the end, by the same function.
        await connection.execute(text("SET LOCAL app.totals = 'off'"))
        for statement in _MINIMAL:
            await connection.execute(statement, parameters)
        await connection.execute(_ADD_UP, {"tenant_id": of.tenant.id})


async def _compare(of: Business) -> None:
    """Refuse to compare times where the results differ: floats by more than their last digits."""
    columns = await of.owner.fetch(
        """
        SELECT attname AS name, atttypid = 'float8'::regtype AS is_float FROM pg_attribute
        WHERE attrelid = 'customer_analytics'::regclass AND attnum > 0
          AND attname NOT IN ('as_of', 'computed_at')  -- ours leaves rows alone that say the same
        """
    )
    equal = ", ".join(
        f"count(*) FILTER (WHERE abs(a.{each['name']} - b.{each['name']})"
        f" > 1e-9 * greatest(1, abs(a.{each['name']}))"
        f" OR a.{each['name']} IS NULL <> (b.{each['name']} IS NULL)) AS {each['name']}"
        if each["is_float"]
        else f"count(*) FILTER (WHERE a.{each['name']} IS DISTINCT FROM b.{each['name']})"
        f" AS {each['name']}"
        for each in columns
    )
    differing = await of.owner.fetchrow(
        f"SELECT {equal} FROM ours a FULL JOIN customer_analytics b USING (tenant_id, customer_sk)"
    )
    wrong = {name: rows for name, rows in differing.items() if rows}
    if wrong:
        raise AssertionError(f"the minimal SQL computes something else (rows by column): {wrong}")


async def _against_pandas(of: Business, ours: float, sizes: Sizes) -> Ratio:
    """How many times as long a script takes that writes row by row."""
    await of.settle()
    taken = await pandas_script.run(of.url, of.tenant.id, of.day(0), rows_written=sizes.pandas_rows)
    say(
        f"  pandas: {taken.read:.1f} s reading, {taken.computed:.1f} s computing, "
        f"{taken.written:.1f} s for {taken.rows_written:,} of {taken.rows:,} updates, "
        f"{taken.total:.1f} s scaled to all of them"
    )
    name = f"scores: pandas script / run of {of.options.customers:,} customers"
    return Ratio(name, taken.total / ours, at_least=20)
