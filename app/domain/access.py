"""Who may do what: scopes, the roles that bundle them, and the keys that carry them.

A key reads `bps_<id>.<secret>`: the id finds the row, the secret proves the holder. The secret is
256 random bits, so one round of SHA-256 is enough to store it: there is nothing to guess.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Scope(StrEnum):
    """One permission of a key."""

    CUSTOMERS_READ = "customers:read"
    CUSTOMERS_WRITE = "customers:write"
    ORDERS_WRITE = "orders:write"
    GEO_READ = "geo:read"
    GEO_WRITE = "geo:write"
    ANALYTICS_READ = "analytics:read"
    SCORES_WRITE = "scores:write"
    SEGMENTS_READ = "segments:read"
    SEGMENTS_WRITE = "segments:write"
    EVENTS_WRITE = "events:write"
    FACE_ENROLL = "face:enroll"
    FACE_SEARCH = "face:search"
    FACE_ADMIN = "face:admin"
    EXPORTS_READ = "exports:read"
    ADMIN = "admin"
    #: Allows nothing: it takes away names, contacts, ids and exact places from every answer.
    CUSTOMERS_ANONYMIZED = "customers:anonymized"


ROLES: dict[str, frozenset[Scope]] = {
    "mobile": frozenset({Scope.CUSTOMERS_READ, Scope.GEO_WRITE, Scope.EVENTS_WRITE}),
    "pos": frozenset(
        {
            Scope.CUSTOMERS_READ,
            Scope.CUSTOMERS_WRITE,
            Scope.ORDERS_WRITE,
            Scope.EVENTS_WRITE,
            Scope.FACE_SEARCH,
        }
    ),
    "batch": frozenset(
        {
            Scope.CUSTOMERS_READ,
            Scope.CUSTOMERS_WRITE,
            Scope.ORDERS_WRITE,
            Scope.EVENTS_WRITE,
            Scope.ANALYTICS_READ,
            Scope.SCORES_WRITE,
            Scope.EXPORTS_READ,
        }
    ),
    "dashboard": frozenset(
        {
            Scope.CUSTOMERS_READ,
            Scope.GEO_READ,
            Scope.ANALYTICS_READ,
            Scope.SEGMENTS_READ,
            Scope.EXPORTS_READ,
        }
    ),
    "analyst": frozenset(
        {
            Scope.CUSTOMERS_READ,
            Scope.GEO_READ,
            Scope.ANALYTICS_READ,
            Scope.SEGMENTS_READ,
            Scope.EXPORTS_READ,
            Scope.CUSTOMERS_ANONYMIZED,
        }
    ),
    "admin": frozenset(Scope) - {Scope.CUSTOMERS_ANONYMIZED},
}


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key at the only moment its secret is known: `token` is shown once, the rest is stored."""

    id: str
    token: str
    secret_sha256: bytes


def new_key() -> NewKey:
    """A key with a fresh id and a secret of 256 random bits."""
    key_id = secrets.token_hex(6)
    secret = secrets.token_urlsafe(32)
    return NewKey(key_id, f"bps_{key_id}.{secret}", _digest(secret))


@dataclass(frozen=True, slots=True)
class PresentedKey:
    """What a caller showed, taken apart; the secret itself is not kept."""

    id: str
    secret_sha256: bytes


def parse_key(token: str) -> PresentedKey | None:
    """The parts of `bps_<id>.<secret>`, or None where the text is no key at all."""
    prefix, _, rest = token.partition("_")
    key_id, dot, secret = rest.partition(".")
    if prefix != "bps" or not key_id or not dot or not secret or not key_id.isalnum():
        return None
    return PresentedKey(key_id, _digest(secret))


def key_holds(
    presented: PresentedKey,
    *,
    secret_sha256: bytes,
    expires_at: datetime | None,
    revoked_at: datetime | None,
    now: datetime,
) -> bool:
    """Whether the presented secret is the stored one and the key is still in force."""
    genuine = hmac.compare_digest(presented.secret_sha256, secret_sha256)
    in_force = revoked_at is None and (expires_at is None or now < expires_at)
    return genuine and in_force


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
