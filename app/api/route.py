"""How every route of the service behaves: strict bodies, kept answers, documented refusals."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.responses import JSONResponse, Response

from app.api import audit, idempotency
from app.api.body import JsonRequest
from app.api.dependencies import (
    SLASH_IN_ID,
    Admits,
    Gathers,
    Requires,
    admit,
    admitted_connection,
    caller_of,
    presented_key,
)
from app.api.errors import UnsupportedMediaType, bad_parameter, problems
from app.domain.access import Scope
from app.domain.errors import NotFound
from app.repositories import former

SECURITY_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "bps_<id>.<secret>",
        "description": "`Authorization: Bearer bps_<id>.<secret>`",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}

_IDEMPOTENCY_KEY = {
    "name": idempotency.HEADER,
    "in": "header",
    "required": False,
    "description": (
        "Any text of your own that names this request. Sent again within 24 hours, the same "
        "request gets the first answer again and does nothing."
    ),
    "schema": {"type": "string", "maxLength": idempotency.MAX_LENGTH, "minLength": 1},
    "example": "0c5c1a57-till-3-000142",
}

Guard = Requires | Admits
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Route(APIRoute):
    """A route whose operation id is its function's name and whose refusals are documented.

    A body is read strictly (`JsonRequest`) and only after a key was shown; the answer to a POST
    with an Idempotency-Key is kept in the transaction that made it.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        options["operation_id"] = options.get("operation_id") or endpoint.__name__
        reads = "GET" in (options.get("methods") or ["GET"])
        super().__init__(path, audit.counted(endpoint) if reads else endpoint, **options)
        self.responses = {**problems(*self._refusals()), **self._pointer(), **self.responses}
        self.openapi_extra = {**self._extra(), **(self.openapi_extra or {})}

    def get_route_handler(self) -> Handler:
        """The handler of FastAPI, with our way of reading and keeping around it."""
        handle = super().get_route_handler()
        scope_needed = self.required_scope
        admits_itself = _guard(self.dependant, Admits) is not None
        is_read = "GET" in (self.methods or ())
        tells_of_customers = is_read and audit.shows_customers(self.dependant)
        path, operation = self.path_format, self.operation_id or ""
        takes_json = self.body_field is not None
        straight = self._straight()

        async def respond(request: Request) -> Response:
            scope = request.scope
            if "\0" in scope["path"] or b"%00" in scope["query_string"]:
                raise bad_parameter("path", "", "The address holds a NUL character.")
            if scope_needed is None:
                return await handle(request)
            presented_key(request)
            request = JsonRequest(scope, request.receive)
            if takes_json:
                _check_media_type(request)
                # Read before the transaction begins, because the caller may be slow to send it;
                # and here, because FastAPI would call every failure to read it by one name.
                if await request.body():
                    await request.json()
            try:
                if straight is not None and not scope["query_string"]:
                    response = await straight(request)
                    if response is not None:
                        return response
                if admits_itself:
                    response = await handle(request)
                    if tells_of_customers and response.status_code < 300:
                        await audit.write_before_export(request, path, operation)
                    return response
                async with admit(request, scope_needed):
                    try:
                        response = await handle(request)
                    except NotFound as missing:
                        moved = await self._moved(request, missing) if is_read else None
                        if moved is None:
                            raise
                        return moved
                    if tells_of_customers and response.status_code < 300:
                        audit.note_read(request, path, operation)
                    await idempotency.keep(request, response)
                    return response
            except idempotency.Replayed as replayed:
                return replayed.response

        return respond

    def _straight(self) -> Callable[[Request], Coroutine[Any, Any, Response | None]] | None:
        """For a route that gathers what is sent to it: a shorter way to it for a valid body.

        FastAPI reads the signature anew for each request, which takes longer than to write a row.
        The way answers None for a body that is not valid, which FastAPI then says of it, too.
        """
        guard = _guard(self.dependant, Gathers)
        if guard is None or self.body_field is None:
            return None
        [body] = self.dependant.body_params
        [caller] = (each for each in self.dependant.dependencies if each.call is guard)
        model = body.field_info.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        validate = model.__pydantic_validator__.validate_python
        endpoint = self.endpoint
        names = (self.dependant.request_param_name or "", body.name, caller.name or "")

        async def answer(request: Request) -> Response | None:
            if not await request.body():
                return None
            try:
                record = validate(await request.json())
            except ValidationError:
                return None
            given = (request, record, await guard(request))
            response: Response = await endpoint(**dict(zip(names, given, strict=True)))
            return response

        return answer

    async def _moved(self, request: Request, missing: NotFound) -> Response | None:
        """The pointer to the customer into whom the one in the path was merged, if one was.

        Nothing for a key that may not learn ids: the pointer is one.
        """
        caller = caller_of(request)
        if missing.noun != "customer" or Scope.CUSTOMERS_ANONYMIZED in caller.scopes:
            return None
        connection = admitted_connection(request)
        present_id = await former.find_present_id(connection, caller.tenant.id, missing.key)
        if present_id is None:
            return None
        path = self.path_format.format(
            **{
                name: quote(present_id if _plain(value) == missing.key else _plain(value), safe="")
                for name, value in request.scope["path_params"].items()
            }
        )
        query = request.scope["query_string"].decode("latin-1")
        return JSONResponse(
            {"mergedInto": present_id},
            status_code=301,
            headers={"Location": f"{path}?{query}" if query else path},
        )

    def _pointer(self) -> dict[int | str, dict[str, Any]]:
        """The answer under the id of a customer who was merged into another."""
        if "GET" not in (self.methods or ()) or not self.path.startswith("/api/customers/{"):
            return {}
        return {
            301: {
                "description": "The customer was merged into the one at `Location`.",
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "required": ["mergedInto"],
                            "properties": {"mergedInto": {"type": "string"}},
                        },
                        "example": {"mergedInto": "cus-123"},
                    }
                },
            }
        }

    def _refusals(self) -> list[int]:
        """The statuses that this route may refuse with because of what it has in common."""
        statuses = [422, 500]
        if self.required_scope is not None:
            statuses += [401, 403, 503, 504]
        if self._is_post:
            statuses.append(409)
        if self.body_field is not None or "requestBody" in (self.openapi_extra or {}):
            statuses += [400, 413, 415]
        if self.dependant.path_params:
            statuses.append(404)
        return sorted(statuses)

    def _extra(self) -> dict[str, Any]:
        extra: dict[str, Any] = {}
        if self.required_scope is not None:
            extra["security"] = [{name: []} for name in SECURITY_SCHEMES]
            extra["x-required-scope"] = str(self.required_scope)
        if self._is_post:
            extra["parameters"] = [_IDEMPOTENCY_KEY]
        return extra

    @property
    def _is_post(self) -> bool:
        return "POST" in (self.methods or ())

    @property
    def required_scope(self) -> Scope | None:
        """The scope a key needs for this route; None for a route that needs no key."""
        guard = _guard(self.dependant, Requires, Admits)
        return None if guard is None else guard.scope


def router(tag: str, prefix: str = "") -> APIRouter:
    """A router of our routes, all under one tag."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=Route)


G = TypeVar("G", bound=Guard)


def _guard(dependant: Dependant, *kinds: type[G]) -> G | None:
    """The guard of one of these kinds among what a route depends on."""
    if isinstance(dependant.call, kinds):
        return dependant.call
    found = (_guard(each, *kinds) for each in dependant.dependencies)
    return next((guard for guard in found if guard is not None), None)


def _plain(path_parameter: object) -> str:
    return str(path_parameter).replace(SLASH_IN_ID, "/")


def _check_media_type(request: Request) -> None:
    headers = request.headers
    if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        return
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaType("Send the body as application/json.")
