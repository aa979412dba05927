"""What a caller may learn of persons: everything, or pseudonyms and rough places only."""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

Personal = TypeVar("Personal")

#: A geohash of so many characters names a district, not a house.
ROUGH_GEOHASH = 5

#: A place that fewer customers share would tell who they are.
SMALL_CELL = 5

_PSEUDONYM_BYTES = 15

#: No id may hold a control character, so what one kind of thing is hashed as, no other can be.
_BETWEEN_KIND_AND_ID = "\x1f"


def pseudonym(key: bytes, customer_id: str) -> str:
    """The same 24 letters and digits for a customer each time, which nobody without `key` can undo.

    HMAC-SHA-256 (RFC 2104), its first 120 bits in base 32.
    """
    return base64.b32encode(id_hash(key, customer_id)[:_PSEUDONYM_BYTES]).decode().lower()


def id_hash(key: bytes, customer_id: str) -> bytes:
    """What is kept of an erased customer's id: HMAC-SHA-256, 32 bytes.

    The database computes the same in `erased_among`.
    """
    return hmac.digest(key, customer_id.encode(), hashlib.sha256)


def erased_reason(erased_at: datetime) -> str:
    """Why nothing is recorded of an erased customer, to follow the name of a field."""
    day = erased_at.astimezone(UTC).date()
    return f"was erased on {day}; an erased customer is not recorded again"


@dataclass(frozen=True, slots=True)
class Disclosure:
    """How answers speak of customers; `key` is the tenant's, where they are to be pseudonyms."""

    key: bytes | None = None

    @property
    def anonymous(self) -> bool:
        """Whether persons are not to be recognised."""
        return self.key is not None

    def id(self, customer_id: str) -> str:
        """The customer's id, or what stands for it."""
        return customer_id if self.key is None else pseudonym(self.key, customer_id)

    def reference(self, kind: str, identity: str) -> str:
        """The id of an order or the like, which would lead to its customer; or what stands for it.

        `kind` keeps things of different kinds apart that share an id.
        """
        if self.key is None:
            return identity
        return pseudonym(self.key, f"{kind}{_BETWEEN_KIND_AND_ID}{identity}")

    def personal_list(self, values: Sequence[Personal]) -> list[Personal]:
        """Texts or names that tell of a person; none of them where they are not told."""
        return list(values) if self.key is None else []

    def personal(self, value: Personal | None) -> Personal | None:
        """A name, contact, address, exact place or free text; None where it is not told."""
        return value if self.key is None else None

    def geohash(self, geohash: str | None) -> str | None:
        """A place, cut to its district where exact places are not to be told."""
        if geohash is None or self.key is None:
            return geohash
        return geohash[:ROUGH_GEOHASH]


#: Everything is told.
FULL = Disclosure()
