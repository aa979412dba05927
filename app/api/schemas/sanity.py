"""The last verification of the figures over HTTP."""

from datetime import datetime
from typing import Self

from pydantic import Field

from app.api.schemas.profile import View
from app.domain.privacy import Disclosure
from app.domain.sanity import Check, Subject, verification
from app.repositories.sanity import SanityResult


class CheckView(View):
    """One verification and what it found."""

    name: str = Field(examples=["revenue"])
    expectation: str = Field(examples=["The revenue is the sum of the net amounts."])
    subject: Subject = Field(description="What is looked at, and what the examples name.")
    passed: bool
    figure: int = Field(description="How many were looked at.")
    offenders: int = Field(description="How many of them break the expectation.")
    examples: list[str] = Field(description="Up to five of the offenders.")

    @classmethod
    def of(cls, check: Check, disclosure: Disclosure) -> Self:
        """`check` with the ids of customers as they may be told."""
        known = verification(check.name)
        of_customers = known.subject is Subject.CUSTOMER
        return cls(
            name=check.name,
            expectation=known.expectation,
            subject=known.subject,
            passed=check.passed,
            figure=check.figure,
            offenders=check.offenders,
            examples=[disclosure.id(each) if of_customers else each for each in check.examples],
        )


class SanityView(View):
    """The last result; `checkedAt` and `passed` are null before the first."""

    checked_at: datetime | None
    passed: bool | None
    checks: list[CheckView]

    @classmethod
    def of(cls, result: SanityResult | None, disclosure: Disclosure) -> Self:
        """`result`, if there is one."""
        if result is None:
            return cls(checked_at=None, passed=None, checks=[])
        return cls(
            checked_at=result.checked_at,
            passed=result.passed,
            checks=[CheckView.of(check, disclosure) for check in result.checks],
        )
