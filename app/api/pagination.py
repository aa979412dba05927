"""Pages of a list: an opaque cursor says after which row the next one begins."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field
from pydantic.alias_generators import to_camel

from app.api.errors import BadCursor

DEFAULT_LIMIT = 50
MAX_LIMIT = 500
Item = TypeVar("Item")
Row = TypeVar("Row")
_MAX_BIGINT = 2**63 - 1
_LATEST = datetime.max.replace(tzinfo=UTC)


Limit = Annotated[
    int, Query(ge=1, le=MAX_LIMIT, description="How many items to answer with at most.")
]
Cursor = Annotated[
    str | None,
    Query(max_length=2000, description="`nextCursor` of the page before; leave out for the first."),
]


class Page(BaseModel, Generic[Item]):
    """One page of a list. `nextCursor` is null on the last one."""

    model_config = {"alias_generator": to_camel, "populate_by_name": True}

    items: Sequence[Item]
    next_cursor: str | None = Field(default=None, examples=["WzQyXQ"])


def encode(*position: int | str | float | None) -> str:
    """The cursor of the row that sorts at `position`."""
    text = json.dumps(position, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def page_of(
    found: Sequence[Row], limit: int, position: Callable[[Row], str]
) -> tuple[Sequence[Row], str | None]:
    """The rows to show of up to `limit + 1` found, and the cursor of the next page.

    The one more tells whether there is a next page; `position` is the cursor of a row.
    """
    shown = found[:limit]
    return shown, position(shown[-1]) if len(found) > limit else None


def decode(cursor: str, *kinds: type) -> list[Any]:
    """The position in `cursor`, one value of each of `kinds`. Raises BadCursor."""
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        position = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        raise BadCursor from None
    if not isinstance(position, list) or len(position) != len(kinds):
        raise BadCursor
    for value, kind in zip(position, kinds, strict=True):
        if type(value) is not kind or not _storable(value):
            raise BadCursor
    return position


def _storable(value: Any) -> bool:
    if isinstance(value, int):
        return abs(value) <= _MAX_BIGINT
    return "\0" not in value if isinstance(value, str) else True


def decode_sk(cursor: str | None) -> int:
    """The `sk` after which a page begins; 0, which is before every row, without a cursor."""
    return 0 if cursor is None else int(decode(cursor, int)[0])


def decode_moment(cursor: str | None) -> tuple[datetime, int]:
    """The time and the `sk` before which a page of the newest begins; after all without a cursor.

    Such a cursor is `encode(moment.isoformat(), sk)`. Raises BadCursor.
    """
    if cursor is None:
        return _LATEST, 0
    text, sk = decode(cursor, str, int)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadCursor from None
    if moment.tzinfo is None:
        raise BadCursor
    return moment, sk
