"""Photos in a folder of this machine, for the service that runs on one."""

import base64
import hashlib
import hmac
import logging
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from app.gateways.object_store import (
    ObjectStoreFailed,
    PhotoNotFound,
    check_key,
    check_prefix,
)
from app.gateways.token_bucket import Clock

log = logging.getLogger(__name__)

#: Where the service answers links that `Folder.link` gives out; the token follows.
LINK_PATH = "/api/face/photos/"

_T = TypeVar("_T")
_THREADS = 8
_PAGE = 1000
# No key has a part that begins with a dot, so what does is never listed.
_TEMPORARY = ".writing-"
_SECRET_FILE = ".link-secret"  # noqa: S105 -- where it is kept
_ABANDONED_SECONDS = 3600.0


class Folder:
    """Objects as files of `root`, readable by the owner alone.

    `secret` signs links; without one it is made at the first link and kept in the folder, so that
    all processes of the machine share it. `clock` gives seconds since the epoch.
    """

    def __init__(
        self, root: Path, *, secret: bytes | None = None, clock: Clock = time.time
    ) -> None:
        self._root = root
        self._secret = secret
        self._clock = clock
        self._threads = CapacityLimiter(_THREADS)

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        """Store an object, in place of one that has the key. The type is not kept: all are JPEG."""
        await self._run(partial(_write, self._root, check_key(key), data))

    async def get(self, key: str) -> bytes:
        """The object, or PhotoNotFound."""
        try:
            return await self._run((self._root / check_key(key)).read_bytes)
        except FileNotFoundError as error:
            raise PhotoNotFound from error

    async def delete(self, key: str) -> None:
        """Remove the object. One that is not there is a success."""
        await self._run(partial(_remove, self._root / check_key(key)))

    async def list_keys(self, prefix: str) -> AsyncIterator[list[str]]:
        """The keys that begin with `prefix`, in pages, in order.

        What a process that was killed left half written is removed after an hour.
        """
        keys = await self._run(partial(_keys, self._root, check_prefix(prefix)))
        for start in range(0, len(keys), _PAGE):
            yield keys[start : start + _PAGE]

    async def link(self, key: str, seconds: int) -> str:
        """A path of this service under which the object may be read for so many seconds."""
        until = int(self._clock()) + seconds
        payload = f"{until}:{check_key(key)}".encode()
        return f"{LINK_PATH}{_text(payload)}.{_text(await self._signature(payload))}"

    async def open_link(self, token: str) -> bytes:
        """The object of a link, or PhotoNotFound where it is not ours or has ended."""
        try:
            payload, signature = (_bytes(part) for part in token.split("."))
        except ValueError as error:
            raise PhotoNotFound from error
        if not hmac.compare_digest(signature, await self._signature(payload)):
            raise PhotoNotFound
        until, key = payload.decode().split(":", 1)
        if self._clock() >= int(until):
            raise PhotoNotFound
        return await self.get(key)

    async def close(self) -> None:
        """There is nothing to close."""

    async def _signature(self, payload: bytes) -> bytes:
        if self._secret is None:
            self._secret = await self._run(partial(_shared_secret, self._root))
        return hmac.digest(self._secret, payload, hashlib.sha256)

    async def _run(self, work: Callable[[], _T]) -> _T:
        try:
            return await to_thread.run_sync(work, limiter=self._threads)
        except FileNotFoundError:
            raise
        except OSError as error:
            log.exception("the photo folder cannot be used")
            raise ObjectStoreFailed from error


def _write(root: Path, key: str, data: bytes) -> None:
    """Whoever reads finds the whole object or none, after a power cut as well."""
    path = root / key
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.parent / f"{_TEMPORARY}{secrets.token_hex(8)}"
    try:
        _create(temporary, data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush(path.parent)


def _create(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return
    _flush(path.parent)


def _keys(root: Path, prefix: str) -> list[str]:
    keys = []
    abandoned = time.time() - _ABANDONED_SECONDS
    for directory, _, names in os.walk(root / prefix.rpartition("/")[0]):
        for name in names:
            path = Path(directory, name)
            if name.startswith(_TEMPORARY):
                with suppress(FileNotFoundError):
                    if path.stat().st_mtime < abandoned:
                        path.unlink()
            elif not name.startswith("."):
                keys.append(path.relative_to(root).as_posix())
    return sorted(key for key in keys if key.startswith(prefix))


def _shared_secret(root: Path) -> bytes:
    """The folder's own secret. Of several processes that make one, the first one's is kept."""
    path = root / _SECRET_FILE
    if not path.exists():
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = root / f"{_TEMPORARY}{secrets.token_hex(8)}"
        _create(temporary, secrets.token_bytes(32))
        with suppress(FileExistsError):
            path.hardlink_to(temporary)
        temporary.unlink()
    return path.read_bytes()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    """The reverse of `_text`; ValueError for what it never writes."""
    if not text.isascii():
        raise ValueError("not base64")
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
