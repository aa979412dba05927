"""The service in a process of its own, with the routes that it is compared with beside its own."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import httpx
from fastapi import FastAPI, Response

from app import main
from app.api.dependencies import Caller, Connection, requires
from app.api.route import router as routes
from app.api.schemas.order import OrderView
from app.domain.access import Scope
from app.repositories import order as orders
from app.services.ingestion import record_orders
from app.services.records import CaptureRecord, EventRecord, OrderRecord

SAME_BYTES = "BENCH_SAME_BYTES"
"""Names the file with the answer of the plain route."""

START_SECONDS = 60

router = routes("bench")


@router.get("/bench/customers/{customer_id}/profile")
async def get_same_bytes(customer_id: str) -> Response:
    """What the profile of a customer looks like, without a key, a database or a computation."""
    return Response(_same_bytes(), media_type="application/json")


@router.post("/bench/orders", status_code=201)
async def record_order_unscored(
    record: OrderRecord,
    caller: Annotated[Caller, requires(Scope.ORDERS_WRITE)],
    connection: Connection,
    create_customers: bool = False,
) -> OrderView:
    """Record an order as `POST /api/orders` does, but leave the customer's figures alone."""
    await record_orders(
        connection,
        caller.tenant,
        [record],
        create_customers=create_customers,
        actor=caller.key_id,
        score=False,
    )
    order = await orders.get(connection, caller.tenant.id, record.id)
    return OrderView.of(order, caller.tenant.currency)


_bytes: dict[str, bytes] = {}


def _same_bytes() -> bytes:
    if not _bytes:
        _bytes["answer"] = Path(os.environ[SAME_BYTES]).read_bytes()
    return _bytes["answer"]


def create_app() -> FastAPI:
    """The service and the routes above, behind the same middleware."""
    app = main.create_app()
    app.include_router(router)
    return app


def create_plain_app() -> FastAPI:
    """A service that takes a capture or an event, reads it as ours does, and forgets it."""
    app = FastAPI()

    @app.post("/bench/capture", status_code=201)
    async def validate_capture(record: CaptureRecord) -> dict[str, str]:
        return {"captureId": record.id, "status": "created"}

    @app.post("/bench/event", status_code=201)
    async def validate_event(record: EventRecord) -> dict[str, str]:
        return {"eventId": record.id, "status": "created"}

    @app.get("/readyz")
    async def get_readiness() -> dict[str, str]:
        return {"status": "ok"}

    return app


@asynccontextmanager
async def serving(
    database_url: str, *, factory: str = "create_app", **environment: str
) -> AsyncIterator[int]:
    """The port of a server with one worker, as `bps up` starts it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "uvicorn", f"tests.bench.server:{factory}", "--factory"),
        *("--port", str(port), "--loop", "uvloop", "--http", "httptools"),
        *("--no-access-log", "--log-level", "warning"),
        env=os.environ | {"DATABASE_URL": database_url} | environment,
    )
    try:
        await _ready(port)
        yield port
    finally:
        process.terminate()
        await process.wait()


def client_of(port: int, token: str) -> httpx.AsyncClient:
    """Who asks the server on this port with this key."""
    return httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}",
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
    )


async def _ready(port: int) -> None:
    async with httpx.AsyncClient(timeout=START_SECONDS) as client:
        for _ in range(START_SECONDS * 10):
            try:
                if (await client.get(f"http://127.0.0.1:{port}/readyz")).is_success:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)
    raise TimeoutError("the server did not start")
