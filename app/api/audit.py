"""What a route that shows customers leaves in the audit trail."""

from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

from fastapi import Request
from fastapi.dependencies.models import Dependant

from app.api.dependencies import SLASH_IN_ID, caller_of
from app.api.pagination import Page
from app.domain.access import Scope
from app.services.auditing import AccessLog, Read, write_export

_TRUE = frozenset({"true", "1", "on", "yes", "t", "y"})
#: Names that a route gives the customer in its path.
_CUSTOMER_PARAMETERS = ("customerId", "customer_id", "id")

_shown: ContextVar[int] = ContextVar("customers_shown", default=1)
_about: ContextVar[str | None] = ContextVar("customer_shown", default=None)


def note_shown(customers: int) -> None:
    """Say how many customers the answer of this request shows, where it is no page of them."""
    _shown.set(customers)


def note_subject(customer_id: str) -> None:
    """Say whom the answer of this request is about, where the path does not."""
    _about.set(customer_id)


def shows_customers(dependant: Dependant) -> bool:
    """Whether a route tells of customers: it can be asked not to name them."""
    return any(parameter.alias == "anonymize" for parameter in dependant.query_params) or any(
        map(shows_customers, dependant.dependencies)
    )


def counted(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """`endpoint`, which leaves the number of customers on its page for `note_read`.

    One that is no coroutine runs in another thread, asks no database and shows nobody.
    """
    if not iscoroutinefunction(endpoint):
        return endpoint

    @wraps(endpoint)
    async def count(*args: Any, **kwargs: Any) -> Any:
        _shown.set(1)
        _about.set(None)
        answer = await endpoint(*args, **kwargs)
        if isinstance(answer, Page):
            _shown.set(len(answer.items))
        return answer

    return count


def note_read(request: Request, path: str, operation: str) -> None:
    """Note an answer that is about to be sent."""
    access_log: AccessLog = request.app.state.access_log
    access_log.note(_read(request, path, operation, _shown.get()))


async def write_before_export(request: Request, path: str, operation: str) -> None:
    """Write down an export that is about to begin, whose customers are not counted yet."""
    await write_export(request.app.state.database, _read(request, path, operation, 0))


def _read(request: Request, path: str, operation: str, customers: int) -> Read:
    caller = caller_of(request)
    asked = request.query_params.get("anonymize", "").lower() in _TRUE
    subject = _about.get() or _subject(request, path)
    return Read(
        datetime.now(UTC),
        caller.tenant.id,
        caller.key_id,
        operation,
        subject,
        customers if subject is None else 1,
        asked or Scope.CUSTOMERS_ANONYMIZED in caller.scopes,
        request.scope.get("bps.request_id"),
    )


def _subject(request: Request, path: str) -> str | None:
    """The customer named in the path, where it names one."""
    if not path.startswith("/api/customers/"):
        return None
    parameters = request.scope["path_params"]
    for name in _CUSTOMER_PARAMETERS:
        if name in parameters:
            return str(parameters[name]).replace(SLASH_IN_ID, "/")
    return None
