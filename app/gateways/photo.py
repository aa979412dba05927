"""Photos as they come from phones, made fit for a provider: small, upright and without metadata."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo that may be sent on and kept: a JPEG without metadata, in pixels."""

    data: bytes
    media_type: str
    width: int
    height: int


async def prepare_photo(body: bytes) -> Photo:
    """The photo, turned upright, at most 5 MiB, without EXIF.

    Raises UnreadablePhoto for what is no JPEG or PNG, UnusablePhoto for one that is damaged or
    smaller than 80 pixels a side, PhotoTooLarge for more than 15 MB or 40 million pixels.
    """
    raise NotImplementedError
