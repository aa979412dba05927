"""The audit trail: who read what of whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.repositories.page import limited


class NewAccess(NamedTuple):
    """One answer to be noted. `subject` is a pseudonym; `customers` how many were shown."""

    at: datetime
    key_id: str
    operation: str
    subject: str | None
    customers: int
    anonymized: bool
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Access:
    """One answer that told of customers."""

    seq: int
    at: datetime
    key_id: str
    operation: str
    subject: str | None
    customers: int
    anonymized: bool
    request_id: str | None


_ADD = """
INSERT INTO access_log (
    tenant_id, at, key_id, operation, subject, customers, anonymized, request_id
)
SELECT $1, * FROM unnest(
    $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::boolean[], $8::text[]
)
"""


async def add_many(
    connection: AsyncConnection, tenant_id: int, accesses: Sequence[NewAccess]
) -> None:
    """Note what was read, in one statement."""
    await connection.exec_driver_sql(_ADD, (tenant_id, *map(list, zip(*accesses, strict=True))))


_LIST = """
    SELECT seq, at, key_id, operation, subject, customers, anonymized, request_id
    FROM access_log
    WHERE tenant_id = :tenant_id
      AND at >= :since AND at <= :until
      AND (at, seq) < (:before_at, CAST(:before_seq AS bigint))
      AND (CAST(:key_id AS text) IS NULL OR key_id = :key_id)
    ORDER BY at DESC, seq DESC
    LIMIT :limit
"""
# The index of subjects is only for a statement that plainly asks for one.
_LIST_OF_SUBJECT = """
    SELECT seq, at, key_id, operation, subject, customers, anonymized, request_id
    FROM access_log
    WHERE tenant_id = :tenant_id AND subject = :subject
      AND at >= :since AND at <= :until
      AND (at, seq) < (:before_at, CAST(:before_seq AS bigint))
      AND (CAST(:key_id AS text) IS NULL OR key_id = :key_id)
    ORDER BY at DESC, seq DESC
    LIMIT :limit
"""


async def list_page(
    connection: AsyncConnection,
    tenant_id: int,
    *,
    subject: str | None,
    key_id: str | None,
    since: datetime,
    until: datetime,
    before: tuple[datetime, int],
    limit: int,
) -> list[Access]:
    """What was read between two instants, the latest first, before the last row seen.

    `subject` and `key_id` narrow the list where given.
    """
    parameters = {
        "tenant_id": tenant_id,
        "key_id": key_id,
        "since": since,
        "until": until,
        "before_at": before[0],
        "before_seq": before[1],
    }
    rows = (
        await connection.execute(limited(_LIST, limit), parameters)
        if subject is None
        else await connection.execute(
            limited(_LIST_OF_SUBJECT, limit), {**parameters, "subject": subject}
        )
    )
    return [Access(**row._mapping) for row in rows]


_DROP_OLD = text("SELECT drop_old_access_log(:before)")


async def drop_before(connection: AsyncConnection, before: date) -> int:
    """Drop the months that ended before the day; how many."""
    return int((await connection.execute(_DROP_OLD, {"before": before})).scalar_one())
