"""Scores written back over HTTP, against the least PostgreSQL has to do, and row by row."""

import json
import random
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import create_async_engine

from app.database import asyncpg_url
from app.domain.scoring_run import RunMode
from app.repositories.tables import customer_analytics, customers
from app.services import scoring
from tests.bench.ground import Business, Sizes, business
from tests.bench.profile import customer_ids
from tests.bench.ratio import Ratio, middle, say, seconds_of
from tests.bench.server import serving

_PIECE = 64 * 1024

# What the lines state, and nothing that follows from it; the ids are looked up, as ours are.
_STAGE = """
CREATE TEMPORARY TABLE stated (
    customer_id text, rfm_segment text, r smallint, f smallint, m smallint, clv bigint,
    clv_percentile smallint, churn_score double precision, churn_reasons text[],
    influence_score double precision, recommended_products text[]
)
"""
_UPDATE = """
UPDATE customer_analytics a
SET rfm_segment = s.rfm_segment, rfm_recency_score = s.r, rfm_frequency_score = s.f,
    rfm_monetary_score = s.m, clv = s.clv, clv_percentile = s.clv_percentile,
    churn_score = s.churn_score, churn_reasons = s.churn_reasons,
    influence_score = s.influence_score, recommended_products = s.recommended_products,
    computed_at = clock_timestamp()
FROM stated s
JOIN customers c ON c.tenant_id = $1 AND c.id = s.customer_id
WHERE a.tenant_id = c.tenant_id AND a.customer_sk = c.sk
"""
_COLUMNS = (
    "rfm_segment",
    "rfm_recency_score",
    "rfm_frequency_score",
    "rfm_monetary_score",
    "clv",
    "clv_percentile",
    "churn_score",
    "churn_reasons",
    "influence_score",
    "recommended_products",
)

#: The share of customers whose scores have nothing to do with those of the night before.
_DRAWN_ANEW = 0.1


@dataclass(frozen=True, slots=True)
class _Night:
    """New scores of everybody: as a file of lines, and as rows."""

    lines: Path
    rows: list[tuple[Any, ...]]


async def measure(cluster_url: str, sizes: Sizes) -> list[Ratio]:
    """The rate over COPY's and UPDATE's, and how many times as long row by row takes."""
    customers = sizes.customers
    rates, factors = [], []
    with tempfile.TemporaryDirectory() as directory:
        async with business(cluster_url, "written", customers) as of:
            await scoring.run_scores(of.database, of.tenant, mode=RunMode.FULL, as_of=of.day(0))
            ids = await customer_ids(of)
            async with serving(of.url) as port:
                await _post(of, port, _night(ids[:10], Path(directory), "warm"), 0)
                for number in range(1, sizes.rounds + 1):
                    night = _night(ids, Path(directory), f"ours-{number}")
                    await _let_a_day_pass(of)
                    await of.settle()
                    ours = await seconds_of(_post(of, port, night, number))
                    night = _night(ids, Path(directory), f"bare-{number}")
                    await of.settle()
                    bare = await seconds_of(_copy_and_update(of, night))
                    night = _night(ids, Path(directory), f"single-{number}")
                    rows = night.rows[: sizes.updated_rows]
                    await of.settle()
                    single = await seconds_of(_update_each(of, rows))
                    scaled = single * len(ids) / len(rows)
                    say(
                        f"  {len(ids):,} customers: {ours:.2f} s, COPY and UPDATE {bare:.2f} s, "
                        f"{single:.2f} s for {len(rows):,} updates, {scaled:.1f} s scaled"
                    )
                    rates.append(bare / ours)
                    factors.append(scaled / ours)
    name = f"update_scores: {customers:,} customers"
    return [
        Ratio(f"{name} / COPY and UPDATE", middle(rates), at_least=0.6),
        Ratio(f"{name}: one UPDATE each / ours", middle(factors), at_least=20),
    ]


