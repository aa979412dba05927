"""What becomes of photos, good and bad."""

import asyncio
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from app.gateways.face import FaceError, PhotoTooLarge, UnreadablePhoto, UnusablePhoto
from app.gateways.photo import MAX_SENT_BYTES, MAX_SIDE, prepare_photo
from tests.standin.photos import Face, encoded, jpeg, picture, seen, sideways

ANNA = Face(7, variant=3)


def faces_of(data: bytes) -> list[Face]:
    """Who is on it."""
    return [each.face for each in seen(data)]


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """An image that no encoder makes small."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def png_saying(width: int, height: int) -> bytes:
    """A PNG whose header promises a size, and which has nothing else."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b"")


def jpeg_saying(width: int, height: int) -> bytes:
    """A JPEG whose header says another size than it has."""
    data = bytearray(jpeg(ANNA))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


async def test_a_photo_is_a_jpeg_of_the_same_people() -> None:
    for body in (jpeg(ANNA, Face(8)), encoded(picture(ANNA, Face(8)), "PNG")):
        photo = await prepare_photo(body)
        assert photo.media_type == "image/jpeg"
        assert (photo.width, photo.height) == (640, 480)
        assert faces_of(photo.data) == [ANNA, Face(8)]


@pytest.mark.parametrize("orientation", range(1, 9))
async def test_a_photo_is_turned_upright(orientation: int) -> None:
    body = sideways(ANNA, orientation=orientation)
    assert orientation == 1 or faces_of(body) == []
    photo = await prepare_photo(body)
    assert faces_of(photo.data) == [ANNA]
    assert (photo.width, photo.height) == (640, 480)


async def test_nothing_but_the_picture_is_kept() -> None:
    plain = Image.open(io.BytesIO(sideways(ANNA)))
    assert plain.getexif().get_ifd(0x8825)  # where it was taken
    out = io.BytesIO()
    plain.save(
        out,
        "JPEG",
        exif=plain.getexif(),
        comment=b"secret",
        icc_profile=b"secret profile",
        dpi=(3, 3),
    )
    assert b"secret" in out.getvalue()
    with Image.open(io.BytesIO((await prepare_photo(out.getvalue())).data)) as kept:
        assert dict(kept.getexif()) == {}
        assert kept.info.keys() <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert b"secret" not in (await prepare_photo(out.getvalue())).data
    assert b"Phone maker" not in (await prepare_photo(out.getvalue())).data


async def test_damaged_exif_does_not_cost_the_photo() -> None:
    body = sideways(ANNA)
    at = body.index(b"Exif\x00\x00") + 6
    photo = await prepare_photo(body[:at] + b"\xff" * 12 + body[at + 12 :])
    assert photo.width == 480


async def test_a_phone_photo_of_twelve_megapixels_fits_into_a_request() -> None:
    body = jpeg(ANNA, size=(4000, 3000), side=900)
    photo = await prepare_photo(body)
    assert max(photo.width, photo.height) == MAX_SIDE
    assert faces_of(photo.data) == [ANNA]


async def test_the_worst_photo_fits_into_a_request() -> None:
    body = encoded(noise(2048, 2048), "JPEG", quality=97)
    assert len(body) > 5_000_000
    photo = await prepare_photo(body)
    assert len(photo.data) <= MAX_SENT_BYTES


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "I;16"])
async def test_photos_of_any_colours(mode: str) -> None:
    image = picture(ANNA)
    kind = "JPEG" if mode == "CMYK" else "PNG"
    if mode == "I;16":
        grey = np.asarray(image.convert("L"), np.uint16) * 257
        body = encoded(Image.fromarray(grey), kind)
    else:
        body = encoded(image.convert(mode), kind)
    photo = await prepare_photo(body)
    with Image.open(io.BytesIO(photo.data)) as kept:
        assert kept.mode == "RGB"
        # The background is still about as bright as it was; black and white have to spread it.
        corner = np.asarray(kept.crop((560, 400, 640, 480)), np.float64)
        assert abs(corner.mean() - 182) < 12


async def test_what_is_transparent_is_white() -> None:
    photo = await prepare_photo(encoded(Image.new("RGBA", (90, 90), (9, 9, 9, 0)), "PNG"))
    with Image.open(io.BytesIO(photo.data)) as kept:
        assert kept.getpixel((45, 45)) == (255, 255, 255)


async def test_a_picture_of_several_is_its_first() -> None:
    out = io.BytesIO()
    picture(ANNA).save(out, "MPO", save_all=True, append_images=[picture(Face(8))])
    assert faces_of((await prepare_photo(out.getvalue())).data) == [ANNA]


async def test_a_very_long_photo_keeps_its_shorter_side() -> None:
    photo = await prepare_photo(encoded(Image.new("RGB", (6000, 90)), "JPEG"))
    assert min(photo.width, photo.height) == 80


