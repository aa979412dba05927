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

#: The parts of the service in the order of the documentation, and what each is for.
TAGS = {
    "customers": "Who they are, one row each.",
    "addresses": "Where customers want to be delivered to.",
    "orders": "What customers bought, and what of it came back.",
    "stores": "Where they buy.",
    "contacts": "When the business wrote or called, and what came of it.",
    "feedback": "What customers say: scores, complaints, reviews.",
    "insights": "A customer's scores, one by one or together.",
    "journey": "What happened with a customer, in the order of time.",
    "referrals": "Who brought whom in.",
    "analytics": "Figures of everybody: segments, value, churn, influence, sales.",
    "exports": "Lists as files.",
    "scores": "Scores written back by other systems.",
    "geo": "Captures, traces, zones, clusters, who is near, exports and map tiles.",
    "segmentation": "Segments by criteria, cohorts, stages, predictions, figures of each day.",
    "events": "What customers do on a site or in an app.",
    "behavior": "What their events add up to: summaries, funnels, retention.",
    "face": "Recognising those who agreed to it.",
    "venues": "The customers of one venue, for its own people.",
    "privacy": "Duplicates, merging, erasure, and who read what.",
    "admin": "The tenant, its jobs, checks and settings.",
    "health": "For load balancers and monitors.",
}


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
        tags=[{"name": name, "description": text} for name, text in TAGS.items()],
    )
    _, shared = models_json_schema(
        [(Problem, "serialization")], ref_template="#/components/schemas/{model}"
    )
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(shared["$defs"])
    components["securitySchemes"] = SECURITY_SCHEMES
    return document