async def _let_a_day_pass(of: Business) -> None:
    """The nights follow each other within minutes; without this all would be of one day."""
    await of.owner.execute(
        "UPDATE customer_analytics SET standing_since = standing_since - 1; TRUNCATE score_history"
    )


def _night(ids: list[str], directory: Path, name: str) -> _Night:
    """Scores of one night, the same each time: everybody's drift, every tenth's are drawn anew."""
    draw = random.Random(name)
    segments = ["champion", "loyal", "promising", "at_risk", "hibernating"]
    rows: list[tuple[Any, ...]] = []
    path = directory / name
    with path.open("w") as file:
        for customer_id in ids:
            usual = draw if draw.random() < _DRAWN_ANEW else random.Random(customer_id)
            segment = usual.choice(segments)
            r, f, m = (usual.randint(1, 5) for _ in range(3))
            clv = round(usual.randint(1, 50_000_000) * draw.uniform(0.98, 1.02))
            percentile = usual.randint(0, 100)
            churn = round(min(max(usual.random() + draw.uniform(-0.02, 0.02), 0), 1), 4)
            influence = round(usual.random() * 100, 2)
            reasons = usual.sample(["fewer_visits", "late_payments", "price_sensitive"], 2)
            products = [f"sku-{draw.randint(1, 5000)}" for _ in range(5)]
            item = {
                "customerId": customer_id,
                "rfmSegment": segment,
                "rfmScores": {"r": r, "f": f, "m": m},
                "clvScore": clv,
                "clvPercentile": percentile,
                "churnRiskScore": churn,
                "churnRiskFactors": reasons,
                "influenceScore": influence,
                "recommendedProducts": products,
            }
            file.write(json.dumps(item) + "\n")
            rows.append(
                (
                    *(customer_id, segment, r, f, m, clv * 100, percentile),
                    *(churn, reasons, influence, products),
                )
            )
    return _Night(path, rows)


async def _post(of: Business, port: int, night: _Night, number: int) -> None:
    headers = {"Authorization": f"Bearer {of.token}", "Content-Type": "application/x-ndjson"}
    as_of = (of.day(0) - timedelta(days=30 - number)).isoformat()
    async with httpx.AsyncClient(headers=headers, timeout=None) as client:
        answer = await client.post(
            f"http://127.0.0.1:{port}/api/analytics/update-scores",
            params={"asOf": as_of, "modelVersion": "bench"},
            content=_pieces(night.lines),
        )
    answer.raise_for_status()
    summary = json.loads(answer.text.splitlines()[-1])["summary"]
    if summary["updated"] != len(night.rows):
        raise AssertionError(f"not all of {len(night.rows)} were updated: {summary}")


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


async def _copy_and_update(of: Business, night: _Night) -> None:
    """One transaction past all policies, of rows that are ready for COPY."""
    async with of.owner.transaction():
        await of.owner.execute("SET LOCAL work_mem = '128MB'")  # as our statement has it
        await of.owner.execute(_STAGE)
        await of.owner.copy_records_to_table("stated", records=night.rows)
        await of.owner.execute("ANALYZE stated")
        await of.owner.execute(_UPDATE, of.tenant.id)
        await of.owner.execute("DROP TABLE stated")


async def _update_each(of: Business, rows: list[tuple[Any, ...]]) -> None:
    """A loop that awaits one statement of a query builder after the other, each committed."""
    engine = create_async_engine(asyncpg_url(of.url), isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        for customer_id, *values in rows:
            of_customer = select(customers.c.sk).where(
                customers.c.tenant_id == of.tenant.id, customers.c.id == customer_id
            )
            await connection.execute(
                update(customer_analytics)
                .where(
                    customer_analytics.c.tenant_id == of.tenant.id,
                    customer_analytics.c.customer_sk == of_customer.scalar_subquery(),
                )
                .values(
                    **dict(zip(_COLUMNS, values, strict=True)), computed_at=func.clock_timestamp()
                )
            )
    await engine.dispose()
