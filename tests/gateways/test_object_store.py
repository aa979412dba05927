"""Both object stores by the same rules, and what each has of its own."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from app.gateways import folder as folder_module
from app.gateways.folder import LINK_PATH, Folder
from app.gateways.object_store import (
    ObjectStore,
    ObjectStoreFailed,
    ObjectStoreUnavailable,
    PhotoNotFound,
    object_store,
)
from app.gateways.s3 import S3
from app.settings import Settings
from tests.gateways.conftest import FakeClock

BUCKET = "photos-of-tests"
KEY = "faces/7/0c9e4d.jpg"


@pytest.fixture(scope="module")
def moto_endpoint() -> Iterator[str]:
    """A server that speaks S3."""
    # Its server writes each request to the log.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def s3_settings(endpoint: str, **more: Any) -> Settings:
    """Settings of a store at the endpoint."""
    return Settings(
        _env_file=None,
        **{
            "object_store": "s3",
            "s3_bucket": BUCKET,
            "s3_region": "ap-southeast-1",
            "s3_endpoint_url": endpoint,
            "s3_path_style": True,
            **more,
        },
    )


@pytest.fixture
def bucket(moto_endpoint: str) -> Any:
    """An empty bucket, as boto3 sees it."""
    httpx.post(f"{moto_endpoint}/moto-api/reset")
    client = boto3.client("s3", region_name="ap-southeast-1", endpoint_url=moto_endpoint)
    client.create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "ap-southeast-1"}
    )
    yield client
    client.close()


@pytest.fixture
async def s3(bucket: Any, moto_endpoint: str) -> AsyncIterator[ObjectStore]:
    """A store in the bucket."""
    store = object_store(s3_settings(moto_endpoint))
    yield store
    await store.close()


@pytest.fixture
def folder(tmp_path: Path, clock: FakeClock) -> Folder:
    """A store in a folder that is not there yet."""
    return Folder(tmp_path / "photos", clock=clock)


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    """Each of the stores."""
    made: ObjectStore = request.getfixturevalue(request.param)
    return made


async def keys(store: ObjectStore, prefix: str) -> list[str]:
    """All keys with the prefix."""
    return [key async for page in store.list_keys(prefix) for key in page]


async def test_what_is_put_is_got(store: ObjectStore) -> None:
    await store.put(KEY, b"first", "image/jpeg")
    await store.put(KEY, b"second", "image/jpeg")
    assert await store.get(KEY) == b"second"


async def test_what_is_not_there(store: ObjectStore) -> None:
    with pytest.raises(PhotoNotFound):
        await store.get(KEY)
    await store.delete(KEY)
    assert await keys(store, "") == []


async def test_deletion_takes_one_object_and_may_be_repeated(store: ObjectStore) -> None:
    await store.put(KEY, b"one", "image/jpeg")
    await store.put(f"{KEY}2", b"another", "image/jpeg")
    for _ in range(2):
        await store.delete(KEY)
    with pytest.raises(PhotoNotFound):
        await store.get(KEY)
    assert await store.get(f"{KEY}2") == b"another"


async def test_keys_are_listed_by_prefix_in_order(store: ObjectStore) -> None:
    for key in ("faces/7/b", "faces/7/a", "faces/71/c", "visits/7/d"):
        await store.put(key, b"x", "image/jpeg")
    assert await keys(store, "faces/7/") == ["faces/7/a", "faces/7/b"]
    assert await keys(store, "faces/7") == ["faces/7/a", "faces/7/b", "faces/71/c"]
    assert await keys(store, "nowhere/") == []
    assert len(await keys(store, "")) == 4


BAD_KEYS = ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", ".a", "a/.b", "a b", "ä", "a" * 513]


async def test_keys_that_might_lead_elsewhere(folder: Folder) -> None:
    # A bucket is not asked for them, so there need not be one.
    for store in (folder, S3(s3_settings("http://127.0.0.1:1"))):
        for key in BAD_KEYS:
            with pytest.raises(ValueError, match="no key"):
                await store.put(key, b"x", "image/jpeg")
            for call in (store.get, store.delete):
                with pytest.raises(ValueError, match="no key"):
                    await call(key)
            with pytest.raises(ValueError, match="no key"):
                await store.link(key, 60)
        for prefix in ("../", "/", "a/../"):
            with pytest.raises(ValueError, match="begins no key"):
                await keys(store, prefix)
        await store.close()


# S3


async def test_all_versions_are_deleted(s3: ObjectStore, bucket: Any) -> None:
    bucket.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    for number in range(3):
        await s3.put(KEY, b"%d" % number, "image/jpeg")
    await s3.put(f"{KEY}2", b"another", "image/jpeg")
    bucket.delete_object(Bucket=BUCKET, Key=KEY)  # hides it, and keeps every version

    # What is hidden still is personal data, so whoever looks for it finds it.
    assert await keys(s3, KEY) == [KEY, f"{KEY}2"]
    await s3.delete(KEY)
    left = bucket.list_object_versions(Bucket=BUCKET, Prefix=KEY)
    assert [each["Key"] for each in left["Versions"]] == [f"{KEY}2"]
    assert "DeleteMarkers" not in left


async def test_more_versions_than_a_page_or_a_request_has(
    s3: ObjectStore, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.gateways.s3._DELETIONS", 2)
    bucket.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    for number in range(5):
        await s3.put(KEY, b"%d" % number, "image/jpeg")
    await s3.delete(KEY)
    assert "Versions" not in bucket.list_object_versions(Bucket=BUCKET)


async def test_objects_are_encrypted_and_not_cached(s3: ObjectStore, bucket: Any) -> None:
    await s3.put(KEY, b"x", "image/jpeg")
    head = bucket.head_object(Bucket=BUCKET, Key=KEY)
    assert head["ServerSideEncryption"] == "AES256"
    assert head["ContentType"] == "image/jpeg"
    assert head["CacheControl"] == "private, no-store"


async def test_a_key_of_ones_own_encrypts(moto_endpoint: str, bucket: Any) -> None:
    key = "11111111-2222-3333-4444-555555555555"
    store = S3(s3_settings(moto_endpoint, s3_encryption="aws:kms", s3_kms_key_id=key))
    await store.put(KEY, b"x", "image/jpeg")
    assert bucket.head_object(Bucket=BUCKET, Key=KEY)["SSEKMSKeyId"] == key
    await store.close()


async def test_a_link_into_the_bucket(s3: ObjectStore) -> None:
    await s3.put(KEY, b"a photo", "image/jpeg")
    link = await s3.link(KEY, 60)
    assert "X-Amz-Expires=60" in link
    assert "X-Amz-Signature" in link
    async with httpx.AsyncClient() as client:
        assert (await client.get(link)).content == b"a photo"
    with pytest.raises(PhotoNotFound):
        await s3.open_link("anything")


async def test_a_missing_bucket_is_unavailable(
    moto_endpoint: str, bucket: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store = S3(s3_settings(moto_endpoint, s3_bucket="no-such-bucket"))
    with pytest.raises(ObjectStoreUnavailable) as caught:
        await store.put(KEY, b"x", "image/jpeg")
    assert caught.value.retry_after > 0
    assert "NoSuchBucket" in caplog.text
    assert "bucket" not in str(caught.value)
    await store.close()


async def test_a_store_that_is_away_is_unavailable() -> None:
    store = S3(s3_settings("http://127.0.0.1:1", s3_connect_timeout_seconds=0.2))
    with pytest.raises(ObjectStoreUnavailable):
        await store.get(KEY)
    await store.close()


def test_a_bucket_has_to_be_named() -> None:
    with pytest.raises(ValueError, match="S3_BUCKET"):
        s3_settings("http://127.0.0.1:1", s3_bucket=None)


# The folder


async def test_files_are_readable_by_the_owner_alone(folder: Folder, tmp_path: Path) -> None:
    await folder.put(KEY, b"x", "image/jpeg")
    path = tmp_path / "photos" / KEY
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_an_object_is_whole_or_not_there(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await folder.put(KEY, b"old", "image/jpeg")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("os.fsync", full)
        with pytest.raises(ObjectStoreFailed):
            await folder.put(KEY, b"new", "image/jpeg")
    assert await folder.get(KEY) == b"old"
    assert os.listdir((tmp_path / "photos" / KEY).parent) == [Path(KEY).name]


async def test_what_a_killed_process_left_behind_goes_after_an_hour(
    folder: Folder, tmp_path: Path
) -> None:
    await folder.put(KEY, b"x", "image/jpeg")
    directory = (tmp_path / "photos" / KEY).parent
    for name, age in ((".writing-old", 4000), (".writing-new", 10)):
        (directory / name).write_bytes(b"part of a photo")
        os.utime(directory / name, (time.time() - age,) * 2)
    assert await keys(folder, "") == [KEY]
    assert sorted(os.listdir(directory)) == [".writing-new", Path(KEY).name]


async def test_a_link_holds_until_it_ends(folder: Folder, clock: FakeClock) -> None:
    await folder.put(KEY, b"a photo", "image/jpeg")
    token = (await folder.link(KEY, 60)).removeprefix(LINK_PATH)
    assert await folder.open_link(token) == b"a photo"
    clock.now += 60
    with pytest.raises(PhotoNotFound):
        await folder.open_link(token)


async def test_links_cannot_be_made_up(folder: Folder, tmp_path: Path, clock: FakeClock) -> None:
    await folder.put(KEY, b"a photo", "image/jpeg")
    token = (await folder.link(KEY, 60)).removeprefix(LINK_PATH)
    payload, signature = token.split(".")
    longer = folder_module._text(b"9999999999:" + KEY.encode())
    foreign = await Folder(tmp_path / "other", clock=clock).link(KEY, 60)
    for made_up in (
        "",
        payload,
        f"{payload}.",
        f"{longer}.{signature}",
        f"{payload}.{signature}.x",
        f"{payload}.ä",
        f"{payload}.{signature[:-2]}",
        foreign.removeprefix(LINK_PATH),
    ):
        with pytest.raises(PhotoNotFound):
            await folder.open_link(made_up)


async def test_processes_of_one_machine_share_the_secret(tmp_path: Path) -> None:
    stores = [Folder(tmp_path / "photos") for _ in range(6)]
    await stores[0].put(KEY, b"a photo", "image/jpeg")
    links = await asyncio.gather(*(each.link(KEY, 60) for each in stores))
    for link in links:
        assert await stores[0].open_link(link.removeprefix(LINK_PATH)) == b"a photo"
    secret = tmp_path / "photos" / ".link-secret"
    assert len(secret.read_bytes()) == 32
    assert secret.stat().st_mode & 0o777 == 0o600


async def test_a_secret_of_the_settings_holds_across_machines(tmp_path: Path) -> None:
    def made(name: str) -> ObjectStore:
        return object_store(
            Settings(
                _env_file=None,
                photo_dir=tmp_path / name,
                photo_link_secret="s" * 32,
            )
        )

    here, there = made("here"), made("there")
    await there.put(KEY, b"there", "image/jpeg")
    link = await here.link(KEY, 60)
    assert await there.open_link(link.removeprefix(LINK_PATH)) == b"there"
    assert not (tmp_path / "here").exists()
