"""Newline-delimited JSON, read as it arrives."""

from collections.abc import AsyncIterable, AsyncIterator
from typing import IO

MEDIA_TYPE = "application/x-ndjson"
MEDIA_TYPES = (MEDIA_TYPE, "application/ndjson", "application/jsonl")

MAX_LINE_BYTES = 1024 * 1024


async def read_lines(parts: AsyncIterable[bytes]) -> AsyncIterator[list[tuple[int, bytes | None]]]:
    """Some lines at a time, with their numbers from 0; blank ones left out, None for too long."""
    index = 0
    rest = b""
    too_long = False
    async for part in parts:
        first, *following = part.split(b"\n")
        rest += b"" if too_long else first
        lines: list[tuple[int, bytes | None]] = []
        for line in following:
            if too_long or len(rest) > MAX_LINE_BYTES:
                lines.append((index, None))
            elif rest.strip():
                lines.append((index, rest))
            index += 1
            too_long = False
            rest = line
        yield lines
        if len(rest) > MAX_LINE_BYTES:
            too_long, rest = True, b""
    if too_long:
        yield [(index, None)]
    elif rest.strip():
        yield [(index, rest)]


async def read_parts(body: IO[bytes]) -> AsyncIterator[bytes]:
    """A file as the parts of a request's body."""
    while part := body.read(64 * 1024):
        yield part
