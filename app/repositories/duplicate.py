"""Pairs of customers who may be one person, found by what they have in common.

Each rule says which value two customers share. A value that more than `_MOST` customers share is
the number of a shop or a placeholder, and proves nothing. The statement groups all customers of a
tenant by each value once; it is for the worker.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.repositories.page import limited

_MOST = 5

# The same rule as `domain.search` has for telephone numbers: digits, without the country code.
_DIGITS = "regexp_replace(c.phone, '[^0-9]', '', 'g')"
_PHONE = f"""CASE
    WHEN length({_DIGITS}) < 7 THEN NULL
    WHEN {_DIGITS} LIKE '0%' THEN substr({_DIGITS}, 2)
    WHEN length({_DIGITS}) >= 10 THEN regexp_replace({_DIGITS}, '^62', '')
    ELSE {_DIGITS}
END"""
_NAME = "nullif(lower(regexp_replace(trim(c.name), '\\s+', ' ', 'g')), lower(c.id))"

_REFRESH = f"""
WITH keyed AS MATERIALIZED (
    SELECT c.sk, {_PHONE} AS phone, lower(trim(c.email)) AS email, {_NAME} AS name,
           c.date_of_birth, lower(trim(a.city)) AS city
    FROM customers c
    LEFT JOIN addresses a
        ON a.tenant_id = c.tenant_id AND a.customer_sk = c.sk AND a.is_primary
    WHERE c.tenant_id = $1
), shared AS (
    SELECT 'phone' AS reason, array_agg(DISTINCT sk) AS sks FROM keyed
    WHERE phone IS NOT NULL GROUP BY phone
    UNION ALL
    SELECT 'email', array_agg(DISTINCT sk) FROM keyed WHERE email IS NOT NULL GROUP BY email
    UNION ALL
    SELECT 'name_and_phone_ending', array_agg(DISTINCT sk) FROM keyed
    WHERE name IS NOT NULL AND phone IS NOT NULL GROUP BY name, right(phone, 6)
    UNION ALL
    SELECT 'name_and_birth_date', array_agg(DISTINCT sk) FROM keyed
    WHERE name IS NOT NULL AND date_of_birth IS NOT NULL GROUP BY name, date_of_birth
    UNION ALL
    SELECT 'name_and_city', array_agg(DISTINCT sk) FROM keyed
    WHERE name IS NOT NULL AND city IS NOT NULL GROUP BY name, city
), found AS (
    SELECT one AS customer_sk, other AS other_sk,
           array_agg(reason ORDER BY reason) AS reasons
    FROM shared
    CROSS JOIN LATERAL unnest(sks) AS one
    CROSS JOIN LATERAL unnest(sks) AS other
    WHERE cardinality(sks) BETWEEN 2 AND {_MOST} AND one < other
    GROUP BY one, other
), weighed AS (
    SELECT customer_sk, other_sk, reasons, (
        SELECT least(sum((weight)::integer), 100)
        FROM jsonb_each_text($2::jsonb) AS weights (reason, weight)
        WHERE reason = ANY (reasons)
    ) AS score
    FROM found
), outdated AS (
    DELETE FROM duplicate_pairs p
    WHERE tenant_id = $1 AND NOT EXISTS (
        SELECT FROM weighed w WHERE w.customer_sk = p.customer_sk AND w.other_sk = p.other_sk
    )
)
INSERT INTO duplicate_pairs AS p (tenant_id, customer_sk, other_sk, score, reasons)
SELECT $1, customer_sk, other_sk, score, reasons FROM weighed
ORDER BY customer_sk, other_sk
ON CONFLICT (tenant_id, customer_sk, other_sk) DO UPDATE
SET score = excluded.score, reasons = excluded.reasons, found_at = now()
WHERE (p.score, p.reasons) IS DISTINCT FROM (excluded.score, excluded.reasons)
"""
_ROOM = text(
    "SELECT set_config('work_mem', '128MB', true), set_config('enable_seqscan', 'on', true)"
)
_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtext('duplicates'), :tenant_id)")


async def refresh(connection: AsyncConnection, tenant_id: int, weights: Mapping[str, int]) -> None:
    """Find all pairs anew; `weights` says what each reason adds to the score of a pair."""
    if not await connection.scalar(_LOCK, {"tenant_id": tenant_id}):
        return
    await connection.execute(_ROOM)
    await connection.exec_driver_sql(_REFRESH, (tenant_id, json.dumps(dict(weights))))


_CHANGED = text("""
    SELECT EXISTS (SELECT FROM customers WHERE tenant_id = :tenant_id AND updated_at > :since)
""")


async def has_changed(connection: AsyncConnection, tenant_id: int, since: datetime) -> bool:
    """Whether a customer of the tenant was added or changed after `since`."""
    return bool(await connection.scalar(_CHANGED, {"tenant_id": tenant_id, "since": since}))


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of a pair."""

    sk: int
    id: str
    name: str
    email: str | None
    phone: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class DuplicatePair:
    """Two customers who may be one, the one recorded first in front; `score` is of 100."""

    customer: Candidate
    other: Candidate
    score: int
    reasons: list[str]
    found_at: datetime


_LIST = """
    SELECT c.sk, c.id, c.name, c.email, c.phone, c.created_at,
           o.sk, o.id, o.name, o.email, o.phone, o.created_at,
           p.score, p.reasons, p.found_at
    FROM duplicate_pairs p
    JOIN customers c ON c.tenant_id = p.tenant_id AND c.sk = p.customer_sk
    JOIN customers o ON o.tenant_id = p.tenant_id AND o.sk = p.other_sk
    WHERE p.tenant_id = :tenant_id AND p.score <= :score
      AND (p.score < :score OR (p.customer_sk, p.other_sk) > (:customer_sk, :other_sk))
    ORDER BY p.score DESC, p.customer_sk, p.other_sk
    LIMIT :limit
"""


async def list_page(
    connection: AsyncConnection, tenant_id: int, *, after: tuple[int, int, int], limit: int
) -> list[DuplicatePair]:
    """Pairs, the likeliest first, after a score and the keys of the last pair seen."""
    score, customer_sk, other_sk = after
    rows = await connection.execute(
        limited(_LIST, limit),
        {
            "tenant_id": tenant_id,
            "score": score,
            "customer_sk": customer_sk,
            "other_sk": other_sk,
        },
    )
    return [DuplicatePair(Candidate(*row[:6]), Candidate(*row[6:12]), *row[12:]) for row in rows]
