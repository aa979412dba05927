"""Files come in whole, in part with every refused row named, or not at all with a reason."""

import codecs
import csv
import gzip
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from sqlalchemy import text

from app.database import Database
from app.domain.errors import InvalidInput, UnreadableFile
from app.domain.tenant import Tenant
from app.services.importing import (
    FileFormat,
    ImportReport,
    import_customers,
    import_order_lines,
    import_orders,
)
from tests.factories import make_tenant

CDNOW = Path(__file__).parents[3] / "shared" / "data" / "cdnow" / "cdnow_master.csv"
HEADER = "order_id,customer_id,date,amount\n"
ROWS = "1,ann,2026-03-01,10.50\n2,bob,2026-03-02,20\n"


@pytest.fixture
async def database(fresh_database: Database) -> Database:
    """Imports commit: every test has a database of its own."""
    return fresh_database


@pytest.fixture
async def tenant(database: Database) -> Tenant:
    return await make_tenant(database, currency="USD")


async def query(database: Database, tenant: Tenant, sql: str) -> list[tuple[Any, ...]]:
    async with database.tenant_transaction(tenant.id) as connection:
        return [tuple(row) for row in await connection.execute(text(sql))]


async def stored(database: Database, tenant: Tenant) -> list[tuple[Any, ...]]:
    return await query(
        database,
        tenant,
        "SELECT o.id, c.id, o.local_at::date, o.total_amount FROM orders o"
        " JOIN customers c ON c.sk = o.customer_sk ORDER BY o.id",
    )


def outcome(report: ImportReport) -> tuple[int, int, int, int, int]:
    return report.rows, report.created, report.updated, report.unchanged, report.rejected


def refusals(path: Path) -> list[tuple[str, str]]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return [(row["row"], row["reason"]) for row in csv.DictReader(file)]


EXPECTED = [("1", "ann", date(2026, 3, 1), 1050), ("2", "bob", date(2026, 3, 2), 2000)]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param((HEADER + ROWS).encode(), id="plain"),
        pytest.param((HEADER + ROWS).replace(",", ";").encode(), id="semicolons"),
        pytest.param((HEADER + ROWS).replace(",", "\t").encode(), id="tabs"),
        pytest.param((HEADER + ROWS).replace("\n", "\r\n").encode(), id="windows lines"),
        pytest.param((HEADER + ROWS).encode("utf-8-sig"), id="byte order mark"),
        pytest.param((HEADER + ROWS).encode("utf-16"), id="utf-16"),
        pytest.param(gzip.compress((HEADER + ROWS).encode()), id="gzip"),
        pytest.param((HEADER + ROWS).replace("2026-03-0", "2026030").encode(), id="compact days"),
    ],
)
async def test_a_file_is_read_however_it_is_written(
    database: Database, tenant: Tenant, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(content)
    report = await import_orders(database, tenant, path)
    assert outcome(report) == (2, 2, 0, 0, 0)
    assert await stored(database, tenant) == EXPECTED
    assert outcome(await import_orders(database, tenant, path)) == (2, 0, 0, 2, 0)


async def test_parquet_with_numbers_for_ids(
    database: Database, tenant: Tenant, tmp_path: Path
) -> None:
    path = tmp_path / "orders.parquet"
    table = pa.table(
        {
            "order_id": [1, 2],
            "customer_id": ["ann", "bob"],
            "date": [datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)],
            "amount": [Decimal("10.50"), Decimal("20.00")],
        }
    )
    parquet.write_table(table, path)
    assert outcome(await import_orders(database, tenant, path)) == (2, 2, 0, 0, 0)
    assert await stored(database, tenant) == EXPECTED


async def test_headers_are_named_where_they_are_not_obvious(
    database: Database, tenant: Tenant, tmp_path: Path
) -> None:
    path = tmp_path / "orders.csv"
    path.write_text('nr,wer,wann,wieviel\n1,ann,01.03.2026,"10,50"\n2,bob,13.03.2026,20\n')
    with pytest.raises(InvalidInput, match="no column of the file is customerId"):
        await import_orders(database, tenant, path)
    columns = {"id": "nr", "customerId": "wer", "orderedAt": "wann", "totalAmount": "wieviel"}
    report = await import_orders(database, tenant, path, format=FileFormat(columns=columns))
    assert report.columns == columns
    assert await stored(database, tenant) == [
        ("1", "ann", date(2026, 3, 1), 1050),
        ("2", "bob", date(2026, 3, 13), 2000),
    ]
    for bad in ({"nonsense": "nr"}, {"id": "nonsense"}):
        with pytest.raises(InvalidInput, match="nonsense"):
            await import_orders(database, tenant, path, format=FileFormat(columns=bad))


