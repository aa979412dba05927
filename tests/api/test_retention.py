"""What is past a tenant's retention is not told of, and goes."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.database import Database
from app.domain.tenant import Tenant
from app.repositories.retention import Retention
from app.services import retention
from tests.factories import make_customer, make_key, make_tenant

RETENTION = "/api/admin/retention"
NOW = datetime.now(UTC)


async def _fill(database: Database, tenant: Tenant, *days_ago: int) -> None:
    """A capture, an event and two ids received, for each of so many days ago."""
    async with database.tenant_transaction(tenant.id) as connection:
        for days in days_ago:
            at = NOW - timedelta(days=days)
            values = {"tenant": tenant.id, "at": at, "id": f"{days}-days"}
            for statement in (
                "SELECT ensure_partition('location_history', CAST(:at AS date)),"
                " ensure_partition('behavior_events', CAST(:at AS date))",
                "INSERT INTO location_history"
                " (tenant_id, id, customer_sk, captured_at, location, source)"
                " SELECT :tenant, :id, sk, :at, ST_SetSRID(ST_MakePoint(1, 1), 4326), 'gps'"
                " FROM customers WHERE tenant_id = :tenant AND id = 'cus-1'",
                "INSERT INTO behavior_events (tenant_id, id, customer_sk, occurred_at, event_type)"
                " SELECT :tenant, :id, sk, :at, 'view'"
                " FROM customers WHERE tenant_id = :tenant AND id = 'cus-1'",
                "INSERT INTO received_ids (tenant_id, kind, digest, received_at)"
                " SELECT :tenant, kind, gen_random_uuid(), :at"
                " FROM (VALUES ('capture'), ('event')) AS kinds (kind)",
            ):
                await connection.execute(text(statement), values)


async def _left(database: Database, tenant: Tenant) -> dict[str, list[Any]]:
    async with database.tenant_transaction(tenant.id) as connection:
        found = {}
        for name, statement in {
            "captures": "SELECT id FROM location_history WHERE tenant_id = :tenant"
            " ORDER BY captured_at",
            "events": "SELECT id FROM behavior_events WHERE tenant_id = :tenant"
            " ORDER BY occurred_at",
            "received": "SELECT kind FROM received_ids WHERE tenant_id = :tenant ORDER BY kind",
        }.items():
            rows = await connection.execute(text(statement), {"tenant": tenant.id})
            found[name] = list(rows.scalars())
    return found


async def test_the_settings_are_read_and_changed(client: httpx.AsyncClient) -> None:
    assert (await client.get(RETENTION)).json() == {"locationDays": 730, "eventDays": 730}
    wanted = {"locationDays": 90, "eventDays": None}
    assert (await client.put(RETENTION, json=wanted)).json() == wanted
    assert (await client.get(RETENTION)).json() == wanted


@pytest.mark.parametrize(
    "settings",
    [
        {"locationDays": 0, "eventDays": 1},
        {"locationDays": -1, "eventDays": 1},
        {"locationDays": 1.5, "eventDays": 1},
        {"locationDays": 40_000, "eventDays": 1},
        {"locationDays": 90},
        {"locationDays": 90, "eventDays": 90, "faceDays": 1},
    ],
)
async def test_settings_that_will_not_do_are_refused(
    client: httpx.AsyncClient, settings: dict[str, Any]
) -> None:
    assert (await client.put(RETENTION, json=settings)).status_code == 422


async def test_what_is_past_it_is_not_told_of_before_it_is_gone(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "cus-1")
    await _fill(database, tenant, 10, 100)

    async def told() -> tuple[int, list[str], list[str]]:
        trace = (await client.get("/api/geo/export/location-history/cus-1")).json()
        lines = (
            await client.get("/api/geo/export/location-history/cus-1", params={"format": "csv"})
        ).text.splitlines()[1:]
        moments = (await client.get("/api/customers/cus-1/journey")).json()["items"]
        return (
            trace["properties"]["captures"],
            [line.partition(",")[0] for line in lines],
            sorted(f"{each['kind']} {each['id']}" for each in moments),
        )

    both = [f"{kind} {days}-days" for kind in ("capture", "event") for days in (10, 100)]
    assert await told() == (2, ["100-days", "10-days"], both)
    await client.put(RETENTION, json={"locationDays": 30, "eventDays": None})
    shown = ["capture 10-days", "event 10-days", "event 100-days"]
    assert await told() == (1, ["10-days"], shown)
    await client.put(RETENTION, json={"locationDays": None, "eventDays": 30})
    shown = ["capture 10-days", "capture 100-days", "event 10-days"]
    assert await told() == (2, ["100-days", "10-days"], shown)


async def test_a_capture_past_it_is_refused(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "cus-1")
    await client.put(RETENTION, json={"locationDays": 30, "eventDays": None})
    capture = {
        "captureId": "cap-1",
        "customerId": "cus-1",
        "latitude": 1,
        "longitude": 1,
        "capturedAt": (NOW - timedelta(days=31)).isoformat(),
    }
    answer = await client.post("/api/geo/capture", json=capture)
    assert answer.status_code == 422
    assert "nothing older is kept" in answer.json()["errors"][0]["reason"]
    # It was not received: with a longer retention it may be sent again.
    await client.put(RETENTION, json={"locationDays": 60, "eventDays": None})
    assert (await client.post("/api/geo/capture", json=capture)).status_code == 201


async def test_what_is_kept_of_a_backlog_is_taken_although_some_of_it_is_too_old(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "cus-1")
    await make_customer(database, tenant, "cus-2")
    await client.post("/api/customers/cus-1/merge", json={"duplicateId": "cus-2"})
    await client.put(RETENTION, json={"locationDays": 30, "eventDays": None})
    backlog = [
        {
            "captureId": f"{customer}-{days}",
            "customerId": customer,
            "latitude": 1,
            "longitude": 1,
            "capturedAt": (NOW - timedelta(days=days)).isoformat(),
        }
        for days in (31, 29)
        for customer in ("cus-1", "cus-2")
    ]
    answer = await client.post("/api/geo/capture/batch", json=backlog)
    assert [item["status"] for item in answer.json()["items"]] == ["rejected"] * 2 + ["created"] * 2
    again = await client.post("/api/geo/capture/batch", json=backlog)
    assert [item["status"] for item in again.json()["items"]] == (
        ["rejected"] * 2 + ["duplicate"] * 2
    )


@pytest.mark.parametrize(
    ("path", "item"),
    [
        ("/api/geo/capture", {"captureId": "1", "latitude": 1, "longitude": 1}),
        ("/api/segmentation/events", {"eventId": "1", "eventType": "view"}),
    ],
    ids=["capture", "event"],
)
async def test_an_id_is_remembered_for_as_long_as_what_came_with_it(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    path: str,
    item: dict[str, Any],
) -> None:
    """A clock was 23 hours ahead: the capture is kept, although it was received too long ago."""
    await make_customer(database, tenant, "cus-1")
    name = "capturedAt" if "captureId" in item else "occurredAt"
    stated = {**item, "customerId": "cus-1", name: (NOW - timedelta(days=29.5)).isoformat()}
    assert (await client.post(path, json=stated)).status_code == 201
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(
            text("UPDATE received_ids SET received_at = :at"),
            {"at": NOW - timedelta(days=29.5, hours=23)},
        )
    await client.put(RETENTION, json={"locationDays": 30, "eventDays": 30})
    await retention.delete_expired(database, tenant, now=NOW)
    assert (await client.post(path, json=stated)).json()["status"] == "duplicate"


async def test_rows_and_places_and_ids_past_it_go(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retention, "STEP_ROWS", 2)  # so that it takes several steps
    await make_customer(database, tenant, "cus-1")
    place = {"last_known_latitude": 1, "last_known_longitude": 1}
    old = {**place, "last_location_captured_at": NOW - timedelta(days=40)}
    await make_customer(database, tenant, "cus-old", **old)
    await make_customer(database, tenant, "cus-older", **old)
    recent = {**place, "last_location_captured_at": NOW - timedelta(days=20)}
    await make_customer(database, tenant, "cus-recent", **recent)
    await make_customer(database, tenant, "cus-declared", **place)
    await _fill(database, tenant, 1, 29, 31, 32, 33, 34, 35, 70)
    await client.put(RETENTION, json={"locationDays": 30, "eventDays": 60})
    # Six captures, an event and two places.
    assert await retention.delete_expired(database, tenant, now=NOW) == 6 + 1 + 2
    assert await _left(database, tenant) == {
        "captures": ["29-days", "1-days"],
        "events": ["35-days", "34-days", "33-days", "32-days", "31-days", "29-days", "1-days"],
        # An id stays a day longer, because its time may lie a day after that of its receipt.
        "received": ["capture"] * 3 + ["event"] * 7,
    }
    places = {
        name: (await client.get(f"/api/customers/{name}")).json()["lastKnownLatitude"]
        for name in ("cus-old", "cus-older", "cus-recent", "cus-declared")
    }
    assert places == {"cus-old": None, "cus-older": None, "cus-recent": 1, "cus-declared": 1}
    assert await retention.delete_expired(database, tenant, now=NOW) == 0


async def test_who_keeps_everything_loses_nothing(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "cus-1")
    await client.put(RETENTION, json={"locationDays": None, "eventDays": None})
    await _fill(database, tenant, 1, 2000)
    assert await retention.delete_expired(database, tenant, now=NOW) == 0
    assert len((await _left(database, tenant))["captures"]) == 2


async def test_a_month_goes_as_a_whole_when_no_tenant_keeps_it(fresh_database: Database) -> None:
    short, long = await make_tenant(fresh_database, "short"), await make_tenant(fresh_database)
    for tenant in (short, long):
        await make_customer(fresh_database, tenant, "cus-1")
        await _fill(fresh_database, tenant, 1, 100, 1000)

    async def keep(tenant: Tenant, days: int | None) -> None:
        async with fresh_database.tenant_transaction(tenant.id) as connection:
            wanted = Retention(days, days)
            await retention.change_retention(connection, tenant, wanted)

    async def months() -> set[str]:
        async with fresh_database.transaction() as connection:
            rows = await connection.execute(
                text(
                    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
                    " WHERE i.inhparent = 'location_history'::regclass"
                )
            )
            return set(rows.scalars())

    def month(days: int) -> str:
        day = date.fromordinal((NOW - timedelta(days=days)).date().toordinal())
        return f"location_history_{day:%Y%m}"

    await keep(short, 30)
    await keep(long, None)
    assert await retention.drop_expired_months(fresh_database) == 0
    await keep(long, 400)
    # Of both tables; the hundred days are still within what one of them keeps.
    assert await retention.drop_expired_months(fresh_database) == 2
    left = await months()
    assert month(1000) not in left
    assert month(100) in left
    await retention.delete_expired(fresh_database, short, now=NOW)
    assert (await _left(fresh_database, short))["captures"] == ["1-days"]
    assert (await _left(fresh_database, long))["captures"] == ["100-days", "1-days"]


async def test_another_tenant_keeps_its_own(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, database: Database
) -> None:
    other = await make_tenant(database, "other")
    headers = {"X-API-Key": await make_key(database, other)}
    await client.put(RETENTION, json={"locationDays": 5, "eventDays": 5})
    assert (await anonymous.get(RETENTION, headers=headers)).json()["locationDays"] == 730
