"""The OpenAPI document is complete."""

from typing import Any

import pytest

from app.api.openapi import TAGS
from app.main import create_app
from app.settings import Settings

DOCUMENT = create_app(Settings(_env_file=None)).openapi()
OPERATIONS: list[tuple[str, dict[str, Any]]] = [
    (f"{method.upper()} {path}", operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
every_operation = pytest.mark.parametrize(
    ("name", "operation"), OPERATIONS, ids=[name for name, _ in OPERATIONS]
)


@every_operation
def test_it_says_what_it_is(name: str, operation: dict[str, Any]) -> None:
    assert operation["operationId"].isidentifier()
    assert operation["tags"]
    assert operation["description"].strip()


def test_every_part_is_described_and_has_operations() -> None:
    used = {tag for _, operation in OPERATIONS for tag in operation["tags"]}
    assert [tag["name"] for tag in DOCUMENT["tags"]] == list(TAGS)
    assert used == set(TAGS)


@every_operation
def test_it_says_how_it_refuses(name: str, operation: dict[str, Any]) -> None:
    refusals = {
        status: answer for status, answer in operation["responses"].items() if status >= "400"
    }
    assert "500" in refusals
    for answer in refusals.values():
        schema = answer["content"]["application/problem+json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/Problem"}
    if "security" in operation:
        assert {"401", "403", "503"} <= set(refusals)
    if "requestBody" in operation:
        assert {"400", "413", "422"} <= set(refusals)
    if "{" in name:
        assert "404" in refusals


@every_operation
def test_its_body_has_an_example(name: str, operation: dict[str, Any]) -> None:
    for content in operation.get("requestBody", {"content": {}})["content"].values():
        schema = content["schema"]
        model: dict[str, Any] = {}
        if "$ref" in schema:
            model = DOCUMENT["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        assert {"example", "examples"} & {*content, *schema, *model}, name


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for _, operation in OPERATIONS]
    assert len(ids) == len(set(ids))


def test_no_answer_has_the_frameworks_own_shape() -> None:
    assert "HTTPValidationError" not in str(DOCUMENT)
    assert {"Problem", "ProblemDetail"} <= set(DOCUMENT["components"]["schemas"])
    assert set(DOCUMENT["components"]["securitySchemes"]) == {"bearer", "apiKey"}