async def test_days_that_could_be_months_are_asked_about(
    database: Database, tenant: Tenant, tmp_path: Path
) -> None:
    path = tmp_path / "orders.csv"
    path.write_text(HEADER + "1,ann,3/4/2026 8:26,10\n")
    with pytest.raises(InvalidInput, match="either way round"):
        await import_orders(database, tenant, path)
    await import_orders(database, tenant, path, format=FileFormat(date_format="d/m/y"))
    assert [row[2] for row in await stored(database, tenant)] == [date(2026, 4, 3)]


async def test_refused_rows_are_named_and_the_others_stay(
    database: Database, tenant: Tenant, tmp_path: Path
) -> None:
    path, rejects = tmp_path / "orders.csv", tmp_path / "rejects.csv"
    path.write_bytes(
        HEADER.encode()
        + b"1,ann,2026-03-01,10.50\n"
        + b"3,cid,2026-03-02\n"
        + b"4,cid,soon,20\n"
        + b"5,cid,2026-03-02,NaN\n"
        + b"6,cid,2026-03-02,1e30\n"
        + b"7,cid,2999-03-02,20\n"
        + b"8,c\0d,2026-03-02,20\n"
        + b",cid,2026-03-02,20\n"
        + b"1,ann,2026-03-01,99\n"
        + b"2,bob,2026-03-02,20\n"
        + b"9,c\xffd,2026-03-02,20\n"
    )
    report = await import_orders(
        database, tenant, path, rejects=rejects, format=FileFormat(encoding="utf-8")
    )
    assert outcome(report) == (11, 2, 0, 0, 9)
    assert await stored(database, tenant) == EXPECTED
    assert await query(database, tenant, "SELECT count(*) FROM customers") == [(2,)]
    named = refusals(rejects)
    assert [row for row, _ in named] == ["3", "4", "5", "6", "7", "8", "9", "10", "12"]
    reasons = [reason for _, reason in named]
    assert reasons[0] == "has 3 columns where the header has 4"
    assert reasons[1].startswith("orderedAt ")
    assert reasons[2] == "totalAmount must be a finite number"
    assert reasons[3].startswith("totalAmount ")
    assert reasons[4] == "orderedAt must not lie more than 24 hours in the future"
    assert reasons[5].startswith("customerId ")
    assert reasons[6] == "id is required"
    assert reasons[7] == "id occurs in an earlier row already"
    assert reasons[8].startswith("customerId ")


async def test_unknown_customers_are_refused_on_request(
    database: Database, tenant: Tenant, tmp_path: Path
) -> None:
    path, rejects = tmp_path / "orders.csv", tmp_path / "rejects.csv"
    path.write_text(HEADER + ROWS)
    report = await import_orders(database, tenant, path, create_customers=False, rejects=rejects)
    assert outcome(report) == (2, 0, 0, 0, 2)
    assert refusals(rejects)[0] == ("2", "customerId is not the id of a customer")


async def test_what_was_read_before_a_break_stays(
    database: Database, tenant: Tenant, tmp_path: Path
) -> None:
    rows = "".join(f"{each},ann,2026-03-01,{each}\n" for each in range(60_000))
    packed = gzip.compress((HEADER + rows).encode())
    path = tmp_path / "orders.csv.gz"
    path.write_bytes(packed[: len(packed) * 9 // 10])
    report = await import_orders(database, tenant, path)
    assert report.error is not None
    assert "cut off or damaged" in report.error
    assert 40_000 <= report.created < 60_000
    assert f"row {report.rows + 2}" in report.error
    assert len(await stored(database, tenant)) == report.created


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("a.csv", b"", "is empty", id="empty"),
        pytest.param("a.csv", b"\n\n", "has no header", id="blank"),
        pytest.param("a.csv", bytes(range(256)) * 40, "not a text file", id="binary"),
        pytest.param("a.gz", b"\x1f\x8bnonsense", "gzip", id="not gzip"),
        pytest.param("a.parquet", b"PAR1 and nothing", "Parquet", id="not parquet"),
        pytest.param("a.csv", codecs.BOM_UTF16_LE + b"a", "row 1", id="cut utf-16"),
    ],
)
async def test_files_that_are_none(
    database: Database, tenant: Tenant, tmp_path: Path, *, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UnreadableFile, match=message):
        await import_orders(database, tenant, path)


