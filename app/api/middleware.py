"""What happens around every request: its id, its count and duration, and the last net."""

import logging
import random
import re
import time
from typing import Any
from urllib.parse import unquote

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.dependencies import SLASH_IN_ID
from app.api.errors import answer_unexpected

logger = logging.getLogger(__name__)

_SANE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_ESCAPED_SLASH = re.compile("%2f", re.IGNORECASE)
_UNROUTED = "(none)"


class RequestMetrics:
    """Requests by route, method and status, and how long they took."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "bps_http_requests",
            "Requests answered.",
            ["method", "route", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "bps_http_request_seconds",
            "Time from the first byte of a request to the start of its answer.",
            ["method", "route"],
            registry=registry,
        )
        # Looking a child up by its labels costs more than counting with it.
        self._counters: dict[tuple[str, str, int], Any] = {}
        self._timers: dict[tuple[str, str], Any] = {}

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Take one answered request into account."""
        counter = self._counters.get((method, route, status))
        if counter is None:
            counter = self._requests.labels(method, route, status)
            self._counters[method, route, status] = counter
        timer = self._timers.get((method, route))
        if timer is None:
            timer = self._timers[method, route] = self._seconds.labels(method, route)
        counter.inc()
        timer.observe(seconds)


class RequestMiddleware:
    """Gives each request an id, counts it, and answers for a bug with a problem document."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        _keep_slashes_of_ids(scope)
        request_id = _request_id(scope)
        scope["bps.request_id"] = request_id.decode()
        started = time.perf_counter()
        answered = False

        async def observe(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                message["headers"].append((b"x-request-id", request_id))
                route = getattr(scope.get("route"), "path", _UNROUTED)
                self.metrics.count(
                    _method(scope), route, message["status"], time.perf_counter() - started
                )
            await send(message)

        try:
            await self.app(scope, receive, observe)
        except Exception:
            logger.exception(
                "request %s failed: %s %s",
                scope["bps.request_id"],
                scope["method"],
                scope.get("route", scope["path"]),
            )
            if answered:
                raise
            await answer_unexpected(scope)(scope, receive, observe)


def _keep_slashes_of_ids(scope: Scope) -> None:
    """Route `/customers/a%2Fb` as one segment: an id may hold a slash, see `PathId`."""
    raw_path: bytes = scope["raw_path"]
    if b"%2f" in raw_path.lower():
        scope["path"] = unquote(_ESCAPED_SLASH.sub(SLASH_IN_ID, raw_path.decode("ascii")))


def _request_id(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE_ID.fullmatch(value):
            return bytes(value)
    # Nobody is to guess it or not to; random bits of the system's own cost ten times as much.
    return b"%032x" % random.getrandbits(128)


def _method(scope: Scope) -> str:
    # A caller may send any word; labels must stay few.
    method: str = scope["method"]
    return method if method in ("GET", "POST", "PATCH", "PUT", "DELETE", "HEAD") else "other"
