"""What days came to: against figures by hand, and again after history has changed."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from sqlalchemy import text

from app.database import Database
from app.domain.performance import churn_rate, engagement
from app.domain.period import Period
from app.domain.scoring_run import RunMode
from app.domain.tenant import Tenant
from app.services import daily_figures, scoring
from tests.factories import make_customer, make_order

URL = "/api/segmentation/analytics"
SEGMENT = "00000000-0000-0000-0000-00000000000a"
JAKARTA = ZoneInfo("Asia/Jakarta")


def days_ago(days: int, clock: time = time(12)) -> datetime:
    """An instant by the tenant's clock."""
    today = datetime.now(JAKARTA).date()
    return datetime.combine(today - timedelta(days=days), clock, JAKARTA)


def yesterday() -> date:
    return days_ago(1).date()


@pytest.fixture
async def business(client: httpx.AsyncClient, database: Database, tenant: Tenant) -> int:
    """Three buyers, one who never bought, and a segment of two of the buyers; its sk."""
    orders = {
        "ana": {"a1": (40, 100), "a2": (10, 50), "a3": (1, 70)},
        "budi": {"b1": (200, 30)},
        "citra": {"c1": (1, 20), "c2": (1, 5)},
        "dewi": {},
    }
    keys: dict[str, int] = {}
    for customer, bought in orders.items():
        keys[customer] = await make_customer(database, tenant, customer)
        for order, (days, amount) in bought.items():
            await make_order(
                database,
                tenant,
                customer,
                order,
                ordered_at=days_ago(days),
                total_amount=amount * 100,
            )
    await scoring.run_scores(database, tenant, mode=RunMode.FULL, as_of=datetime.now(UTC))
    events: list[tuple[str, str, time]] = [
        ("ana", "page_view", time(9, 0)),
        ("ana", "add_to_cart", time(9, 30)),
        ("budi", "page_view", time(23, 59)),
    ]
    for customer, kind, clock in events:
        sent = await client.post(
            "/api/segmentation/events",
            json={
                "customerId": customer,
                "eventType": kind,
                "sessionId": customer,
                "occurredAt": days_ago(1, clock).isoformat(),
            },
        )
        assert sent.status_code in (200, 201), sent.text
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(text("DELETE FROM score_history"))
        for customer, days, lifecycle in (
            ("ana", 40, "regular"),
            ("budi", 45, "dormant"),
            ("budi", 3, "lost"),
            ("citra", 1, "new"),
        ):
            day = days_ago(days).date()
            await connection.execute(
                text("SELECT ensure_partition('score_history', :day)"), {"day": day}
            )
            await connection.execute(
                text(
                    "INSERT INTO score_history (tenant_id, day, customer_sk, lifecycle_segment,"
                    " clv) VALUES (:t, :day, :sk, :lifecycle, 20000)"
                ),
                {"t": tenant.id, "day": day, "sk": keys[customer], "lifecycle": lifecycle},
            )
        segment = await connection.scalar(
            text(
                "INSERT INTO segments (tenant_id, id, name, segment_type)"
                " VALUES (:t, :id, 'Two', 'custom') RETURNING sk"
            ),
            {"t": tenant.id, "id": SEGMENT},
        )
        for customer in ("ana", "budi"):
            await connection.execute(
                text(
                    "INSERT INTO segment_members (tenant_id, segment_sk, customer_sk, joined_at,"
                    " manual) VALUES (:t, :segment, :sk, :joined, true)"
                ),
                {
                    "t": tenant.id,
                    "segment": segment,
                    "sk": keys[customer],
                    "joined": days_ago(60),
                },
            )
        # Who left before the day is no member on it; whoever leaves after it is.
        await connection.execute(
            text(
                "INSERT INTO segment_members (tenant_id, segment_sk, customer_sk, joined_at,"
                " left_at) VALUES (:t, :segment, :sk, :joined, :left)"
            ),
            {
                "t": tenant.id,
                "segment": segment,
                "sk": keys["citra"],
                "joined": days_ago(60),
                "left": days_ago(5),
            },
        )
    assert segment is not None
    return int(segment)


async def keep(database: Database, tenant: Tenant, day: date) -> None:
    await daily_figures.keep_days(database, tenant, Period(day, day))


