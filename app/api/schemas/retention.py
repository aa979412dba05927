"""Retention over HTTP."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field

from app.api.schemas.profile import View
from app.repositories.retention import Retention

Days = Annotated[int, Field(ge=1, le=36_500, strict=True)]


class RetentionSettings(View):
    """For how many days places and events are kept; null keeps them for good."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"locationDays": 365, "eventDays": 730}},
    )

    location_days: Days | None
    event_days: Days | None

    @classmethod
    def of(cls, retention: Retention) -> Self:
        """`retention` as it is answered."""
        return cls(location_days=retention.location_days, event_days=retention.event_days)
