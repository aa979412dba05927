"""Noticing what comes twice in a stream, however long the stream is."""

import tempfile
from collections.abc import Sequence
from typing import IO

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.int64]

#: Sorted hashes from so many on go to a file: eight megabytes each.
SEGMENT = 1_000_000


class SeenIds:
    """The ids a stream has brought so far, eight bytes each, most of them in a temporary file.

    Ids are told apart by 64 bits of their hash: among ten million, the chance that any two are
    taken for one is three in a million.
    """

    def __init__(self) -> None:
        # Sorted runs, each at least twice as long as the next one, so there are few to look in.
        self._runs: list[Hashes] = []
        self._file: IO[bytes] | None = None
        self._segments: list[tuple[int, int]] = []

    def __del__(self) -> None:
        # Whoever reads a stream may stop anywhere in it; the file goes with the last reference.
        if self._file is not None:
            self._file.close()

    def repeated(self, ids: Sequence[str]) -> list[bool]:
        """For each id whether it came before, in an earlier call or earlier in `ids`; adds all."""
        hashes = np.fromiter(map(hash, ids), np.int64, len(ids))
        fresh, first = np.unique(hashes, return_index=True)
        repeated = np.ones(len(ids), np.bool_)
        repeated[first] = False
        known = np.zeros(len(fresh), np.bool_)
        for run in self._runs:
            known |= _contains(run, fresh)
        for start, length in self._segments:
            known |= _contains(self._read(start, length), fresh)
        repeated[first[known]] = True
        self._add(fresh[~known])
        return list(map(bool, repeated))

    def _add(self, run: Hashes) -> None:
        if not len(run):
            return
        self._runs.append(run)
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            merged = np.concatenate((self._runs.pop(), self._runs.pop()))
            merged.sort(kind="stable")
            self._runs.append(merged)
        if len(self._runs[0]) >= SEGMENT:
            self._write(self._runs.pop(0))

    def _write(self, run: Hashes) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object
        start = self._file.seek(0, 2)
        self._file.write(run.tobytes())
        self._segments.append((start, len(run)))

    def _read(self, start: int, length: int) -> Hashes:
        assert self._file is not None
        self._file.seek(start)
        return np.frombuffer(self._file.read(length * 8), np.int64)


def _contains(run: Hashes, wanted: Hashes) -> NDArray[np.bool_]:
    position = np.minimum(np.searchsorted(run, wanted), len(run) - 1)
    found: NDArray[np.bool_] = run[position] == wanted
    return found
