"""Predictions of lifetime value, one a customer: the latest."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound
from app.domain.ltv import GrowthPotential
from app.repositories.page import limited


class PredictionRow(NamedTuple):
    """A prediction as it is to be stored. Amounts are minor units."""

    customer_sk: int
    predicted_at: datetime
    current_ltv: int
    predicted_1_year: int
    predicted_3_year: int | None
    predicted_5_year: int | None
    churn_probability: float
    growth_potential: str
    confidence: float | None
    model_version: str | None


@dataclass(frozen=True, slots=True)
class Prediction:
    """A prediction beside what the customer has brought by now. Amounts are minor units."""

    customer_sk: int
    customer_id: str
    name: str
    predicted_at: datetime
    current_ltv: int
    predicted_1_year: int
    predicted_3_year: int | None
    predicted_5_year: int | None
    churn_probability: float
    growth_potential: GrowthPotential
    confidence: float | None
    model_version: str | None
    revenue: int
    as_of: datetime | None


# A prediction made before the stored one changes nothing, and neither does the same one again.
_UPSERT = """
WITH written AS (
    INSERT INTO ltv_predictions AS p (
        tenant_id, customer_sk, predicted_at, current_ltv, predicted_1_year, predicted_3_year,
        predicted_5_year, churn_probability, growth_potential, confidence, model_version
    )
    SELECT $1, incoming.*
    FROM unnest(
        $2::bigint[], $3::timestamptz[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
        $8::double precision[], $9::text[], $10::double precision[], $11::text[]
    ) AS incoming (
        customer_sk, predicted_at, current_ltv, predicted_1_year, predicted_3_year,
        predicted_5_year, churn_probability, growth_potential, confidence, model_version
    )
    ORDER BY incoming.customer_sk
    ON CONFLICT (tenant_id, customer_sk) DO UPDATE SET
        predicted_at = excluded.predicted_at,
        current_ltv = excluded.current_ltv,
        predicted_1_year = excluded.predicted_1_year,
        predicted_3_year = excluded.predicted_3_year,
        predicted_5_year = excluded.predicted_5_year,
        churn_probability = excluded.churn_probability,
        growth_potential = excluded.growth_potential,
        confidence = excluded.confidence,
        model_version = excluded.model_version,
        updated_at = now()
    WHERE p.predicted_at <= excluded.predicted_at
    RETURNING customer_sk, xmax = 0 AS is_new
)
SELECT customer_sk, is_new FROM written
"""

_PREDICTION = """
SELECT p.customer_sk, c.id AS customer_id, c.name, p.predicted_at, p.current_ltv,
       p.predicted_1_year, p.predicted_3_year, p.predicted_5_year, p.churn_probability,
       p.growth_potential, p.confidence, p.model_version, coalesce(a.revenue, 0) AS revenue,
       a.as_of
FROM ltv_predictions p
JOIN customers c ON c.tenant_id = p.tenant_id AND c.sk = p.customer_sk
LEFT JOIN customer_analytics a ON a.tenant_id = p.tenant_id AND a.customer_sk = p.customer_sk
"""
_GET = text(_PREDICTION + "WHERE p.tenant_id = :tenant_id AND c.id = :customer_id")
_LIST = (
    _PREDICTION
    + """
WHERE p.tenant_id = :tenant_id
  AND p.churn_probability <= :most
  AND (p.churn_probability < :most OR p.customer_sk > :after)
  AND p.churn_probability >= :least
  AND (CAST(:growth AS text) IS NULL OR p.growth_potential = :growth)
ORDER BY p.churn_probability DESC, p.customer_sk
LIMIT :limit
"""
)
_REVENUES = text("""
    SELECT customer_sk, revenue FROM customer_analytics
    WHERE tenant_id = :tenant_id AND customer_sk = ANY(CAST(:sks AS bigint[]))
""")


async def upsert_many(
    connection: AsyncConnection, tenant_id: int, predictions: Sequence[PredictionRow]
) -> dict[int, bool]:
    """Write predictions of distinct customers; by customer written, whether it is their first."""
    columns = map(list, zip(*predictions, strict=True))
    result = await connection.exec_driver_sql(_UPSERT, (tenant_id, *columns))
    return {row.customer_sk: row.is_new for row in result}


async def list_revenues(
    connection: AsyncConnection, tenant_id: int, customer_sks: Collection[int]
) -> dict[int, int]:
    """What each of these customers has brought, net and of all time, in minor units."""
    rows = await connection.execute(_REVENUES, {"tenant_id": tenant_id, "sks": list(customer_sks)})
    return {row.customer_sk: row.revenue for row in rows}


async def get(connection: AsyncConnection, tenant_id: int, customer_id: str) -> Prediction:
    """The prediction of a customer. Raises NotFound where there is none."""
    rows = await connection.execute(_GET, {"tenant_id": tenant_id, "customer_id": customer_id})
    row = rows.first()
    if row is None:
        raise NotFound("prediction of a customer", customer_id)
    return Prediction(**{**row._mapping, "growth_potential": GrowthPotential(row.growth_potential)})


async def list_by_churn(
    connection: AsyncConnection,
    tenant_id: int,
    *,
    after: tuple[float, int] | None,
    least: float,
    growth: GrowthPotential | None,
    limit: int,
) -> list[Prediction]:
    """Predictions with the likeliest to leave first, beyond a probability and a customer's key."""
    most, sk = after or (1.0, 0)
    rows = await connection.execute(
        limited(_LIST, limit),
        {"tenant_id": tenant_id, "most": most, "after": sk, "least": least, "growth": growth},
    )
    return [
        Prediction(**{**row._mapping, "growth_potential": GrowthPotential(row.growth_potential)})
        for row in rows
    ]
