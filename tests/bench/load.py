"""A load generator: keep-alive connections that send the next request when an answer is whole.

It parses no more of an answer than it must, so that the server, not the client, is what is timed.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import cast

CONNECTIONS = 16
PATIENCE_SECONDS = 30


def request(
    method: str,
    path: str,
    token: str,
    body: bytes = b"",
    *,
    media_type: str = "application/json",
    request_id: str | None = None,
) -> bytes:
    """A whole HTTP/1.1 request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n"
    if request_id is not None:
        head += f"X-Request-Id: {request_id}\r\n"
    if body:
        head += f"Content-Type: {media_type}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: bytes) -> bytes:
    """The body of the answer to one request. Raises AssertionError for any but a 2xx."""
    writer.write(asked)
    head = await reader.readuntil(b"\r\n\r\n")
    body = await reader.readexactly(_content_length(head))
    assert head.startswith(b"HTTP/1.1 2"), body
    return body


async def rate(
    port: int, requests: Iterator[bytes], seconds: float, *, connections: int = CONNECTIONS
) -> float:
    """Answered requests a second. Raises AssertionError for any answer but a 2xx."""
    deadline = time.monotonic() + seconds
    loop = asyncio.get_running_loop()
    clients = [_Client(requests, deadline) for _ in range(connections)]
    started = time.perf_counter()
    waiting = iter(clients)
    for _ in clients:
        await loop.create_connection(waiting.__next__, "127.0.0.1", port)
    async with asyncio.timeout(seconds + PATIENCE_SECONDS):
        await asyncio.gather(*(client.done for client in clients))
    return sum(client.answered for client in clients) / (time.perf_counter() - started)


class _Client(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], deadline: float) -> None:
        self.answered = 0
        self.done = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._deadline = deadline
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(
            asyncio.Transport, transport
        )  # uvloop's has the methods, not the base
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < _content_length(head):
            return
        if not head.startswith(b"HTTP/1.1 2"):
            self._end(AssertionError(f"not a 2xx: {self._received!r}"))
            return
        self.answered += 1
        self._received = b""
        if time.monotonic() < self._deadline:
            self._send()
        else:
            self._end(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the server closed the connection"))

    def _send(self) -> None:
        assert self._transport is not None
        self._transport.write(next(self._requests))

    def _end(self, error: Exception | None) -> None:
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)
        assert self._transport is not None
        self._transport.close()


def _content_length(head: bytes) -> int:
    """The length that the head states; 0, which ends the wait, where it states none."""
    _, _, rest = head.lower().partition(b"content-length:")
    return int(rest.partition(b"\r\n")[0] or 0)
