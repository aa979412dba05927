"""Profiles, segments, the grid and the at-risk list over HTTP, checked against figures by hand."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import update

from app.database import Database
from app.domain.order import OrderStatus
from app.domain.scoring_run import RunMode
from app.domain.tenant import Tenant
from app.repositories.tables import customer_analytics
from app.services import tenancy
from app.services.scoring import run_scores
from tests.factories import make_customer, make_key, make_tenant
from tests.scoring_oracle import Customer, Item, Order
from tests.scoring_rows import record

AS_OF = datetime(2026, 3, 2, 5, 0, tzinfo=UTC)
DAY = timedelta(days=1)

SITI = Customer(
    "siti",
    (
        Order(
            AS_OF - 100 * DAY,
            total_amount=300_00,
            payment_method="qris",
            item_count=2,
            items=(Item("toys", "Kiko", Decimal(2)),),
        ),
        Order(
            AS_OF - 60 * DAY,
            total_amount=500_00,
            refund_amount=100_00,
            discount_amount=50_00,
            payment_method="qris",
            item_count=4,
            notes="Gift wrap",
            items=(Item("books", None, Decimal(3)), Item("toys", "Kiko", Decimal(1))),
        ),
        Order(AS_OF - 20 * DAY, total_amount=200_00, payment_method="cash"),
        Order(AS_OF - 10 * DAY, OrderStatus.CANCELLED, total_amount=999_00),
        Order(AS_OF - 5 * DAY, OrderStatus.PENDING, total_amount=50_00),
    ),
    membership_tier="gold",
)


@pytest.fixture
async def closed(database: Database) -> Tenant:
    """A tenant whose log ended at AS_OF, without customers yet."""
    return await make_tenant(
        database,
        "closed",
        currency="USD",
        profile={"preset": "retail", "asOf": "2026-03-02T05:00:00Z"},
    )


@pytest.fixture
async def analyst(
    app: FastAPI, database: Database, closed: Tenant
) -> AsyncIterator[httpx.AsyncClient]:
    key = await make_key(database, closed)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test", headers={"X-API-Key": key}
    ) as client:
        yield client


async def score(database: Database, tenant: Tenant, *made: Customer) -> dict[str, int]:
    sks = await record(database, tenant, made)
    await run_scores(database, tenant, mode=RunMode.FULL, as_of=AS_OF)
    return sks


async def get(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    answer = await client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_profile_has_the_figures_of_the_customer(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    await score(database, closed, SITI)
    profile = await get(analyst, "/api/customers/siti/profile")
    assert profile["customer"]["id"] == "siti"
    assert (profile["currency"], profile["modelVersion"]) == ("USD", "retail-2")
    assert profile["asOf"] == "2026-03-02T05:00:00Z"
    metrics = profile["metrics"]
    windows = {
        "30d": {"orders": 1, "revenue": "200.00"},
        "90d": {"orders": 2, "revenue": "600.00"},
        "180d": {"orders": 3, "revenue": "900.00"},
        "365d": {"orders": 3, "revenue": "900.00"},
    }
    expected = {
        "totalOrders": 5,
        "countedOrders": 3,
        "completedOrders": 3,
        "cancelledOrders": 1,
        "pendingOrders": 1,
        "noShowOrders": 0,
        "refundedOrders": 0,
        "firstOrderAt": "2025-11-22T05:00:00Z",
        "lastOrderAt": "2026-02-10T05:00:00Z",
        "daysSinceLastOrder": 20,
        "tenureDays": 100,
        "revenue": "900.00",
        "refundedAmount": "100.00",
        "discountAmount": "50.00",
        "averageOrderValue": "300.00",
        "monthlyRevenue": "273.96",  # 900 over 100 / 30.44 months
        "purchaseFrequencyDays": 40.0,
        "windows": windows,
        "orderFrequencyTrend": "stable",
        "spendTrend": "stable",
        "orderIntervalChange": 0.0,
        "preferredShoppingDay": "tuesday",  # each of three days once, the first of the week
        "preferredShoppingHour": 12,
        "preferredPaymentMethod": "qris",
        "preferredCategories": ["books", "toys"],
        "preferredBrands": ["Kiko"],
        "basketSize": 3.0,
        "orderNotes": ["Gift wrap"],
    }
    assert {name: metrics[name] for name in expected} == expected
    assert metrics["discountSensitivity"] == pytest.approx(1 / 3)
    assert metrics["ordersPerMonth"] == pytest.approx(3 / (100 / 30.44))


async def test_the_scores_of_a_profile_come_with_status_and_reasons(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    gone = Customer("gone", tuple(Order(AS_OF - days * DAY) for days in (200, 230, 260)))
    await score(database, closed, SITI, gone, Customer("once", (Order(AS_OF - DAY),)))
    scores = (await get(analyst, "/api/customers/siti/profile"))["scores"]
    assert scores["rfm"]["status"] == "ok"
    assert (scores["rfm"]["recencyDays"], scores["rfm"]["frequency"]) == (20, 3)
    assert scores["rfm"]["monetary"] == "900.00"
    assert scores["rfm"]["code"] == "335"  # of three: the middle day, tied orders, the most money
    # 300 an order, every 40 days, at a margin of 0.3 over three years.
    assert scores["clv"]["oneYear"] == "821.25"
    assert scores["clv"]["value"] == "2463.75"
    assert scores["churn"] == {
        "status": "ok",
        "reason": None,
        "score": 0.06,
        "band": "low",
        "reasons": [],
        "recommendedAction": "Standard engagement",
        "valueAtRisk": "147.82",  # 147.825: halves go to the even neighbour
    }
    assert scores["lifecycle"] == {"segment": "regular"}
    assert scores["standingSince"] == "2026-03-02"
    lost = (await get(analyst, "/api/customers/gone/profile"))["scores"]["churn"]
    assert (lost["score"], lost["band"]) == (0.85, "critical")
    assert lost["reasons"] == [
        {"code": "long_absence", "sentence": "No order for 200 days."},
        {
            "code": "fewer_orders",
            "sentence": "Placed no order in the last 30 days, no order in the last 90.",
        },
        {
            "code": "less_spending",
            "sentence": "Spent USD 0.00 in the last 30 days, USD 0.00 in the last 90.",
        },
    ]


async def test_a_profile_says_why_a_score_is_missing(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    once = Customer("once", (Order(AS_OF - 400 * DAY),))
    await score(database, closed, SITI, once, Customer("never"))
    never = (await get(analyst, "/api/customers/never/profile"))["scores"]
    assert {never[kind]["status"] for kind in ("rfm", "clv", "churn")} == {"insufficient_data"}
    assert never["rfm"]["reason"] == "No counted order in the last 365 days."
    assert never["clv"]["reason"] == "No order counts yet."
    assert never["churn"]["reason"] == "0 counted orders; 2 are needed."
    assert never["lifecycle"] == {"segment": "new"}
    once_scores = (await get(analyst, "/api/customers/once/profile"))["scores"]
    assert once_scores["rfm"]["status"] == "insufficient_data"
    assert once_scores["clv"]["status"] == "ok"
    assert once_scores["lifecycle"] == {"segment": "lost"}


async def test_a_customer_who_was_never_scored_has_a_profile(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    await make_customer(database, closed, "new")
    profile = await get(analyst, "/api/customers/new/profile")
    assert profile["customer"]["id"] == "new"
    assert profile["metrics"] is None
    assert profile["scores"] is None


async def test_scores_under_other_rules_are_stale(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    await score(database, closed, SITI, Customer("never"))
    changed = {**closed.profile.document(), "windowDays": 30}
    async with database.tenant_transaction(closed.id) as connection:
        await tenancy.change_profile(connection, closed, changed)
    scores = (await get(analyst, "/api/customers/siti/profile"))["scores"]
    assert {scores[kind]["status"] for kind in ("rfm", "clv", "churn")} == {"stale"}
    never = (await get(analyst, "/api/customers/never/profile"))["scores"]
    assert never["rfm"]["status"] == "insufficient_data"


async def test_scores_of_an_open_log_are_stale_after_two_days(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    now = datetime.now(UTC)
    await record(database, tenant, [Customer("siti", (Order(now - DAY), Order(now - 2 * DAY)))])
    await run_scores(database, tenant, mode=RunMode.FULL, as_of=now)
    profile = await get(client, "/api/customers/siti/profile")
    assert profile["scores"]["churn"]["status"] == "ok"
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(update(customer_analytics).values(as_of=now - 49 * DAY / 24))
    profile = await get(client, "/api/customers/siti/profile")
    assert profile["scores"]["churn"]["status"] == "stale"


def spread() -> list[Customer]:
    """Thirty customers from the best to the lost, and one without an order."""
    return [
        Customer(
            f"cus-{number:02}",
            tuple(
                Order(AS_OF - DAY * (1 + 9 * number + 7 * each), total_amount=(40 - number) * 100)
                for each in range(1 + (29 - number) // 3)
            ),
        )
        for number in range(30)
    ] + [Customer("never")]


async def test_segments_are_all_listed_and_sum_up(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    made = spread()
    await score(database, closed, *made)
    answer = await get(analyst, "/api/analytics/segments")
    items = answer["items"]
    assert [item["segment"] for item in items] == [s.code for s in closed.profile.segments]
    assert answer["asOf"] == "2026-03-02T05:00:00Z"
    assert sum(item["customers"] for item in items) == 30
    assert sum(item["share"] for item in items) == pytest.approx(1)
    assert sum(item["revenueShare"] for item in items) == pytest.approx(1)
    total = sum(o.total_amount for c in made for o in c.orders if o.ordered_at >= AS_OF - 365 * DAY)
    assert sum(Decimal(item["revenue"]) for item in items) == Decimal(total) / 100
    for item in items:
        if item["customers"]:
            mean = Decimal(item["revenue"]) / item["customers"]
            assert abs(Decimal(item["averageRevenue"]) - mean) <= Decimal("0.005")
        assert item["recommendedAction"]


async def test_a_segment_by_hand(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    twice = Customer("twice", (Order(AS_OF - 40 * DAY), Order(AS_OF - 95 * DAY)))
    thrice = Customer("thrice", tuple(Order(AS_OF - days * DAY) for days in (91, 200, 300)))
    await score(database, closed, twice, thrice)
    items = {i["segment"]: i for i in (await get(analyst, "/api/analytics/segments"))["items"]}
    # Recency 5 and 1; frequency and money 1 and 5.
    promising, at_risk = items["promising"], items["at_risk"]
    assert (promising["customers"], at_risk["customers"]) == (1, 1)
    assert (promising["share"], at_risk["share"]) == (0.5, 0.5)
    assert (promising["revenue"], at_risk["revenue"]) == ("200.00", "300.00")
    assert (promising["revenueShare"], at_risk["revenueShare"]) == (0.4, 0.6)
    assert (promising["averageOrders"], at_risk["averageOrders"]) == (2, 3)
    assert at_risk["averageOrderValue"] == "100.00"
    assert at_risk["averageDaysSinceLastOrder"] == 91
    assert (promising["inactiveOver90Days"], at_risk["inactiveOver90Days"]) == (0, 1)
    assert (promising["activeIn30Days"], at_risk["activeIn30Days"]) == (0, 0)
    assert items["champion"]["customers"] == 0
    assert items["champion"]["averageRevenue"] is None


async def test_the_grid_has_every_cell_and_every_buyer(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    await score(database, closed, *spread())
    items = (await get(analyst, "/api/analytics/rfm/distribution"))["items"]
    cells = [(item["recency"], item["frequency"]) for item in items]
    assert cells == [(r, f) for r in range(5, 0, -1) for f in range(5, 0, -1)]
    assert sum(item["customers"] for item in items) == 30
    segments = (await get(analyst, "/api/analytics/segments"))["items"]
    assert sum(Decimal(item["revenue"]) for item in items) == sum(
        Decimal(item["revenue"]) for item in segments
    )


async def test_before_the_first_run_lists_are_empty_and_say_so(analyst: httpx.AsyncClient) -> None:
    segments = await get(analyst, "/api/analytics/segments")
    assert segments["asOf"] is None
    assert {item["customers"] for item in segments["items"]} == {0}
    assert (await get(analyst, "/api/analytics/at-risk")) == {"items": [], "nextCursor": None}


async def test_at_risk_is_filtered_and_ordered_by_what_is_at_stake(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    await score(database, closed, *spread())
    everybody = (await get(analyst, "/api/analytics/at-risk", minScore=0))["items"]
    stakes = [Decimal(item["valueAtRisk"]) for item in everybody]
    assert stakes == sorted(stakes, reverse=True)
    assert len(everybody) == sum(len(customer.orders) >= 2 for customer in spread())
    default = (await get(analyst, "/api/analytics/at-risk"))["items"]
    assert default == [i for i in everybody if i["churnBand"] in ("high", "critical")]
    assert default
    chosen = (await get(analyst, "/api/analytics/at-risk", band=["low", "medium"]))["items"]
    assert chosen == [i for i in everybody if i["churnBand"] in ("low", "medium")]
    scored = (await get(analyst, "/api/analytics/at-risk", minScore=0.5))["items"]
    assert scored == [item for item in everybody if item["churnScore"] >= 0.5]
    both = (await get(analyst, "/api/analytics/at-risk", minScore=0.7, band="high"))["items"]
    assert both == [i for i in everybody if i["churnScore"] >= 0.7 and i["churnBand"] == "high"]
    for item in default:
        assert 1 <= len(item["reasons"]) <= 3
        assert item["recommendedAction"]


@pytest.mark.parametrize("limit", [1, 3, 4, 12])
async def test_pages_of_at_risk_are_complete_without_doubles(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant, limit: int
) -> None:
    # Four groups of three that tie, one of them with nothing at stake.
    tied = [
        Customer(
            f"cus-{number:02}",
            tuple(
                Order(AS_OF - days * DAY, total_amount=(number // 3) * 100_00)
                for days in (100, 150)
            ),
        )
        for number in range(12)
    ]
    await score(database, closed, *tied)
    seen: list[str] = []
    query: dict[str, Any] = {"limit": limit}
    pages = 0
    while pages < 20:
        page = await get(analyst, "/api/analytics/at-risk", **query)
        pages += 1
        seen += [item["customerId"] for item in page["items"]]
        if page["nextCursor"] is None:
            break
        query["cursor"] = page["nextCursor"]
    assert pages == 12 / limit, "the last page says that it is the last"
    groups = [{"cus-09", "cus-10", "cus-11"}, {"cus-06", "cus-07", "cus-08"}]
    assert [set(seen[:3]), set(seen[3:6])] == groups
    assert sorted(seen) == [customer.id for customer in tied]


@pytest.mark.parametrize(
    "query",
    [
        {"cursor": "nonsense"},
        {"cursor": "WzFd"},
        {"cursor": "WyJhIiwxXQ"},
        {"minScore": "1.5"},
        {"minScore": "nan"},
        {"band": "worst"},
        {"limit": "0"},
        {"limit": "501"},
    ],
)
async def test_bad_questions_about_risk_are_refused(
    analyst: httpx.AsyncClient, query: dict[str, str]
) -> None:
    answer = await analyst.get("/api/analytics/at-risk", params=query)
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/problem+json"
