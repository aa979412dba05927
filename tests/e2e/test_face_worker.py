"""Erasing a face in processes of their own: by the worker, and by one that is killed meanwhile."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from app.database import Database
from app.domain.face import ConsentMethod, ConsentPurpose
from app.domain.tenant import Tenant
from app.gateways.face import face_provider
from app.gateways.object_store import object_store
from app.repositories import face_erasure as erasures
from app.repositories.face_erasure import FaceErasure
from app.services.face_backend import FaceBackend
from app.services.face_consent import Statement, record_consents
from app.services.face_enrolment import enrol_face
from app.services.face_erasure import STEPS, forget_customer, run_erasure
from app.settings import Settings
from tests.factories import make_customer, make_tenant
from tests.standin.photos import Face, jpeg
from tests.standin.rekognition import Rekognition, serving

pytestmark = pytest.mark.e2e

WORKER = "import asyncio, sys; from app import worker; asyncio.run(worker.run(sys.argv[1]))"
ERASURE = """
import asyncio, sys
from uuid import UUID
from app.database import Database
from app.gateways.face import face_provider
from app.gateways.object_store import object_store
from app.services import tenancy
from app.services.face_backend import FaceBackend
from app.services.face_erasure import run_erasure
from app.settings import Settings

async def main(url, tenant_id, erasure_id):
    settings, database = Settings(), Database(url)
    async with database.tenant_transaction(int(tenant_id)) as connection:
        tenant = await tenancy.get_tenant(connection, int(tenant_id))
    backend = FaceBackend(face_provider(settings), object_store(settings))
    await run_erasure(database, backend, tenant, UUID(erasure_id))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def standin() -> Rekognition:
    return Rekognition()


@pytest.fixture
def environment(standin: Rekognition, tmp_path: Path) -> Iterator[dict[str, str]]:
    with serving(standin) as endpoint:
        yield {
            "FACE_PROVIDER": "rekognition",
            "REKOGNITION_ENDPOINT_URL": endpoint,
            "REKOGNITION_REGION": "ap-southeast-1",
            "REKOGNITION_ATTEMPTS": "1",
            "AWS_ACCESS_KEY_ID": "stand-in",
            "AWS_SECRET_ACCESS_KEY": "stand-in",
            "PHOTO_DIR": str(tmp_path / "photos"),
        }


@pytest.fixture
async def backend(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[FaceBackend]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings(_env_file=None)
    backend = FaceBackend(face_provider(settings), object_store(settings))
    yield backend
    await backend.close()


async def _forgotten(database: Database, backend: FaceBackend) -> tuple[Tenant, UUID]:
    """A tenant whose customer had a face, which is to be erased."""
    tenant = await make_tenant(database)
    await make_customer(database, tenant)
    stated = Statement(
        customer_id="cus-1",
        purposes=[ConsentPurpose.ENROL],
        notice_version="1",
        notice_sha256=bytes(32),
        method=ConsentMethod.APP,
        evidence=None,
        given_at=None,
        expires_at=None,
    )
    async with database.tenant_transaction(tenant.id) as connection:
        await record_consents(connection, tenant, stated, actor=None, now=datetime.now(UTC))
    await enrol_face(database, backend, tenant, "cus-1", jpeg(Face(7)), actor=None)
    async with database.tenant_transaction(tenant.id) as connection:
        return tenant, await forget_customer(connection, tenant, "cus-1", actor=None)


@asynccontextmanager
async def _running(
    program: str, environment: dict[str, str], *arguments: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, *arguments, env=os.environ | environment
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _receipt(database: Database, tenant: Tenant, erasure_id: UUID) -> FaceErasure:
    async with database.tenant_transaction(tenant.id) as connection:
        return await erasures.get(connection, tenant.id, erasure_id)


async def test_the_worker_erases_what_is_queued(
    fresh_database: Database,
    fresh_database_url: str,
    backend: FaceBackend,
    environment: dict[str, str],
) -> None:
    tenant, erasure_id = await _forgotten(fresh_database, backend)
    async with _running(WORKER, environment, fresh_database_url) as process:
        async with asyncio.timeout(60):
            while (await _receipt(fresh_database, tenant, erasure_id)).completed_at is None:
                assert process.returncode is None
                await asyncio.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0


async def test_an_erasure_outlives_the_process_that_is_killed_at_it(
    fresh_database: Database,
    fresh_database_url: str,
    backend: FaceBackend,
    standin: Rekognition,
    environment: dict[str, str],
) -> None:
    tenant, erasure_id = await _forgotten(fresh_database, backend)
    standin.fail("DeleteFaces", "timeout", times=1)
    arguments = (fresh_database_url, str(tenant.id), str(erasure_id))
    async with _running(ERASURE, environment, *arguments) as process:
        async with asyncio.timeout(60):
            while not standin.calls_of("DeleteFaces"):
                assert process.returncode is None
                await asyncio.sleep(0.02)
        process.kill()
        await process.wait()
    half = await _receipt(fresh_database, tenant, erasure_id)
    assert list(half.steps) == ["user"]
    assert half.completed_at is None
    assert await run_erasure(fresh_database, backend, tenant, erasure_id)
    done = await _receipt(fresh_database, tenant, erasure_id)
    assert set(done.steps) == set(STEPS)
    assert done.completed_at is not None
    assert len(standin.calls_of("DeleteUser")) == 1
