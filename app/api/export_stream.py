"""Answers that are written while they are read from the database: any length in little memory.

What writes one holds a transaction, which ends with the answer: when everything is sent, when the
client is gone, or when it has not taken anything for too long.
"""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

#: A client that takes nothing for so long keeps a connection to the database from others.
STALLED_SECONDS = 30.0

#: Hands a part of the file on, and returns when the client has taken it.
Sink = Callable[[bytes], Awaitable[None]]


class StreamedFile(Response):
    """A file called `filename` whose parts `write` hands to the sink that it is given.

    Until its first part, an error is still answered with a problem document; after it, the answer
    ends without its last chunk, which clients report as an error.
    """

    def __init__(
        self, filename: str, media_type: str, write: Callable[[Sink], Awaitable[None]]
    ) -> None:
        self.status_code = 200
        self.background = None
        self.media_type = media_type
        self.init_headers(
            {
                "Content-Disposition": f'attachment; filename="{filename}"',
                "Cache-Control": "no-store",
            }
        )
        # An answer without a body yet has got a length of its own.
        self.raw_headers = [each for each in self.raw_headers if each[0] != b"content-length"]
        self._write = write

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send part by part; whatever happens, nobody writes any more afterwards."""
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
        started = False

        async def take(part: bytes, *, more: bool = True) -> None:
            nonlocal started
            if not started:
                started = True
                await send(
                    {
                        "type": "http.response.start",
                        "status": self.status_code,
                        "headers": self.raw_headers,
                    }
                )
            async with asyncio.timeout(STALLED_SECONDS):
                await send({"type": "http.response.body", "body": part, "more_body": more})

        await self._write(take)
        await take(b"", more=False)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
