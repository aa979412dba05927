"""Clients that do not read an answer to its end."""

import asyncio
from typing import Any

from fastapi import FastAPI

from app.database import Database
from app.domain.tenant import Tenant
from tests.factories import make_key


async def take_first_part(
    app: FastAPI, database: Database, tenant: Tenant, path: str, *, disconnects: bool
) -> None:
    """Ask for a file, take its first part, and then hang up or take nothing any more.

    The answer must hold a connection of `database` when its first part comes.
    """
    app.state.database = database
    key = await make_key(database, tenant)
    taken = asyncio.Event()
    asked = False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await (taken.wait() if disconnects else asyncio.Event().wait())
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            assert database.connections_in_use() == 1
            taken.set()
            await asyncio.Event().wait()

    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(),
        "query_string": b"", "headers": [(b"x-api-key", key.encode())], "http_version": "1.1",
        "scheme": "http", "server": ("test", 80), "client": ("test", 1), "root_path": "",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
    }  # fmt: skip
    await app(scope, receive, send)
