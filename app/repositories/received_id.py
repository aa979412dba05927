"""Ids that sources gave what they sent, of which `received_ids` keeps a digest each."""

import hashlib


def digest_of(identity: str) -> str:
    """What stands for an id: 32 digits, as `md5(identity)` in the database has them."""
    return hashlib.md5(identity.encode(), usedforsecurity=False).hexdigest()
