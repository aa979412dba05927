"""The answers kept for requests that may be sent again."""

from dataclasses import dataclass

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.repositories.tables import idempotency_keys

_KEPT = text("interval '24 hours'")
_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:key, :tenant))")


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer, and the digest of the request it belongs to."""

    request_sha256: bytes
    status: int
    media_type: str
    body: bytes


async def lock(connection: AsyncConnection, tenant_id: int, key: str) -> bool:
    """Hold `key` to the end of the transaction; False where another transaction holds it."""
    return bool(await connection.scalar(_LOCK, {"key": f"idempotency:{key}", "tenant": tenant_id}))


async def find(connection: AsyncConnection, tenant_id: int, key: str) -> StoredAnswer | None:
    """The answer kept for `key`, unless it is older than a day."""
    row = (
        await connection.execute(
            select(
                idempotency_keys.c.request_sha256,
                idempotency_keys.c.status,
                idempotency_keys.c.media_type,
                idempotency_keys.c.body,
            ).where(
                idempotency_keys.c.tenant_id == tenant_id,
                idempotency_keys.c.key == key,
                idempotency_keys.c.created_at > func.now() - _KEPT,
            )
        )
    ).first()
    return None if row is None else StoredAnswer(*row)


async def add(connection: AsyncConnection, tenant_id: int, key: str, answer: StoredAnswer) -> None:
    """Keep `answer` for a day; takes the place of one that is older than that."""
    values = {
        "request_sha256": answer.request_sha256,
        "status": answer.status,
        "media_type": answer.media_type,
        "body": answer.body,
    }
    statement = insert(idempotency_keys).values(tenant_id=tenant_id, key=key, **values)
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["tenant_id", "key"], set_={**values, "created_at": func.now()}
        )
    )


async def purge(connection: AsyncConnection) -> int:
    """Drop what is older than a day, for the transaction's tenant; returns how many."""
    result = await connection.execute(
        delete(idempotency_keys).where(idempotency_keys.c.created_at <= func.now() - _KEPT)
    )
    return result.rowcount
