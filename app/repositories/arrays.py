"""Rows as the arrays that a statement unnests."""

from collections.abc import Sequence
from typing import Any


def columns_of(rows: Sequence[tuple[Any, ...]]) -> list[list[Any] | None]:
    """A list for each column of `rows`, which are at least one; None for a column of nothing.

    What no row has need not be said for each: where an array is missing, unnest gives nulls.
    """
    return [
        None if all(value is None for value in column) else list(column)
        for column in zip(*rows, strict=True)
    ]