async def test_a_header_alone_is_said(database: Database, tenant: Tenant, tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_text(HEADER)
    report = await import_orders(database, tenant, path)
    assert report.error is not None
    assert "has a header and no row" in report.error


async def test_paths_that_are_no_files(database: Database, tenant: Tenant, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="is a directory"):
        await import_orders(database, tenant, tmp_path)
    with pytest.raises(UnreadableFile, match="cannot be opened"):
        await import_orders(database, tenant, tmp_path / "none.csv")


async def test_rows_without_ids_get_the_same_ones_again(
    database: Database, tenant: Tenant, tmp_path: Path
) -> None:
    path = tmp_path / "log.csv"
    path.write_text(
        "customer_id,date,quantity,amount\n"
        "1,1997-01-01,1,11.77\n1,1997-01-01,1,11.77\n1,1997-01-01,2,11.77\n"
    )
    assert outcome(await import_orders(database, tenant, path)) == (3, 3, 0, 0, 0)
    assert outcome(await import_orders(database, tenant, path)) == (3, 0, 0, 3, 0)


async def test_invoice_lines_become_orders(
    database: Database, tenant: Tenant, tmp_path: Path
) -> None:
    path, rejects = tmp_path / "lines.csv", tmp_path / "rejects.csv"
    path.write_text(
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
        "536365,85123A,LANTERN,6,12/1/2010 8:26,2.55,17850,UK\n"
        "536366,22633,WARMER,6,12/13/2010 8:28,1.85,17850,UK\n"
        "536365,71053,LANTERN,6,12/1/2010 8:26,3.39,17850,UK\n"
        "C536379,D,Discount,-1,12/1/2010 9:41,27.5,14527,UK\n"
        "536414,22139,,56,12/1/2010 11:52,0,,UK\n"
        "536415,1,a,1,12/1/2010 11:52,1,17850,UK\n"
        "536415,2,b,1,12/1/2010 11:52,1,14527,UK\n"
    )
    report = await import_order_lines(database, tenant, path, rejects=rejects)
    assert outcome(report) == (7, 3, 0, 0, 3)
    assert await query(
        database,
        tenant,
        "SELECT id, status, total_amount, net_amount, item_count FROM orders ORDER BY id",
    ) == [
        ("536365", "completed", 3564, 3564, 12),
        ("536366", "completed", 1110, 1110, 6),
        ("C536379", "refunded", -2750, -2750, 1),
    ]
    assert [row for row, _ in refusals(rejects)] == ["6", "7", "8"]
    assert outcome(await import_order_lines(database, tenant, path)) == (7, 0, 0, 3, 3)


async def test_customers_come_from_a_file(
    database: Database, tenant: Tenant, tmp_path: Path
) -> None:
    path = tmp_path / "customers.csv"
    path.write_text(
        "customer_id,name,Email,birthday,community_tags,credit_limit\n"
        "a,Ana,a@b.c,21/4/1988,pkk;rt5,12.50\n"
        "b,,b@b.c,,,\n"
    )
    assert outcome(await import_customers(database, tenant, path)) == (2, 1, 0, 0, 1)
    assert await query(
        database, tenant, "SELECT date_of_birth, community_tags, credit_limit FROM customers"
    ) == [(date(1988, 4, 21), ["pkk", "rt5"], 1250)]
    assert outcome(await import_customers(database, tenant, path)) == (2, 0, 0, 1, 1)


@pytest.mark.shared_data
@pytest.mark.skipif(not CDNOW.exists(), reason="cdnow_master.csv is not beside the checkout")
async def test_the_cdnow_log(database: Database, tenant: Tenant) -> None:
    first = await import_orders(database, tenant, CDNOW)
    assert outcome(first) == (69_659, 69_659, 0, 0, 0)
    assert await query(
        database,
        tenant,
        "SELECT count(*), count(DISTINCT customer_sk), sum(total_amount)::bigint FROM orders",
    ) == [(69_659, 23_570, 250_031_563)]
    assert outcome(await import_orders(database, tenant, CDNOW)) == (69_659, 0, 0, 69_659, 0)