OTHER_FILES = {
    "GIF": encoded(picture(ANNA), "GIF"),
    "WebP": encoded(picture(ANNA), "WEBP"),
    "BMP": encoded(picture(ANNA), "BMP"),
    "TIFF": encoded(picture(ANNA), "TIFF"),
    "HEIC": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + b"\x00" * 200,
    "AVIF": b"\x00\x00\x00\x18ftypavif\x00\x00\x00\x00mif1avif" + b"\x00" * 200,
    "PDF": b"%PDF-1.7\n" + b"\x00" * 200,
    "no photo": b"<!doctype html><title>Sign in</title>",
}


@pytest.mark.parametrize("name", OTHER_FILES)
async def test_what_is_no_jpeg_or_png(name: str) -> None:
    with pytest.raises(UnreadablePhoto, match="Send a JPEG or PNG") as caught:
        await prepare_photo(OTHER_FILES[name])
    assert name in str(caught.value)


DAMAGED = {
    "cut in half": jpeg(ANNA)[:4000],
    "cut in the header": jpeg(ANNA)[:40],
    "the first bytes of a JPEG": b"\xff\xd8\xff",
    "a size before no picture": b"\xff\xd8\xff\xda" + b"\x00" * 50,
    "PNG cut in half": encoded(noise(100, 100), "PNG")[:9000],
    "PNG without anything": b"\x89PNG\r\n\x1a\n",
    "PNG with a header alone": png_saying(100, 100),
    "nothing": b"",
}


@pytest.mark.parametrize("name", DAMAGED)
async def test_damaged_photos(name: str) -> None:
    with pytest.raises(UnusablePhoto, match=r"damaged|empty"):
        await prepare_photo(DAMAGED[name])


@pytest.mark.parametrize("size", [(60, 60), (79, 480), (640, 79), (1, 1)])
async def test_photos_that_are_too_small(size: tuple[int, int]) -> None:
    for kind in ("JPEG", "PNG"):
        with pytest.raises(UnusablePhoto, match="too small"):
            await prepare_photo(encoded(Image.new("RGB", size), kind))


@pytest.mark.parametrize(
    "bomb",
    [png_saying(50_000, 50_000), png_saying(6400, 6400), jpeg_saying(65_500, 65_500)],
    ids=["PNG", "just above", "JPEG"],
)
async def test_a_decompression_bomb_is_not_decoded(bomb: bytes) -> None:
    before = psutil.Process().memory_info().rss
    with pytest.raises(PhotoTooLarge, match="too many pixels"):
        await prepare_photo(bomb)
    assert psutil.Process().memory_info().rss - before < 50_000_000


async def test_a_png_that_unpacks_to_more_than_it_says() -> None:
    # A text of 200 MB of zeros in a chunk of 200 KB.
    packed = b"comment\x00\x00" + zlib.compress(bytes(200_000_000), 9)
    chunk = struct.pack(">I", len(packed)) + b"zTXt" + packed
    chunk += struct.pack(">I", zlib.crc32(b"zTXt" + packed))
    body = encoded(picture(ANNA), "PNG")
    with pytest.raises(UnusablePhoto):
        await prepare_photo(body[:33] + chunk + body[33:])


async def test_twenty_megabytes() -> None:
    with pytest.raises(PhotoTooLarge, match=r"20\.0 MB"):
        await prepare_photo(jpeg(ANNA) + bytes(20_000_000 - len(jpeg(ANNA))))


_SMALL = jpeg(ANNA, size=(96, 96), side=48)
_SMALL_PNG = encoded(picture(ANNA, size=(96, 96), side=48), "PNG")


@settings(max_examples=150, deadline=None)
@given(
    original=st.sampled_from([_SMALL, _SMALL_PNG]),
    edits=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=8),
    length=st.integers(0, 5000),
)
def test_no_bytes_do_more_than_be_refused(
    original: bytes, edits: list[tuple[int, int]], length: int
) -> None:
    body = bytearray(original)
    for at, value in edits:
        body[at % len(body)] = value
    try:
        photo = asyncio.run(prepare_photo(bytes(body[:length])))
    except FaceError:
        return
    assert photo.data.startswith(b"\xff\xd8\xff")


async def test_memory_stays_flat_over_many_large_photos(tmp_path: Path) -> None:
    body = encoded(noise(2000, 1500), "JPEG", quality=95)
    assert len(body) > 3_000_000
    process = psutil.Process()
    for number in range(14):
        await asyncio.gather(*(prepare_photo(body) for _ in range(2)))
        if number == 3:
            settled = process.memory_info().rss
    # Had anything of each photo stayed, it would be 20 times three megabytes.
    assert process.memory_info().rss - settled < 30_000_000
