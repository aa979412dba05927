"""Erasures, merges, duplicates and the audit trail over HTTP."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import ConfigDict, Field

from app.api.schemas.customer import CustomerView
from app.api.schemas.profile import View
from app.domain.duplicate import DuplicateReason
from app.domain.privacy import Disclosure
from app.repositories.access import Access
from app.repositories.duplicate import Candidate, DuplicatePair
from app.repositories.erasure import Erasure
from app.services.records import Identity, Record


class ErasureView(View):
    """The receipt of an erasure. It names nobody."""

    receipt_id: UUID
    erased_at: datetime
    erased_by: str | None = Field(description="Id of the key that asked for it.")
    removed: dict[str, int] = Field(
        description="Rows removed, by table.", examples=[{"customers": 1, "orders": 12}]
    )

    @classmethod
    def of(cls, erasure: Erasure) -> Self:
        """The view of `erasure`."""
        return cls(
            receipt_id=erasure.receipt_id,
            erased_at=erasure.erased_at,
            erased_by=erasure.erased_by,
            removed=dict(erasure.removed),
        )


class MergeRequest(Record):
    """Which customer is to be joined to the one in the path."""

    model_config = ConfigDict(json_schema_extra={"example": {"duplicateId": "cus-456"}})

    duplicate_id: Identity


class MergeView(View):
    """What became of two customers who were one."""

    merged_into: str
    former_id: str = Field(description="Leads to the customer from now on.")
    moved: dict[str, int] = Field(
        description="Rows that moved, by table.", examples=[{"orders": 3, "contacts": 1}]
    )
    customer: CustomerView


class CandidateView(View):
    """One customer of a pair."""

    id: str
    name: str | None
    email: str | None
    phone: str | None
    created_at: datetime

    @classmethod
    def of(cls, candidate: Candidate, disclosure: Disclosure) -> Self:
        """The view of `candidate`, as far as it may be told."""
        return cls(
            id=disclosure.id(candidate.id),
            name=disclosure.personal(candidate.name),
            email=disclosure.personal(candidate.email),
            phone=disclosure.personal(candidate.phone),
            created_at=candidate.created_at,
        )


class DuplicatePairView(View):
    """Two customers who may be one person; the one recorded first is `customer`."""

    customer: CandidateView
    duplicate: CandidateView
    score: int = Field(ge=0, le=100, description="The weights of the reasons, 100 at most.")
    reasons: list[DuplicateReason]
    found_at: datetime

    @classmethod
    def of(cls, pair: DuplicatePair, disclosure: Disclosure) -> Self:
        """The view of `pair`, as far as it may be told."""
        return cls(
            customer=CandidateView.of(pair.customer, disclosure),
            duplicate=CandidateView.of(pair.other, disclosure),
            score=pair.score,
            reasons=[DuplicateReason(reason) for reason in pair.reasons],
            found_at=pair.found_at,
        )


class AccessView(View):
    """One answer that told of customers."""

    at: datetime
    key_id: str
    operation: str = Field(examples=["get_customer_profile"])
    subject: str | None = Field(description="Pseudonym of the customer, where it was one.")
    customers: int = Field(
        description="How many were shown; 0 for an export, which is noted before it begins."
    )
    anonymized: bool
    request_id: str | None

    @classmethod
    def of(cls, access: Access) -> Self:
        """The view of `access`."""
        return cls(
            at=access.at,
            key_id=access.key_id,
            operation=access.operation,
            subject=access.subject,
            customers=access.customers,
            anonymized=access.anonymized,
            request_id=access.request_id,
        )
