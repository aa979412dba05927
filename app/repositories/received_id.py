"""Ids that sources gave what they sent, of which `received_ids` keeps a digest each."""

import hashlib
import re

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
    return _md5(near)[:16] + _md5(identity)[:16]


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
