"""Contacts over HTTP."""

from datetime import datetime
from typing import Any, Self

from pydantic import ConfigDict

from app.api.schemas.profile import View
from app.domain.contact import Channel, Purpose
from app.domain.privacy import Disclosure
from app.repositories.contact import Contact

EXAMPLE: dict[str, Any] = {
    "id": "con-1001",
    "customerId": "cus-123",
    "channel": "whatsapp",
    "purpose": "promo",
    "sentAt": "2026-02-11T09:30:00Z",
    "respondedAt": "2026-02-11T10:05:00Z",
    "converted": True,
}


class ContactView(View):
    """A message, call or visit to a customer. `updatedAt` is the source's, `recordedAt` ours."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": EXAMPLE | {"updatedAt": None, "recordedAt": "2026-02-11T10:05:02Z"}
        }
    )

    id: str
    customer_id: str
    channel: Channel
    purpose: Purpose
    sent_at: datetime
    responded_at: datetime | None
    converted: bool
    updated_at: datetime | None
    recorded_at: datetime

    @classmethod
    def of(cls, contact: Contact, disclosure: Disclosure) -> Self:
        """`contact`, as far as it may be told."""
        return cls(
            id=disclosure.id(contact.id),
            customer_id=disclosure.id(contact.customer_id),
            channel=contact.channel,
            purpose=contact.purpose,
            sent_at=contact.sent_at,
            responded_at=contact.responded_at,
            converted=contact.converted,
            updated_at=contact.source_updated_at,
            recorded_at=contact.recorded_at,
        )
