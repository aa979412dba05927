"""What customers agree to about their faces."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID
from zoneinfo import ZoneInfo

from fastapi import Body, Path, Response

from app.api.dependencies import Caller, Connection, CustomerId, requires
from app.api.disclosure import Disclosed
from app.api.errors import problems
from app.api.route import router as routes
from app.api.schemas.face import (
    CONSENT_EXAMPLE,
    ConsentRequest,
    ConsentsView,
    WithdrawalView,
)
from app.domain.access import Scope
from app.domain.face import ConsentPurpose
from app.repositories import consent as consents
from app.repositories import customer as customers
from app.services.face_consent import (
    Statement,
    notice_digest,
    record_consents,
    withdraw_consent,
)
from app.services.wall_clock import zoned

router = routes("face", "/api/face")

Enroller = Annotated[Caller, requires(Scope.FACE_ENROLL)]


@router.post("/consents", status_code=201)
async def record_face_consent(
    wanted: Annotated[ConsentRequest, Body(examples=[CONSENT_EXAMPLE])],
    caller: Enroller,
    connection: Connection,
) -> ConsentsView:
    """Record what a customer agrees to, each purpose for itself.

    Nothing is rewritten: a new consent to a purpose takes the place of the one before, which is
    kept. Answers the consents that were recorded.
    """
    now = datetime.now(UTC)
    found = await record_consents(
        connection,
        caller.tenant,
        Statement(
            customer_id=wanted.customer_id,
            purposes=wanted.wanted(),
            notice_version=wanted.notice_version,
            notice_sha256=notice_digest(wanted.notice_text, wanted.notice_sha256),
            method=wanted.method,
            evidence=wanted.evidence,
            given_at=_utc(wanted.given_at, caller),
            expires_at=_utc(wanted.expires_at, caller),
        ),
        actor=caller.key_id,
        now=now,
    )
    return ConsentsView.of(wanted.customer_id, found, now)


@router.get("/consents/{customerId}")
async def list_face_consents(
    customer_id: CustomerId, caller: Enroller, connection: Connection, disclosure: Disclosed
) -> ConsentsView:
    """Every consent of a customer, those in force and those that ended."""
    customer = await customers.get(connection, caller.tenant.id, customer_id)
    found = await consents.list_of_customer(connection, caller.tenant.id, customer.sk)
    return ConsentsView.of(customer.id, found, datetime.now(UTC), disclosure)


@router.delete(
    "/consents/{customerId}/{purpose}",
    responses={
        202: {"model": WithdrawalView, "description": "Withdrawn; the face is being erased."},
        **problems(404),
    },
)
async def withdraw_face_consent(
    customer_id: CustomerId,
    purpose: Annotated[ConsentPurpose, Path()],
    caller: Enroller,
    connection: Connection,
    response: Response,
) -> WithdrawalView:
    """Withdraw a consent, at once.

    202 where nothing is left that the face may be kept for: its erasure is queued in the same
    transaction. Without `enrol` it is not kept, nor once neither `identify` nor `verify_visit` is
    left of what it was for.
    """
    now = datetime.now(UTC)
    receipt: UUID | None = await withdraw_consent(
        connection, caller.tenant, customer_id, purpose, actor=caller.key_id, now=now
    )
    if receipt is not None:
        response.status_code = 202
    return WithdrawalView(
        customer_id=customer_id, purpose=purpose, withdrawn_at=now, erasure_receipt_id=receipt
    )


def _utc(stated: datetime | None, caller: Caller) -> datetime | None:
    """A time without a zone is the tenant's wall clock."""
    return None if stated is None else zoned(stated, ZoneInfo(caller.tenant.timezone))
