"""Journeys over HTTP: where customers stand, how they came there, by which rules."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field

from app.api.schemas.figures import share
from app.api.schemas.profile import View
from app.domain.privacy import Disclosure
from app.domain.stage import FIRST, STAGES, Stage
from app.repositories.stage import CustomerStage, Move, StageFlow
from app.services.records import Identity, Record
from app.services.staging import Rules

RULES_EXAMPLE: dict[str, Any] = {
    "rules": [
        {"stage": "decision", "criteria": {"field": "countedOrders", "gte": 1}},
        {"stage": "retention", "criteria": {"field": "countedOrders", "gte": 3}},
    ]
}


class StageChange(Record):
    """The stage that a customer is to be at."""

    model_config = ConfigDict(json_schema_extra={"example": {"stage": "advocacy"}})

    stage: Stage
    user_id: Identity | None = None


class RuleRecord(Record):
    """Whoever meets the criteria, in the language of segments, has come to the stage."""

    stage: Stage
    criteria: dict[str, Any]


class RulesRecord(Record):
    """All rules of a tenant, at most one for each stage but the first."""

    model_config = ConfigDict(json_schema_extra={"example": RULES_EXAMPLE})

    rules: Annotated[list[RuleRecord], Field(max_length=len(STAGES))]


class RuleView(View):
    """One rule."""

    stage: Stage
    criteria: dict[str, Any]


class RulesView(View):
    """The rules in the order of their stages; the furthest one that holds decides."""

    rules: list[RuleView]
    is_default: bool
    updated_at: datetime | None
    updated_by: str | None = Field(description="Id of the key.")

    @classmethod
    def of(cls, rules: Rules) -> Self:
        """`rules` in the words of the API."""
        return cls(
            rules=[RuleView(stage=each.stage, criteria=each.document) for each in rules.rules],
            is_default=rules.updated_at is None,
            updated_at=rules.updated_at,
            updated_by=rules.updated_by,
        )


class CustomerStageView(View):
    """Where a customer stands."""

    customer_id: str
    name: str | None
    current_stage: Stage
    stage_entered_at: datetime
    days_in_stage: int
    set_by: str | None = Field(description="Id of the key that set it by hand; null for a rule.")

    @classmethod
    def of(cls, found: CustomerStage, as_of: datetime, disclosure: Disclosure) -> Self:
        """`found` as of an instant."""
        return cls(
            customer_id=disclosure.id(found.customer_id),
            name=disclosure.personal(found.name),
            current_stage=found.stage,
            stage_entered_at=found.entered_at,
            days_in_stage=max((as_of - found.entered_at).days, 0),
            set_by=found.set_by,
        )


class MoveView(View):
    """A customer came to a stage."""

    from_stage: Stage | None
    stage: Stage
    entered_at: datetime
    set_by: str | None

    @classmethod
    def of(cls, move: Move) -> Self:
        """`move` in the words of the API."""
        return cls(
            from_stage=move.from_stage,
            stage=move.stage,
            entered_at=move.entered_at,
            set_by=move.set_by,
        )


class StageSummaryView(View):
    """A stage: who is there, and what became of those who entered it in the period."""

    stage: Stage
    customers: int
    share: float
    average_days_in_stage: float | None
    entered: int
    advanced: int = Field(description="Went on to a later stage within the period.")
    fell_back: int = Field(description="Were set back by hand.")
    stalled: int = Field(description="Did not leave for as long as `stalledAfter` says, or longer.")
    conversion: float | None = Field(description="Share of the entered that advanced.")
    drop_off: float | None = Field(description="Share of the entered that stalled or fell back.")
    median_days_to_advance: float | None


class JourneySummaryView(View):
    """The stages in their order."""

    items: list[StageSummaryView]
    customers: int
    as_of: datetime

    @classmethod
    def of(
        cls,
        counts: Mapping[Stage, tuple[int, float]],
        flow: Mapping[Stage, StageFlow],
        unplaced: int,
        as_of: datetime,
    ) -> Self:
        """The figures by stage; customers who were never looked at count for the first one."""
        everybody = unplaced + sum(customers for customers, _ in counts.values())
        items = []
        for stage in STAGES:
            customers, days = counts.get(stage, (0, None))
            customers += unplaced if stage is FIRST else 0
            moves = flow.get(stage, StageFlow(stage, 0, 0, 0, 0, None))
            items.append(
                StageSummaryView(
                    stage=stage,
                    customers=customers,
                    share=share(customers, everybody),
                    average_days_in_stage=days,
                    entered=moves.entered,
                    advanced=moves.advanced,
                    fell_back=moves.fell_back,
                    stalled=moves.stalled,
                    conversion=_share(moves.advanced, moves.entered),
                    drop_off=_share(moves.stalled + moves.fell_back, moves.entered),
                    median_days_to_advance=moves.median_days,
                )
            )
        return cls(items=items, customers=everybody, as_of=as_of)


def _share(part: int, whole: int) -> float | None:
    return share(part, whole) if whole else None


def moves_of(moves: Sequence[Move]) -> list[MoveView]:
    """The moves in the words of the API."""
    return [MoveView.of(each) for each in moves]
