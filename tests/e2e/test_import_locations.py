"""Captured places come from a file as they come over HTTP."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import text

from app.database import Database
from app.services.importing import ImportReport, import_locations
from tests.factories import make_customer, make_tenant

NOW = datetime.now(UTC).replace(microsecond=0)


def _outcome(report: ImportReport) -> tuple[int, int, int, int]:
    return report.rows, report.created, report.unchanged, report.rejected


async def test_a_file_of_places(fresh_database: Database, tmp_path: Path) -> None:
    tenant = await make_tenant(fresh_database, timezone="UTC")
    await make_customer(fresh_database, tenant, "cus-1")
    times = [(NOW - timedelta(hours=hours)).isoformat() for hours in (3, 1, 2)]
    file, rejects = tmp_path / "places.csv", tmp_path / "rejects.csv"
    rows = [
        f"cus-1,-6.1,106.8,{times[0]},12",
        f"cus-1,-6.3,106.8,{times[1]},",
        f"cus-1,106.8,-6.2,{times[2]},12",  # swapped
        f"nobody,-6.2,106.8,{times[1]},12",
        f"cus-1,north,106.8,{times[1]},12",
        f"cus-1,-6.2,106.8,{(NOW - timedelta(days=800)).isoformat()},12",
        f"cus-1,-6.1,106.8,{times[0]},12",  # the first again: another capture of the log
    ]
    file.write_text("customer,lat,lng,timestamp,accuracy\n" + "\n".join(rows) + "\n")
    report = await import_locations(fresh_database, tenant, file, rejects=rejects)
    assert report.columns == {
        "customerId": "customer",
        "latitude": "lat",
        "longitude": "lng",
        "accuracy": "accuracy",
        "capturedAt": "timestamp",
    }
    assert _outcome(report) == (7, 4, 0, 3)
    reasons = [line.split(",")[:2] for line in rejects.read_text().splitlines()[1:]]
    assert [number for number, _ in reasons] == ["5", "6", "7"]
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        place = await connection.execute(
            text("SELECT last_known_latitude, last_known_longitude FROM customers")
        )
        assert tuple(place.one()) == (-6.3, 106.8)
        flags = await connection.execute(
            text("SELECT flags FROM location_history ORDER BY captured_at, id")
        )
        assert list(flags.scalars()) == [[], [], ["swapped"], []]
    again = await import_locations(fresh_database, tenant, file)
    assert _outcome(again) == (7, 0, 4, 3)
