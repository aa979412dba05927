"""Answers about all customers, checked against figures by hand and against the rows themselves."""

import asyncio
import csv
import io
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import insert, select, text, update

from app.api import export_stream
from app.api.csv_stream import harmless
from app.api.schemas.churn import ChurnFactorsView
from app.api.schemas.figures import nobody
from app.database import Database
from app.domain.churn import ChurnReason
from app.domain.movement import Direction, direction
from app.domain.tenant import Tenant
from app.repositories import influence, population
from app.repositories.tables import (
    customer_analytics,
    feedback,
    job_runs,
    population_total_days,
    population_totals,
    score_history,
    stores,
)
from app.services import totals
from tests.api.streaming import take_first_part
from tests.factories import make_customer, make_key, make_order, make_tenant

AS_OF = datetime(2026, 3, 2, 5, 0, tzinfo=UTC)
TODAY = date(2026, 3, 2)


@pytest.fixture
async def closed(database: Database) -> Tenant:
    """A tenant whose log ended at AS_OF."""
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


async def get(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    answer = await client.get(f"/api/analytics/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def pages(client: httpx.AsyncClient, path: str, **query: Any) -> list[dict[str, Any]]:
    """All items of a list, page by page."""
    items: list[dict[str, Any]] = []
    while True:
        page = await get(client, path, **query)
        items += page["items"]
        if page["nextCursor"] is None:
            return items
        assert len(page["items"]) == query["limit"]
        query["cursor"] = page["nextCursor"]


_NOTHING = {
    column.name: 0
    for column in customer_analytics.columns
    if not column.nullable and column.server_default is None and column.computed is None
}


async def scored(
    database: Database, tenant: Tenant, customer_id: str, *, name: str = "Siti", **columns: Any
) -> int:
    """The sk of a new customer with these columns in its scores; referrer by sk."""
    declared = {
        key: columns.pop(key) for key in ("referred_by_sk", "phone", "email") if key in columns
    }
    sk = await make_customer(database, tenant, customer_id, name=name, **declared)
    values = _NOTHING | {
        "tenant_id": tenant.id,
        "customer_sk": sk,
        "as_of": AS_OF,
        "computed_at": AS_OF,
        "model_version": "retail-1",
        "rfm_status": "ok",
        "clv_status": "ok",
        "churn_status": "ok",
        "churn_reasons": [],
        "lifecycle_segment": "regular",
        "standing_since": TODAY,
    }
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(insert(customer_analytics).values(values | columns))
    return sk


async def change(database: Database, tenant: Tenant, sk: int, **columns: Any) -> None:
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(
            update(customer_analytics).where(customer_analytics.c.customer_sk == sk).values(columns)
        )


async def remember(
    database: Database, tenant: Tenant, sk: int, day: date, segment: str | None, **columns: Any
) -> None:
    """A row of history."""
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(
            text("SELECT ensure_partition('score_history', :month)"), {"month": day.replace(day=1)}
        )
        values = {"lifecycle_segment": "regular", "rfm_segment": segment} | columns
        await connection.execute(
            insert(score_history).values(tenant_id=tenant.id, customer_sk=sk, day=day, **values)
        )


async def full_run(database: Database, tenant: Tenant, as_of: datetime = AS_OF) -> None:
    """Leave what a full run leaves for the figures."""
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(
            insert(job_runs).values(
                tenant_id=tenant.id,
                kind="full",
                status="succeeded",
                as_of=as_of,
                requested_at=text("clock_timestamp()"),
                started_at=text("clock_timestamp()"),
            )
        )
        await totals.after_full_run(connection, tenant, as_of)


# Matrices


async def test_demographics_are_a_matrix_with_unknown_last(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    young: dict[str, Any] = {"age_group": "18-25", "gender": "female", "counted_orders": 2}
    await scored(database, closed, "a", **young, revenue_365d=300_00, average_order_value=100_00)
    await scored(database, closed, "b", **young, revenue_365d=100_01, average_order_value=50_00)
    await scored(database, closed, "c", age_group="under_18", gender="male")
    await scored(database, closed, "d")
    answer = await get(analyst, "demographics")
    cells = {(item["ageGroup"], item["gender"]): item for item in answer["items"]}
    ages, genders = ["under_18", "18-25", "unknown"], ["female", "male", "unknown"]
    assert list(cells) == list(itertools.product(ages, genders))
    assert answer["customers"] == 4
    assert cells["18-25", "female"] == {
        "ageGroup": "18-25",
        "gender": "female",
        "customers": 2,
        "share": 0.5,
        "revenue365d": "400.01",
        "averageRevenue": "200.00",  # 200.005: halves go to the even neighbour
        "averageOrderValue": "75.00",
    }
    assert cells["under_18", "male"]["averageOrderValue"] is None
    assert cells["18-25", "male"]["customers"] == 0
    assert cells["18-25", "male"]["averageRevenue"] is None


async def test_engagement_has_eight_cells_with_the_names_of_the_quadrants(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    high: dict[str, Any] = {"response_level": "high", "spending_level": "high"}
    await scored(database, closed, "a", **high, contacts=4, responses=3, revenue_365d=90_00)
    await scored(database, closed, "b", **high, contacts=1, responses=1)
    await scored(database, closed, "c", spending_level="low")
    await scored(database, closed, "d", response_level="medium", spending_level="low")
    await scored(database, closed, "e", response_level="high")  # the buyers were never ranked
    answer = await get(analyst, "engagement")
    cells = {(i["spendingLevel"], i["responseLevel"]): i for i in answer["items"]}
    quadrants = {key: cell["quadrant"] for key, cell in cells.items()}
    assert quadrants == {
        ("high", "high"): "engaged_champion",
        ("high", "medium"): None,
        ("high", "low"): "passive_buyer",
        ("high", None): None,
        ("low", "high"): "potential",
        ("low", "medium"): None,
        ("low", "low"): "cold",
        ("low", None): None,
    }
    champions = cells["high", "high"]
    assert (champions["customers"], champions["share"]) == (2, 0.5)
    assert (champions["contacts"], champions["responses"], champions["responseRate"]) == (5, 4, 0.8)
    assert (champions["revenue365d"], champions["averageRevenue"]) == ("90.00", "45.00")
    assert cells["low", None]["customers"] == cells["low", "medium"]["customers"] == 1
    assert cells["low", None]["responseRate"] is None
    assert answer["customers"] == 4


async def test_a_change_of_one_customer_is_in_the_figures_at_once(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    sk = await scored(database, closed, "a", age_group="18-25", gender="male", revenue_365d=5_00)
    await get(analyst, "demographics")
    await change(database, closed, sk, gender="female", revenue_365d=7_00)
    items = (await get(analyst, "demographics"))["items"]
    assert [(i["gender"], i["customers"], i["revenue365d"]) for i in items] == [
        ("female", 1, "7.00")
    ]


async def test_compacting_and_adding_up_anew_change_no_figure(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    segments = ["champion", "loyal", "at_risk"]
    for number in range(12):
        sk = await scored(database, closed, f"c{number}", revenue_365d=number * 10_01)
        await change(
            database,
            closed,
            sk,
            rfm_segment=segments[number % 3],
            rfm_recency_score=1 + number % 5,
            rfm_frequency_score=1 + number % 4,
            churn_band="high",
            churn_score=0.0701 * number,
            churn_reasons=["long_absence", "rare_buyer"][: number % 3],
        )
    routes = ("segments", "rfm/distribution", "demographics", "churn/overview", "churn/factors")
    before = [await get(analyst, route) for route in routes]
    count = select(text("count(*)")).select_from(population_totals)
    async with database.tenant_transaction(closed.id) as connection:
        appended = await connection.scalar(count)
        await totals.compact(connection, closed)
        compacted = await connection.scalar(count)
    assert compacted is not None
    assert appended is not None
    assert compacted < appended
    assert [await get(analyst, route) for route in routes] == before
    async with database.tenant_transaction(closed.id) as connection:
        await population.rebuild(connection, closed.id)
    assert [await get(analyst, route) for route in routes] == before


# Lifetime value


async def test_clv_tiers_are_those_of_the_profile(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    await scored(database, closed, "a", clv=600_00, clv_tier="platinum", revenue_365d=50_00)
    await scored(database, closed, "b", clv=300_00, clv_tier="gold")
    await scored(database, closed, "c", clv=100_00, clv_tier="gold")
    await scored(database, closed, "never")
    answer = await get(analyst, "clv/tiers")
    assert [item["tier"] for item in answer["items"]] == [
        tier.code for tier in closed.profile.clv_tiers
    ]
    tiers = {item["tier"]: item for item in answer["items"]}
    assert (answer["customers"], answer["value"]) == (3, "1000.00")
    assert (tiers["platinum"]["customers"], tiers["platinum"]["valueShare"]) == (1, 0.6)
    assert (tiers["gold"]["value"], tiers["gold"]["averageValue"]) == ("400.00", "200.00")
    assert tiers["gold"]["share"] == pytest.approx(2 / 3)
    assert tiers["bronze"]["averageValue"] is None


async def test_the_distribution_has_the_empty_buckets_in_between(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    assert (await get(analyst, "clv/distribution"))["items"] == []
    await scored(database, closed, "a", clv=50, clv_bucket=0)
    await scored(database, closed, "b", clv=7_00, clv_bucket=3)
    answer = await get(analyst, "clv/distribution")
    assert [(i["atLeast"], i["below"], i["customers"]) for i in answer["items"]] == [
        (None, "1", 1),
        ("1", "2", 0),
        ("2", "5", 0),
        ("5", "10", 1),
    ]
    assert answer["items"][3]["value"] == "7.00"
    assert sum(i["valueShare"] for i in answer["items"]) == pytest.approx(1)


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
async def test_the_most_valuable_come_first_with_their_share(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant, limit: int
) -> None:
    values = {"a": 500_00, "b": 0, "c": 500_00, "d": 499_99, "e": 1, "f": 0}
    for customer_id, value in values.items():
        await scored(database, closed, customer_id, clv=value)
    await scored(database, closed, "never")
    items = await pages(analyst, "clv/top", limit=limit)
    assert [item["customerId"] for item in items] == ["a", "c", "d", "e", "b", "f"]
    whole = sum(values.values())
    assert items[0]["share"] == pytest.approx(500_00 / whole)
    assert sum(item["share"] for item in items) == pytest.approx(1)
    assert items[2]["value"] == "499.99"


# Churn


async def test_churn_by_band(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    critical: dict[str, Any] = {"churn_band": "critical", "counted_orders": 3}
    await scored(
        database, closed, "a", **critical, churn_score=0.9, value_at_risk=90_00,
        days_since_last_order=100, order_frequency_trend="decreasing",
    )  # fmt: skip
    await scored(
        database, closed, "b", **critical, churn_score=0.8, value_at_risk=10_00,
        days_since_last_order=51, spend_trend="decreasing",
    )  # fmt: skip
    await scored(database, closed, "c", churn_band="low", churn_score=0.1, value_at_risk=0)
    await scored(database, closed, "never")
    answer = await get(analyst, "churn/overview")
    assert [item["band"] for item in answer["items"]] == ["critical", "high", "medium", "low"]
    assert answer["items"][0] == {
        "band": "critical",
        "customers": 2,
        "share": pytest.approx(2 / 3),
        "valueAtRisk": "100.00",
        "valueAtRiskShare": 1.0,
        "averageScore": 0.85,
        "decliningOrders": 1,
        "decliningSpend": 1,
        "averageDaysSinceLastOrder": 75.5,
        "recommendedAction": "Manager steps in, VIP treatment",
    }
    assert answer["items"][1]["averageScore"] is None
    assert (answer["rated"], answer["unrated"], answer["atRisk"]) == (3, 1, 2)
    assert (answer["averageScore"], answer["valueAtRisk"]) == (0.6, "100.00")


async def test_factors_by_frequency_and_value(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    both = ["long_absence", "rare_buyer"]
    rated: dict[str, Any] = {
        "churn_band": "high",
        "clv": 100_00,
        "value_at_risk": 50_00,
        "churn_score": 0.5,
    }
    await scored(database, closed, "a", churn_reasons=both, **rated)
    await scored(database, closed, "b", churn_reasons=both[1:], **rated | {"churn_score": 0.7})
    await scored(database, closed, "c", **rated)
    answer = await get(analyst, "churn/factors")
    rare, absent = answer["items"]
    assert (rare["code"], absent["code"]) == ("rare_buyer", "long_absence")
    assert (rare["customers"], rare["share"]) == (2, pytest.approx(2 / 3))
    assert (rare["valueAffected"], rare["valueAtRisk"]) == ("200.00", "100.00")
    assert rare["averageScore"] == 0.6
    assert answer["rated"] == 3


def test_every_reason_has_a_title() -> None:
    found = [nobody(reason.value) for reason in ChurnReason]
    titles = {each.title for each in ChurnFactorsView.of(found, 0, "USD", None).items}
    assert len(titles) == len(ChurnReason)
    assert not titles & {reason.value for reason in ChurnReason}


# Influence


async def network(database: Database, tenant: Tenant) -> dict[str, int]:
    """root -> a, b; a -> a1; a chain of eight below a1; revenue 1.00 each."""
    sks: dict[str, int] = {}

    async def add(customer_id: str, referrer: str | None, **columns: Any) -> None:
        sk = None if referrer is None else sks[referrer]
        sks[customer_id] = await scored(
            database, tenant, customer_id, referred_by_sk=sk, revenue=1_00, **columns
        )

    await add("root", None, influence_score=50.0, referred_customers=2, referral_revenue=2_00)
    await add("a", "root", influence_score=10.5, referred_customers=1, response_rate=0.25)
    await add("b", "root", influence_score=90.0)  # referred nobody
    await add("a1", "a", influence_score=10.5, referred_customers=1)
    for level in range(8):
        await add(f"x{level}", f"x{level - 1}" if level else "a1", referred_customers=1)
    return sks


async def test_influencers_come_with_their_networks(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    await network(database, closed)
    items = await pages(analyst, "influencers", limit=1)
    assert [item["customerId"] for item in items] == ["root", "a", "a1"]
    root = items[0]
    assert (root["referredCustomers"], root["referralRevenue"]) == (2, "2.00")
    # Six levels below: a and b, a1, x0, x1, x2, x3.
    assert (root["networkCustomers"], root["networkRevenue"]) == (7, "7.00")
    assert (items[1]["networkCustomers"], items[1]["responseRate"]) == (6, 0.25)
    assert root["networkAsOf"] is None


async def test_large_networks_are_kept_and_come_to_the_same(
    analyst: httpx.AsyncClient,
    database: Database,
    closed: Tenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sks = await network(database, closed)
    counted = await pages(analyst, "influencers", limit=2)
    monkeypatch.setattr(influence, "SMALL_NETWORK", 6)
    await full_run(database, closed)
    kept = await pages(analyst, "influencers", limit=2)
    assert [item["networkAsOf"] is not None for item in kept] == [True, False, False]
    assert [item | {"networkAsOf": None} for item in kept] == counted
    # What changes before the next run is in the small networks only.
    await change(database, closed, sks["a1"], revenue=5_00)
    kept = await pages(analyst, "influencers", limit=2)
    assert [item["networkRevenue"] for item in kept] == ["7.00", "10.00", "6.00"]


# Satisfaction


async def test_satisfaction_by_month_store_and_segment(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    sk = await make_customer(database, closed, "a")
    async with database.tenant_transaction(closed.id) as connection:
        store = await connection.scalar(
            insert(stores).values(tenant_id=closed.id, id="s1", name="One").returning(stores.c.sk)
        )

    given: list[tuple[str, int | None, datetime, int | None, str | None]] = [
        ("nps", 10, datetime(2026, 2, 3, tzinfo=UTC), store, "champion"),
        ("nps", 9, datetime(2026, 2, 28, 23, tzinfo=UTC), None, "loyal"),
        ("nps", 6, datetime(2026, 2, 5, tzinfo=UTC), store, "champion"),
        ("nps", 8, datetime(2026, 2, 6, tzinfo=UTC), None, None),
        ("csat", 7, datetime(2026, 2, 6, tzinfo=UTC), store, "champion"),
        ("csat", 10, datetime(2026, 2, 7, tzinfo=UTC), None, "loyal"),
        ("review", 4, datetime(2026, 2, 7, tzinfo=UTC), store, "loyal"),
        ("complaint", None, datetime(2026, 1, 7, tzinfo=UTC), store, "loyal"),
        ("nps", 0, datetime(2025, 3, 1, tzinfo=UTC), store, "champion"),
    ]
    async with database.tenant_transaction(closed.id) as connection:
        for number, (kind, score, at, store_sk, segment) in enumerate(given):
            await connection.execute(
                insert(feedback).values(
                    tenant_id=closed.id, id=f"f{number}", customer_sk=sk, kind=kind, score=score,
                    given_at=at, local_at=at.replace(tzinfo=None), store_sk=store_sk,
                    rfm_segment=segment,
                )
            )  # fmt: skip
    answer = await get(analyst, "satisfaction")
    assert (answer["fromMonth"], answer["toMonth"]) == ("2025-04-01", "2026-03-01")
    january, february = answer["items"]
    assert (january["month"], january["complaints"], january["nps"]) == ("2026-01-01", 1, None)
    assert (february["npsAnswers"], february["promoters"], february["detractors"]) == (4, 2, 1)
    assert february["nps"] == 25
    assert (february["csat"], february["csatAnswers"]) == (8.5, 2)
    assert (february["reviewAverage"], february["reviews"]) == (4, 1)
    by_store = (await get(analyst, "satisfaction", by="store", **{"from": "2026-02-14"}))["items"]
    assert [(item["storeId"], item["nps"]) for item in by_store] == [("s1", 0), (None, 50)]
    by_segment = await get(analyst, "satisfaction", by="segment", store="s1")
    assert [(i["month"], i["segment"], i["npsAnswers"]) for i in by_segment["items"]] == [
        ("2026-01-01", "loyal", 0),
        ("2026-02-01", "champion", 2),
        ("2026-02-01", "loyal", 0),
    ]
    unknown = (await get(analyst, "satisfaction", segment="unknown"))["items"]
    assert [(item["month"], item["nps"]) for item in unknown] == [("2026-02-01", 0)]


async def test_answers_get_the_segment_of_the_next_full_run(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    sk = await scored(database, closed, "a", rfm_segment="loyal")
    async with database.tenant_transaction(closed.id) as connection:
        at = datetime(2026, 2, 3, tzinfo=UTC)
        await connection.execute(
            insert(feedback).values(
                tenant_id=closed.id, id="f", customer_sk=sk, kind="nps", score=10,
                given_at=at, local_at=at.replace(tzinfo=None),
            )
        )  # fmt: skip
    assert (await get(analyst, "satisfaction", segment="loyal"))["items"] == []
    async with database.tenant_transaction(closed.id) as connection:
        # As in a run, which adds everything up afterwards.
        await connection.execute(text("SELECT set_config('app.totals', 'off', true)"))
    await full_run(database, closed)
    assert (await get(analyst, "satisfaction", segment="loyal"))["items"][0]["nps"] == 100
    assert (await get(analyst, "satisfaction", segment="unknown"))["items"] == []


# Movement


RETAIL = {"champion": 1, "loyal": 2, "at_risk": 4}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("loyal", "champion", Direction.UPGRADED),
        ("champion", "at_risk", Direction.DOWNGRADED),
        ("loyal", "loyal", Direction.SAME),
        ("gone", "gone", Direction.SAME),
        (None, "at_risk", Direction.NEW),
        (None, "gone", Direction.NEW),
        ("champion", None, Direction.LOST),
        ("gone", "champion", Direction.UNRANKED),
        ("champion", "gone", Direction.UNRANKED),
    ],
)
def test_the_direction_of_a_move(before: str | None, after: str | None, expected: str) -> None:
    assert direction(before, after, RETAIL) is expected


async def history(database: Database, tenant: Tenant) -> dict[str, int]:
    """Customers whose segments changed in February 2026, and some whose did not."""
    rows: dict[str, list[tuple[date, str | None, str | None]]] = {
        "up": [(date(2026, 1, 5), "loyal", "silver"), (date(2026, 2, 20), "champion", "gold")],
        "down": [(date(2025, 11, 1), "champion", "gold"), (TODAY, "hibernating", "gold")],
        "there_and_back": [
            (date(2026, 1, 31), "loyal", None),
            (date(2026, 2, 10), "champion", None),
            (date(2026, 2, 12), "loyal", "silver"),
        ],
        "still": [(date(2025, 11, 1), "loyal", "silver")],
        "new": [(date(2026, 2, 11), "promising", None)],
        "lost": [(date(2026, 1, 5), "at_risk", None), (date(2026, 2, 11), None, None)],
        "never": [(date(2026, 1, 5), None, None)],
    }
    sks = {}
    for customer_id, kept in rows.items():
        sk = sks[customer_id] = await scored(database, tenant, customer_id)
        for day, segment, tier in kept:
            await remember(database, tenant, sk, day, segment, membership_tier=tier)
    return sks


async def test_migration_is_the_from_to_table_of_two_days(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    await history(database, closed)
    answer = await get(analyst, "rfm/migration")
    assert (answer["fromDay"], answer["toDay"]) == ("2026-01-31", "2026-03-02")
    moves = [
        (i["fromSegment"], i["toSegment"], i["customers"], i["direction"]) for i in answer["items"]
    ]
    assert moves == [
        ("champion", "hibernating", 1, "downgraded"),
        ("loyal", "champion", 1, "upgraded"),
        ("loyal", "loyal", 2, "same"),
        ("at_risk", None, 1, "lost"),
        (None, "promising", 1, "new"),
    ]
    assert answer["items"][1]["share"] == pytest.approx(1 / 3)
    names = ("upgraded", "downgraded", "same", "new", "lost", "unranked")
    assert [answer[name] for name in names] == [1, 1, 2, 1, 1, 0]


async def test_migration_between_days_in_the_past(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    await history(database, closed)
    days = {"from": "2026-01-31", "to": "2026-02-10"}
    answer = await get(analyst, "rfm/migration", **days)
    moves = {(item["fromSegment"], item["toSegment"]) for item in answer["items"]}
    assert moves == {
        ("champion", "champion"),
        ("loyal", "champion"),
        ("loyal", "loyal"),
        ("at_risk", "at_risk"),
    }
    again = await get(analyst, "rfm/migration", **days)
    assert again == answer, "counted once"


async def test_moves_are_counted_anew_by_a_full_run(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    sks = await history(database, closed)
    await full_run(database, closed)
    before = await get(analyst, "rfm/migration")
    await remember(database, closed, sks["still"], date(2026, 2, 27), "champion")
    assert await get(analyst, "rfm/migration") == before
    past = {"from": "2026-01-01", "to": "2026-02-01"}
    kept = await get(analyst, "rfm/migration", **past)
    await full_run(database, closed)
    after = await get(analyst, "rfm/migration")
    assert (after["upgraded"], after["same"]) == (2, 1)
    assert after["computedAt"] > before["computedAt"]
    assert await get(analyst, "rfm/migration", **past) == kept, "a day that is over stays"


async def test_loyalty_has_tiers_and_the_moves_between_them(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    sks = await history(database, closed)
    await change(
        database, closed, sks["up"], membership_tier="gold", loyalty_points=100, revenue_365d=75_00
    )
    await change(database, closed, sks["down"], membership_tier="gold", loyalty_points=51)
    await change(database, closed, sks["still"], membership_tier="silver", revenue_365d=25_00)
    answer = await get(analyst, "loyalty")
    assert [(i["tier"], i["customers"]) for i in answer["items"]] == [
        (None, 4),
        ("gold", 2),
        ("silver", 1),
    ]
    gold = answer["items"][1]
    assert (gold["points"], gold["averagePoints"], gold["revenueShare"]) == (151, 75.5, 0.75)
    assert answer["points"] == 151
    movement = answer["movement"]
    assert [(i["fromTier"], i["toTier"], i["customers"]) for i in movement["items"]] == [
        (None, "silver", 1),
        ("silver", "gold", 1),
    ]
    assert (movement["stayed"], movement["new"]) == (4, 1)


# Dashboard


async def test_the_dashboard_of_a_business_without_anything(analyst: httpx.AsyncClient) -> None:
    answer = await get(analyst, "dashboard")
    assert (answer["fromDay"], answer["toDay"]) == ("2026-02-01", "2026-03-02")
    assert (answer["previousFromDay"], answer["previousToDay"]) == ("2026-01-02", "2026-01-31")
    assert [day["day"] for day in answer["days"]] == [
        (date(2026, 2, 1) + timedelta(days=number)).isoformat() for number in range(30)
    ]
    assert {day["revenue"] for day in answer["days"]} == {"0.00"}
    assert answer["customers"] == {
        "value": 0,
        "previous": None,
        "change": None,
        "changeShare": None,
        "previousDay": None,
        "reason": "No figures were kept on or before 2026-02-01.",
    }
    assert answer["revenue"]["value"] == "0.00"
    assert answer["averageOrderValue"]["value"] is None
    assert answer["repeatRate"] == {"rate": None, "buyers": 0, "repeatBuyers": 0}
    assert len(answer["rfmDistribution"]) == 25
    assert answer["asOf"] is None


async def test_the_dashboard_by_hand(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    async with database.tenant_transaction(closed.id) as connection:
        store = await connection.scalar(
            insert(stores).values(tenant_id=closed.id, id="s1", name="One").returning(stores.c.sk)
        )
    a = await scored(
        database, closed, "a", counted_orders=2, rfm_segment="champion", churn_band="critical",
        rfm_recency_score=5, rfm_frequency_score=4, revenue_365d=30_00,
        first_order_day=date(2026, 2, 2), first_store_sk=store,
    )  # fmt: skip
    await scored(database, closed, "b", counted_orders=1, first_order_day=date(2026, 1, 20))
    await full_run(database, closed, datetime(2026, 1, 31, tzinfo=UTC))
    await scored(database, closed, "c", churn_band="high")
    await change(database, closed, a, churn_band="low")
    placed = [
        ("o1", datetime(2026, 2, 2, 3, tzinfo=UTC), 10_00, store, "completed"),
        # Still the first of February in London, the second in Jakarta.
        ("o2", datetime(2026, 2, 1, 18, tzinfo=UTC), 20_00, None, "completed"),
        ("o3", datetime(2026, 2, 3, 3, tzinfo=UTC), 99_00, store, "cancelled"),
        ("o4", datetime(2026, 1, 20, 3, tzinfo=UTC), 15_00, None, "completed"),
    ]
    for order_id, at, total, store_sk, status in placed:
        await make_order(
            database, closed, "a", order_id,
            ordered_at=at, total_amount=total, store_sk=store_sk, status=status,
        )  # fmt: skip
    answer = await get(analyst, "dashboard")
    assert (answer["customers"]["value"], answer["customers"]["previous"]) == (3, 2)
    assert (answer["customers"]["change"], answer["customers"]["changeShare"]) == (1, 0.5)
    assert answer["customers"]["previousDay"] == "2026-01-31"
    assert (answer["atRisk"]["value"], answer["atRisk"]["change"]) == (1, 0)
    assert (answer["champions"]["value"], answer["champions"]["previous"]) == (1, 1)
    assert answer["repeatRate"] == {"rate": 0.5, "buyers": 2, "repeatBuyers": 1}
    assert answer["revenue"] == {
        "value": "30.00", "previous": "15.00", "change": "15.00", "changeShare": 1.0
    }  # fmt: skip
    assert answer["orders"]["value"] == 2
    assert answer["averageOrderValue"]["value"] == "15.00"
    assert (answer["newCustomers"]["value"], answer["newCustomers"]["previous"]) == (1, 1)
    days = {day["day"]: day for day in answer["days"]}
    assert days["2026-02-02"] == {
        "day": "2026-02-02", "orders": 2, "revenue": "30.00", "newCustomers": 1
    }  # fmt: skip
    assert sum(day["orders"] for day in answer["days"]) == 2
    assert answer["stores"] == [
        {"storeId": None, "name": None, "orders": 1, "revenue": "20.00", "newCustomers": 0},
        {"storeId": "s1", "name": "One", "orders": 1, "revenue": "10.00", "newCustomers": 1},
    ]
    cells = {(c["recency"], c["frequency"]): c["customers"] for c in answer["rfmDistribution"]}
    assert (cells[5, 4], sum(cells.values())) == (1, 1)
    of_store = await get(analyst, "dashboard", store="s1")
    assert (of_store["revenue"]["value"], of_store["newCustomers"]["value"]) == ("10.00", 1)
    assert (of_store["newCustomers"]["previous"], of_store["customers"]["value"]) == (0, 3)


async def test_a_period_that_is_over_has_the_figures_of_its_end(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    await scored(database, closed, "a")
    await full_run(database, closed, datetime(2026, 1, 10, tzinfo=UTC))
    await scored(database, closed, "b")
    await full_run(database, closed, datetime(2026, 2, 10, tzinfo=UTC))
    await scored(database, closed, "c")
    answer = await get(analyst, "dashboard", **{"from": "2026-01-15", "to": "2026-02-20"})
    assert (answer["customers"]["value"], answer["customers"]["previous"]) == (2, 1)
    answer = await get(analyst, "dashboard", **{"from": "2026-01-01", "to": "2026-01-05"})
    assert answer["customers"]["value"] is None
    assert answer["customers"]["reason"] == "No figures were kept on or before 2026-01-05."


async def test_a_run_of_the_same_day_replaces_what_was_kept(
    database: Database, closed: Tenant
) -> None:
    sk = await scored(database, closed, "a", rfm_segment="loyal")
    await full_run(database, closed)
    await change(database, closed, sk, rfm_segment="champion")
    await full_run(database, closed)
    kept = population_total_days.c
    async with database.tenant_transaction(closed.id) as connection:
        rows = await connection.execute(select(kept.day, kept.a).where(kept.figure == "segment"))
        assert [tuple(row) for row in rows] == [(TODAY, "champion")]


async def test_what_was_kept_is_dropped_after_two_years(database: Database, closed: Tenant) -> None:
    sk = await scored(database, closed, "a")
    await remember(database, closed, sk, date(2023, 11, 1), "loyal")
    for as_of in (AS_OF - timedelta(days=801), AS_OF - timedelta(days=799)):
        await full_run(database, closed, as_of)
    now = datetime.now(UTC)
    async with database.tenant_transaction(closed.id) as connection:
        assert await totals.forget_old(connection, closed, now=now) > 0
        days = await connection.execute(select(population_total_days.c.day).distinct())
        assert list(days.scalars()) == [TODAY - timedelta(days=799)]
        assert await totals.forget_old(connection, closed, now=now) == 0
        assert await totals.forget_old(connection, closed, now=now + timedelta(days=801)) > 0


# Questions that cannot be answered


@pytest.mark.parametrize(
    ("path", "query", "parameter"),
    [
        ("dashboard", {"to": "2026-03-03"}, "to"),
        ("dashboard", {"from": "2026-03-01", "to": "2026-02-01"}, "from"),
        ("dashboard", {"from": "2025-01-01"}, "from"),
        ("dashboard", {"to": "0001-01-01"}, "to"),
        ("dashboard", {"from": "yesterday"}, "from"),
        ("dashboard", {"store": "nowhere"}, "store"),
        ("satisfaction", {"segment": "unheard"}, "segment"),
        ("satisfaction", {"by": "weather"}, "by"),
        ("satisfaction", {"store": "nowhere"}, "store"),
        ("rfm/migration", {"from": "1969-12-31", "to": "1970-01-01"}, "from"),
        ("loyalty", {"from": "2026-03-03"}, "from"),
        ("influencers", {"limit": "501"}, "limit"),
    ],
)
async def test_bad_questions_are_refused_by_name(
    analyst: httpx.AsyncClient, path: str, query: dict[str, str], parameter: str
) -> None:
    answer = await analyst.get(f"/api/analytics/{path}", params=query)
    assert answer.status_code == 422
    assert parameter in {error.get("parameter") for error in answer.json()["errors"]}


@pytest.mark.parametrize("path", ["influencers", "clv/top", "segments/champion/customers"])
@pytest.mark.parametrize("cursor", ["nonsense", "WzEsMiwzXQ", "WyJhIiwxXQ", "W10"])
async def test_cursors_of_other_lists_are_refused(
    analyst: httpx.AsyncClient, path: str, cursor: str
) -> None:
    answer = await analyst.get(f"/api/analytics/{path}", params={"cursor": cursor})
    assert answer.status_code == 400


@pytest.mark.parametrize("suffix", ["customers", "customers.csv"])
async def test_a_segment_that_the_profile_has_not_is_not_found(
    analyst: httpx.AsyncClient, suffix: str
) -> None:
    answer = await analyst.get(f"/api/analytics/segments/unheard/{suffix}")
    assert answer.status_code == 404


# Lists of customers, and files


async def segment_of(database: Database, tenant: Tenant, number: int) -> None:
    for each in range(number):
        await scored(
            database, tenant, f"c{each}", name=f"=Siti {each}", phone="+62812", email="s@x.id",
            rfm_segment="champion", rfm_code="555", revenue_365d=each * 100, clv=10 * each,
            churn_score=0.8, churn_band="critical", value_at_risk=8 * each, revenue=-5_00,
            churn_reasons=["long_absence"], days_since_last_order=95,
        )  # fmt: skip


@pytest.mark.parametrize("limit", [2, 5, 50])
async def test_the_customers_of_a_segment(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant, limit: int
) -> None:
    await segment_of(database, closed, 5)
    await scored(database, closed, "other", rfm_segment="loyal")
    items = await pages(analyst, "segments/champion/customers", limit=limit)
    assert [item["customerId"] for item in items] == ["c0", "c1", "c2", "c3", "c4"]
    assert (items[4]["revenue365d"], items[4]["rfmCode"]) == ("4.00", "555")


async def read_csv(client: httpx.AsyncClient, path: str, **query: Any) -> list[dict[str, str]]:
    answer = await client.get(f"/api/analytics/{path}", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith('attachment; filename="')
    assert answer.text.count("\r\n") == answer.text.count("\n")
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


async def test_a_segment_as_a_file(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.repositories.analytics._STREAMED_ROWS", 2)
    assert await read_csv(analyst, "segments/champion/customers.csv") == []
    await segment_of(database, closed, 5)
    rows = await read_csv(analyst, "segments/champion/customers.csv")
    assert [row["customerId"] for row in rows] == ["c0", "c1", "c2", "c3", "c4"]
    assert (rows[0]["name"], rows[0]["phone"]) == ("'=Siti 0", "'+62812")
    assert (rows[4]["revenue365d"], rows[4]["currency"]) == ("4.00", "USD")
    assert rows[0]["asOf"] == "2026-03-02T05:00:00Z"


async def test_those_at_risk_as_a_file(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    await segment_of(database, closed, 3)
    rows = await read_csv(analyst, "at-risk.csv")
    listed = (await get(analyst, "at-risk"))["items"]
    assert [row["customerId"] for row in rows] == [item["customerId"] for item in listed]
    assert rows[0]["customerId"] == "c2"
    assert (rows[0]["valueAtRisk"], rows[0]["revenue"]) == ("0.16", "-5.00")
    assert (rows[0]["reasons"], rows[0]["reasonCodes"]) == (
        "No order for 95 days.",
        "long_absence",
    )
    assert await read_csv(analyst, "at-risk.csv", band="low") == []
    assert await read_csv(analyst, "at-risk.csv", minScore=0.81) == []
    assert len(await read_csv(analyst, "at-risk.csv", minScore=0.8, band="critical")) == 3


async def test_files_and_lists_keep_persons_to_themselves(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    await segment_of(database, closed, 2)
    (first, *_) = await read_csv(analyst, "at-risk.csv", anonymize="true")
    (same, *_) = await read_csv(analyst, "segments/champion/customers.csv", anonymize="true")
    assert [first[name] for name in ("name", "email", "phone", "code")] == [""] * 4
    assert len(first["customerId"]) == 24
    listed = (await get(analyst, "segments/champion/customers", anonymize="true"))["items"]
    assert {item["name"] for item in listed} == {None}
    assert same["customerId"] == listed[0]["customerId"] != "c0"
    top = (await get(analyst, "clv/top", anonymize="true"))["items"]
    assert {item["customerId"] for item in top} == {item["customerId"] for item in listed}


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_a_text_that_would_be_a_formula_is_defused(start: str) -> None:
    assert harmless(f"{start}cmd|' /C calc'!A0") == f"'{start}cmd|' /C calc'!A0"


@pytest.mark.parametrize("cell", ["Siti = Dewi", "", "'=x", -5, Decimal("-5.00"), -0.5, None])
def test_other_cells_stay_as_they_are(cell: Any) -> None:
    assert harmless(cell) == cell
    assert type(harmless(cell)) is type(cell)


async def test_a_client_that_stops_reading_gives_the_connection_back(
    app: FastAPI, fresh_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_stream, "STALLED_SECONDS", 0.2)
    with pytest.raises(TimeoutError):
        await _export(app, fresh_database, disconnects=False)
    assert fresh_database.connections_in_use() == 0


async def test_a_client_that_goes_away_gives_the_connection_back(
    app: FastAPI, fresh_database: Database
) -> None:
    await asyncio.wait_for(_export(app, fresh_database, disconnects=True), 20)
    assert fresh_database.connections_in_use() == 0


async def _export(app: FastAPI, database: Database, *, disconnects: bool) -> None:
    """Ask for a file and take its first part only."""
    tenant = await make_tenant(database)
    await segment_of(database, tenant, 3)
    path = "/api/analytics/segments/champion/customers.csv"
    await take_first_part(app, database, tenant, path, disconnects=disconnects)


async def test_segment_totals_are_those_of_the_rows(
    analyst: httpx.AsyncClient, database: Database, closed: Tenant
) -> None:
    """The totals against the rows they are the totals of."""
    for number in range(7):
        segment = ["champion", "loyal", None][number % 3]
        await scored(database, closed, f"c{number}", rfm_segment=segment, revenue_365d=number)
    async with database.tenant_transaction(closed.id) as connection:
        await connection.execute(
            text("DELETE FROM customer_analytics WHERE customer_sk ="
                 " (SELECT sk FROM customers WHERE id = 'c3')")
        )  # fmt: skip
        rows = await connection.execute(
            text("SELECT rfm_segment, count(*), sum(revenue_365d) FROM customer_analytics"
                 " WHERE rfm_segment IS NOT NULL GROUP BY 1")
        )  # fmt: skip
        expected = {segment: (count, revenue) for segment, count, revenue in rows}
    items = (await get(analyst, "segments"))["items"]
    found = {
        item["segment"]: (item["customers"], Decimal(item["revenue"]) * 100)
        for item in items
        if item["customers"]
    }
    assert found == expected
