"""The journey over HTTP: every source in one sequence, page by page."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import httpx
import pytest
from sqlalchemy import insert, text

from app.database import Database
from app.domain.tenant import Tenant
from app.repositories.tables import (
    behavior_events,
    contacts,
    feedback,
    location_history,
    score_history,
    stores,
)
from tests.factories import make_customer, make_order

#: Noon in Jakarta, in a month that has its partitions.
NOON = datetime.now(UTC).replace(day=10, hour=5, minute=0, second=0, microsecond=0)
HOUR = timedelta(hours=1)
KINDS = ["capture", "contact", "event", "feedback", "order", "standing"]


async def get(client: httpx.AsyncClient, **query: Any) -> Any:
    answer = await client.get("/api/customers/siti/journey", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def furnish(database: Database, tenant: Tenant, *, same_instant: bool = False) -> int:
    """One of each kind, an hour apart from NOON backwards; changes of standing on two days."""
    step = timedelta(0) if same_instant else HOUR
    sk = await make_customer(database, tenant, "siti")
    other = await make_customer(database, tenant, "budi")
    owner = {"tenant_id": tenant.id, "customer_sk": sk}
    async with database.tenant_transaction(tenant.id) as connection:
        store = await connection.scalar(
            insert(stores)
            .values(tenant_id=tenant.id, id="mall", name="Mall")
            .returning(stores.c.sk)
        )
        await connection.execute(
            insert(contacts).values(
                **owner, id="con-1", channel="whatsapp", purpose="promo", sent_at=NOON - step,
                responded_at=NOON, converted=True,
            )
        )  # fmt: skip
        await connection.execute(
            insert(feedback).values(
                **owner, id="fee-1", kind="nps", score=9, comment="Ask for Siti", store_sk=store,
                given_at=NOON - 2 * step, local_at=tenant.local(NOON - 2 * step),
            )
        )  # fmt: skip
        await connection.execute(
            insert(location_history).values(
                **owner, id="cap-1", captured_at=NOON - 3 * step, source="gps",
                location=text("ST_SetSRID(ST_MakePoint(106.8, -6.2), 4326)"),
                captured_by="Agus",
            )
        )  # fmt: skip
        await connection.execute(
            insert(behavior_events).values(
                **owner, id="eve-1", occurred_at=NOON - 4 * step, event_type="view",
                product_name="Red ball", event_value=12_50, properties={"page": "home"},
            )
        )  # fmt: skip
        await connection.execute(
            insert(score_history),
            [
                owner | {
                    "day": tenant.local_day(NOON - back * 24 * HOUR), "rfm_segment": segment,
                    "lifecycle_segment": "regular", "clv": 100, "rfm_code": "555",
                }
                for back, segment in ((0, "champion"), (1, "loyal"))
            ],
        )  # fmt: skip
    await make_order(database, tenant, "siti", "ord-1", ordered_at=NOON, store_sk=store)
    await make_order(database, tenant, "siti", "ord-0", ordered_at=NOON - 30 * HOUR)
    await make_order(database, tenant, "budi", "ord-b", ordered_at=NOON)
    assert other != sk
    return sk


async def test_all_sources_are_merged_newest_first(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await furnish(database, tenant)
    answer = await get(client)
    items = answer["items"]
    assert answer["nextCursor"] is None
    assert [(item["kind"], item["id"]) for item in items] == [
        ("order", "ord-1"),
        ("contact", "con-1"),
        ("feedback", "fee-1"),
        ("capture", "cap-1"),
        ("event", "eve-1"),
        ("standing", str(tenant.local_day(NOON))),
        ("order", "ord-0"),
        ("standing", str(tenant.local_day(NOON - 24 * HOUR))),
    ]
    assert all(first["at"] >= second["at"] for first, second in pairwise(items))
    details = {item["id"]: item["details"] for item in items}
    assert details["ord-1"]["totalAmount"] == "250000.00"
    assert details["ord-1"]["storeId"] == "mall"
    assert details["con-1"]["converted"] is True
    assert details["con-1"]["respondedAt"]
    assert (details["fee-1"]["score"], details["fee-1"]["comment"]) == (9, "Ask for Siti")
    assert (details["cap-1"]["latitude"], len(details["cap-1"]["geohash"])) == (-6.2, 9)
    assert details["eve-1"]["eventValue"] == "12.50"
    # The day begins at midnight in Jakarta.
    assert items[5]["at"] == (NOON - 12 * HOUR).isoformat().replace("+00:00", "Z")
    assert items[5]["title"] == "Standing became champion"
    assert items[0]["title"] == "Order completed"


@pytest.mark.parametrize("same_instant", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_pages_have_every_moment_once(
    client: httpx.AsyncClient,
    database: Database,
    tenant: Tenant,
    same_instant: bool,
    limit: int,
) -> None:
    await furnish(database, tenant, same_instant=same_instant)
    for number in range(3):
        await make_order(database, tenant, "siti", f"tie-{number}", ordered_at=NOON)
    whole = (await get(client))["items"]
    assert len(whole) == 11
    paged: list[Any] = []
    cursor = None
    while True:
        page = await get(client, limit=limit, **({"cursor": cursor} if cursor else {}))
        paged += page["items"]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert paged == whole


async def test_kinds_and_times_narrow_the_journey(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await furnish(database, tenant)
    for kind in KINDS:
        found = (await get(client, kinds=kind))["items"]
        assert found
        assert {item["kind"] for item in found} == {kind}
    both = (await get(client, kinds=["order", "contact"]))["items"]
    assert [item["id"] for item in both] == ["ord-1", "con-1", "ord-0"]
    between = {"from": (NOON - 3 * HOUR).isoformat(), "to": (NOON - HOUR).isoformat()}
    assert [item["id"] for item in (await get(client, **between))["items"]] == ["fee-1", "cap-1"]
    # Without an offset it is the tenant's clock, on which it was noon.
    local = tenant.local(NOON).isoformat()
    assert [item["id"] for item in (await get(client, **{"from": local}))["items"]] == ["ord-1"]


async def test_anonymous_journeys_name_nobody_and_no_exact_place(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await furnish(database, tenant)
    items = (await get(client, anonymize="true"))["items"]
    details = {item["id"]: item["details"] for item in items}
    capture = details["cap-1"]
    assert (capture["latitude"], capture["longitude"], capture["capturedBy"]) == (None,) * 3
    assert len(capture["geohash"]) == 5
    assert details["fee-1"]["comment"] is None
    assert details["eve-1"]["properties"] is None
    assert details["ord-1"]["totalAmount"] == "250000.00"


@pytest.mark.parametrize(
    "query",
    [
        {"kinds": "dream"},
        {"from": "2026-02-02T00:00:00Z", "to": "2026-02-01T00:00:00Z"},
        {"from": "0001-01-01T00:00:00Z"},
        {"to": "9999-12-31T23:59:59-12:00"},
        {"from": "yesterday"},
        {"cursor": "nonsense"},
        {"cursor": "WyJ4Iiwib3JkZXIiLCIxIl0"},
        {"cursor": "WyIyMDI2LTAxLTAxVDAwOjAwOjAwWiIsImRyZWFtIiwiMSJd"},
        {"cursor": "WyIyMDI2LTAxLTAxIiwib3JkZXIiLCIxIl0"},
    ],
)
async def test_what_makes_no_sense_is_refused(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, query: dict[str, str]
) -> None:
    await make_customer(database, tenant, "siti")
    answer = await client.get("/api/customers/siti/journey", params=query)
    assert answer.status_code in {400, 422}, answer.text
    assert answer.json()["detail"]
