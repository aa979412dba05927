"""Ids that sources gave what they sent, of which `received_ids` keeps a digest each."""

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

#: What a statement says of the `digest`s it wrote; `written_digests` reads it.
WRITTEN_DIGESTS = "replace(string_agg(digest::text, ' '), '-', '')"

_COUNTED = re.compile(r"[0-9]{3}\Z")
_UUID_LENGTH = 36


def digest_of(identity: str) -> str:
    """What stands for an id: 32 digits, as `received_digest(identity)` in the database has them.

    Half of them stand for what ids have in common that follow each other, so that what is sent
    together is written to the same pages of the index: all but the last three digits of a count,
    and of a time-ordered UUID (RFC 9562, version 7) the minute.
    """
    if len(identity) == _UUID_LENGTH and identity[14] == "7":
        near = identity[:8]
    elif _COUNTED.search(identity):
        near = identity[:-3]
    else:
        near = identity
    digest = _half_of(identity)
    return (digest if near == identity else _near_half_of(near)) + digest


_RECEIVE = text("""
    INSERT INTO received_ids (tenant_id, kind, digest)
    SELECT :tenant_id, :kind, digest
    FROM (SELECT received_digest(id) FROM unnest(CAST(:ids AS text[])) AS id) AS named (digest)
    ORDER BY digest
    ON CONFLICT DO NOTHING
""")


async def receive(
    connection: AsyncConnection, tenant_id: int, kind: str, ids: Sequence[str]
) -> None:
    """Remember the ids of captures or events that are stored by themselves."""
    await connection.execute(_RECEIVE, {"tenant_id": tenant_id, "kind": kind, "ids": ids})


def written_digests(told: str | None) -> frozenset[str]:
    """The digests that `WRITTEN_DIGESTS` told of; None where there were none."""
    return frozenset(told.split()) if told else frozenset()


def _half_of(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:16]


# Neighbours come together.
_near_half_of = lru_cache(maxsize=1_024)(_half_of)
