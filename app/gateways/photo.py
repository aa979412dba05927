"""Photos as they come from phones, made fit for a provider: small, upright and without metadata.

What a file calls itself is not believed: its first bytes say what it is, and its header how large
it is, before anything is decoded.
"""

import asyncio
import io
import os
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image

from app.gateways.face import PhotoTooLarge, UnreadablePhoto, UnusablePhoto

MAX_BODY_BYTES = 15_000_000
MAX_PIXELS = 40_000_000
MIN_SIDE = 80
#: What Rekognition takes in one request.
MAX_SENT_BYTES = 5_242_880
#: Faces down to 40 pixels are recognised in images of 1920 x 1080, so more is only slower.
MAX_SIDE = 2048
_QUALITIES = (90, 80, 65)


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo that may be sent on and kept: a JPEG without metadata. Sizes are in pixels."""

    data: bytes
    media_type: str
    width: int
    height: int


# Decoding takes a processor and up to 160 MB, so no more of it at once than there are processors;
# and always in the same few threads, because each keeps what it has once needed.
_threads = ThreadPoolExecutor(max(1, min(4, os.cpu_count() or 1)), thread_name_prefix="photo")


async def prepare_photo(body: bytes) -> Photo:
    """The photo, turned upright, at most 5 MiB, without EXIF.

    Raises UnreadablePhoto for what is no JPEG or PNG, UnusablePhoto for one that is damaged or
    smaller than 80 pixels a side, PhotoTooLarge for more than 15 MB or 40 million pixels.
    """
    return await asyncio.get_running_loop().run_in_executor(_threads, _prepared, body)


def _prepared(body: bytes) -> Photo:
    if len(body) > MAX_BODY_BYTES:
        raise PhotoTooLarge(
            f"The photo has {len(body) / 1e6:.1f} MB; it may have "
            f"{MAX_BODY_BYTES // 1_000_000} MB. Send it in a smaller size."
        )
    kind = _kind(body)
    _check_size(*(_png_size(body) if kind == "PNG" else _jpeg_size(body)))
    try:
        # The header of a multi-picture file (MPO), as some phones make, is that of a JPEG.
        with Image.open(io.BytesIO(body), formats=(kind,)) as image:
            _check_size(*image.size)
            upright = _upright(image)
    except (
        OSError,
        SyntaxError,
        ValueError,
        ArithmeticError,
        LookupError,
        TypeError,
        EOFError,
        struct.error,
        zlib.error,
    ) as error:
        raise _damaged() from error
    except Image.DecompressionBombError as error:
        raise _too_many_pixels() from error
    return _encoded(upright)


def _kind(body: bytes) -> str:
    """JPEG or PNG, by the first bytes."""
    if body.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if body.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if not body:
        raise UnusablePhoto("The photo is empty. Take a new one.")
    name = next((name for holds, name in _OTHERS if holds(body)), None)
    what = f"This is a {name} file" if name else "This file is no photo that can be read"
    raise UnreadablePhoto(
        f"{what}, whatever its name says. Send a JPEG or PNG; "
        "on an iPhone choose Settings, Camera, Formats, Most Compatible."
        if name == "HEIC"
        else f"{what}, whatever its name says. Send a JPEG or PNG."
    )


_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_OTHERS: tuple[tuple[Callable[[bytes], bool], str], ...] = (
    (lambda body: body[:6] in {b"GIF87a", b"GIF89a"}, "GIF"),
    (lambda body: body[:4] == b"RIFF" and body[8:12] == b"WEBP", "WebP"),
    (lambda body: body[4:8] == b"ftyp" and body[8:12] in _HEIC_BRANDS, "HEIC"),
    (lambda body: body[4:8] == b"ftyp" and body[8:12] in {b"avif", b"avis"}, "AVIF"),
    (lambda body: body[4:8] == b"ftyp", "video"),
    (lambda body: body[:2] == b"BM", "BMP"),
    (lambda body: body[:4] in {b"II*\x00", b"MM\x00*"}, "TIFF"),
    (lambda body: body[:5] == b"%PDF-", "PDF"),
)


def _png_size(body: bytes) -> tuple[int, int]:
    """Width and height as the header says."""
    if body[12:16] != b"IHDR" or len(body) < 24:
        raise _damaged()
    width, height = struct.unpack(">II", body[16:24])
    return width, height


#: Start of frame: what follows has the size. C4, C8 and CC lie between and are other segments.
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})


def _jpeg_size(body: bytes) -> tuple[int, int]:
    """Width and height as the header says, upright or not."""
    at = 2
    while at + 9 <= len(body):
        if body[at] != 0xFF:
            break
        marker = body[at + 1]
        if marker == 0xFF:  # filling
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        elif marker in _START_OF_FRAME:
            height, width = struct.unpack(">HH", body[at + 5 : at + 9])
            return width, height
        elif marker in {0xD9, 0xDA}:  # the end, or the picture itself, before any size
            break
        else:
            at += 2 + int(struct.unpack(">H", body[at + 2 : at + 4])[0])
    raise _damaged()


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise _too_many_pixels()
    if min(width, height) < MIN_SIDE:
        raise UnusablePhoto(
            f"The photo is too small: {width} x {height} pixels, and each side must have "
            f"at least {MIN_SIDE}. Send the original photo."
        )


def _damaged() -> UnusablePhoto:
    return UnusablePhoto("The photo is damaged or was cut off on its way. Take or send it again.")


def _too_many_pixels() -> PhotoTooLarge:
    return PhotoTooLarge(
        f"The photo has too many pixels; it may have {MAX_PIXELS // 1_000_000} million. "
        "Send it in a smaller size."
    )


_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(image: Image.Image) -> Image.Image:
    """The pixels alone: RGB, no longer than MAX_SIDE, turned as the camera said."""
    turn = _TURNS.get(_orientation(image))
    size = _fitting(*image.size)
    # A JPEG is decoded at a half, a quarter or an eighth where that is still large enough.
    image.draft("RGB", size)
    image.load()
    image = _in_rgb(image)
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    return image.transpose(turn) if turn is not None else image


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 where there is none or it cannot be read."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, LookupError, TypeError, struct.error):
        return 1  # a photo whose EXIF is damaged is still a photo
    return value if isinstance(value, int) else 1


def _in_rgb(image: Image.Image) -> Image.Image:
    if image.mode in {"I", "I;16", "I;16B", "I;16L"}:  # 16 bits of grey
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image.convert("RGB") if image.mode != "RGB" else image


def _fitting(width: int, height: int) -> tuple[int, int]:
    """The size with its longer side at most MAX_SIDE and its shorter at least MIN_SIDE."""
    shrink = max(min(1.0, MAX_SIDE / max(width, height)), MIN_SIDE / min(width, height))
    return max(MIN_SIDE, round(width * shrink)), max(MIN_SIDE, round(height * shrink))


def _encoded(image: Image.Image) -> Photo:
    """The pixels as a JPEG that fits into one request."""
    image.info.clear()  # comments, profiles and the like would be written again
    while True:
        for quality in _QUALITIES:
            out = io.BytesIO()
            image.save(out, "JPEG", quality=quality)
            if out.tell() <= MAX_SENT_BYTES:
                return Photo(out.getvalue(), "image/jpeg", image.width, image.height)
        image = image.reduce(2)
