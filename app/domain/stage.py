"""The stages of a customer's journey, and the rules that lead from one to the next.

A rule names a stage and criteria in the language of segments. The furthest stage whose criteria
hold is where a customer has come to; rules never lead back, which only a person may do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app.domain.criteria import Criteria
from app.domain.criteria_document import parse_criteria
from app.domain.errors import InvalidInput
from app.domain.tenant import Tenant


class Stage(StrEnum):
    """Where a customer stands, from the first contact on."""

    AWARENESS = "awareness"
    CONSIDERATION = "consideration"
    DECISION = "decision"
    RETENTION = "retention"
    ADVOCACY = "advocacy"


#: In the order in which customers come to them.
STAGES = tuple(Stage)

#: Where everybody begins.
FIRST = Stage.AWARENESS


@dataclass(frozen=True, slots=True)
class StageRule:
    """Whoever meets the criteria has come to the stage. `document` is the criteria as JSON."""

    stage: Stage
    criteria: Criteria
    document: dict[str, Any]


#: One order is a decision; another one, or sixty days since, is a matter of keeping the customer;
#: who buys again and brings others in, or is delighted, speaks for the business. Looking at things
#: and answering messages is consideration.
DEFAULT_RULES: tuple[tuple[Stage, dict[str, Any]], ...] = (
    (
        Stage.CONSIDERATION,
        {
            "any": [
                {"field": "responses", "gte": 1},
                {"field": "pendingOrders", "gte": 1},
                {
                    "events": {
                        "type": ["product_view", "add_to_cart", "wishlist"],
                        "count": {"gte": 1},
                        "within": "P90D",
                    }
                },
            ]
        },
    ),
    (Stage.DECISION, {"field": "countedOrders", "gte": 1}),
    (
        Stage.RETENTION,
        {
            "any": [
                {"field": "countedOrders", "gte": 2},
                {
                    "all": [
                        {"field": "countedOrders", "gte": 1},
                        {"field": "daysSinceLastOrder", "gt": 60},
                    ]
                },
            ]
        },
    ),
    (
        Stage.ADVOCACY,
        {
            "all": [
                {"field": "countedOrders", "gte": 3},
                {
                    "any": [
                        {"field": "referredCustomers", "gte": 1},
                        {"field": "satisfactionScore", "gte": 9},
                    ]
                },
            ]
        },
    ),
)


def parse_rules(rules: Sequence[tuple[Stage, dict[str, Any]]], tenant: Tenant) -> list[StageRule]:
    """The rules in the order of their stages.

    Raises InvalidInput for criteria that will not do, for a stage named twice, and for the first
    stage, where everybody is who meets no rule.
    """
    parsed: dict[Stage, StageRule] = {}
    for index, (stage, document) in enumerate(rules):
        if stage is FIRST:
            raise InvalidInput(f"rules.{index}.stage", "is where everybody begins, by no rule")
        if stage in parsed:
            raise InvalidInput(f"rules.{index}.stage", "has a rule already")
        criteria = parse_criteria(document, tenant, f"/rules/{index}/criteria")
        parsed[stage] = StageRule(stage, criteria, document)
    return [parsed[stage] for stage in STAGES if stage in parsed]
