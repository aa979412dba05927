"""The same flow against the real Amazon Rekognition, which costs a few cents.

Off unless BPS_TEST_AWS=1 and credentials are set. BPS_TEST_AWS_FACES names a folder with real
photos: `a1.jpg` and `a2.jpg` of one person who agreed to it, `b1.jpg` of another. Without it only
what needs no face is tried.
"""

import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import boto3
import pytest

from app.gateways.face import FaceProvider, NoFace, face_provider
from app.gateways.photo import prepare_photo
from app.settings import Settings
from tests.standin.photos import jpeg

pytestmark = [
    pytest.mark.skipif(
        os.environ.get("BPS_TEST_AWS") != "1",
        reason="the contract with Amazon is tested where BPS_TEST_AWS=1 and credentials are set",
    ),
    pytest.mark.enable_socket,
]


@pytest.fixture
async def amazon() -> AsyncIterator[FaceProvider]:
    """The real one."""
    if boto3.session.Session().get_credentials() is None:
        pytest.skip("BPS_TEST_AWS=1, but there are no credentials of AWS")
    region = os.environ.get("BPS_TEST_AWS_REGION", "ap-southeast-1")
    provider = face_provider(
        Settings(
            _env_file=None,
            face_provider="rekognition",
            rekognition_region=region,
            rekognition_rate_wait_seconds=10,
        )
    )
    yield provider
    await provider.close()


@pytest.fixture
async def collection(amazon: FaceProvider) -> AsyncIterator[str]:
    """A collection of its own, which is gone afterwards."""
    collection_id = f"bps-contract-{uuid.uuid4()}"
    assert await amazon.ensure_collection(collection_id, tenant_id=1)
    yield collection_id
    await amazon.delete_collection(collection_id, tenant_id=1)
    await amazon.delete_collection(collection_id, tenant_id=1)


def _read(folder: str, name: str) -> bytes:
    return Path(folder, f"{name}.jpg").read_bytes()


@pytest.fixture
async def photos() -> dict[str, bytes]:
    """The real photos by name."""
    folder = os.environ.get("BPS_TEST_AWS_FACES")
    if not folder:
        pytest.skip("BPS_TEST_AWS_FACES names no folder of photos")
    return {name: (await prepare_photo(_read(folder, name))).data for name in ("a1", "a2", "b1")}


async def test_what_needs_no_face(amazon: FaceProvider, collection: str) -> None:
    empty = (await prepare_photo(jpeg())).data
    assert await amazon.detect(empty, tenant_id=1, attributes=True, emotions=True) == []
    result = await amazon.index(
        collection, empty, tenant_id=1, external_id="nobody", attributes=False
    )
    assert result.faces == []
    try:
        found = await amazon.search(collection, empty, tenant_id=1, threshold=99, limit=5)
    except NoFace:
        pass
    else:
        assert found.candidates == []
        assert found.searched_face is None
    with pytest.raises(NoFace):
        await amazon.compare(empty, empty, tenant_id=1, threshold=80)
    await amazon.delete_user(collection, "nobody", tenant_id=1)
    assert await amazon.delete_faces(collection, [str(uuid.uuid4())], tenant_id=1) == []
    assert [page async for page in amazon.list_faces(collection, tenant_id=1)] == [[]]
    assert [page async for page in amazon.list_users(collection, tenant_id=1)] == [[]]


async def test_the_flow_with_faces(
    amazon: FaceProvider, collection: str, photos: dict[str, bytes]
) -> None:
    async def enrol(name: str) -> str:
        result = await amazon.index(
            collection, photos[name], tenant_id=1, external_id="person-a", attributes=True
        )
        (face,) = result.faces
        assert face.detail.age_low is not None
        return face.face_id

    face_id = await enrol("a1")
    assert await enrol("a1") == face_id
    for _ in range(2):
        await amazon.join_user(collection, "person-a", [face_id], tenant_id=1)
    found = await amazon.search(collection, photos["a2"], tenant_id=1, threshold=90, limit=5)
    assert [each.user_id for each in found.candidates] == ["person-a"]
    other = await amazon.search(collection, photos["b1"], tenant_id=1, threshold=99, limit=5)
    assert other.candidates == []
    same = await amazon.compare(photos["a1"], photos["a2"], tenant_id=1, threshold=80)
    assert same.similarity is not None
    await amazon.delete_user(collection, "person-a", tenant_id=1)
    assert await amazon.delete_faces(collection, [face_id], tenant_id=1) == []
    assert [page async for page in amazon.list_faces(collection, tenant_id=1)] == [[]]
