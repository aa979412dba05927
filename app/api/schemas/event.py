"""Behaviour events over HTTP."""

from typing import Any, Literal, Self

from pydantic import ConfigDict, Field

from app.api.schemas.profile import View
from app.services.outcomes import ItemOutcome

EXAMPLE: dict[str, Any] = {
    "eventId": "evt-7001",
    "customerId": "cus-123",
    "eventType": "purchase",
    "eventCategory": "website",
    "productId": "prod-789",
    "productName": "Rain jacket",
    "productCategory": "Outerwear",
    "eventValue": "199.99",
    "eventProperties": {"coupon": "RAIN10"},
    "pageUrl": "https://shop.example/checkout",
    "ipAddress": "203.0.113.77",
    "deviceType": "mobile",
    "browser": "Chrome",
    "location": {"country": "ID", "city": "Jakarta"},
    "sessionId": "sess-42",
    "occurredAt": "2026-02-11T09:30:00Z",
}


class EventAnswer(View):
    """What became of an event. A duplicate is one that was recorded before, and is a success."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "success": True,
                "message": "Event recorded",
                "eventId": "evt-7001",
                "status": "created",
            }
        }
    )

    success: Literal[True] = True
    message: str
    event_id: str = Field(description="As it was sent, or as the service named it.")
    status: Literal["created", "duplicate"]

    @classmethod
    def of(cls, outcome: ItemOutcome) -> Self:
        """`outcome`, which is no refusal."""
        assert outcome.id is not None
        created = outcome.status == "created"
        return cls(
            message="Event recorded" if created else "Event was recorded before",
            event_id=outcome.id,
            status="created" if created else "duplicate",
        )
