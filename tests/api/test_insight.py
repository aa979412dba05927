"""Insights and single scores over HTTP."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
from sqlalchemy import insert, update

from app.database import Database
from app.domain.scoring_run import RunMode
from app.domain.tenant import Tenant
from app.repositories.tables import customer_analytics, score_history
from app.services import tenancy
from app.services.scoring import run_scores
from tests.factories import make_customer, make_order

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
SCORES = ("rfm", "clv", "churn")


async def get(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    answer = await client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def change(database: Database, tenant: Tenant, sk: int, **columns: Any) -> None:
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(
            update(customer_analytics)
            .where(customer_analytics.c.customer_sk == sk)
            .values(**columns)
        )


async def scored(database: Database, tenant: Tenant, **columns: Any) -> int:
    """A customer with three orders, the last 200 days ago, and the scores of them."""
    sk = await make_customer(database, tenant, "siti", **columns)
    for number, days in enumerate((400, 300, 200)):
        await make_order(
            database, tenant, "siti", f"ord-{number}", ordered_at=NOW - days * DAY,
            total_amount=500_00,
        )  # fmt: skip
    await run_scores(database, tenant, mode=RunMode.FULL, as_of=NOW)
    return sk


async def test_insights_come_with_the_customers_numbers_and_actions(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    sk = await scored(database, tenant)
    await change(
        database, tenant, sk,
        churn_score=0.9, churn_band="critical", value_at_risk=100_00, complaints_90d=2,
        clv_percentile=10, lifecycle_segment="dormant", influence_score=80.0,
        referred_customers=3, referral_revenue=9_00, contacts=10, responses=1, response_rate=0.1,
    )  # fmt: skip
    answer = await get(client, "/api/customers/siti/insights")
    assert answer["customerId"] == "siti"
    assert answer["asOf"]
    found = {item["type"]: item for item in answer["items"]}
    assert list(found)[:2] == ["churn_risk", "unhappy"]
    assert {"low_engagement", "influencer", "silent"} <= set(found)
    assert "IDR 100.00 are at stake" in found["churn_risk"]["description"]
    assert found["low_engagement"]["description"] == "No order for 200 days, after 3 orders."
    assert found["influencer"]["impact"] == "medium"
    assert all(item["suggestedActions"] for item in answer["items"])


async def test_a_birthday_is_told_but_not_to_who_may_not_know_the_person(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    today = tenant.local_day(datetime.now(UTC))
    await scored(database, tenant, date_of_birth=date(1988, today.month, today.day))
    full = await get(client, "/api/customers/siti/insights")
    assert "birthday" in [item["type"] for item in full["items"]]
    rough = await get(client, "/api/customers/siti/insights", anonymize="true")
    assert "birthday" not in [item["type"] for item in rough["items"]]
    assert rough["customerId"] != "siti"
    assert len(rough["items"]) == len(full["items"]) - 1


async def test_each_score_is_the_one_of_the_profile(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await scored(database, tenant)
    profile = await get(client, "/api/customers/siti/profile")
    for name in SCORES:
        answer = await get(client, f"/api/customers/siti/{name}")
        assert answer[name] == profile["scores"][name]
        for common in ("currency", "asOf", "computedAt", "modelVersion"):
            assert answer[common] == profile[common]
        assert answer["customerId"] == "siti"
        rough = await get(client, f"/api/customers/siti/{name}", anonymize="true")
        assert (rough["customerId"] == "siti", rough[name]) == (False, answer[name])


async def test_rfm_comes_with_cutoffs_and_the_last_changes(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    sk = await scored(database, tenant)
    month = NOW.date().replace(day=1)
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(
            insert(score_history),
            [
                {
                    "tenant_id": tenant.id, "customer_sk": sk, "rfm_code": "111",
                    "day": month - timedelta(days=back), "rfm_segment": "hibernating",
                    "lifecycle_segment": "lost", "churn_band": "low", "churn_score": 0.25,
                    "clv": 12_50, "membership_tier": None,
                }
                for back in range(1, 15)
            ],
        )  # fmt: skip
    answer = await get(client, "/api/customers/siti/rfm")
    assert answer["cutoffs"]["fixed"] is False
    assert answer["cutoffs"]["recencyDays"] == [200.0] * 4
    assert answer["cutoffs"]["frequency"] == [2.0] * 4
    assert [float(bound) for bound in answer["cutoffs"]["monetary"]] == [1000.0] * 4
    assert answer["cutoffs"]["computedAt"]
    history = answer["history"]
    assert len(history) == 12
    assert [change["day"] for change in history] == sorted(
        (change["day"] for change in history), reverse=True
    )
    assert history[0]["code"] == answer["rfm"]["code"]
    assert history[1] == {
        "day": str(month - timedelta(days=1)),
        "code": "111",
        "segment": "hibernating",
        "lifecycleSegment": "lost",
        "churnBand": "low",
        "churnScore": 0.25,
        "clv": "12.50",
        "membershipTier": None,
    }


async def test_fixed_cutoffs_are_those_of_the_profile(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "siti")
    fixed = {
        "recencyDays": [7, 30, 60, 90],
        "frequency": [1, 2, 4, 8],
        "monetary": [100, 200.5, 300, 400],
    }
    async with database.tenant_transaction(tenant.id) as connection:
        await tenancy.change_profile(connection, tenant, {"preset": "retail", "cutoffs": fixed})
    cutoffs = (await get(client, "/api/customers/siti/rfm"))["cutoffs"]
    assert (cutoffs["fixed"], cutoffs["computedAt"]) == (True, None)
    assert cutoffs["recencyDays"] == fixed["recencyDays"]
    assert [float(bound) for bound in cutoffs["monetary"]] == fixed["monetary"]


async def test_before_the_first_scoring_there_are_no_figures(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "siti")
    assert (await get(client, "/api/customers/siti/insights"))["items"] == []
    for name in SCORES:
        answer = await get(client, f"/api/customers/siti/{name}")
        assert (answer[name], answer["asOf"], answer["modelVersion"]) == (None, None, None)
    assert (await get(client, "/api/customers/siti/rfm"))["cutoffs"] is None


async def test_unknown_customers_are_not_found(client: httpx.AsyncClient) -> None:
    for name in (*SCORES, "insights", "journey", "referrals"):
        assert (await client.get(f"/api/customers/nobody/{name}")).status_code == 404
