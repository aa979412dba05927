"""Idempotency-Key: a POST that is sent again gets the first answer again.

The answer is stored in the transaction that does the work, so there is exactly one of each: no
answer without its work, and no work without its answer.
"""

import hashlib
from dataclasses import dataclass

from fastapi import Request
from starlette.responses import Response

from app.api.errors import KeyInUse, KeyReused, bad_parameter
from app.database import Connection
from app.repositories import idempotency

HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotent-Replayed"
MAX_LENGTH = 255
_CLAIM = "bps.idempotency"


class Replayed(Exception):
    """The request was answered before; `response` is that answer."""

    def __init__(self, response: Response) -> None:
        self.response = response


@dataclass(frozen=True, slots=True)
class _Claim:
    connection: Connection
    tenant_id: int
    key: str
    request_sha256: bytes


async def claim(
    request: Request,
    connection: Connection,
    tenant_id: int,
    *,
    body_sha256: bytes | None = None,
) -> None:
    """Take the request's key for this transaction, where it is a POST that carries one.

    `body_sha256` is the digest of a body that was read already.

    Raises Replayed with the stored answer, KeyReused where the key came with another request, and
    KeyInUse while the first one is not done.
    """
    if request.method != "POST":
        return
    key = request.headers.get(HEADER)
    if key is None:
        return
    if not 1 <= len(key) <= MAX_LENGTH:
        raise bad_parameter("header", HEADER, f"must have 1 to {MAX_LENGTH} characters")
    if body_sha256 is None:
        body_sha256 = hashlib.sha256(await request.body()).digest()
    request_sha256 = _digest(request, body_sha256)
    if not await idempotency.lock(connection, tenant_id, key):
        raise KeyInUse("The first request with this Idempotency-Key is still in progress.")
    stored = await idempotency.find(connection, tenant_id, key)
    if stored is None:
        request.scope[_CLAIM] = _Claim(connection, tenant_id, key, request_sha256)
    elif stored.request_sha256 != request_sha256:
        raise KeyReused("This Idempotency-Key was used for another request.")
    else:
        raise Replayed(
            Response(
                stored.body,
                status_code=stored.status,
                media_type=stored.media_type,
                headers={REPLAYED_HEADER: "true"},
            )
        )


async def keep(request: Request, response: Response) -> None:
    """Store a successful answer under the key that `claim` took, if it took one."""
    taken: _Claim | None = request.scope.pop(_CLAIM, None)
    if taken is None or not 200 <= response.status_code < 300:
        return
    await idempotency.add(
        taken.connection,
        taken.tenant_id,
        taken.key,
        idempotency.StoredAnswer(
            taken.request_sha256,
            response.status_code,
            response.headers.get("content-type", "application/json"),
            bytes(response.body),
        ),
    )


def release(request: Request) -> None:
    """Keep no answer for the request, whose transaction is about to end."""
    request.scope.pop(_CLAIM, None)


def _digest(request: Request, body_sha256: bytes) -> bytes:
    digest = hashlib.sha256()
    for part in (
        request.method.encode(),
        request.scope["raw_path"],
        request.scope["query_string"],
        body_sha256,
    ):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()
