"""What a client may send of a segment."""

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from app.services.records import Identity, Label, Record


class SegmentType(StrEnum):
    """What a segment is made for. Only custom ones take members by hand."""

    RFM = "rfm"
    BEHAVIORAL = "behavioral"
    COHORT = "cohort"
    CUSTOM = "custom"
    DEMOGRAPHIC = "demographic"
    VALUE_BASED = "value-based"


CUSTOM = SegmentType.CUSTOM

Description = Annotated[str, StringConstraints(max_length=2_000, pattern=r"^[^\x00]*$")]
SentCriteria = Annotated[
    dict[str, Any],
    Field(description="See `GET /api/segmentation/criteria/schema`. Empty asks for nobody."),
]


class SegmentRecord(Record):
    """A segment to be made."""

    name: Label
    description: Description | None = None
    segment_type: SegmentType
    criteria: SentCriteria | None = None
    user_id: Identity | None = None


class SegmentPatch(Record):
    """What may change about a segment."""

    name: Label | None = None
    description: Description | None = None
    segment_type: SegmentType | None = None
    criteria: SentCriteria | None = None
    is_active: bool | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError(
                "must name at least one of name, description, segmentType, criteria, isActive"
            )
        return self
