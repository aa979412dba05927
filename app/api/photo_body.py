"""Reading a photo from a request: raw or as a file of a form, capped while it streams.

Nothing of it is written to disk: the photo of somebody who is searched for stays in memory.
"""

import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from app.api.errors import UnreadableBody, UnsupportedMediaType
from app.domain.errors import InvalidInput
from app.gateways.face import PhotoTooLarge

MAX_PHOTO_BYTES = 15 * 1024 * 1024
#: What a form may have around its photo.
_FORM_BYTES = 64 * 1024
_MAX_FIELDS = 16
_MAX_FIELD_BYTES = 2_000
_FORM = "multipart/form-data"
_EXAMPLE_ID = "cus-123"


@dataclass(frozen=True, slots=True)
class PhotoBody:
    """A photo as it was sent, and the texts that came with it in the form or the query."""

    data: bytes
    fields: Mapping[str, str]
    _form: Mapping[str, str]

    def sha256(self) -> bytes:
        """The digest of the photo and of the texts of its form. Takes a while for a large one."""
        digest = hashlib.sha256(self.data)
        for name, value in sorted(self._form.items()):
            digest.update(f"\0{name}\0{value}".encode())
        return digest.digest()

    def text(self, name: str, *, longest: int = 255) -> str | None:
        """The text called `name`; None where it is missing or empty. Raises InvalidInput."""
        value = self.fields.get(name, "").strip()
        if len(value) > longest:
            raise InvalidInput(name, f"may have {longest} characters")
        if any(character < " " or "\ud800" <= character <= "\udfff" for character in value):
            raise InvalidInput(name, "holds a character that cannot be stored")
        return value or None

    def required(self, name: str) -> str:
        """The text called `name`. Raises InvalidInput where it is missing."""
        value = self.text(name)
        if value is None:
            raise InvalidInput(name, "is required")
        return value


async def read_photo(request: Request) -> PhotoBody:
    """The photo in the body of `request`, and the fields of the form and the query.

    Raises PhotoTooLarge as soon as it is known to be, UnsupportedMediaType, UnreadableBody, and
    InvalidInput where a form has no file.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    query = dict(request.query_params)
    if media_type == _FORM:
        data, form = await _read_form(request)
        return PhotoBody(data, query | form, form)
    if media_type.startswith("image/") or media_type == "application/octet-stream":
        data = b"".join([chunk async for chunk in _capped(request, MAX_PHOTO_BYTES)])
        if not data:
            raise InvalidInput("", "The body must be a photo.")
        return PhotoBody(data, query, {})
    raise UnsupportedMediaType(f"Send the photo as image/jpeg, image/png or {_FORM}.")


async def _capped(request: Request, limit: int) -> AsyncIterator[bytes]:
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large()
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large()
        yield chunk


def _too_large() -> PhotoTooLarge:
    megabytes = MAX_PHOTO_BYTES // 1024 // 1024
    return PhotoTooLarge(f"The photo is too large. Send one of {megabytes} MB at most.")


async def _read_form(request: Request) -> tuple[bytes, dict[str, str]]:
    # starlette spools large files to disk, and not those below this size.
    parser = MultiPartParser(
        request.headers,
        _as_generator(_capped(request, MAX_PHOTO_BYTES + _FORM_BYTES)),
        max_files=1,
        max_fields=_MAX_FIELDS,
        max_part_size=_MAX_FIELD_BYTES,
    )
    parser.spool_max_size = MAX_PHOTO_BYTES + _FORM_BYTES
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        message = error.message if isinstance(error, MultiPartException) else "no boundary"
        raise UnreadableBody(f"The form cannot be read: {message}.") from None
    try:
        files = [each for each in form.values() if isinstance(each, UploadFile)]
        if not files:
            raise InvalidInput("file", "is required: the photo, as a file of the form")
        data = await files[0].read()
    finally:
        await form.close()
    if len(data) > MAX_PHOTO_BYTES:
        raise _too_large()
    return data, {name: value for name, value in form.items() if isinstance(value, str)}


async def _as_generator(chunks: AsyncIterator[bytes]) -> Any:
    async for chunk in chunks:
        yield chunk


def photo_request(
    required: Mapping[str, str], optional: Mapping[str, str], *, has_photo: str
) -> dict[str, Any]:
    """The request body and the query of a route that calls `read_photo`, as OpenAPI has them.

    `required` and `optional` say what each text means; `has_photo` what the photo shows.
    """
    texts = {**required, **optional}
    properties: dict[str, Any] = {
        name: {"type": "string", "maxLength": 255, "description": meaning}
        for name, meaning in texts.items()
    }
    photo = {"type": "string", "format": "binary", "description": has_photo}
    example = {"file": "(JPEG or PNG)", **dict.fromkeys(required, _EXAMPLE_ID)}
    raw = {"schema": photo, "example": "(the bytes of the photo)"}
    return {
        "parameters": [
            {
                "name": name,
                "in": "query",
                "required": False,
                "description": f"{meaning} For a raw photo; a field of the form otherwise.",
                "schema": {"type": "string", "maxLength": 255},
            }
            for name, meaning in texts.items()
        ],
        "requestBody": {
            "required": True,
            "content": {
                _FORM: {
                    "schema": {
                        "type": "object",
                        "required": ["file", *required],
                        "properties": {"file": photo, **properties},
                    },
                    "example": example,
                },
                "image/jpeg": raw,
                "image/png": raw,
            },
        },
    }
