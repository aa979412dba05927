"""Columns: the shape in which the made-up business is handed on, and how labels are drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]
Texts: TypeAlias = NDArray[np.str_]
Instants: TypeAlias = NDArray[np.datetime64]

Column: TypeAlias = NDArray[Any]
"""One value a row; a masked array where some are missing. Instants are datetime64[s] in UTC."""

Columns: TypeAlias = dict[str, Column]
"""Columns of equal length by name. A list of texts is one text, its parts joined by commas."""


@dataclass(frozen=True, slots=True, eq=False)
class Mix:
    """Labels with their shares."""

    labels: Texts
    cumulative: Floats

    @classmethod
    def of(cls, shares: Mapping[str, float]) -> "Mix":
        weights = np.fromiter(shares.values(), dtype=np.float64)
        cumulative = np.cumsum(weights / weights.sum())
        cumulative[-1] = 1.0
        return cls(np.array(list(shares)), cumulative)

    def at(self, positions: Floats) -> Texts:
        """The label at each position in [0, 1): uniform positions give labels by their shares."""
        return self.labels[np.searchsorted(self.cumulative, positions, side="right")]

    def draw(self, rng: np.random.Generator, size: int) -> Texts:
        """`size` independent labels."""
        return self.at(rng.random(size))


def at_each(mixes: Sequence[Mix], which: Ints, positions: Floats) -> Texts:
    """The label of `mixes[which]` at each position."""
    widest = max(mix.labels.dtype for mix in mixes)
    labels = np.empty(len(positions), dtype=widest)
    for number, mix in enumerate(mixes):
        chosen = which == number
        labels[chosen] = mix.at(positions[chosen])
    return labels


def sticky(rng: np.random.Generator, habits: Floats, owners: Ints, loyalty: float) -> Floats:
    """Positions in [0, 1) that repeat their owner's habit with probability `loyalty`.

    Uniform habits give uniform positions, so a habit never shifts the overall shares.
    """
    fresh = rng.random(len(owners))
    return np.where(rng.random(len(owners)) < loyalty, habits[owners], fresh)


def within(counts: Ints) -> Ints:
    """0, 1, … inside each run of `counts` rows."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) - np.repeat(ends - counts, counts)


def missing(values: Column, absent: Flags) -> Column:
    """`values` with the rows of `absent` missing."""
    return np.ma.masked_array(values, mask=absent)


def stacked(upper: Column, lower: Column) -> Column:
    """The rows of `upper`, then those of `lower`."""
    values = np.concatenate([np.ma.getdata(upper), np.ma.getdata(lower)])
    if not (np.ma.isMaskedArray(upper) or np.ma.isMaskedArray(lower)):
        return values
    return missing(values, np.concatenate([np.ma.getmaskarray(upper), np.ma.getmaskarray(lower)]))


def numbered(prefix: str, numbers: Ints, digits: int) -> Texts:
    """`prefix` and each number, zero-padded to `digits`."""
    if not len(numbers):  # zfill asks for the widest of its texts
        return np.empty(0, dtype=np.str_)
    return np.strings.add(prefix, np.strings.zfill(numbers.astype(np.str_), digits))
