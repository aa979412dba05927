"""Columns of texts go to the database as one text, and come back as they were."""

import pytest
from sqlalchemy import text

from app.database import Connection, fetch_rows
from app.repositories.arrays import columns_of, joined, split, unnested

FIELDS = ("name", "number", "note")
KINDS = {"number": "integer", "note": "text"}


@pytest.mark.parametrize(
    "rows",
    [
        [("a", 1, "x")],
        [("a", 1, ""), (None, None, None), ('b, {c} \\ "d" 🙂', 2, "two\nlines\x1f")],
        [(None, 1, None), (None, 2, None)],
        [(None, 7, "only")],
    ],
)
async def test_rows_come_back(
    connection: Connection, rows: list[tuple[str | None, int | None, str | None]]
) -> None:
    statement = f"SELECT * FROM unnest({unnested(FIELDS, KINDS, first=1)})"
    found = await fetch_rows(connection, statement, *columns_of(rows, FIELDS, KINDS))
    assert [tuple(row) for row in found] == rows


async def test_of_nothing_there_is_nothing(connection: Connection) -> None:
    assert joined([]) is None
    rows = await connection.execute(text(f"SELECT 'a' = ANY ({split('NULL')})"))
    assert rows.scalar_one() is None


@pytest.mark.parametrize("wrong", ["", "a\x1fb"])
def test_what_would_not_come_back_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="empty or holds"):
        joined(["a", wrong])
