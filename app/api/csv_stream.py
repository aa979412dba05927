"""CSV answers that are written while they are read: any number of rows in little memory.

The rows come from a cursor of the server, in a transaction of their own that ends with the answer:
when everything is sent, when the client is gone, or when it has not taken anything for too long.
"""

import asyncio
import csv
import io
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from decimal import Decimal

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

MEDIA_TYPE = "text/csv; charset=utf-8"

#: A client that takes nothing for so long keeps a connection to the database from others.
STALLED_SECONDS = 30.0

#: What makes a spreadsheet take a text for a formula; the last four are full-width.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")

Cell = str | int | float | Decimal | None


class CsvResponse(Response):
    """A file called `name` with `header` and the rows of `parts`, RFC 4180 in UTF-8.

    A text that a spreadsheet would take for a formula gets an apostrophe in front.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self,
        name: str,
        header: Sequence[str],
        parts: AsyncGenerator[Sequence[Sequence[Cell]]],
    ) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers(
            {
                "Content-Disposition": f'attachment; filename="{name}.csv"',
                "Cache-Control": "no-store",
            }
        )
        # An answer without a body yet has got a length of its own.
        self.raw_headers = [each for each in self.raw_headers if each[0] != b"content-length"]
        self._header = header
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send row by row; the rows are closed whatever happens."""
        sending = asyncio.create_task(self._send(send))
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            if not sending.done():
                sending.cancel()
            await asyncio.gather(gone, sending, return_exceptions=True)
        if not sending.cancelled():
            sending.result()

    async def _send(self, send: Send) -> None:
        async with aclosing(_texts(self._header, self._parts)) as texts:
            # A database that fails at once is still answered with a problem document.
            part = await anext(texts)
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            await _send_part(send, part, more=True)
            async for part in texts:
                await _send_part(send, part, more=True)
        await _send_part(send, b"", more=False)


async def _send_part(send: Send, body: bytes, *, more: bool) -> None:
    async with asyncio.timeout(STALLED_SECONDS):
        await send({"type": "http.response.body", "body": body, "more_body": more})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


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
    if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS):
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
