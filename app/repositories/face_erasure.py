"""Erasures of faces: what is to be removed elsewhere, how far that is, and the receipt."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound
from app.domain.face import ErasureReason


@dataclass(frozen=True, slots=True)
class FaceErasure:
    """One erasure. `steps` has what each step that is done came to, by its name."""

    id: UUID
    user_id: UUID
    face_ids: list[str]
    reason: ErasureReason
    requested_at: datetime
    requested_by: str | None
    steps: Mapping[str, Any]
    attempts: int
    last_error: str | None
    next_attempt_at: datetime
    completed_at: datetime | None


_COLUMNS = """id, user_id, face_ids, reason, requested_at, requested_by, steps, attempts,
           last_error, next_attempt_at, completed_at"""

_ADD = text("""
    INSERT INTO face_erasures (tenant_id, id, user_id, face_ids, reason, requested_by)
    VALUES (:tenant_id, coalesce(CAST(:id AS uuid), gen_random_uuid()), :user_id,
            CAST(:face_ids AS text[]), :reason, :actor)
    RETURNING id
""")


async def add(
    connection: AsyncConnection,
    tenant_id: int,
    *,
    erasure_id: UUID | None,
    user_id: UUID,
    face_ids: Collection[str],
    reason: ErasureReason,
    actor: str | None,
) -> UUID:
    """Note what is to be erased, in the transaction that decides it; the id of the receipt."""
    added = await connection.scalar(
        _ADD,
        {
            "tenant_id": tenant_id,
            "id": erasure_id,
            "user_id": user_id,
            "face_ids": list(face_ids),
            "reason": reason,
            "actor": actor,
        },
    )
    assert isinstance(added, UUID)
    return added


_GET = text(f"SELECT {_COLUMNS} FROM face_erasures WHERE tenant_id = :tenant_id AND id = :id")


async def get(connection: AsyncConnection, tenant_id: int, erasure_id: UUID) -> FaceErasure:
    """The erasure `erasure_id`. Raises NotFound."""
    row = (await connection.execute(_GET, {"tenant_id": tenant_id, "id": erasure_id})).first()
    if row is None:
        raise NotFound("erasure", str(erasure_id))
    return _read(row)


_OPEN_OF_USER = text("""
    SELECT id FROM face_erasures
    WHERE tenant_id = :tenant_id AND user_id = :user_id
    ORDER BY requested_at DESC LIMIT 1
""")


async def find_latest(connection: AsyncConnection, tenant_id: int, user_id: UUID) -> UUID | None:
    """The erasure of this person that was asked for last."""
    parameters = {"tenant_id": tenant_id, "user_id": user_id}
    found: UUID | None = await connection.scalar(_OPEN_OF_USER, parameters)
    return found


_DUE = text("""
    SELECT id FROM face_erasures
    WHERE tenant_id = :tenant_id AND completed_at IS NULL AND next_attempt_at <= :now
    ORDER BY next_attempt_at, id LIMIT 100
""")


async def list_due(connection: AsyncConnection, tenant_id: int, *, now: datetime) -> list[UUID]:
    """Erasures to go on with, the one that has waited longest first."""
    rows = await connection.execute(_DUE, {"tenant_id": tenant_id, "now": now})
    return list(rows.scalars())


_STEP = text("""
    UPDATE face_erasures
    SET steps = steps || jsonb_build_object(CAST(:step AS text), CAST(:result AS jsonb))
    WHERE tenant_id = :tenant_id AND id = :id
""")


async def note_step(
    connection: AsyncConnection,
    tenant_id: int,
    erasure_id: UUID,
    step: str,
    result: Mapping[str, object],
) -> None:
    """Note that a step is done, and what it came to."""
    await connection.execute(
        _STEP,
        {
            "tenant_id": tenant_id,
            "id": erasure_id,
            "step": step,
            "result": json.dumps(result),
        },
    )


_COMPLETE = text("""
    UPDATE face_erasures
    SET completed_at = clock_timestamp(), attempts = attempts + 1, last_error = NULL,
        face_ids = '{}'
    WHERE tenant_id = :tenant_id AND id = :id AND completed_at IS NULL
""")


async def complete(connection: AsyncConnection, tenant_id: int, erasure_id: UUID) -> None:
    """Make the erasure a receipt: nothing is left to be done, or to be found by."""
    await connection.execute(_COMPLETE, {"tenant_id": tenant_id, "id": erasure_id})


_FAIL = text("""
    UPDATE face_erasures
    SET attempts = attempts + 1, last_error = :error, next_attempt_at = :next_attempt_at
    WHERE tenant_id = :tenant_id AND id = :id AND completed_at IS NULL
""")


async def fail(
    connection: AsyncConnection,
    tenant_id: int,
    erasure_id: UUID,
    *,
    error: str,
    next_attempt_at: datetime,
) -> None:
    """Note why an attempt did not get through, and when to try again."""
    await connection.execute(
        _FAIL,
        {
            "tenant_id": tenant_id,
            "id": erasure_id,
            "error": error,
            "next_attempt_at": next_attempt_at,
        },
    )


def _read(row: Row[Any]) -> FaceErasure:
    return FaceErasure(**{**row._mapping, "reason": ErasureReason(row.reason)})
