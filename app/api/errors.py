"""Refusals over HTTP: RFC 9457 problem documents, and the one table from error to status."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.database import DatabaseUnavailableError, StatementTimeoutError
from app.domain.errors import (
    AlreadyExists,
    CannotEvaluate,
    Conflict,
    DomainError,
    Forbidden,
    InvalidInput,
    NotFound,
    RunInProgress,
    TookTooLong,
    Unauthenticated,
    UnreadableFile,
)
from app.domain.face import AttributesOff, ConsentRequired, EmotionsOff, SeveralFaces
from app.gateways.face import (
    FaceError,
    FaceLimitReached,
    FaceMismatch,
    FaceProviderFailed,
    FaceProviderNotConfigured,
    FaceProviderTimeout,
    FaceProviderUnavailable,
    NoFace,
    PhotoTooLarge,
    UnreadablePhoto,
    UnusablePhoto,
)
from app.gateways.object_store import (
    ObjectStoreError,
    ObjectStoreFailed,
    ObjectStoreUnavailable,
    PhotoNotFound,
)

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 2


class ProblemDetail(BaseModel):
    """One thing wrong with a request: where it is, and why it will not do."""

    pointer: str | None = Field(
        default=None,
        description="JSON pointer (RFC 6901) into the request body.",
        examples=["/items/3/totalAmount"],
    )
    parameter: str | None = Field(
        default=None, description="Name of the query, path or header parameter.", examples=["limit"]
    )
    reason: str = Field(examples=["must lie within ±1000000000000.00"])


class Problem(BaseModel):
    """A refusal, as RFC 9457 has it."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "/problems/invalid-input",
                "title": "The request breaks a rule",
                "status": 422,
                "detail": "1 value was refused.",
                "instance": "/api/orders",
                "requestId": "6f7c2d4c0e6d4b34a9be6a2c9a3a9d55",
                "errors": [{"pointer": "/totalAmount", "reason": "Field required"}],
            }
        }
    )

    type: str = Field(description="What kind of problem; stable, for programs.")
    title: str = Field(description="The kind of problem, for people.")
    status: int
    detail: str = Field(description="This very problem, for people.")
    instance: str = Field(description="The path that was asked.")
    requestId: str = Field(description="Names the request in the service's log.")  # noqa: N815
    errors: list[ProblemDetail] = []


@dataclass(frozen=True, slots=True)
class Kind:
    """How one error class looks from outside."""

    status: int
    slug: str
    title: str


class UnreadableBody(DomainError):
    """The body is not JSON."""


class UnsupportedMediaType(DomainError):
    """The body is of a type that this route does not read."""


class BodyTooLarge(DomainError):
    """The body is longer than the service reads in one piece."""


class BadCursor(DomainError):
    """A cursor that no list of this service gave out."""

    def __init__(self) -> None:
        super().__init__("The cursor is not one that this list gave out; leave it out to start.")


class KeyReused(DomainError):
    """An Idempotency-Key came again with another request."""


class KeyInUse(Conflict):
    """The first request with this Idempotency-Key has not been answered yet."""


#: The one place where an error learns its status. A class without a row takes its parent's.
KINDS: Mapping[type[Exception], Kind] = {
    NotFound: Kind(404, "not-found", "There is no such thing"),
    AlreadyExists: Kind(409, "already-exists", "It exists already"),
    InvalidInput: Kind(422, "invalid-input", "The request breaks a rule"),
    UnreadableFile: Kind(422, "unreadable-file", "The file cannot be read"),
    Conflict: Kind(409, "conflict", "The request contradicts the present state"),
    RunInProgress: Kind(409, "run-in-progress", "A scoring run is in progress"),
    CannotEvaluate: Kind(422, "cannot-evaluate", "The criteria cannot be evaluated"),
    TookTooLong: Kind(504, "took-too-long", "It took too long"),
    Unauthenticated: Kind(401, "unauthenticated", "A valid API key is needed"),
    Forbidden: Kind(403, "forbidden", "The key does not cover this"),
    UnreadableBody: Kind(400, "unreadable-body", "The body is not valid JSON"),
    UnsupportedMediaType: Kind(415, "unsupported-media-type", "The body is of another type"),
    BodyTooLarge: Kind(413, "body-too-large", "The body is too large"),
    BadCursor: Kind(400, "bad-cursor", "The cursor cannot be read"),
    KeyReused: Kind(
        422, "idempotency-key-reused", "The Idempotency-Key belongs to another request"
    ),
    KeyInUse: Kind(409, "idempotency-key-in-use", "The first request is still in progress"),
    DatabaseUnavailableError: Kind(503, "database-unavailable", "The database cannot be reached"),
    StatementTimeoutError: Kind(504, "statement-timeout", "The database took too long"),
    FaceError: Kind(502, "face_error", "Face recognition failed"),
    ObjectStoreError: Kind(502, "photo_store_error", "The photo store failed"),
    PhotoNotFound: Kind(404, "photo_not_found", "There is no such photo"),
    ConsentRequired: Kind(403, "consent_required", "The customer has not agreed to this"),
    NoFace: Kind(422, "no_face", "There is no usable face in the photo"),
    SeveralFaces: Kind(422, "several_faces", "There are several faces in the photo"),
    FaceMismatch: Kind(422, "face_mismatch", "The face is another person's"),
    UnreadablePhoto: Kind(415, "unreadable_photo", "The photo is neither JPEG nor PNG"),
    UnusablePhoto: Kind(422, "unusable_photo", "The photo is damaged or too small"),
    PhotoTooLarge: Kind(413, "photo_too_large", "The photo is too large"),
    AttributesOff: Kind(409, "attributes_off", "Estimates are turned off"),
    EmotionsOff: Kind(409, "emotions_off", "Emotions are turned off"),
    FaceLimitReached: Kind(429, "face_limit_reached", "Too many face requests"),
    FaceProviderNotConfigured: Kind(
        503, "face_provider_not_configured", "Face recognition is not set up"
    ),
    FaceProviderUnavailable: Kind(
        503, "face_provider_unavailable", "Face recognition is not available"
    ),
    FaceProviderFailed: Kind(502, "face_provider_failed", "Face recognition failed"),
    FaceProviderTimeout: Kind(504, "face_provider_timeout", "Face recognition took too long"),
    ObjectStoreUnavailable: Kind(
        503, "photo_store_unavailable", "The photo store is not available"
    ),
    ObjectStoreFailed: Kind(502, "photo_store_failed", "The photo store failed"),
}

