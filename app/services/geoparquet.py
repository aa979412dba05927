"""GeoParquet 1.1 (https://geoparquet.org), a row group at a time."""

import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow
from pyarrow import csv, parquet

from app.domain.money import decimals
from app.repositories.place_export import Column, Kind

#: A point in well-known binary: little-endian, kind 1, longitude, latitude.
_POINT = np.dtype([("order", "u1"), ("kind", "<u4"), ("x", "<f8"), ("y", "<f8")])

#: Sums of an amount that fits in 64 bits.
_MONEY_DIGITS = 19

_TYPES = {
    Kind.TEXT: pyarrow.string(),
    Kind.CODE: pyarrow.string(),
    Kind.NUMBER: pyarrow.float64(),
    Kind.BOOLEAN: pyarrow.bool_(),
    Kind.INSTANT: pyarrow.timestamp("us", "UTC"),
}


class GeoParquetFile:
    """A file that is made from CSV: longitude, latitude, `columns`, and the currency of amounts.

    `geometry` comes first in it; amounts are exact decimals with the places of `currency`.
    """

    def __init__(self, columns: Sequence[Column], currency: str) -> None:
        money = pyarrow.decimal128(_MONEY_DIGITS, decimals(currency))
        types = {
            column.name: money if column.kind is Kind.MONEY else _TYPES[column.kind]
            for column in columns
        }
        if money in types.values():
            types["currency"] = pyarrow.string()
        self._types = {"longitude": pyarrow.float64(), "latitude": pyarrow.float64(), **types}
        self._schema = pyarrow.schema({"geometry": pyarrow.binary(), **types})
        self._written = _Written()
        self._writer = parquet.ParquetWriter(self._written, self._schema)
        self._bounds: list[tuple[float, float, float, float]] = []

    def add(self, rows: bytes) -> bytes:
        """The next part of the file, with these rows as a row group."""
        table = csv.read_csv(
            io.BytesIO(rows),
            read_options=csv.ReadOptions(
                column_names=list(self._types), use_threads=False, block_size=len(rows) + 1
            ),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=self._types,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                true_values=["true"],
                false_values=["false"],
            ),
        )
        longitudes, latitudes = _numbers(table, "longitude"), _numbers(table, "latitude")
        self._bounds.append((longitudes.min(), latitudes.min(), longitudes.max(), latitudes.max()))
        columns = [table.column(name) for name in self._schema.names[1:]]
        self._writer.write_table(
            pyarrow.Table.from_arrays(
                [_points(longitudes, latitudes), *columns], schema=self._schema
            ),
            row_group_size=table.num_rows,
        )
        return self._written.take()

    def finish(self) -> bytes:
        """The last part of the file, which says what is in it."""
        self._writer.add_key_value_metadata({"geo": json.dumps(self._metadata())})
        self._writer.close()
        return self._written.take()

    def _metadata(self) -> dict[str, Any]:
        # Left out, the reference system is OGC:CRS84: longitude before latitude, on WGS 84.
        geometry: dict[str, Any] = {"encoding": "WKB", "geometry_types": []}
        if self._bounds:
            wests, souths, easts, norths = zip(*self._bounds, strict=True)
            geometry["geometry_types"] = ["Point"]
            geometry["bbox"] = [
                float(each) for each in (min(wests), min(souths), max(easts), max(norths))
            ]
        return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": geometry}}


def _numbers(table: Any, name: str) -> Any:
    # Not by to_numpy(), which imports pandas where it is installed, for nothing and 40 MB.
    return np.from_dlpack(table.column(name).combine_chunks())


def _points(longitudes: Any, latitudes: Any) -> Any:
    points = np.empty(len(longitudes), _POINT)
    points["order"], points["kind"] = 1, 1
    points["x"], points["y"] = longitudes, latitudes
    ends = np.arange(len(points) + 1, dtype=np.int32) * _POINT.itemsize
    buffers = [None, pyarrow.py_buffer(ends), pyarrow.py_buffer(points)]
    return pyarrow.Array.from_buffers(pyarrow.binary(), len(points), buffers)


class _Written(io.RawIOBase):
    """Keeps what is written until somebody takes it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, part: Any) -> int:
        self._parts.append(bytes(part))
        return len(part)

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken
