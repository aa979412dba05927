"""Segments over HTTP."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from app.api.schemas.figures import share
from app.api.schemas.profile import View
from app.domain.criteria import (
    CircleClause,
    EventsClause,
    FieldClause,
    GeohashClause,
    Leaf,
    OrdersClause,
    Reading,
    TagClause,
)
from app.domain.criteria_document import criteria_document
from app.domain.criteria_fields import Kind
from app.domain.lookalike import Likeness
from app.domain.money import from_minor, round_minor
from app.domain.privacy import FULL, Disclosure
from app.repositories.audience import Lookalike, Preview
from app.repositories.segment import Segment
from app.repositories.segment_member import Member, MemberChange
from app.services.records import Identity, Record
from app.services.segment_records import SegmentPatch, SegmentRecord, SegmentType, SentCriteria
from app.services.segmentation import ExplainedClause, Explanation

MAX_OVERLAPPED = 20

EXAMPLE: dict[str, Any] = {
    "name": "Loyal and slipping away",
    "segmentType": "behavioral",
    "description": "Bought three times or more, and not for a month.",
    "criteria": {
        "all": [
            {"field": "countedOrders", "gte": 3},
            {"field": "lastOrderAt", "before": "P30D"},
            {"not": {"tag": "staff"}},
        ]
    },
}
CRITERIA_EXAMPLE: dict[str, Any] = {
    "any": [
        {"field": "churnScore", "gte": 0.6},
        {"events": {"type": "purchase", "count": {"gte": 3}, "within": "P30D"}},
        {"place": {"within": {"latitude": -6.2088, "longitude": 106.8456, "metres": 2000}}},
    ]
}


class NewSegment(SegmentRecord):
    """A segment to be made. `userId`, where it is sent, is the tenant's."""

    model_config = ConfigDict(json_schema_extra={"example": EXAMPLE})


class SegmentChange(SegmentPatch):
    """What is to be other about a segment; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"example": {"criteria": EXAMPLE["criteria"]}})


class NewMember(Record):
    """A customer to be put into a custom segment by hand."""

    model_config = ConfigDict(json_schema_extra={"example": {"customerId": "cus-123"}})

    customer_id: Identity


class PreviewRequest(Record):
    """Criteria that are not saved."""

    model_config = ConfigDict(json_schema_extra={"example": {"criteria": CRITERIA_EXAMPLE}})

    criteria: SentCriteria
    user_id: Identity | None = None


class LookalikeRequest(Record):
    """How many customers are asked for."""

    model_config = ConfigDict(json_schema_extra={"example": {"limit": 100}})

    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class OverlapRequest(Record):
    """The segments to lay over each other."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "segmentIds": [
                    "5f0c7a52-3c5e-4f5b-9a4e-0d1f6f5b7a11",
                    "9d4b3a0e-7c1a-4a5f-8a63-2f0f5d1c2b22",
                ]
            }
        }
    )

    segment_ids: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=64)]],
        Field(min_length=2, max_length=MAX_OVERLAPPED),
    ]


class EvaluationView(View):
    """The last evaluation of everybody."""

    state: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    requested_at: datetime
    started_at: datetime | None


class SegmentView(View):
    """A segment and how its members are doing."""

    id: str
    name: str
    description: str | None
    segment_type: SegmentType
    criteria: dict[str, Any] | None = Field(description="As sent.")
    normalized_criteria: dict[str, Any] | None = Field(
        description="As evaluated: flat forms written out. Null asks for nobody."
    )
    is_active: bool
    member_count: int
    computed_at: datetime | None = Field(
        description="When everybody was last evaluated. Null before the first time."
    )
    lag: float | None = Field(description="Seconds since `computedAt`.")
    is_current: bool = Field(
        description="Whether the members are those of these criteria. False between an edit and "
        "the end of its evaluation, during which the members before are kept."
    )
    last_error: str | None = Field(
        description="Why the last evaluation failed, and the members are those of `computedAt`."
    )
    evaluation: EvaluationView
    created_at: datetime
    updated_at: datetime
    created_by: str | None
    updated_by: str | None

    @classmethod
    def of(cls, segment: Segment, now: datetime) -> Self:
        """`segment` as it is at `now`."""
        computed_at = segment.computed_at
        return cls(
            id=str(segment.id),
            name=segment.name,
            description=segment.description,
            segment_type=SegmentType(segment.segment_type),
            criteria=segment.criteria,
            normalized_criteria=segment.normalized,
            is_active=segment.is_active,
            member_count=segment.member_count,
            computed_at=computed_at,
            lag=None if computed_at is None else max((now - computed_at).total_seconds(), 0.0),
            is_current=segment.is_current,
            last_error=segment.last_error,
            evaluation=EvaluationView.model_validate(
                {
                    "state": segment.state,
                    "requestedAt": segment.requested_at,
                    "startedAt": segment.started_at,
                }
            ),
            created_at=segment.created_at,
            updated_at=segment.updated_at,
            created_by=segment.created_by,
            updated_by=segment.updated_by,
        )


