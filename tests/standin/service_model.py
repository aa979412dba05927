"""Whether a request or an answer is what a service model of botocore says, to the last limit.

botocore itself does not look at the longest length, patterns, enumerations or the size of blobs.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape

_TYPES: dict[str, tuple[type, ...]] = {
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
    "string": (str,),
    "blob": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "timestamp": (int, float),
}


def violations(shape: Shape | None, value: Any, at: str = "") -> Iterator[str]:
    """What is wrong with a JSON value by the shape, each with its place; nothing if all is well."""
    if shape is None:
        if value not in ({}, None):
            yield f"{at or '/'}: nothing is expected"
    elif _is(shape.type_name, value):
        check = _CHECKS.get(shape.type_name)
        if check is not None:
            yield from check(shape, value, at)
    else:
        yield f"{at or '/'}: {type(value).__name__} is no {shape.type_name}"


def _is(kind: str, value: Any) -> bool:
    # To Python a truth value is a number as well.
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _in_list(shape: ListShape, value: list[Any], at: str) -> Iterator[str]:
    yield from _in_range(shape, len(value), at, " items")
    for number, each in enumerate(value):
        yield from violations(shape.member, each, f"{at}/{number}")


def _in_map(shape: MapShape, value: dict[str, Any], at: str) -> Iterator[str]:
    yield from _in_range(shape, len(value), at, " entries")
    for name, each in value.items():
        yield from violations(shape.key, name, f"{at}/{name}")
        yield from violations(shape.value, each, f"{at}/{name}")


def _in_string(shape: StringShape, value: str, at: str) -> Iterator[str]:
    yield from _in_range(shape, len(value), at, " characters")
    pattern = shape.metadata.get("pattern")
    if pattern and not re.fullmatch(pattern, value):
        yield f"{at}: {value!r} does not match {pattern}"
    if shape.enum and value not in shape.enum:
        yield f"{at}: {value!r} is none of {', '.join(shape.enum)}"


def _in_structure(shape: StructureShape, value: dict[str, Any], at: str) -> Iterator[str]:
    for name in shape.required_members:
        if value.get(name) is None:
            yield f"{at}/{name}: missing"
    for name, each in value.items():
        if name not in shape.members:
            yield f"{at}/{name}: unknown"
        else:
            yield from violations(shape.members[name], each, f"{at}/{name}")


def _in_blob(shape: Shape, value: str, at: str) -> Iterator[str]:
    try:
        data = base64.b64decode(value, validate=True)
    except binascii.Error:
        yield f"{at}: not base64"
        return
    yield from _in_range(shape, len(data), at, " bytes")


def _in_range(shape: Shape, number: float, at: str, unit: str = "") -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and number < low:
        yield f"{at}: {number}{unit} is less than {low}"
    if high is not None and number > high:
        yield f"{at}: {number}{unit} is more than {high}"


_CHECKS: dict[str, Callable[[Any, Any, str], Iterator[str]]] = {
    "structure": _in_structure,
    "list": _in_list,
    "map": _in_map,
    "string": _in_string,
    "blob": _in_blob,
    "integer": _in_range,
    "long": _in_range,
    "float": _in_range,
    "double": _in_range,
}
