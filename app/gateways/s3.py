"""Photos in a bucket of Amazon S3, or of a store that speaks its protocol."""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import boto3
from anyio import CapacityLimiter, to_thread
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from app.gateways.object_store import (
    ObjectStoreFailed,
    ObjectStoreUnavailable,
    PhotoNotFound,
    check_key,
    check_prefix,
)
from app.settings import Settings

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_ATTEMPTS = 3
_RETRY_AFTER = 5
#: Most objects of one DeleteObjects request.
_DELETIONS = 1000
_LOCKED_OUT = frozenset(
    {
        "AccessDenied",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "InvalidToken",
        "NoSuchBucket",
        "KMS.DisabledException",
    }
)
_OVERLOADED = frozenset({"SlowDown", "ServiceUnavailable", "RequestTimeout", "ThrottlingException"})


class S3:
    """Objects of one bucket, which the operator creates."""

    def __init__(self, settings: Settings) -> None:
        assert settings.s3_bucket is not None
        self._bucket = settings.s3_bucket
        self._client = boto3.session.Session().client(
            "s3",
            region_name=settings.s3_region,
            endpoint_url=settings.s3_endpoint_url,
            config=Config(
                signature_version="s3v4",
                connect_timeout=settings.s3_connect_timeout_seconds,
                read_timeout=settings.s3_read_timeout_seconds,
                max_pool_connections=settings.s3_connections,
                retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
                s3={"addressing_style": "path" if settings.s3_path_style else "virtual"},
                # Stores that only speak S3 do not know the newer checksums.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
        self._threads = CapacityLimiter(settings.s3_connections)
        self._encryption = _encryption(settings)

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        """Store an object, in place of one that has the key."""
        await self._run(
            partial(
                self._client.put_object,
                **self._object(key),
                Body=data,
                ContentType=content_type,
                CacheControl="private, no-store",
                **self._encryption,
            )
        )

    async def get(self, key: str) -> bytes:
        """The object, or PhotoNotFound."""
        return await self._run(partial(self._read, self._object(key)))

    def _read(self, where: dict[str, str]) -> bytes:
        with self._client.get_object(**where)["Body"] as body:
            data: bytes = body.read()
        return data

    async def delete(self, key: str) -> None:
        """Remove the object with all its versions and marks of deletion. One that is not there is
        a success.
        """
        await self._run(partial(self._delete, check_key(key)))

    def _delete(self, key: str) -> None:
        versions: list[dict[str, str]] = []
        for page in self._version_pages(key):
            found = [each for each in page if each["Key"] == key]
            versions += ({"Key": key, "VersionId": each["VersionId"]} for each in found)
            # Keys come in order, so other keys that begin with this one follow.
            if len(found) < len(page):
                break
        for start in range(0, len(versions), _DELETIONS):
            answer = self._client.delete_objects(
                Bucket=self._bucket,
                Delete={"Objects": versions[start : start + _DELETIONS], "Quiet": True},
            )
            if errors := answer.get("Errors"):
                log.error("S3 kept %d versions of an object: %s", len(errors), errors[0])
                raise ObjectStoreFailed

    async def list_keys(self, prefix: str) -> AsyncIterator[list[str]]:
        """The keys that begin with `prefix`, in pages, in order. A key of which only old versions
        are left is among them.
        """
        pages = self._version_pages(check_prefix(prefix))
        last = ""
        while (page := await self._run(partial(next, pages, None))) is not None:
            keys = sorted({each["Key"] for each in page} - {last})
            if keys:
                last = keys[-1]
                yield keys

    def _version_pages(self, prefix: str) -> Iterator[list[dict[str, Any]]]:
        """All versions and marks of deletion of the keys that begin with `prefix`."""
        paginator = self._client.get_paginator("list_object_versions")
        for page in paginator.paginate(Bucket=self._bucket, Prefix=prefix):
            yield [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]

    async def link(self, key: str, seconds: int) -> str:
        """An address at which the object may be read for so many seconds without a key."""
        return await self._run(
            partial(
                self._client.generate_presigned_url,
                "get_object",
                Params=self._object(key),
                ExpiresIn=seconds,
            )
        )

    async def open_link(self, token: str) -> bytes:
        """Links lead to the bucket, never to this service: PhotoNotFound."""
        raise PhotoNotFound

    async def close(self) -> None:
        """Give connections back."""
        self._client.close()

    def _object(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": check_key(key)}

    async def _run(self, work: Callable[[], _T]) -> _T:
        try:
            return await to_thread.run_sync(work, limiter=self._threads)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "NoSuchKey":
                raise PhotoNotFound from error
            if code in _LOCKED_OUT:
                log.error("S3 refuses: %s", error)
            if code in _LOCKED_OUT or code in _OVERLOADED:
                raise ObjectStoreUnavailable(_RETRY_AFTER) from error
            log.error("S3 failed: %s", error)
            raise ObjectStoreFailed from error
        except BotoCoreError as error:
            log.error("S3 cannot be used: %s", error)
            raise ObjectStoreUnavailable(_RETRY_AFTER) from error


def _encryption(settings: Settings) -> dict[str, str]:
    """What each upload says about encryption at rest."""
    if settings.s3_encryption == "none":
        return {}
    asked: dict[str, str] = {"ServerSideEncryption": settings.s3_encryption}
    if settings.s3_encryption == "aws:kms" and settings.s3_kms_key_id:
        asked["SSEKMSKeyId"] = settings.s3_kms_key_id
    return asked