class SegmentListView(View):
    """A page of the segments, and how many there are in all."""

    data: list[SegmentView]
    total: int
    next_cursor: str | None = None


class MemberView(View):
    """A customer in a segment."""

    customer_id: str
    name: str | None
    joined_at: datetime
    left_at: datetime | None = Field(description="Null of present members.")
    manual: bool = Field(description="Put in by hand.")

    @classmethod
    def of(cls, member: Member, disclosure: Disclosure) -> Self:
        """`member`, as far as it may be told."""
        return cls(
            customer_id=disclosure.id(member.customer_id),
            name=disclosure.personal(member.name),
            joined_at=member.joined_at,
            left_at=member.left_at,
            manual=member.manual,
        )


class MemberAddedView(View):
    """What came of putting a customer in."""

    status: Literal["added", "unchanged"]


class MemberChangeView(View):
    """Somebody joined or left."""

    at: datetime
    change: Literal["joined", "left"]
    customer_id: str
    name: str | None

    @classmethod
    def of(cls, change: MemberChange, disclosure: Disclosure) -> Self:
        """`change`, as far as it may be told."""
        return cls(
            at=change.at,
            change="joined" if change.joined else "left",
            customer_id=disclosure.id(change.customer_id),
            name=disclosure.personal(change.name),
        )


class SampledView(View):
    """One of those who meet the criteria."""

    customer_id: str
    name: str | None


class PreviewView(View):
    """Who would be a member now."""

    normalized_criteria: dict[str, Any]
    count: int = Field(description="Exact, or the likeliest number where `countBetween` is given.")
    count_between: tuple[int, int] | None = Field(
        description="Where the count lies with a confidence of 95 %, if there was no time to count "
        "and it was estimated from 20,000 customers. Null for an exact count."
    )
    customers: int = Field(description="All customers of the business.")
    share: float | None = Field(description="`count` over `customers`.")
    sample: list[SampledView]

    @classmethod
    def of(cls, normalized: Mapping[str, Any], found: Preview, disclosure: Disclosure) -> Self:
        """`found`, as far as it may be told."""
        return cls(
            normalized_criteria=dict(normalized),
            count=found.matching,
            count_between=found.between,
            customers=found.customers,
            share=share(found.matching, found.customers),
            sample=[
                SampledView(customer_id=disclosure.id(each.id), name=disclosure.personal(each.name))
                for each in found.sample
            ],
        )


class ExplainedClauseView(View):
    """One clause, what the customer has, and whether that will do."""

    pointer: str = Field(description="Where the clause is in `normalizedCriteria`.")
    clause: dict[str, Any]
    value: Any = Field(
        description="The field, the figure, the distance in metres, the geohash, the tags, or "
        "whether the customer is in the zone, segment or cohort. Null for nothing, and where it "
        "would tell of a person to who may not know."
    )
    holds: bool

    @classmethod
    def of(cls, explained: ExplainedClause, currency: str, disclosure: Disclosure) -> Self:
        """`explained` with amounts in `currency`, as far as it may be told."""
        return cls(
            pointer=explained.pointer,
            clause=criteria_document(explained.leaf, currency),
            value=_told(explained.leaf, explained.reading, currency, disclosure),
            holds=explained.holds,
        )


class ExplanationView(View):
    """Why a customer is, or is not, a member."""

    segment_id: str
    customer_id: str
    holds: bool = Field(description="Whether the customer meets the criteria now.")
    is_member: bool
    joined_at: datetime | None
    manual: bool = Field(description="A member by hand, whatever the criteria say.")
    normalized_criteria: dict[str, Any] | None
    clauses: list[ExplainedClauseView]

    @classmethod
    def of(
        cls, found: Explanation, customer_id: str, currency: str, disclosure: Disclosure
    ) -> Self:
        """`found` of the customer, as far as it may be told."""
        membership = found.membership
        return cls(
            segment_id=str(found.segment.id),
            customer_id=disclosure.id(customer_id),
            holds=found.holds,
            is_member=membership is not None,
            joined_at=None if membership is None else membership.joined_at,
            manual=membership is not None and membership.manual,
            normalized_criteria=found.segment.normalized,
            clauses=[ExplainedClauseView.of(each, currency, disclosure) for each in found.clauses],
        )


