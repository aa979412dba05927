"""The searches made by face: who asked for what, and what it came to. Images are not kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.repositories.page import limited


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSearch:
    """A search to be noted. Candidates are opaque ids of persons, similarities percent."""

    purpose: str
    outcome: str
    threshold: float
    margin: float | None
    candidates: Sequence[tuple[UUID, float]]
    actor: str | None
    key_id: str
    store_sk: int | None
    provider: str
    provider_request_id: str | None
    request_id: str | None


_ADD = text("""
    INSERT INTO face_searches (
        tenant_id, purpose, outcome, threshold, margin, candidates, similarities, actor, key_id,
        store_sk, provider, provider_request_id, request_id
    )
    VALUES (
        :tenant_id, :purpose, :outcome, :threshold, :margin, CAST(:candidates AS uuid[]),
        CAST(:similarities AS double precision[]), :actor, :key_id, :store_sk, :provider,
        :provider_request_id, :request_id
    )
    RETURNING sk
""")


async def add(connection: AsyncConnection, tenant_id: int, search: NewSearch) -> int:
    """Note a search; its number."""
    number = await connection.scalar(
        _ADD,
        {
            "tenant_id": tenant_id,
            "purpose": search.purpose,
            "outcome": search.outcome,
            "threshold": search.threshold,
            "margin": search.margin,
            "candidates": [user_id for user_id, _ in search.candidates],
            "similarities": [similarity for _, similarity in search.candidates],
            "actor": search.actor,
            "key_id": search.key_id,
            "store_sk": search.store_sk,
            "provider": search.provider,
            "provider_request_id": search.provider_request_id,
            "request_id": search.request_id,
        },
    )
    assert number is not None
    return int(number)


@dataclass(frozen=True, slots=True)
class Search:
    """A search that was made. A candidate's customer is None where it is not known any more."""

    sk: int
    searched_at: datetime
    purpose: str
    outcome: str
    threshold: float
    margin: float | None
    candidates: list[UUID]
    similarities: list[float]
    customer_ids: list[str | None]
    actor: str | None
    key_id: str
    store_id: str | None
    provider: str
    provider_request_id: str | None
    request_id: str | None


_LIST = """
    SELECT s.sk, s.searched_at, s.purpose, s.outcome, s.threshold, s.margin, s.candidates,
           s.similarities, ARRAY (
               SELECT c.id FROM unnest(s.candidates) WITH ORDINALITY AS found (user_id, place)
               LEFT JOIN face_users u
                   ON u.tenant_id = :tenant_id AND u.user_id = found.user_id
               LEFT JOIN customers c ON c.tenant_id = :tenant_id AND c.sk = u.customer_sk
               ORDER BY found.place
           ) AS customer_ids,
           s.actor, s.key_id, st.id AS store_id, s.provider, s.provider_request_id, s.request_id
    FROM face_searches s
    LEFT JOIN stores st ON st.tenant_id = s.tenant_id AND st.sk = s.store_sk
    WHERE s.tenant_id = :tenant_id AND s.sk < :before
    ORDER BY s.sk DESC
    LIMIT :limit
"""


async def list_page(
    connection: AsyncConnection, tenant_id: int, *, before: int, limit: int
) -> list[Search]:
    """Up to `limit` searches with a number below `before`, the latest first."""
    rows = await connection.execute(
        limited(_LIST, limit), {"tenant_id": tenant_id, "before": before}
    )
    return [Search(**row._mapping) for row in rows]


_COUNT = text("""
    SELECT count(*) FROM face_searches
    WHERE tenant_id = :tenant_id AND searched_at >= :since
""")


async def count_since(connection: AsyncConnection, tenant_id: int, since: datetime) -> int:
    """How many searches were made since an instant."""
    return int(await connection.scalar(_COUNT, {"tenant_id": tenant_id, "since": since}) or 0)


_FORGET = text("""
    DELETE FROM face_searches WHERE tenant_id = :tenant_id AND searched_at < :before
""")


async def forget_old(connection: AsyncConnection, tenant_id: int, *, before: datetime) -> int:
    """Drop the searches made before an instant; how many."""
    result = await connection.execute(_FORGET, {"tenant_id": tenant_id, "before": before})
    return result.rowcount
