"""Feedback over HTTP."""

from datetime import datetime
from typing import Any, Self

from pydantic import ConfigDict, Field

from app.api.schemas.profile import View
from app.domain.feedback import FeedbackKind
from app.domain.privacy import Disclosure
from app.repositories.feedback import Feedback

EXAMPLE: dict[str, Any] = {
    "id": "fb-1001",
    "customerId": "cus-123",
    "storeId": "store-01",
    "kind": "nps",
    "score": 9,
    "sentiment": 0.8,
    "comment": "Kasir ramah",
    "givenAt": "2026-02-12T03:00:00Z",
}


class FeedbackView(View):
    """What a customer said. `updatedAt` is the source's, `recordedAt` ours."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": EXAMPLE
            | {
                "rfmSegment": "champion",
                "updatedAt": None,
                "recordedAt": "2026-02-12T03:00:02Z",
            }
        }
    )

    id: str
    customer_id: str
    store_id: str | None
    kind: FeedbackKind
    score: int | None
    sentiment: float | None
    comment: str | None
    given_at: datetime
    rfm_segment: str | None = Field(
        description="The RFM segment the customer had when this was recorded."
    )
    updated_at: datetime | None
    recorded_at: datetime

    @classmethod
    def of(cls, feedback: Feedback, disclosure: Disclosure) -> Self:
        """`feedback`, as far as it may be told."""
        return cls(
            id=disclosure.id(feedback.id),
            customer_id=disclosure.id(feedback.customer_id),
            store_id=feedback.store_id,
            kind=feedback.kind,
            score=feedback.score,
            sentiment=feedback.sentiment,
            comment=disclosure.personal(feedback.comment),
            given_at=feedback.given_at,
            rfm_segment=feedback.rfm_segment,
            updated_at=feedback.source_updated_at,
            recorded_at=feedback.recorded_at,
        )
