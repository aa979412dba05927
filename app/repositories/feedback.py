"""Feedback: scores, reviews and complaints of customers."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound
from app.domain.feedback import FeedbackKind
from app.repositories import owner
from app.repositories.owner import Locked


class FeedbackRow(NamedTuple):
    """Feedback as it is or is to be stored."""

    id: str
    customer_sk: int
    store_sk: int | None
    kind: str
    score: int | None
    sentiment: float | None
    comment: str | None
    given_at: datetime
    source_updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class Feedback:
    """One piece of feedback, with the external ids of its customer and store.

    `rfm_segment` is the segment that the customer had when it was recorded.
    """

    sk: int
    id: str
    customer_id: str
    store_id: str | None
    kind: FeedbackKind
    score: int | None
    sentiment: float | None
    comment: str | None
    given_at: datetime
    rfm_segment: str | None
    source_updated_at: datetime | None
    recorded_at: datetime


_LOCK = owner.lock_statement("feedback")

_FIND_MANY = """
SELECT f.id, f.customer_sk, f.store_sk, f.kind, f.score, f.sentiment, f.comment, f.given_at,
       f.source_updated_at
FROM unnest($2::text[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT * FROM feedback
    WHERE tenant_id = (SELECT $1::integer) AND id BETWEEN wanted.id AND wanted.id
    ORDER BY id LIMIT 1
) AS f
"""

# Owners in $2 are locked by this transaction; feedback of anybody else is left alone. The segment
# is that of the first recording, unless the feedback turns out to be somebody else's.
_UPSERT = """
INSERT INTO feedback AS f (
    tenant_id, id, customer_sk, store_sk, kind, score, sentiment, comment, given_at,
    source_updated_at, local_at, rfm_segment
)
SELECT $1, incoming.*,
       incoming.given_at AT TIME ZONE (SELECT timezone FROM tenants WHERE tenants.id = $1),
       (
           SELECT a.rfm_segment FROM customer_analytics a
           WHERE a.tenant_id = (SELECT $1::integer)
             AND a.customer_sk BETWEEN incoming.customer_sk AND incoming.customer_sk
           ORDER BY a.customer_sk LIMIT 1
       )
FROM unnest(
    $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::smallint[], $8::double precision[],
    $9::text[], $10::timestamptz[], $11::timestamptz[]
) AS incoming (
    id, customer_sk, store_sk, kind, score, sentiment, comment, given_at, source_updated_at
)
ORDER BY incoming.id
ON CONFLICT (tenant_id, id) DO UPDATE SET
    customer_sk = excluded.customer_sk,
    store_sk = excluded.store_sk,
    kind = excluded.kind,
    score = excluded.score,
    sentiment = excluded.sentiment,
    comment = excluded.comment,
    given_at = excluded.given_at,
    local_at = excluded.local_at,
    rfm_segment = CASE
        WHEN f.customer_sk = excluded.customer_sk THEN f.rfm_segment ELSE excluded.rfm_segment
    END,
    source_updated_at = excluded.source_updated_at,
    recorded_at = now()
WHERE f.customer_sk IN (SELECT unnest($2::bigint[]))
RETURNING f.id
"""

_FEEDBACK = """
SELECT f.sk, f.id, c.id AS customer_id, s.id AS store_id, f.kind, f.score, f.sentiment,
       f.comment, f.given_at, f.rfm_segment, f.source_updated_at, f.recorded_at
FROM feedback f
JOIN customers c ON c.tenant_id = f.tenant_id AND c.sk = f.customer_sk
LEFT JOIN stores s ON s.tenant_id = f.tenant_id AND s.sk = f.store_sk
"""
_GET = _FEEDBACK + "WHERE f.tenant_id = (SELECT $1::integer) AND f.id = $2"
_LIST_OF_CUSTOMER = (
    _FEEDBACK
    + """
WHERE f.tenant_id = (SELECT $1::integer) AND f.customer_sk = $2 AND (f.given_at, f.sk) < ($3, $4)
ORDER BY f.given_at DESC, f.sk DESC
LIMIT $5
"""
)


async def lock(
    connection: AsyncConnection,
    tenant_id: int,
    customer_ids: Collection[str],
    store_ids: Collection[str],
    ids: Collection[str],
) -> Locked:
    """Lock the named customers and the present owners of the named feedback, in key order."""
    return await owner.lock(connection, _LOCK, tenant_id, customer_ids, store_ids, list(ids))


async def find_many(
    connection: AsyncConnection, tenant_id: int, ids: Collection[str]
) -> dict[str, FeedbackRow]:
    """What is stored of this feedback, by id."""
    result = await connection.exec_driver_sql(_FIND_MANY, (tenant_id, list(ids)))
    return {row[0]: FeedbackRow._make(row) for row in result}


async def upsert_many(
    connection: AsyncConnection,
    tenant_id: int,
    locked_customer_sks: Collection[int],
    feedback: Sequence[FeedbackRow],
) -> frozenset[str]:
    """Write feedback with distinct ids, in the order of their ids; returns the ids written.

    Left alone: what belongs to a customer who is not among the locked ones.
    """
    columns = map(list, zip(*feedback, strict=True))
    result = await connection.exec_driver_sql(
        _UPSERT, (tenant_id, list(locked_customer_sks), *columns)
    )
    return frozenset(result.scalars())


async def get(connection: AsyncConnection, tenant_id: int, feedback_id: str) -> Feedback:
    """The feedback called `feedback_id`. Raises NotFound."""
    result = await connection.exec_driver_sql(_GET, (tenant_id, feedback_id))
    row = result.one_or_none()
    if row is None:
        raise NotFound("feedback", feedback_id)
    return _read(row)


async def list_of_customer(
    connection: AsyncConnection,
    tenant_id: int,
    customer_sk: int,
    *,
    before: tuple[datetime, int],
    limit: int,
) -> list[Feedback]:
    """The customer's feedback before a time and a key, newest first."""
    result = await connection.exec_driver_sql(
        _LIST_OF_CUSTOMER, (tenant_id, customer_sk, *before, limit)
    )
    return [_read(row) for row in result]


def _read(row: Row[Any]) -> Feedback:
    values = dict(row._mapping)
    values["kind"] = FeedbackKind(values["kind"])
    return Feedback(**values)
