"""Reading tables from files: CSV of any delimiter and encoding, gzip too, and Parquet.

A file is read in blocks, however large it is. What cannot be read at all raises `UnreadableFile`
with the row it happened at; every row before it has been handed out by then.
"""

import codecs
import csv
import gzip
import io
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow
from pyarrow import parquet

from app.domain.errors import UnreadableFile

_SAMPLE_BYTES = 256 * 1024
_DELIMITERS = ",;\t|"
_GZIP_MAGIC = b"\x1f\x8b"
_PARQUET_MAGIC = b"PAR1"
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_TEXT_CONTROLS = frozenset(b"\t\n\r\f\x1b")

Cells = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A row with its number in the file, the header being row 1; `problem` where it is broken."""

    number: int
    cells: Cells
    problem: str | None = None


class Table(ABC):
    """An open table: its header, then its rows once, in blocks. Use it as a context manager."""

    header: list[str]

    @abstractmethod
    def blocks(self, size: int) -> Iterator[list[Row]]:
        """The rows, in lists of up to `size`. Raises UnreadableFile after the last good row."""

    @property
    @abstractmethod
    def progress(self) -> tuple[int, int]:
        """How much has been read, of how much."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""

    def __enter__(self) -> "Table":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_table(path: Path, *, delimiter: str | None = None, encoding: str | None = None) -> Table:
    """Open the table in the file. Raises UnreadableFile."""
    if path.is_dir():
        raise UnreadableFile(f"{path} is a directory.")
    try:
        file = path.open("rb")
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be opened: {error.strerror}.") from error
    try:
        is_parquet = file.read(4) == _PARQUET_MAGIC
        file.seek(0)
        if is_parquet:
            return _ParquetTable(path, file)
        return _CsvTable(path, file, delimiter, encoding)
    except BaseException:
        file.close()
        raise


class _CsvTable(Table):
    def __init__(
        self, path: Path, file: IO[bytes], delimiter: str | None, encoding: str | None
    ) -> None:
        self._path = path
        self._file = file
        self._size = path.stat().st_size
        is_gzip = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        source: Any = gzip.GzipFile(fileobj=file) if is_gzip else file
        buffered = io.BufferedReader(source, _SAMPLE_BYTES)
        try:
            sample = buffered.peek(_SAMPLE_BYTES)
        except (EOFError, OSError, zlib.error) as error:
            raise UnreadableFile(f"{path} is not a whole gzip file: {error}.") from error
        if not sample:
            raise UnreadableFile(f"{path} is empty.")
        encoding = encoding or _encoding_of(sample)
        try:
            codecs.lookup(encoding)
        except LookupError:
            raise UnreadableFile(f"There is no encoding called {encoding!r}.") from None
        if not encoding.lower().startswith(("utf-16", "utf16")) and _is_binary(sample):
            raise UnreadableFile(f"{path} is not a text file.")
        # A byte that is no character spoils its row, not the file.
        text = io.TextIOWrapper(buffered, encoding, errors="surrogateescape", newline="")
        head = _first_line(sample, encoding)
        self._rows = csv.reader(text, delimiter=delimiter or _delimiter_of(head), strict=False)
        self._next_number = 1
        try:
            header = next(self._rows, None)
        except (csv.Error, EOFError, OSError, UnicodeError, zlib.error) as error:
            raise self._unreadable(error) from error
        if not header or not any(name.strip() for name in header):
            raise UnreadableFile(f"{path} has no header in its first row.")
        self.header = [name.strip() for name in header]
        self._next_number = 2

    def blocks(self, size: int) -> Iterator[list[Row]]:
        block: list[Row] = []
        width = len(self.header)
        number = self._next_number
        try:
            for cells in self._rows:
                if not cells:
                    number += 1
                    continue
                if len(cells) == width:
                    block.append(Row(number, cells))
                else:
                    problem = f"has {len(cells)} columns where the header has {width}"
                    block.append(Row(number, cells, problem))
                number += 1
                if len(block) == size:
                    self._next_number = number
                    yield block
                    block = []
        except (csv.Error, EOFError, OSError, UnicodeError, zlib.error) as error:
            self._next_number = number
            if block:
                yield block
            raise self._unreadable(error) from error
        if block:
            yield block
        elif number == 2:
            raise UnreadableFile(f"{self._path} has a header and no row.")

    @property
    def progress(self) -> tuple[int, int]:
        return (self._size if self._file.closed else self._file.tell()), self._size

    def close(self) -> None:
        self._file.close()

    def _unreadable(self, error: Exception) -> UnreadableFile:
        if isinstance(error, csv.Error):
            reason = "is not CSV (a quote that never ends?)"
        elif isinstance(error, UnicodeError):
            reason = "is not in the encoding of the rows before it"
        else:
            reason = "cannot be decompressed: the file is cut off or damaged"
        return UnreadableFile(f"{self._path}, row {self._next_number}: {reason}.")


class _ParquetTable(Table):
    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self._handle = file
        self._read = 0
        try:
            self._file = parquet.ParquetFile(file)
        except (pyarrow.ArrowException, OSError) as error:
            raise UnreadableFile(f"{path} is not a whole Parquet file.") from error
        self.header = list(self._file.schema_arrow.names)

    def blocks(self, size: int) -> Iterator[list[Row]]:
        try:
            for batch in self._file.iter_batches(batch_size=size):
                columns = [column.to_pylist() for column in batch.columns]
                first = self._read + 2
                self._read += batch.num_rows
                yield [
                    Row(first + place, cells)
                    for place, cells in enumerate(zip(*columns, strict=True))
                ]
        except (pyarrow.ArrowException, OSError) as error:
            raise UnreadableFile(
                f"{self._path}, row {self._read + 2}: cannot be read: {error}."
            ) from error

    @property
    def progress(self) -> tuple[int, int]:
        return self._read, self._file.metadata.num_rows

    def close(self) -> None:
        self._handle.close()


def _encoding_of(sample: bytes) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if sample.startswith(mark):
            return encoding
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(sample)  # the last character of a sample may be cut
    except UnicodeDecodeError:
        # Five of its bytes mean nothing in Windows' code page, and all mean something in Latin 1.
        undefined = frozenset(b"\x81\x8d\x8f\x90\x9d")
        return "latin-1" if undefined.intersection(sample) else "cp1252"
    return "utf-8"


def _is_binary(sample: bytes) -> bool:
    controls = sum(byte < 32 and byte not in _TEXT_CONTROLS for byte in sample[:8192])
    return controls * 20 > min(len(sample), 8192)


def _first_line(sample: bytes, encoding: str) -> str:
    text = sample.decode(encoding, errors="replace")
    return next(iter(text.splitlines()), "")


def _delimiter_of(line: str) -> str:
    in_quotes = False
    counts = dict.fromkeys(_DELIMITERS, 0)
    for character in line:
        if character == '"':
            in_quotes = not in_quotes
        elif not in_quotes and character in counts:
            counts[character] += 1
    return max(_DELIMITERS, key=lambda delimiter: counts[delimiter])
