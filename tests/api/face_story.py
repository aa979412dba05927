"""What the tests of faces have in common: agreeing, enrolling, searching."""

from typing import Any

import httpx
from sqlalchemy import text

from app.database import Database
from app.domain.tenant import Tenant
from app.repositories import face_erasure as erasures
from app.services.face_backend import FaceBackend
from app.services.face_erasure import run_erasure
from tests.standin.photos import Face, jpeg

NOTICE = "Kami menyimpan wajah Anda untuk mengenali Anda di kasir."


async def agree(
    client: httpx.AsyncClient, customer_id: str = "cus-1", *purposes: str, **more: Any
) -> httpx.Response:
    """Record that a customer agrees; to being enrolled and found, unless told otherwise."""
    answer = await client.post(
        "/api/face/consents",
        json={
            "customerId": customer_id,
            "purposes": list(purposes) or ["enrol", "identify"],
            "noticeVersion": "2026-01",
            "noticeText": NOTICE,
            "method": "paper_form",
            "evidence": "form 4711",
            **more,
        },
    )
    assert answer.status_code == 201, answer.text
    return answer


async def enrol(
    client: httpx.AsyncClient, customer_id: str, photo: bytes, path: str = "/api/face/index"
) -> httpx.Response:
    """Enrol a photo as a till does: by a form."""
    return await client.post(
        path, data={"customerId": customer_id}, files={"file": ("p.jpg", photo, "image/jpeg")}
    )


async def enrolled(client: httpx.AsyncClient, customer_id: str, identity: int) -> None:
    """A customer who agrees to everything usual, with one face."""
    await agree(client, customer_id)
    answer = await enrol(client, customer_id, jpeg(Face(identity)))
    assert answer.status_code == 201, answer.text


async def search(client: httpx.AsyncClient, photo: bytes, **query: str) -> httpx.Response:
    """Search by a raw photo."""
    return await client.post(
        "/api/face/search", content=photo, params=query, headers={"Content-Type": "image/jpeg"}
    )


async def rows(database: Database, tenant: Tenant, query: str, **values: Any) -> list[Any]:
    """What a statement finds among the rows of the tenant."""
    async with database.tenant_transaction(tenant.id) as connection:
        return [tuple(row) for row in await connection.execute(text(query), values)]


async def run_erasures(database: Database, backend: FaceBackend, tenant: Tenant) -> None:
    """Carry out every open erasure, as the worker does."""
    for [erasure_id] in await rows(
        database, tenant, "SELECT id FROM face_erasures WHERE completed_at IS NULL"
    ):
        assert await run_erasure(database, backend, tenant, erasure_id)
        async with database.tenant_transaction(tenant.id) as connection:
            done = await erasures.get(connection, tenant.id, erasure_id)
        assert done.completed_at is not None
