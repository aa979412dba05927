"""Files of behaviour events: read by their headers, each row taken once."""

import csv
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import text

from app.database import Database
from app.domain.tenant import Tenant
from app.services.importing import import_events
from tests.factories import make_customer

HEADER = "timestamp,event,customer,value,properties,lat,lng,user_agent\n"
ROWS = """\
2026-03-02 10:30:00,Purchase,1001,"1,250.50","{""coupon"": ""X""}",-6.2,106.8,
2026-03-02 10:31:00,page_view,1001,,,,,
2026-03-02 10:31:00,page_view,1001,,,,,
2026-03-02 10:32:00,page_view,nobody,,,,,
2026-03-02 10:33:00,page_view,1001,,[1,,,
2026-03-02 10:34:00,page_view,1001,,,-6.2,,
"""


async def stored(database: Database, tenant: Tenant) -> list[tuple[object, ...]]:
    async with database.tenant_transaction(tenant.id) as connection:
        rows = await connection.execute(
            text(
                "SELECT occurred_at, event_type, event_value, properties, latitude, longitude"
                " FROM behavior_events ORDER BY occurred_at, id"
            )
        )
        return [tuple(row) for row in rows]


async def test_a_file_without_ids_is_taken_once(
    database: Database, tenant: Tenant, tmp_path: Path
) -> None:
    await make_customer(database, tenant, "1001")
    path, rejects = tmp_path / "events.csv", tmp_path / "rejects.csv"
    path.write_text(HEADER + ROWS)
    report = await import_events(database, tenant, path, rejects=rejects)
    # Rows that are the same are events that are: two views at one instant.
    assert (report.rows, report.created, report.rejected, report.error) == (6, 3, 3, None)
    assert report.columns["eventType"] == "event"
    view = (datetime(2026, 3, 2, 3, 31, tzinfo=UTC), "page_view", None, None, None, None)
    first = datetime(2026, 3, 2, 3, 30, tzinfo=UTC)
    events = [(first, "purchase", 1250_50, {"coupon": "X"}, -6.2, 106.8), view, view]
    assert await stored(database, tenant) == events
    with rejects.open() as file:
        reasons = [(row["row"], row["reason"]) for row in csv.DictReader(file)]
    assert [reason for _, reason in reasons] == [
        "customerId is not the id of a customer",
        "eventProperties is not valid JSON",
        "location latitude and longitude must be given together",
    ]
    again = await import_events(database, tenant, path)
    assert (again.created, again.unchanged, again.rejected) == (0, 3, 3)
    assert await stored(database, tenant) == events


async def test_the_ids_of_a_file_are_those_of_the_route(
    database: Database, tenant: Tenant, tmp_path: Path
) -> None:
    await make_customer(database, tenant, "siti")
    path = tmp_path / "events.csv"
    path.write_text(
        "event_id;customer_id;event_type;occurred_at\n"
        "e-1;siti;page_view;2026-03-02T03:30:00Z\n"
        "e-1;siti;page_view;2026-04-02T03:30:00Z\n"
    )
    report = await import_events(database, tenant, path)
    assert (report.created, report.unchanged) == (1, 1)
    async with database.tenant_transaction(tenant.id) as connection:
        assert await connection.scalar(text("SELECT id FROM behavior_events")) == "e-1"
        assert await connection.scalar(text("SELECT events FROM behavior_summaries")) == 1
