"""Lists as CSV files."""

import csv
import io
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from decimal import Decimal

from app.api.export_stream import Sink, StreamedFile
from app.domain.spreadsheet import FORMULA_STARTS

MEDIA_TYPE = "text/csv; charset=utf-8"

Cell = str | int | float | Decimal | None


class CsvResponse(StreamedFile):
    """A file called `name` with `header` and the rows of `parts`, RFC 4180 in UTF-8.

    A text that a spreadsheet would take for a formula gets an apostrophe in front.
    """

    def __init__(
        self,
        name: str,
        header: Sequence[str],
        parts: AsyncGenerator[Sequence[Sequence[Cell]]],
    ) -> None:
        async def write(sink: Sink) -> None:
            async with aclosing(_texts(header, parts)) as texts:
                async for text in texts:
                    await sink(text)

        super().__init__(f"{name}.csv", MEDIA_TYPE, write)


async def _texts(
    header: Sequence[str], parts: AsyncGenerator[Sequence[Sequence[Cell]]]
) -> AsyncGenerator[bytes]:
    """The file in pieces; the header comes with the first rows."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(header)
    async with aclosing(parts):
        async for rows in parts:
            writer.writerows([harmless(cell) for cell in row] for row in rows)
            yield buffer.getvalue().encode()
            buffer.seek(0)
            buffer.truncate()
    if buffer.tell():
        yield buffer.getvalue().encode()


def harmless(cell: Cell) -> Cell:
    """`cell` as it can be opened in a spreadsheet; numbers stay as they are."""
    if isinstance(cell, str) and cell.startswith(FORMULA_STARTS):
        return f"'{cell}"
    return cell


def row_of(view: Mapping[str, object], columns: Sequence[str]) -> list[Cell]:
    """The cells of a view's `columns`: lists are joined with `; `, instants are as in JSON."""
    return [_cell(view[column]) for column in columns]


def _cell(value: object) -> Cell:
    if value is None or isinstance(value, str | int | float | Decimal):
        return value
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, Sequence):
        return "; ".join(str(each) for each in value)
    return str(value)