async def read(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    answer = await client.get(URL, params=query)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["total"] == len(body["data"])
    data: list[dict[str, Any]] = body["data"]
    return data


@pytest.mark.usefixtures("business")
async def test_a_day_of_the_whole_business(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await keep(database, tenant, yesterday())
    assert await read(client) == [
        {
            "date": yesterday().isoformat(),
            "totalCustomers": 3,
            "newCustomers": 1,
            "activeCustomers": 3,
            "atRiskCustomers": 0,
            "churnedCustomers": 1,
            "conversionRate": 0.5,
            "revenue": 95.0,
        }
    ]
    [full] = await read(client, full="true", days=1)
    assert {name: full[name] for name in ("orders", "buyers", "visitors", "sessions")} == {
        "orders": 3,
        "buyers": 2,
        "visitors": 2,
        "sessions": 2,
    }
    assert (full["totalPageViews"], full["totalAddToCart"], full["totalPurchases"]) == (2, 1, 0)
    assert (full["avgSessionDurationMinutes"], full["bounceRate"]) == (15.0, 0.5)
    assert (full["repeatPurchaseRate"], full["avgOrderValue"]) == (1.0, 31.67)


@pytest.mark.usefixtures("business")
async def test_a_day_of_a_segment(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await keep(database, tenant, yesterday())
    assert await read(client, segmentId=SEGMENT) == [
        {
            "date": yesterday().isoformat(),
            "memberCount": 2,
            "activeMembers": 2,
            "churnRate": 0.5,
            "conversionRate": 0.5,
            "revenueGenerated": 70.0,
            "engagementScore": 37.5,
        }
    ]
    [full] = await read(client, segmentId=SEGMENT, full="true")
    assert (full["lifetimeValue"], full["avgOrderValue"]) == (200.0, 60.0)
    assert (full["purchaseFrequency"], full["emailOpenRate"]) == (1.0, None)


@pytest.mark.usefixtures("business")
async def test_a_past_day_can_be_added_up_again(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await keep(database, tenant, yesterday())
    await make_order(database, tenant, "budi", "late", ordered_at=days_ago(1), total_amount=500)
    await keep(database, tenant, yesterday())
    [day] = await read(client)
    assert (day["revenue"], day["conversionRate"]) == (100.0, 1.0)


@pytest.mark.usefixtures("business")
async def test_a_day_without_known_scores_says_so(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    day = days_ago(100).date()
    await keep(database, tenant, day)
    [found] = await read(client, days=110)
    assert (found["totalCustomers"], found["atRiskCustomers"]) == (1, None)
    assert (found["conversionRate"], found["revenue"]) == (None, 0.0)


async def test_the_nights_that_were_missed_are_made_up_for(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    assert await daily_figures.keep_missing_days(database, tenant) == 30
    assert await daily_figures.keep_missing_days(database, tenant) == 0
    days = await read(client, days=60)
    assert [each["date"] for each in days] == [
        days_ago(back).date().isoformat() for back in range(30, 0, -1)
    ]


@pytest.mark.parametrize(
    ("first", "last", "status"),
    [
        (days_ago(3).date(), days_ago(1).date(), 202),
        (days_ago(1).date(), days_ago(3).date(), 422),
        (days_ago(1).date(), days_ago(0).date(), 422),
        (days_ago(800).date(), days_ago(1).date(), 422),
    ],
)
async def test_days_that_are_over_can_be_asked_for_again(
    client: httpx.AsyncClient, first: date, last: date, status: int
) -> None:
    body = {"firstDay": first.isoformat(), "lastDay": last.isoformat()}
    assert (await client.post(f"{URL}/refill", json=body)).status_code == status


async def test_an_unknown_segment_and_another_tenant_are_refused(
    client: httpx.AsyncClient,
) -> None:
    other = "00000000-0000-0000-0000-00000000000b"
    assert (await client.get(URL, params={"segmentId": other})).status_code == 404
    assert (await client.get(URL, params={"userId": "other"})).status_code == 403


def test_rates_of_nothing_are_nothing() -> None:
    assert churn_rate(None, None) is None
    assert churn_rate(0, 0) is None
    assert churn_rate(3, 1) == 0.25
    assert [engagement(days) for days in (0, 1, 4, 30)] == [0, 25, 100, 100]
