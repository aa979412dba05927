"""What the service asks of the place where photos are kept, and what may go wrong with it.

ObjectStoreError
├── ObjectStoreUnavailable   cannot be reached, locked out, or too slow
└── ObjectStoreFailed        answered what it never should
"""

import re
from collections.abc import AsyncIterator
from typing import Protocol

from app.domain.errors import DomainError, NotFound
from app.settings import Settings


class ObjectStoreError(DomainError):
    """Base of everything that may go wrong with an object store."""


class ObjectStoreUnavailable(ObjectStoreError):
    """The store cannot be used now; it may be asked again after `retry_after` seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("The photo store is not available at the moment. Try again later.")
        self.retry_after = retry_after


class ObjectStoreFailed(ObjectStoreError):
    """The store answered what it never should."""

    def __init__(self) -> None:
        super().__init__("The photo store failed. Try again.")


class PhotoNotFound(NotFound):
    """There is no photo under the key, or the link to it has ended."""

    def __init__(self) -> None:
        super().__init__("photo", "")
        self.args = ("There is no such photo, or the link to it has ended.",)


class ObjectStore(Protocol):
    """Photos by opaque keys, such as `faces/7/0c9e….jpg`."""

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        """Store an object, in place of one that has the key."""

    async def get(self, key: str) -> bytes:
        """The object, or PhotoNotFound."""

    async def delete(self, key: str) -> None:
        """Remove the object with all its versions. One that is not there is a success."""

    def list_keys(self, prefix: str) -> AsyncIterator[list[str]]:
        """The keys that begin with `prefix`, in pages, in order. A key of which only old versions
        are left is among them.
        """

    async def link(self, key: str, seconds: int) -> str:
        """Where a browser may read the object for so many seconds without a key: an absolute
        address, or a path of this service.
        """

    async def open_link(self, token: str) -> bytes:
        """The object of a link that leads to this service, or PhotoNotFound."""

    async def close(self) -> None:
        """Give connections back."""


_SEGMENT = r"[A-Za-z0-9_\-][A-Za-z0-9_.\-]*"
_KEY = re.compile(rf"{_SEGMENT}(/{_SEGMENT})*")
_PREFIX = re.compile(rf"({_SEGMENT}/)*({_SEGMENT})?")
MAX_KEY_LENGTH = 512


def check_key(key: str) -> str:
    """The key, or ValueError: letters, digits, `_`, `-`, `.` between slashes, no leading dot."""
    if len(key) > MAX_KEY_LENGTH or not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is no key of an object")
    return key


def check_prefix(prefix: str) -> str:
    """The beginning of a key, which may be empty, or ValueError."""
    if len(prefix) > MAX_KEY_LENGTH or not _PREFIX.fullmatch(prefix):
        raise ValueError(f"{prefix!r} begins no key of an object")
    return prefix


def object_store(settings: Settings) -> ObjectStore:
    """The store that the settings choose."""
    # Each imports this module, and S3 imports boto3, which takes a while to load.
    if settings.object_store == "s3":
        from app.gateways.s3 import S3  # noqa: PLC0415

        return S3(settings)
    from app.gateways.folder import Folder  # noqa: PLC0415

    return Folder(
        settings.photo_dir or settings.data_dir / "photos",
        secret=settings.photo_link_secret.get_secret_value().encode()
        if settings.photo_link_secret
        else None,
    )
