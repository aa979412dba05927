"""Boxes as cells of the geohash grid, so that an index of geohashes can be asked for a box."""

from collections.abc import Iterable

from app.domain.geometry import AFTER_GEOHASH, GEOHASH_ALPHABET, Box, cell_box
from app.domain.privacy import ROUGH_GEOHASH

#: So many ranges are looked up for a box at most; more of them fit it closer.
_MOST_RANGES = 64

#: A place as close to the edge of a cell may be counted to either side of it, in degrees.
_ROUNDING = 1e-9


def ranges_over(box: Box, finest: int = ROUGH_GEOHASH) -> list[tuple[str, str]]:
    """Ranges of geohashes, from the first up to but without the second, that hold all of `box`.

    They hold whole cells of `finest` characters: each that the box meets, and some around it.
    """
    cells = [""]
    while len(cells[0]) < finest:
        divided = [
            inner
            for cell in cells
            for inner in (cell + letter for letter in GEOHASH_ALPHABET)
            if any(_meet(cell_box(inner), part) for part in box.parts())
        ]
        if len(divided) > _MOST_RANGES and cells[0]:
            break
        cells = divided
    return _joined(cells)


def _joined(cells: Iterable[str]) -> list[tuple[str, str]]:
    """One range for cells that follow each other."""
    found: list[tuple[str, str]] = []
    for cell in sorted(cells):
        end = cell + AFTER_GEOHASH
        if found and _next(found[-1][1].removesuffix(AFTER_GEOHASH)) == cell:
            found[-1] = (found[-1][0], end)
        else:
            found.append((cell, end))
    return found


def _next(cell: str) -> str | None:
    """The cell that sorts next to one within the same larger cell."""
    index = GEOHASH_ALPHABET.index(cell[-1]) + 1
    return cell[:-1] + GEOHASH_ALPHABET[index] if index < len(GEOHASH_ALPHABET) else None


def _meet(one: Box, other: Box) -> bool:
    return (
        one.west <= other.east + _ROUNDING
        and other.west <= one.east + _ROUNDING
        and one.south <= other.north + _ROUNDING
        and other.south <= one.north + _ROUNDING
    )
