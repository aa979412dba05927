"""Scores written back, over HTTP."""

import json
from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import ConfigDict, Field

from app.api.schemas.batch import ItemProblem
from app.api.schemas.profile import View
from app.repositories.written_score import ExternalRun
from app.services.records import Instant, Record
from app.services.written_scores import ModelVersion, ScoreRecord

MAX_ITEMS = 10_000

EXAMPLE: dict[str, Any] = {
    "customerId": "cus-0001",
    "rfmSegment": "champion",
    "rfmScores": {"r": 5, "f": 4, "m": 5},
    "clvScore": "15000000.00",
    "clvPercentile": 92,
    "churnRiskScore": 0.12,
    "churnRiskFactors": ["fewer_visits"],
    "influenceScore": 41.5,
    "recommendedProducts": ["sku-104", "sku-233"],
    "nextPurchaseDate": "2026-04-02",
    "nextPurchaseConfidence": 0.7,
}


class RefusedScore(View):
    """An item that was not taken, and why."""

    index: int = Field(description="Place of the item, from 0; for NDJSON of its line.")
    customer_id: str | None
    error: ItemProblem


class ScoreAnswer(View):
    """What became of the items. NDJSON is answered with a line for each error and a summary."""

    updated: int = Field(description="Customers whose scores changed.")
    unchanged: int = Field(description="Customers who had these scores already.")
    stale: int = Field(description="Customers who have scores of a later as-of; left alone.")
    rejected: int
    errors: list[RefusedScore]


class PartAnswer(View):
    """What became of the items of a part. NDJSON is answered as for the scores of one request."""

    accepted: int = Field(description="Customers whose scores the run now has from this part.")
    rejected: int
    errors: list[RefusedScore]


class NewRun(Record):
    """As of when, and by which model, the scores of a run were computed."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"asOf": "2026-03-01T00:00:00Z", "modelVersion": "xgb-2026-03"}
        }
    )

    as_of: Instant
    model_version: ModelVersion


class RunOutcome(View):
    """What a commit did, in customers."""

    updated: int
    unchanged: int
    stale: int


class RunView(View):
    """A run of scores in parts."""

    run_id: UUID
    status: Literal["open", "committed", "discarded"]
    as_of: datetime
    model_version: str
    opened_at: datetime
    opened_by: str | None = Field(description="The id of the key that opened it.")
    closed_at: datetime | None
    staged: int | None = Field(
        default=None, description="Customers added so far; of a single open run only."
    )
    outcome: RunOutcome | None = Field(description="Of a committed run.")

    @classmethod
    def of(cls, run: ExternalRun, *, staged: int | None = None) -> Self:
        """`run` as the API shows it."""
        outcome = run.outcome
        return cls(
            run_id=run.id,
            status=run.status,
            as_of=run.as_of,
            model_version=run.model_version,
            opened_at=run.opened_at,
            opened_by=run.opened_by,
            closed_at=run.closed_at,
            staged=staged,
            outcome=None
            if outcome is None
            else RunOutcome(
                updated=outcome.updated, unchanged=outcome.unchanged, stale=outcome.stale
            ),
        )


def score_body(*, of_run: bool) -> dict[str, Any]:
    """The request body of many scores, as OpenAPI has it."""
    item = ScoreRecord.model_json_schema(by_alias=True)
    items = {"type": "array", "maxItems": MAX_ITEMS}
    properties: dict[str, Any] = {"items": items}
    if not of_run:
        properties |= {
            "asOf": {"type": "string", "format": "date-time"},
            "modelVersion": {"type": "string"},
        }
    wrapped = {"type": "object", "required": ["items"], "properties": properties}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"oneOf": [items, wrapped]},
                    "example": [EXAMPLE],
                },
                "application/x-ndjson": {
                    "example": json.dumps(EXAMPLE),
                    "schema": {
                        "type": "string",
                        "description": f"One {item['title']} a line, without a limit.",
                    },
                },
            },
        }
    }
