"""Cohorts over HTTP: made, listed, followed month by month."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.database import Database
from app.domain.scoring_run import RunMode
from app.domain.tenant import Tenant
from app.services import scoring, segmentation, totals
from tests.factories import make_customer, make_order

URL = "/api/segmentation/cohorts"
NOW = datetime(2026, 3, 20, tzinfo=UTC)
#: Customers and the days of their orders, with amounts in major units.
ORDERS = {
    "ana": {"2025-12-05": 10, "2025-12-20": 10, "2026-01-05": 5, "2026-03-01": 7},
    "budi": {"2025-12-31": 20},
    "citra": {"2026-01-31": 8, "2026-03-10": 2},
    "dewi": {},
}


@pytest.fixture
async def business(database: Database, tenant: Tenant) -> Tenant:
    """Four customers, three of them buyers, with the figures of a full run."""
    for customer, days in ORDERS.items():
        await make_customer(database, tenant, customer)
        for day, amount in days.items():
            await make_order(
                database,
                tenant,
                customer,
                f"{customer}-{day}",
                ordered_at=datetime.fromisoformat(f"{day}T05:00:00+07:00"),
                total_amount=amount * 100,
            )
    # Called off, so no order, and no first one either.
    await make_order(
        database,
        tenant,
        "dewi",
        "dewi-1",
        ordered_at=datetime(2025, 12, 1, tzinfo=UTC),
        status="cancelled",
    )
    await scoring.run_scores(database, tenant, mode=RunMode.FULL, as_of=NOW)
    async with database.tenant_transaction(tenant.id) as connection:
        await totals.after_full_run(connection, tenant, NOW)
    return tenant


def by_month(cohort: Mapping[str, Any]) -> dict[str, tuple[int, float, str]]:
    return {
        each["month"]: (each["activeCustomers"], each["retention"], each["revenue"])
        for each in cohort["months"]
    }


@pytest.mark.usefixtures("business")
async def test_monthly_cohorts_are_followed_through_their_later_months(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get(f"{URL}/analysis", params={"from": "2025-11", "to": "2026-03"})
    assert answer.status_code == 200, answer.text
    december, january = answer.json()["items"]
    assert (december["cohort"], december["customers"], december["revenue"]) == (
        "2025-12",
        2,
        "52.00",
    )
    assert by_month(december) == {
        "2025-12": (2, 1.0, "40.00"),
        "2026-01": (1, 0.5, "5.00"),
        "2026-03": (1, 0.5, "7.00"),
    }
    assert [each["offset"] for each in december["months"]] == [0, 1, 3]
    assert by_month(january) == {"2026-01": (1, 1.0, "8.00"), "2026-03": (1, 1.0, "2.00")}
    assert answer.json()["computedAt"] is not None
    one = await client.get(f"{URL}/analysis", params={"from": "2026-01", "to": "2026-01"})
    assert [each["cohort"] for each in one.json()["items"]] == ["2026-01"]


@pytest.mark.usefixtures("business")
async def test_adding_up_again_changes_nothing(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    query = {"from": "2025-01", "to": "2026-03"}
    before = (await client.get(f"{URL}/analysis", params=query)).json()["items"]
    async with database.tenant_transaction(tenant.id) as connection:
        await totals.after_full_run(connection, tenant, NOW + timedelta(days=1))
    assert (await client.get(f"{URL}/analysis", params=query)).json()["items"] == before


async def test_before_the_first_run_the_analysis_says_that_it_was_never_made(
    client: httpx.AsyncClient,
) -> None:
    assert (await client.get(f"{URL}/analysis")).json() == {
        "items": [],
        "currency": "IDR",
        "computedAt": None,
    }


@pytest.mark.parametrize(
    "query",
    [
        {"from": "2026-13"},
        {"from": "2026-02", "to": "2026-01"},
        {"from": "2010-01", "to": "2026-01"},
    ],
)
async def test_months_out_of_order_are_refused(
    client: httpx.AsyncClient, query: dict[str, str]
) -> None:
    assert (await client.get(f"{URL}/analysis", params=query)).status_code == 422


@pytest.mark.usefixtures("business")
async def test_an_acquisition_cohort_holds_whoever_first_bought_in_its_days(
    client: httpx.AsyncClient,
) -> None:
    made = await client.post(
        URL,
        json={
            "cohortName": "Turn of the year",
            "cohortType": "acquisition",
            "acquisitionStartDate": "2025-12-31",
            "acquisitionEndDate": "2026-12-31",
        },
    )
    assert made.status_code == 201, made.text
    assert made.json()["memberCount"] == 2
    members = f"{URL}/{made.json()['id']}/members"
    first = (await client.get(members, params={"limit": 1})).json()
    second = (await client.get(members, params={"cursor": first["nextCursor"]})).json()
    assert [each["customerId"] for each in first["items"] + second["items"]] == ["budi", "citra"]
    assert (first["items"][0]["joinedOn"], first["items"][0]["revenue"]) == ("2025-12-31", "20.00")
    # Whoever buys for the first time is in it at once.
    order = {
        "id": "dewi-2",
        "customerId": "dewi",
        "orderedAt": "2026-02-20T03:30:00Z",
        "totalAmount": "3.00",
    }
    assert (await client.post("/api/orders", json=order)).status_code == 201
    read = (await client.get(f"{URL}/{made.json()['id']}")).json()
    assert read["memberCount"] == 3
    listed = (await client.get(members)).json()["items"]
    assert [each["customerId"] for each in listed] == ["budi", "citra", "dewi"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"acquisitionStartDate": None}, "needs acquisitionStartDate"),
        ({"acquisitionEndDate": "2025-01-01"}, "lies before"),
        ({"criteria": {"tag": "x"}}, "no criteria"),
        ({"cohortType": "value"}, "no days"),
        ({"cohortType": "zodiac"}, "/cohortType"),
        ({"cohortName": " "}, "/cohortName"),
    ],
)
async def test_a_cohort_that_is_no_one_kind_is_refused(
    client: httpx.AsyncClient, changes: dict[str, Any], reason: str
) -> None:
    body = {
        "cohortName": "Q4",
        "cohortType": "acquisition",
        "acquisitionStartDate": "2025-10-01",
        "acquisitionEndDate": "2025-12-31",
    }
    answer = await client.post(URL, json=body | changes)
    assert answer.status_code == 422
    assert reason in answer.text


async def test_a_retired_cohort_leaves_the_list_and_can_be_read(client: httpx.AsyncClient) -> None:
    body = {
        "id": "q4",
        "cohortName": "Q4",
        "cohortType": "acquisition",
        "acquisitionStartDate": "2025-10-01",
        "acquisitionEndDate": "2025-12-31",
    }
    assert (await client.post(URL, json=body)).status_code == 201
    assert (await client.post(URL, json=body)).status_code == 409
    assert [each["id"] for each in (await client.get(URL)).json()["items"]] == ["q4"]
    assert (await client.delete(f"{URL}/q4")).status_code == 204
    assert (await client.get(URL)).json()["items"] == []
    every = await client.get(URL, params={"includeInactive": "true", "type": "acquisition"})
    assert [each["isActive"] for each in every.json()["items"]] == [False]
    assert (await client.get(f"{URL}/q4")).json()["isActive"] is False
    assert (await client.delete(f"{URL}/none")).status_code == 404


async def test_the_view_holds_the_members_of_every_kind(
    business: Tenant, database: Database
) -> None:
    async with database.tenant_transaction(business.id) as connection:
        await connection.execute(
            text("""
                INSERT INTO cohorts (tenant_id, id, name, cohort_type, acquisition_start,
                                     acquisition_end)
                VALUES (:t, 'days', 'Days', 'acquisition', '2025-12-01', '2025-12-31');
            """),
            {"t": business.id},
        )
        await connection.execute(
            text("""
                WITH made AS (
                    INSERT INTO cohorts (tenant_id, id, name, cohort_type, criteria)
                    VALUES (:t, 'liked', 'Liked', 'value', '{}') RETURNING sk
                )
                INSERT INTO cohort_members (tenant_id, cohort_sk, customer_sk)
                SELECT :t, made.sk, c.sk FROM made, customers c WHERE c.id = 'dewi'
            """),
            {"t": business.id},
        )
        found = await connection.execute(
            text("""
                SELECT h.id AS cohort, c.id AS customer
                FROM cohort_membership m
                JOIN cohorts h ON h.tenant_id = m.tenant_id AND h.sk = m.cohort_sk
                JOIN customers c ON c.tenant_id = m.tenant_id AND c.sk = m.customer_sk
                WHERE m.tenant_id = :t ORDER BY 1, 2
            """),
            {"t": business.id},
        )
        assert [tuple(row) for row in found] == [
            ("days", "ana"),
            ("days", "budi"),
            ("liked", "dewi"),
        ]


async def test_cohorts_are_criteria_of_segments_and_made_by_criteria(
    business: Tenant, client: httpx.AsyncClient, database: Database
) -> None:
    days = {
        "id": "december",
        "cohortName": "December",
        "cohortType": "acquisition",
        "acquisitionStartDate": "2025-12-01",
        "acquisitionEndDate": "2025-12-31",
    }
    assert (await client.post(URL, json=days)).status_code == 201
    liked = {
        "id": "big",
        "cohortName": "Big",
        "cohortType": "value",
        "criteria": {"any": [{"field": "revenue", "gte": "20.00"}, {"cohort": "december"}]},
    }
    made = await client.post(URL, json=liked)
    assert made.status_code == 201, made.text
    assert made.json()["memberCount"] == 2
    members = (await client.get(f"{URL}/big/members")).json()["items"]
    assert [each["customerId"] for each in members] == ["ana", "budi"]

    segment = {
        "name": "Others",
        "segmentType": "cohort",
        "criteria": {"all": [{"not": {"cohort": "december"}}, {"not": {"cohort": "big"}}]},
    }
    created = await client.post("/api/segmentation/segments", json=segment)
    assert created.status_code == 201, created.text
    await segmentation.evaluate_requested(database, business)
    path = f"/api/segmentation/segments/{created.json()['id']}/members"
    found = (await client.get(path)).json()
    assert {each["customerId"] for each in found["items"]} == {"citra", "dewi"}
    # Whoever first buys in its days belongs to the cohort at once, and the segment follows.
    order = {
        "id": "dewi-2",
        "customerId": "dewi",
        "orderedAt": "2025-12-30T03:30:00Z",
        "totalAmount": "3.00",
    }
    assert (await client.post("/api/orders", json=order)).status_code == 201
    found = (await client.get(path)).json()
    assert {each["customerId"] for each in found["items"]} == {"citra"}
    unknown = segment | {"criteria": {"cohort": "none"}}
    refused = await client.post("/api/segmentation/segments", json=unknown)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/criteria/cohort"
