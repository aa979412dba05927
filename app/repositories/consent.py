"""What customers have agreed to about their faces. A consent is never rewritten: it ends."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.face import ConsentPurpose


@dataclass(frozen=True, slots=True)
class Consent:
    """One consent to one purpose. `ended_as` is withdrawn, expired, replaced or merged."""

    id: UUID
    purpose: ConsentPurpose
    notice_version: str
    notice_sha256: bytes
    method: str
    evidence: str | None
    given_at: datetime
    expires_at: datetime | None
    recorded_at: datetime
    recorded_by: str | None
    ended_at: datetime | None
    ended_as: str | None
    ended_by: str | None


_COLUMNS = """id, purpose, notice_version, notice_sha256, method, evidence, given_at, expires_at,
           recorded_at, recorded_by, ended_at, ended_as, ended_by"""

_REPLACE = text("""
    UPDATE face_consents
    SET ended_at = :now, ended_as = 'replaced', ended_by = CAST(:actor AS text)
    WHERE tenant_id = :tenant_id AND customer_sk = :customer_sk AND ended_at IS NULL
      AND purpose = ANY (CAST(:purposes AS text[]))
""")
_ADD = text(f"""
    INSERT INTO face_consents (
        tenant_id, customer_sk, purpose, notice_version, notice_sha256, method, evidence,
        given_at, expires_at, recorded_by
    )
    SELECT :tenant_id, :customer_sk, purpose, CAST(:notice_version AS text),
           CAST(:notice_sha256 AS bytea), CAST(:method AS text), CAST(:evidence AS text),
           CAST(:given_at AS timestamptz), CAST(:expires_at AS timestamptz), CAST(:actor AS text)
    FROM unnest(CAST(:purposes AS text[])) AS stated (purpose)
    RETURNING {_COLUMNS}
""")


async def add_many(
    connection: AsyncConnection,
    tenant_id: int,
    customer_sk: int,
    purposes: Sequence[ConsentPurpose],
    *,
    notice_version: str,
    notice_sha256: bytes,
    method: str,
    evidence: str | None,
    given_at: datetime,
    expires_at: datetime | None,
    actor: str | None,
    now: datetime,
) -> list[Consent]:
    """Record consents of a locked customer, each in place of the one to its purpose before."""
    parameters = {
        "tenant_id": tenant_id,
        "customer_sk": customer_sk,
        "purposes": [str(purpose) for purpose in purposes],
        "actor": actor,
    }
    await connection.execute(_REPLACE, parameters | {"now": now})
    rows = await connection.execute(
        _ADD,
        parameters
        | {
            "notice_version": notice_version,
            "notice_sha256": notice_sha256,
            "method": method,
            "evidence": evidence,
            "given_at": given_at,
            "expires_at": expires_at,
        },
    )
    return sorted(map(_read, rows), key=lambda each: each.purpose)


_LIST = text(f"""
    SELECT {_COLUMNS} FROM face_consents
    WHERE tenant_id = :tenant_id AND customer_sk = :customer_sk
    ORDER BY given_at DESC, recorded_at DESC, purpose
""")


async def list_of_customer(
    connection: AsyncConnection, tenant_id: int, customer_sk: int
) -> list[Consent]:
    """Every consent of the customer, those in force and those that ended, the latest first."""
    rows = await connection.execute(_LIST, {"tenant_id": tenant_id, "customer_sk": customer_sk})
    return [_read(row) for row in rows]


_IN_FORCE = text("""
    SELECT customer_sk, purpose FROM face_consents
    WHERE tenant_id = :tenant_id AND customer_sk = ANY (CAST(:customer_sks AS bigint[]))
      AND ended_at IS NULL AND given_at <= :now AND (expires_at IS NULL OR expires_at > :now)
