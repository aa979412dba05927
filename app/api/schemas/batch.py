"""Batches over HTTP."""

import json
from typing import Any, Literal

from pydantic import BaseModel, Field


class ItemProblem(BaseModel):
    """Why an item was refused."""

    pointer: str = Field(description="JSON pointer into the item.", examples=["/totalAmount"])
    reason: str = Field(examples=["must be a finite number"])


class ItemResult(BaseModel):
    """What became of one item. `error` comes with the status rejected only."""

    index: int = Field(description="Place of the item, from 0; for NDJSON of its line.")
    id: str | None
    status: Literal["created", "updated", "unchanged", "duplicate", "stale", "rejected"]
    error: ItemProblem | None = None


class BatchAnswer(BaseModel):
    """What became of every item. NDJSON is answered with one `ItemResult` a line."""

    items: list[ItemResult]
    accepted: int
    rejected: int


def batch_body(model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """The request body of a batch of `model`, such as `example`, as OpenAPI has it."""
    item = model.model_json_schema(by_alias=True)
    wrapped = {"type": "object", "properties": {"items": {"type": "array", "maxItems": 1000}}}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"oneOf": [{"type": "array", "maxItems": 1000}, wrapped]},
                    "example": [example],
                },
                "application/x-ndjson": {
                    "example": json.dumps(example),
                    "schema": {
                        "type": "string",
                        "description": f"One {item['title']} a line, without a limit.",
                    },
                },
            },
        }
    }
