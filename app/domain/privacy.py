"""What a caller may learn of persons: everything, or pseudonyms and rough places only."""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from typing import TypeVar

Personal = TypeVar("Personal")

#: A geohash of so many characters names a district, not a house.
ROUGH_GEOHASH = 5
_PSEUDONYM_BYTES = 15


def pseudonym(key: bytes, customer_id: str) -> str:
    """The same 24 letters and digits for a customer each time, which nobody without `key` can undo.

    HMAC-SHA-256 (RFC 2104), its first 120 bits in base 32.
    """
    digest = hmac.digest(key, customer_id.encode(), hashlib.sha256)
    return base64.b32encode(digest[:_PSEUDONYM_BYTES]).decode().lower()


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
