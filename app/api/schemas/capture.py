"""Captures over HTTP."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field

from app.api.schemas.profile import View
from app.domain.capture import Flag
from app.domain.geometry import geohash_of
from app.services.capturing import CaptureOutcome

EXAMPLE: dict[str, Any] = {
    "captureId": "cap-0b8f2c52-1",
    "customerId": "cus-123",
    "latitude": -6.2088,
    "longitude": 106.8456,
    "accuracy": 12.5,
    "altitude": 8.0,
    "speed": 0.0,
    "heading": 270.0,
    "source": "gps",
    "capturedBy": "emp-7",
    "deviceId": "device-42",
    "visitType": "sales_visit",
    "notes": "Stock counted",
    "photoUrl": "https://photos.example/visit-1.jpg",
    "capturedAt": "2026-11-11T09:30:00Z",
}


class CaptureAnswer(View):
    """What became of a capture.

    A duplicate, whose id was received before, is answered as it was stored first.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "captureId": "cap-0b8f2c52-1",
                "status": "created",
                "capturedAt": "2026-11-11T09:30:00Z",
                "geohash": "qqguyu7",
                "flags": [],
                "lastKnownPlaceMoved": True,
            }
        }
    )

    capture_id: str
    status: Literal["created", "duplicate"]
    captured_at: datetime
    geohash: str = Field(description="The cell of the place, seven characters.")
    flags: list[Flag] = Field(description="What is suspicious about it.")
    last_known_place_moved: bool = Field(
        description="Whether the customer's last known place is this one now."
    )

    @classmethod
    def of(cls, outcome: CaptureOutcome) -> Self:
        """`outcome`, which is no refusal."""
        assert outcome.place is not None
        return cls.model_validate(
            {
                "capture_id": outcome.id,
                "status": outcome.status,
                "captured_at": outcome.captured_at,
                "geohash": geohash_of(*outcome.place),
                "flags": outcome.flags,
                "last_known_place_moved": outcome.moved,
            }
        )