""")


async def list_in_force(
    connection: AsyncConnection, tenant_id: int, customer_sks: Collection[int], *, now: datetime
) -> dict[int, frozenset[ConsentPurpose]]:
    """What each of these customers agrees to at `now`; those who agree to nothing are left out."""
    rows = await connection.execute(
        _IN_FORCE, {"tenant_id": tenant_id, "customer_sks": list(customer_sks), "now": now}
    )
    found: dict[int, frozenset[ConsentPurpose]] = {}
    for customer_sk, purpose in rows:
        found[customer_sk] = found.get(customer_sk, frozenset()) | {ConsentPurpose(purpose)}
    return found


async def in_force(
    connection: AsyncConnection, tenant_id: int, customer_sk: int, *, now: datetime
) -> frozenset[ConsentPurpose]:
    """What the customer agrees to at `now`."""
    found = await list_in_force(connection, tenant_id, [customer_sk], now=now)
    return found.get(customer_sk, frozenset())


_END = text("""
    UPDATE face_consents
    SET ended_at = :now, ended_as = :ended_as, ended_by = CAST(:actor AS text)
    WHERE tenant_id = :tenant_id AND customer_sk = :customer_sk AND ended_at IS NULL
      AND (CAST(:purpose AS text) IS NULL OR purpose = CAST(:purpose AS text))
    RETURNING purpose
""")


async def end(
    connection: AsyncConnection,
    tenant_id: int,
    customer_sk: int,
    purpose: ConsentPurpose | None,
    *,
    ended_as: str,
    actor: str | None,
    now: datetime,
) -> frozenset[ConsentPurpose]:
    """End the present consent to `purpose`, or to everything; what was ended."""
    rows = await connection.execute(
        _END,
        {
            "tenant_id": tenant_id,
            "customer_sk": customer_sk,
            "purpose": purpose,
            "ended_as": ended_as,
            "actor": actor,
            "now": now,
        },
    )
    return frozenset(ConsentPurpose(row.purpose) for row in rows)


_EXPIRED = text("""
    SELECT DISTINCT customer_sk FROM face_consents
    WHERE tenant_id = :tenant_id AND ended_at IS NULL AND expires_at <= :now
    ORDER BY customer_sk LIMIT 1000
""")


async def list_expired(connection: AsyncConnection, tenant_id: int, *, now: datetime) -> list[int]:
    """Up to a thousand customers with a consent whose time is over."""
    rows = await connection.execute(_EXPIRED, {"tenant_id": tenant_id, "now": now})
    return list(rows.scalars())


_EXPIRE = text("""
    UPDATE face_consents SET ended_at = :now, ended_as = 'expired'
    WHERE tenant_id = :tenant_id AND customer_sk = :customer_sk AND ended_at IS NULL
      AND expires_at <= :now
    RETURNING purpose
""")


async def expire(
    connection: AsyncConnection, tenant_id: int, customer_sk: int, *, now: datetime
) -> frozenset[ConsentPurpose]:
    """End the customer's consents whose time is over; what they were to."""
    rows = await connection.execute(
        _EXPIRE, {"tenant_id": tenant_id, "customer_sk": customer_sk, "now": now}
    )
    return frozenset(ConsentPurpose(row.purpose) for row in rows)


# The later word of one person holds, whichever of the two records it was said to.
_END_BEFORE_MERGE = """
UPDATE face_consents c SET ended_at = now(), ended_as = 'merged'
WHERE c.tenant_id = $1 AND c.customer_sk IN ($2, $3) AND c.ended_at IS NULL AND EXISTS (
    SELECT FROM face_consents o
    WHERE o.tenant_id = $1 AND o.customer_sk IN ($2, $3) AND o.purpose = c.purpose
      AND o.customer_sk <> c.customer_sk
      AND (o.ended_at IS NULL AND (o.given_at, o.id) > (c.given_at, c.id)
           OR o.ended_as = 'withdrawn' AND o.ended_at > c.given_at)
)
"""
_MOVE = """
UPDATE face_consents SET customer_sk = $3 WHERE tenant_id = $1 AND customer_sk = $2
"""


async def move(connection: AsyncConnection, tenant_id: int, *, duplicate: int, target: int) -> int:
    """Give the target the duplicate's consents; how many.

    Of two in force to one purpose the later stays so, and none that was withdrawn later.
    """
    await connection.exec_driver_sql(_END_BEFORE_MERGE, (tenant_id, duplicate, target))
    moved = await connection.exec_driver_sql(_MOVE, (tenant_id, duplicate, target))
    return moved.rowcount


def _read(row: Row[Any]) -> Consent:
    return Consent(**{**row._mapping, "purpose": ConsentPurpose(row.purpose)})
