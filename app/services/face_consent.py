"""Agreeing to the use of one's face, and taking that back."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.database import Connection
from app.domain.errors import InvalidInput, NotFound
from app.domain.face import ConsentMethod, ConsentPurpose, ErasureReason
from app.domain.tenant import Tenant
from app.repositories import consent as consents
from app.repositories.consent import Consent
from app.services.face_erasure import after_ending, lock_customer

#: How far a client's clock may be ahead.
_CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a customer has agreed to, after reading which notice, and how that was expressed."""

    customer_id: str
    purposes: Sequence[ConsentPurpose]
    notice_version: str
    notice_sha256: bytes
    method: ConsentMethod
    evidence: str | None
    given_at: datetime | None
    expires_at: datetime | None


def notice_digest(text: str | None, sha256: str | None) -> bytes:
    """SHA-256 of the notice, from its text, its digest in hex, or both. Raises InvalidInput."""
    if text is None and sha256 is None:
        raise InvalidInput("noticeSha256", "is required, or noticeText")
    if text is None:
        assert sha256 is not None
        return bytes.fromhex(sha256)
    digest = hashlib.sha256(text.encode()).digest()
    if sha256 is not None and bytes.fromhex(sha256) != digest:
        raise InvalidInput("noticeSha256", "is not the SHA-256 of noticeText")
    return digest


async def record_consents(
    connection: Connection, tenant: Tenant, stated: Statement, *, actor: str | None, now: datetime
) -> list[Consent]:
    """Record what a customer agrees to; each consent takes the place of the one before.

    Raises InvalidInput for an unknown customer and for times that make no sense.
    """
    given_at = stated.given_at or now
    if given_at > now + _CLOCK_SKEW:
        raise InvalidInput("givenAt", "lies in the future")
    given_at = min(given_at, now)
    if stated.expires_at is not None and stated.expires_at <= now:
        raise InvalidInput("expiresAt", "has passed already")
    sk = await lock_customer(connection, tenant, stated.customer_id)
    if sk is None:
        raise InvalidInput("customerId", "is not the id of a customer")
    return await consents.add_many(
        connection,
        tenant.id,
        sk,
        list(dict.fromkeys(stated.purposes)),
        notice_version=stated.notice_version,
        notice_sha256=stated.notice_sha256,
        method=stated.method,
        evidence=stated.evidence,
        given_at=given_at,
        expires_at=stated.expires_at,
        actor=actor,
        now=now,
    )


async def withdraw_consent(
    connection: Connection,
    tenant: Tenant,
    customer_id: str,
    purpose: ConsentPurpose,
    *,
    actor: str | None,
    now: datetime,
) -> UUID | None:
    """End the customer's consent to `purpose` at once, and with it what rests on nothing else.

    The receipt of the erasure that this began, where it did. Raises NotFound where there is no such
    customer or no such consent.
    """
    sk = await lock_customer(connection, tenant, customer_id)
    if sk is None:
        raise NotFound("customer", customer_id)
    ended = await consents.end(
        connection, tenant.id, sk, purpose, ended_as="withdrawn", actor=actor, now=now
    )
    if not ended:
        raise NotFound("consent", purpose)
    return await after_ending(
        connection, tenant, sk, ended, ErasureReason.WITHDRAWN, actor=actor, now=now
    )