_HEADERS: Mapping[type[Exception], Mapping[str, str]] = {
    Unauthenticated: {"WWW-Authenticate": 'Bearer realm="bps"'},
    # What is left of the body is not read, so the connection cannot carry another request.
    BodyTooLarge: {"Connection": "close"},
    PhotoTooLarge: {"Connection": "close"},
    DatabaseUnavailableError: {"Retry-After": str(RETRY_SECONDS)},
    KeyInUse: {"Retry-After": "1"},
}

_VALIDATION = KINDS[InvalidInput]
_UNEXPECTED = Kind(500, "unexpected", "Something went wrong here")


def install(app: FastAPI) -> None:
    """Answer every refusal of `app` with a problem document."""
    for error in (DomainError, DatabaseUnavailableError, StatementTimeoutError):
        app.add_exception_handler(error, _refused)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(HTTPException, _not_routed)


def kind_of(error: Exception) -> Kind:
    """The row of the table that covers `error`."""
    for ancestor in type(error).__mro__:
        if ancestor in KINDS:
            return KINDS[ancestor]
    return _UNEXPECTED


def answer(
    scope: Mapping[str, Any],
    kind: Kind,
    detail: str,
    *,
    errors: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The problem document for the request of `scope`."""
    document: dict[str, Any] = {
        "type": f"/problems/{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "instance": scope["raw_path"].decode("ascii", "replace"),
        "requestId": scope.get("bps.request_id", ""),
    }
    if errors:
        document["errors"] = list(errors)
    return Response(
        # A path or a value may hold half a surrogate pair, which only escaping can carry.
        json.dumps(document, ensure_ascii=True),
        status_code=kind.status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )


def answer_unexpected(scope: Mapping[str, Any]) -> Response:
    """What a caller learns of a bug: that there is one, and under which id to ask."""
    return answer(scope, _UNEXPECTED, "The service failed; its log has the reason.")


async def _refused(request: Request, error: Exception) -> Response:
    errors = []
    if isinstance(error, InvalidInput):
        field = error.field
        pointer = field if field.startswith("/") else _pointer(field.split("."))
        errors.append({"pointer": pointer, "reason": error.reason})
    return answer(
        request.scope,
        kind_of(error),
        str(error),
        errors=errors,
        headers=_headers(error),
    )


def _headers(error: Exception) -> Mapping[str, str] | None:
    # Some know how long it will take, from whom they wait for.
    if isinstance(error, (FaceLimitReached, FaceProviderUnavailable, ObjectStoreUnavailable)):
        return {"Retry-After": str(error.retry_after)}
    return next((_HEADERS[each] for each in type(error).__mro__ if each in _HEADERS), None)


async def _not_valid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [_located(each["loc"], each["msg"]) for each in error.errors()]
    count = len(errors)
    detail = "1 value was refused." if count == 1 else f"{count} values were refused."
    return answer(request.scope, _VALIDATION, detail, errors=errors)


async def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    slug = status.phrase.lower().replace(" ", "-")
    kind = KINDS[NotFound] if status == HTTPStatus.NOT_FOUND else Kind(status, slug, status.phrase)
    return answer(request.scope, kind, error.detail, headers=error.headers)


def _located(location: Sequence[str | int], reason: str) -> dict[str, str]:
    place, *path = location
    if place == "body":
        return {"pointer": _pointer(path), "reason": reason}
    return {"parameter": ".".join(map(str, path)), "reason": reason}


def _pointer(path: Iterable[str | int]) -> str:
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)


def bad_parameter(place: str, name: str, reason: str) -> RequestValidationError:
    """The refusal of one parameter; `place` is query, header or path."""
    return RequestValidationError([{"loc": (place, name), "msg": reason, "type": "value_error"}])


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route that may answer with `statuses`."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }
