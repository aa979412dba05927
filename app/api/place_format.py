"""The formats in which places are exported: what stands between the values of a row."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

from app.api.csv_stream import MEDIA_TYPE as CSV_MEDIA_TYPE
from app.api.export_stream import Sink
from app.domain.privacy import Disclosure
from app.repositories.place_export import PlaceExport, Values

#: One thread for all files: each further one would keep memory of its own for the next.
_ENCODER = ThreadPoolExecutor(1, "geoparquet")


class PlaceFormat(StrEnum):
    """A format of files with places."""

    GEOJSON = "geojson"
    WKT = "wkt"
    CSV = "csv"
    NDJSON = "ndjson"
    GEOPARQUET = "geoparquet"


@dataclass(frozen=True, slots=True)
class FileKind:
    """What a format is called outside, and how its values are written."""

    media_type: str
    suffix: str
    values: Values


FILE_KINDS = {
    PlaceFormat.GEOJSON: FileKind("application/geo+json", "geojson", Values.JSON),
    PlaceFormat.WKT: FileKind(CSV_MEDIA_TYPE, "csv", Values.SPREADSHEET),
    PlaceFormat.CSV: FileKind(CSV_MEDIA_TYPE, "csv", Values.SPREADSHEET),
    # Not geo+json-seq: RFC 8142 puts a record separator before each feature.
    PlaceFormat.NDJSON: FileKind("application/x-ndjson", "ndjson", Values.JSON),
    PlaceFormat.GEOPARQUET: FileKind("application/vnd.apache.parquet", "parquet", Values.CSV),
}


class PlaceFile:
    """A file that is written to a sink while its rows come in.

    Nothing is written before the first rows are there, so that a statement that fails is answered
    as an error.
    """

    #: Rows are gathered until they are so long: each part costs as much as hundreds of rows.
    part_bytes = 128 * 1024

    def __init__(
        self,
        kind: PlaceFormat,
        export: PlaceExport,
        currency: str,
        disclosure: Disclosure,
        sink: Sink,
    ) -> None:
        self._text = _text_of(kind, export, currency)
        self._width = export.width
        self._identities = [
            2 + place for place, column in enumerate(export.columns) if column.identity
        ]
        self._disclosure = disclosure
        self._sink = sink
        self._gathered: list[bytes] = []
        self._size = 0
        self._begun = False

    async def add(self, values: list[bytes]) -> None:
        """Write rows: the values of all of them, one after the other."""
        if self._disclosure.anonymous:
            for place in self._identities:
                values[place :: self._width] = map(self._pseudonym, values[place :: self._width])
        # One format for all rows: for each row by itself it takes twice as long.
        rows = self._text.row * (len(values) // self._width) % tuple(values)
        self._gathered.append(rows)
        self._size += len(rows)
        if self._size >= self.part_bytes:
            await self._write(self._taken())

    async def end(self) -> None:
        """Write the last rows and what belongs after them."""
        if self._gathered:
            await self._write(self._taken())
        await self._finish()

    async def _write(self, rows: bytes) -> None:
        if not self._begun:
            self._begun = True
            rows = self._text.head + rows[self._text.left_out_once :]
        await self._sink(rows)

    async def _finish(self) -> None:
        await self._sink(self._text.tail if self._begun else self._text.head + self._text.tail)

    def _taken(self) -> bytes:
        rows = b"".join(self._gathered)
        self._gathered.clear()
        self._size = 0
        return rows

    def _pseudonym(self, identity: bytes) -> bytes:
        return f'"{self._disclosure.id(identity.decode())}"'.encode()


class GeoParquetPlaceFile(PlaceFile):
    """The same as GeoParquet: a part is a row group."""

    part_bytes = 2 * 1024 * 1024

    def __init__(
        self, export: PlaceExport, currency: str, disclosure: Disclosure, sink: Sink
    ) -> None:
        # Nothing else here needs Arrow, which takes 30 MB in each process that has read it.
        from app.services.geoparquet import GeoParquetFile  # noqa: PLC0415 - for those who ask

        super().__init__(PlaceFormat.GEOPARQUET, export, currency, disclosure, sink)
        self._file = GeoParquetFile(export.columns, currency)

    async def _write(self, rows: bytes) -> None:
        encoding = asyncio.get_running_loop().run_in_executor(_ENCODER, self._file.add, rows)
        await self._sink(await encoding)

    async def _finish(self) -> None:
        await self._sink(self._file.finish())


def open_place_file(
    kind: PlaceFormat, export: PlaceExport, currency: str, disclosure: Disclosure, sink: Sink
) -> PlaceFile:
    """A file of `kind` for the rows of `export`, whose amounts are in `currency`."""
    if kind is PlaceFormat.GEOPARQUET:
        return GeoParquetPlaceFile(export, currency, disclosure, sink)
    return PlaceFile(kind, export, currency, disclosure, sink)


@dataclass(frozen=True, slots=True)
class _Text:
    """What is before the rows, a row with a place for each value, and what is after the rows.

    `left_out_once` is how many bytes of the row the first one does without.
    """

    head: bytes
    row: bytes
    tail: bytes = b""
    left_out_once: int = 0


#: The reference system as the first clients have always read it. RFC 7946 knows no other.
_METADATA = b'"metadata":{"crs":{"type":"name","properties":{"name":"EPSG:4326"}}}'


def _text_of(kind: PlaceFormat, export: PlaceExport, currency: str) -> _Text:
    names = [column.name for column in export.columns]
    written = ["%b"] * len(names)
    if export.has_money:
        names.append("currency")
        written.append(f'"{currency}"')
    if kind in (PlaceFormat.GEOJSON, PlaceFormat.NDJSON):
        properties = ",".join(
            f'"{name}":{value}' for name, value in zip(names, written, strict=True)
        )
        feature = (
            '{"type":"Feature","geometry":{"type":"Point","coordinates":[%b,%b]},'
            f'"properties":{{{properties}}}}}'
        ).encode()
        if kind is PlaceFormat.NDJSON:
            return _Text(b"", feature + b"\n")
        head = b'{"type":"FeatureCollection","features":['
        return _Text(head, b",\n" + feature, b"\n]," + _METADATA + b"}\n", left_out_once=1)
    if kind is PlaceFormat.WKT:
        names, written = ["wkt", *names], ["POINT (%b %b)", *written]
    else:
        names, written = ["longitude", "latitude", *names], ["%b", "%b", *written]
    head = b"" if kind is PlaceFormat.GEOPARQUET else ",".join(names).encode() + b"\r\n"
    return _Text(head, ",".join(written).encode() + b"\r\n")
