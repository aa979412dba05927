"""Reading a JSON body without trusting it: its size, its numbers, its characters."""

import json
from collections.abc import Iterator
from math import isfinite
from typing import Any, NoReturn

from fastapi.exceptions import RequestValidationError
from starlette.requests import Request

from app.api.errors import BodyTooLarge, UnreadableBody


class JsonRequest(Request):
    """A request whose body is read up to a limit and parsed strictly."""

    async def body(self) -> bytes:
        """The whole body. Raises BodyTooLarge as soon as it is known to be too long."""
        if not hasattr(self, "_body"):
            limit = self.app.state.settings.max_json_bytes
            announced = self.headers.get("content-length", "0")
            if announced.isdecimal() and int(announced) > limit:
                raise _too_large(limit)
            chunks = []
            size = 0
            async for chunk in self.stream():
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                chunks.append(chunk)
            self._body = b"".join(chunks)
        return self._body

    async def json(self) -> Any:
        """The parsed body. Raises UnreadableBody, or RequestValidationError for a bad character."""
        if not hasattr(self, "_json"):
            self._json = parse(await self.body())
        return self._json


def parse(body: bytes) -> Any:
    """The value of a JSON text.

    NaN, infinities and numbers beyond a double are refused, and so are NUL characters and lone
    surrogates, which PostgreSQL cannot store.
    """
    try:
        value = json.loads(body, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError:
        raise UnreadableBody("The body is nested too deeply.") from None
    except UnicodeDecodeError:
        raise UnreadableBody("The body is not UTF-8.") from None
    except ValueError as error:
        raise UnreadableBody(f"{error}.") from None
    # Both kinds of character can only come as an escape; most bodies hold none.
    if b"\\u" in body:
        errors = [
            {"loc": ("body", *path), "msg": "holds a character that cannot be stored"}
            for path in _unstorable(value, ())
        ]
        if errors:
            raise RequestValidationError(errors)
    return value


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"A JSON body may be {limit} bytes long; send more as NDJSON to a batch route."
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if isfinite(number):
        return number
    raise ValueError(f"{digits} is beyond the range of numbers")


def _unstorable(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            yield path
    elif isinstance(value, dict):
        for key, member in value.items():
            yield from _unstorable(key, path)
            yield from _unstorable(member, (*path, key))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from _unstorable(member, (*path, index))
