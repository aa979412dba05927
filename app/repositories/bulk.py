"""Columns in, rows out: COPY into a temporary stage, then INSERT … SELECT.

PostgreSQL refuses COPY … FROM on a table under row-level security, so every batch goes through a
stage of the same shape, gone when the transaction ends. Indexes, triggers and policies of the
target stay as they are. Columns are numpy arrays, masked where a value is missing.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv
from sqlalchemy import ARRAY, Table, text
from sqlalchemy.ext.asyncio import AsyncConnection

Column = NDArray[Any]

ROWS_A_BUFFER = 20_000
"""Rows rendered for COPY at a time: a few megabytes, however long the columns are."""

_POINT = np.dtype([("order", "u1"), ("type", "<u4"), ("srid", "<u4"), ("x", "<f8"), ("y", "<f8")])
_LITTLE_ENDIAN, _POINT_WITH_SRID, _WGS_84 = 1, 0x20000001, 4326


class BulkWriter:
    """Writes many rows of one tenant inside one transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: int) -> None:
        self.connection = connection
        self.tenant_id = tenant_id

    async def allow_long_statements(self) -> None:
        """Lift the statement timeout for the rest of the transaction."""
        await self.connection.execute(text("SET LOCAL statement_timeout = 0"))

    async def allocate(self, table: Table, rows: int) -> NDArray[np.int64]:
        """`rows` surrogate keys of `table`, ascending, that nobody else will be given."""
        drawn = await self.connection.scalar(
            text(
                # Materialized, or the sequence would be looked up again for every row.
                "WITH owned AS MATERIALIZED"
                " (SELECT pg_get_serial_sequence(:name, 'sk')::regclass AS sequence)"
                " SELECT string_agg(int8send(nextval(sequence)), '')"
                " FROM owned, generate_series(1, :rows)"
            ),
            {"name": table.name, "rows": rows},
        )
        return np.frombuffer(drawn or b"", dtype=">i8").astype(np.int64)

    async def insert(
        self,
        table: Table,
        columns: Mapping[str, Column],
        *,
        computed: Mapping[str, str] | None = None,
    ) -> int:
        """Insert one row per value of `columns`, which are named as in `table`.

        `computed` gives further columns as SQL over the others; what neither names takes its
        default. Returns the number of rows. Raises sqlalchemy's IntegrityError where a row breaks
        a constraint.
        """
        stage = await self._stage(table, columns)
        sources = {
            "tenant_id": f"{self.tenant_id:d}",
            **{name: name for name in columns},
            **(computed or {}),
        }
        inserted = await self.connection.execute(
            text(
                f"INSERT INTO {table.name} ({', '.join(sources)})"
                f" SELECT {', '.join(sources.values())} FROM {stage}"
            )
        )
        await self.connection.execute(text(f"DROP TABLE {stage}"))
        return inserted.rowcount

    async def insert_by_clock(
        self, table: Table, columns: Mapping[str, Column], instant: str
    ) -> int:
        """Insert rows, with `instant` by the tenant's clock as their `local_at`."""
        timezone = await self.connection.scalar(
            text("SELECT quote_literal(timezone) FROM tenants WHERE id = :tenant"),
            {"tenant": self.tenant_id},
        )
        return await self.insert(
            table, columns, computed={"local_at": f"{instant} AT TIME ZONE {timezone}"}
        )

    async def ensure_months(self, table: Table, instants: NDArray[np.datetime64]) -> None:
        """Make the monthly partitions of `table` that rows at these instants (UTC) need."""
        for month in np.unique(instants.astype("datetime64[M]")):
            await self.connection.execute(
                text("SELECT ensure_partition(:name, :month)"),
                {"name": table.name, "month": month.astype("datetime64[D]").item()},
            )

    async def _stage(self, table: Table, columns: Mapping[str, Column]) -> str:
        """Copy the columns into a new stage and return its name."""
        name = f"{table.name}_stage"
        await self.connection.execute(
            text(
                f"CREATE TEMPORARY TABLE {name} ON COMMIT DROP AS"
                f" SELECT {', '.join(columns)} FROM {table.name} WITH NO DATA"
            )
        )
        driver = (await self.connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.copy_to_table(
            name, source=_render(table, columns), columns=list(columns), format="csv"
        )
        return name


def points(latitude: Column, longitude: Column) -> Column:
    """Points as PostGIS reads them from text: hexadecimal EWKB in WGS 84."""
    records = np.empty(len(latitude), dtype=_POINT)
    records["order"], records["type"], records["srid"] = _LITTLE_ENDIAN, _POINT_WITH_SRID, _WGS_84
    records["x"], records["y"] = longitude, latitude
    return np.frombuffer(records.tobytes().hex().encode(), dtype=f"S{2 * _POINT.itemsize}")


async def _render(table: Table, columns: Mapping[str, Column]) -> AsyncIterator[bytes]:
    """The rows as CSV, buffer by buffer, rendered off the event loop."""
    rows = len(next(iter(columns.values())))
    for start in range(0, rows, ROWS_A_BUFFER):
        part = {
            name: (column[start : start + ROWS_A_BUFFER], isinstance(table.c[name].type, ARRAY))
            for name, column in columns.items()
        }
        yield await asyncio.to_thread(_render_rows, part)


def _render_rows(part: Mapping[str, tuple[Column, bool]]) -> bytes:
    rows = pa.table({name: _arrow(column, is_list) for name, (column, is_list) in part.items()})
    buffer = pa.BufferOutputStream()
    csv.write_csv(rows, buffer, csv.WriteOptions(include_header=False))
    return bytes(buffer.getvalue())


def _arrow(column: Column, is_list: bool) -> pa.Array:
    values = np.ma.getdata(column)
    mask = np.ma.getmaskarray(column) if isinstance(column, np.ma.MaskedArray) else None
    if is_list:
        values = np.strings.add(np.strings.add("{", values), "}")
    array = pa.array(values, mask=mask)
    return array.cast(pa.string()) if pa.types.is_binary(array.type) else array