def _told(leaf: Leaf, reading: Reading, currency: str, disclosure: Disclosure) -> object:
    """A reading as in JSON, or None where it tells of a person."""
    match leaf:
        case FieldClause(field):
            if field.personal and disclosure.anonymous:
                return None
            return _shown(reading, field.kind, currency)
        case OrdersClause() | EventsClause():
            kind = Kind.INTEGER if leaf.measure == "count" else Kind.MONEY
            return _shown(reading, kind, currency)
        case GeohashClause():
            return disclosure.geohash(reading if isinstance(reading, str) else None)
        case CircleClause() | TagClause():
            return disclosure.personal(reading)
        case _:
            return reading


def _shown(reading: Reading, kind: Kind, currency: str) -> object:
    if kind is Kind.MONEY and reading is not None:
        assert isinstance(reading, int | Decimal)
        return from_minor(round_minor(Decimal(reading)), currency)
    if isinstance(reading, date):
        return reading.isoformat().replace("+00:00", "Z")
    return reading


class LookalikeCustomerView(View):
    """A customer who is like the members."""

    customer_id: str
    name: str | None
    similarity: float = Field(
        description="1 at the members' mean, one half where members are on average, towards 0."
    )
    distance: float = Field(description="From the members' mean, in standard deviations.")


class LookalikeView(View):
    """Customers most like the members, who are none; the most similar first."""

    segment_id: str
    members: int
    features: list[str] = Field(description="By which customers were compared.")
    items: list[LookalikeCustomerView]

    @classmethod
    def of(
        cls,
        segment: Segment,
        measured: Likeness | None,
        found: Sequence[Lookalike],
        disclosure: Disclosure = FULL,
    ) -> Self:
        """`found`, as far as it may be told."""
        return cls(
            segment_id=str(segment.id),
            members=segment.member_count,
            features=[] if measured is None else list(map(to_camel, measured.features)),
            items=[
                LookalikeCustomerView(
                    customer_id=disclosure.id(each.id),
                    name=disclosure.personal(each.name),
                    similarity=measured.similarity(each.distance),
                    distance=each.distance,
                )
                for each in found
                if measured is not None
            ],
        )


class SizeView(View):
    """A segment among those that are laid over each other."""

    id: str
    name: str
    members: int
    only_here: int = Field(description="Members of none of the others.")


class PairView(View):
    """Two segments: who is in both."""

    segment_ids: tuple[str, str]
    both: int
    either: int
    jaccard: float | None = Field(description="`both` over `either`.")


class OverlapView(View):
    """How segments lie over each other, by their present members."""

    segments: list[SizeView]
    pairs: list[PairView]
    in_all: int
    in_any: int

    @classmethod
    def of(cls, found: Sequence[Segment], regions: Mapping[int, int]) -> Self:
        """From how many customers are in exactly which of the segments `found`."""

        def count(wanted: int, *, every: bool) -> int:
            return sum(
                customers
                for mask, customers in regions.items()
                if (mask & wanted == wanted if every else mask & wanted)
            )

        bits = [1 << place for place in range(len(found))]
        pairs = []
        for place, first in enumerate(found):
            for other in range(place + 1, len(found)):
                wanted = bits[place] | bits[other]
                both, either = count(wanted, every=True), count(wanted, every=False)
                pairs.append(
                    PairView(
                        segment_ids=(str(first.id), str(found[other].id)),
                        both=both,
                        either=either,
                        jaccard=share(both, either),
                    )
                )
        return cls(
            segments=[
                SizeView(
                    id=str(each.id),
                    name=each.name,
                    members=count(bit, every=True),
                    only_here=regions.get(bit, 0),
                )
                for each, bit in zip(found, bits, strict=True)
            ],
            pairs=pairs,
            in_all=count(sum(bits), every=True),
            in_any=sum(regions.values()),
        )


class CriteriaSchemaView(BaseModel):
    """A JSON Schema."""

    model_config = ConfigDict(extra="allow")
