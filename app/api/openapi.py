"""The OpenAPI document: FastAPI's, with the schemas that every route shares."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from app.api.errors import Problem
from app.api.route import SECURITY_SCHEMES

DESCRIPTION = """
Customer intelligence for retail and wholesale: customers and orders go in, one row of truth per
customer comes out.

Every route under `/api` needs a key, sent as `Authorization: Bearer bps_…` or `X-API-Key: bps_…`.
A refusal is a problem document (RFC 9457). A list answers `items` and `nextCursor`; send the cursor
back as `cursor` for the next page. Amounts are exact decimals in the tenant's currency, written as
strings; instants are ISO 8601 in UTC, and are read as ISO 8601 or as epoch milliseconds.
"""


def install(app: FastAPI) -> None:
    """Make `app` describe itself with our shared schemas."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]  # FastAPI documents this way


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    _, shared = models_json_schema(
        [(Problem, "serialization")], ref_template="#/components/schemas/{model}"
    )
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(shared["$defs"])
    components["securitySchemes"] = SECURITY_SCHEMES
    return document
