"""Photos of people who do not exist, and the reading of who is on them.

A face is a square of eight by eight cells: a ring of magenta, and within it six by six black and
white cells that say who it is. The cells survive scaling and JPEG; a photo that is not upright
shows no face. It says nothing about how well anything recognises real faces.
"""

import io
import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: What may be wrong with a face, by its code; the names are Rekognition's.
FLAWS = (
    "",
    "EXTREME_POSE",
    "LOW_BRIGHTNESS",
    "LOW_SHARPNESS",
    "LOW_CONFIDENCE",
    "LOW_FACE_QUALITY",
    "OCCLUDED",
)

_CELLS = 8
_MAGENTA = (200, 20, 200)
_BACKGROUND = (176, 190, 178)
_LONGEST_SIDE_READ = 1024


@dataclass(frozen=True, slots=True)
class Face:
    """Someone, as one photo shows them.

    `identity` (0 to 65535) is who; `variant` (0 to 255) how they look: two photos of one person
    resemble each other less the further their variants lie apart. `flaw` is one of FLAWS.
    """

    identity: int
    variant: int = 0
    flaw: str = ""


@dataclass(frozen=True, slots=True)
class SeenFace:
    """A face and where it is, in parts of the image; `pixels` is the length of its side."""

    face: Face
    left: float
    top: float
    width: float
    height: float
    pixels: float


def picture(*faces: Face, size: tuple[int, int] = (640, 480), side: int = 160) -> Image.Image:
    """A picture of `size` pixels with the faces beside each other, each smaller than the one
    before; the first is `side` pixels wide.
    """
    image = Image.new("RGB", size, _BACKGROUND)
    left = side // 8
    for number, face in enumerate(faces):
        own = round(side * 0.85**number)
        tile = Image.fromarray(_cells(face)).resize((own, own), Image.Resampling.NEAREST)
        image.paste(tile, (left, (size[1] - own) // 2))
        left += own + own // 4
    if left - side // 8 > size[0]:
        raise ValueError("the faces do not fit into the picture")
    return image


def jpeg(
    *faces: Face,
    size: tuple[int, int] = (640, 480),
    side: int = 160,
    quality: int = 90,
    exif: Image.Exif | None = None,
) -> bytes:
    """The picture as a JPEG."""
    return encoded(picture(*faces, size=size, side=side), "JPEG", quality=quality, exif=exif)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """The image as a file of the kind; options that are None are left out."""
    out = io.BytesIO()
    image.save(out, kind, **{name: value for name, value in options.items() if value is not None})
    return out.getvalue()


def sideways(*faces: Face, orientation: int = 6, gps: bool = True) -> bytes:
    """A JPEG as a phone makes it: lying, with EXIF that says how to turn it, and where it was."""
    turned = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    image = picture(*faces)
    if turned is not None:
        image = image.transpose(turned)
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Phone maker"
    if gps:
        place = exif.get_ifd(0x8825)
        place[1], place[2] = "S", (6.0, 10.0, 30.0)
        place[3], place[4] = "E", (106.0, 49.0, 36.0)
    return encoded(image, "JPEG", quality=90, exif=exif)


def _cells(face: Face) -> NDArray[np.uint8]:
    cells = np.empty((_CELLS, _CELLS, 3), np.uint8)
    cells[:] = _MAGENTA
    bits = np.array([int(bit) for bit in f"{_code(face):036b}"], np.uint8).reshape(6, 6)
    cells[1:-1, 1:-1] = (bits * 255)[:, :, None]
    return cells


def _code(face: Face) -> int:
    """36 bits: 16 of identity, 8 of variant, 4 of flaw, 8 of check."""
    if not (0 <= face.identity < 1 << 16 and 0 <= face.variant < 1 << 8):
        raise ValueError(f"{face} cannot be drawn")
    said = face.identity << 12 | face.variant << 4 | FLAWS.index(face.flaw)
    return said << 8 | (zlib.crc32(said.to_bytes(4, "big")) & 0xFF)


def _decoded(code: int) -> Face | None:
    said = code >> 8
    flaw = said & 0xF
    if code & 0xFF != zlib.crc32(said.to_bytes(4, "big")) & 0xFF or flaw >= len(FLAWS):
        return None
    return Face(said >> 12, said >> 4 & 0xFF, FLAWS[flaw])


@lru_cache(maxsize=64)
def seen(data: bytes) -> tuple[SeenFace, ...]:
    """The faces on a JPEG or PNG, the largest first. OSError where it cannot be read."""
    with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
        full = max(image.size)
        image.draft("RGB", (_LONGEST_SIDE_READ, _LONGEST_SIDE_READ))
        rgb = image.convert("RGB")
    rgb.thumbnail((_LONGEST_SIDE_READ, _LONGEST_SIDE_READ))
    scale = full / max(rgb.size)
    pixels = np.asarray(rgb, np.int16)
    ring = (pixels[:, :, 0] > 130) & (pixels[:, :, 1] < 110) & (pixels[:, :, 2] > 130)
    found = []
    for left, right in _runs(np.any(ring, axis=0)):
        if not (heights := _runs(np.any(ring[:, left:right], axis=1))):
            continue
        top, bottom = heights[0][0], heights[-1][1]
        face = _read(pixels[top:bottom, left:right].mean(axis=2))
        if face is None:
            continue
        tall, wide = ring.shape
        found.append(
            SeenFace(
                face,
                left / wide,
                top / tall,
                (right - left) / wide,
                (bottom - top) / tall,
                (right - left) * scale,
            )
        )
    return tuple(sorted(found, key=lambda each: each.pixels, reverse=True))


def _runs(marked: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Begin and end of each run of marks; shorter than a cell's width is nothing."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], marked, [False])).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= 3]


def _read(grey: NDArray[np.float64]) -> Face | None:
    """Who the square shows; None where it is no face, or not upright."""
    tall, wide = grey.shape
    if not (0.8 < tall / wide < 1.25) or wide < 12:
        return None
    code = 0
    for row in range(1, 7):
        for column in range(1, 7):
            middle = grey[_middle(row, tall), _middle(column, wide)]
            code = code << 1 | int(middle.mean() > 127)
    return _decoded(code)


def _middle(cell: int, length: int) -> slice:
    """The inner part of one of eight cells."""
    begin = round((cell + 0.3) * length / _CELLS)
    return slice(begin, max(begin + 1, round((cell + 0.7) * length / _CELLS)))
