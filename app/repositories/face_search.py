"""The searches made by face: who asked for what, and what it came to. Images are not kept."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database import fetch_row, fetch_rows
from app.domain.face import ConsentPurpose
from app.repositories.face import NO_STORE
from app.repositories.page import limited


@dataclass(frozen=True, slots=True)
class CustomerSummary:
    """What a till needs to know of a customer. Days of the week go from 1, Monday, to 7."""

    id: str
    name: str
    membership_tier: str | None
    loyalty_points: int | None
    rfm_segment: str | None
    preferred_categories: list[str] | None
    preferred_brands: list[str] | None
    preferred_shopping_day: int | None
    preferred_shopping_hour: int | None
    preferred_payment_method: str | None
    preferred_contact_channel: str | None


@dataclass(frozen=True, slots=True)
class KnownPerson:
    """A person under an opaque id: whose face it is, and what that customer agrees to.

    `status` is that of the person: active, erasing or erased.
    """

    user_id: UUID
    customer_sk: int
    status: str
    agreed: frozenset[ConsentPurpose]
    summary: CustomerSummary


_KNOWN = """
SELECT u.user_id, u.customer_sk, u.status,
       ARRAY (
           SELECT f.purpose FROM face_consents f
           WHERE f.tenant_id = $1 AND f.customer_sk = u.customer_sk AND f.ended_at IS NULL
             AND f.given_at <= $3 AND (f.expires_at IS NULL OR f.expires_at > $3)
       ) AS agreed,
       c.id, c.name, c.membership_tier, c.loyalty_points, a.rfm_segment, a.preferred_categories,
       a.preferred_brands, a.preferred_shopping_day, a.preferred_shopping_hour,
       a.preferred_payment_method,
       coalesce(nullif(c.preferred_contact_channel, ''), a.preferred_contact_channel)
FROM face_users u
JOIN customers c ON c.tenant_id = u.tenant_id AND c.sk = u.customer_sk
LEFT JOIN customer_analytics a ON a.tenant_id = u.tenant_id AND a.customer_sk = u.customer_sk
WHERE u.tenant_id = $1 AND u.user_id = ANY ($2::uuid[])
"""


async def list_known(
    connection: AsyncConnection, tenant_id: int, user_ids: Collection[UUID], *, now: datetime
) -> dict[UUID, KnownPerson]:
    """Who of these persons is known, by id, with what each agrees to at `now`."""
    rows = await fetch_rows(connection, _KNOWN, tenant_id, list(user_ids), now)
    return {
        user_id: KnownPerson(
            user_id,
            customer_sk,
            status,
            frozenset(map(ConsentPurpose, agreed)),
            CustomerSummary(*summary),
        )
        for user_id, customer_sk, status, agreed, *summary in rows
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSearch:
    """A search to be noted. Candidates are opaque ids of persons, similarities percent.

    `recognised` is whom it showed; `counted_on` the store's day on which that person is counted.
    """

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
    recognised: UUID | None = None
    counted_on: date | None = None


_ADD = f"""
WITH seen AS (
    UPDATE face_users SET last_seen_at = greatest(last_seen_at, clock_timestamp())
    WHERE tenant_id = $1 AND user_id = $14
    RETURNING customer_sk, age_range_min, age_range_max, gender
), counted AS (
    INSERT INTO face_sightings (
        tenant_id, day, store_sk, customer_sk, age_range_min, age_range_max, gender
    )
    SELECT $1, $15::date, coalesce($10::bigint, {NO_STORE}), seen.*
    FROM seen WHERE $15::date IS NOT NULL
    ON CONFLICT (tenant_id, day, store_sk, customer_sk) DO UPDATE
    SET age_range_min = excluded.age_range_min, age_range_max = excluded.age_range_max,
        gender = excluded.gender
)
INSERT INTO face_searches (
    tenant_id, purpose, outcome, threshold, margin, candidates, similarities, actor, key_id,
    store_sk, provider, provider_request_id, request_id
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
RETURNING sk
"""


async def add(connection: AsyncConnection, tenant_id: int, search: NewSearch) -> int:
    """Note a search, and whom it recognised, in one statement; the number of the search.

    Who is counted is so once for a store and day.
    """
    row = await fetch_row(
        connection,
        _ADD,
        tenant_id,
        search.purpose,
        search.outcome,
        search.threshold,
        search.margin,
        [user_id for user_id, _ in search.candidates],
        [similarity for _, similarity in search.candidates],
        search.actor,
        search.key_id,
        search.store_sk,
        search.provider,
        search.provider_request_id,
        search.request_id,
        search.recognised,
        search.counted_on,
    )
    assert row is not None
    return int(row["sk"])


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
