"""Answers to surveys and complaints by month, store and segment, kept by triggers."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection


class Breakdown(StrEnum):
    """What a month is split by."""

    NONE = "none"
    STORE = "store"
    SEGMENT = "segment"


@dataclass(frozen=True, slots=True)
class SatisfactionMonth:
    """One month, or one key of it: a store's id (None for none) or a segment's code.

    `…_sum` adds up the scores of the answers.
    """

    month: date
    key: str | None
    nps_answers: int
    promoters: int
    detractors: int
    csat_answers: int
    csat_sum: int
    reviews: int
    review_sum: int
    complaints: int


def _by_month(key: str, join: str = "") -> TextClause:
    def of(column: str, kind: str) -> str:
        return f"coalesce(sum({column}) FILTER (WHERE m.kind = '{kind}'), 0)"

    return text(f"""
        SELECT month, {key} AS key,
               {of("answers", "nps")}, {of("promoters", "nps")}, {of("detractors", "nps")},
               {of("answers", "csat")}, {of("score_sum", "csat")},
               {of("answers", "review")}, {of("score_sum", "review")}, {of("answers", "complaint")}
        FROM satisfaction_months m{join}
        WHERE m.tenant_id = :tenant_id
          AND month BETWEEN CAST(:first AS date) AND CAST(:last AS date)
          AND (CAST(:store_sk AS bigint) IS NULL OR store_sk = CAST(:store_sk AS bigint))
          AND (CAST(:segment AS text) IS NULL OR rfm_segment = CAST(:segment AS text))
        GROUP BY month, key HAVING sum(answers) <> 0
        ORDER BY month, key
    """)


_MONTHS = {
    Breakdown.NONE: _by_month("CAST(NULL AS text)"),
    Breakdown.SEGMENT: _by_month("rfm_segment"),
    Breakdown.STORE: _by_month(
        "s.id", " LEFT JOIN stores s ON s.tenant_id = m.tenant_id AND s.sk = m.store_sk"
    ),
}


async def list_months(
    connection: AsyncConnection,
    tenant_id: int,
    *,
    first: date,
    last: date,
    by: Breakdown,
    store_sk: int | None,
    segment: str | None,
) -> list[SatisfactionMonth]:
    """The months from that of `first` to that of `last`; those without any answer are absent."""
    parameters = {
        "tenant_id": tenant_id,
        "first": first.replace(day=1),
        "last": last,
        "store_sk": store_sk,
        "segment": segment,
    }
    rows = await connection.execute(_MONTHS[by], parameters)
    return [SatisfactionMonth(month, key, *map(int, counts)) for month, key, *counts in rows]


_PLACE = text("""
    UPDATE feedback f SET rfm_segment = a.rfm_segment
    FROM customer_analytics a
    WHERE f.tenant_id = :tenant_id AND f.rfm_segment IS NULL
      AND a.tenant_id = f.tenant_id AND a.customer_sk = f.customer_sk
      AND a.rfm_segment IS NOT NULL
""")
# Whoever adds everything up afterwards has the triggers off; these rows are not among that.
_COUNT_CHANGES = text("SELECT set_config('app.totals', 'on', true)")


async def place_answers(connection: AsyncConnection, tenant_id: int) -> int:
    """Give answers without a segment the one their customer has now; how many."""
    await connection.execute(_COUNT_CHANGES)
    return (await connection.execute(_PLACE, {"tenant_id": tenant_id})).rowcount
