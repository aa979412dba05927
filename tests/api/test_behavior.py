"""Summaries, funnels and retention over HTTP, against counts made the long way."""

import itertools
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from statistics import median
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.database import Database
from app.domain.access import Scope
from app.domain.privacy import pseudonym
from app.domain.tenant import Tenant
from app.repositories import tenant as tenants
from tests.factories import make_customer, make_key, make_tenant

EVENTS = "/api/segmentation/events"
BATCH = "/api/segmentation/events/batch"
FUNNEL = "/api/segmentation/funnel"
RETENTION = "/api/segmentation/retention"
DAY = timedelta(days=1)


async def send(client: httpx.AsyncClient, *events: dict[str, Any]) -> None:
    answer = await client.post(BATCH, json=list(events))
    assert answer.status_code == 200, answer.text


async def behavior(client: httpx.AsyncClient, customer: str = "siti") -> dict[str, Any]:
    answer = await client.get(f"/api/segmentation/customers/{customer}/behavior")
    assert answer.status_code == 200, answer.text
    summary: dict[str, Any] = answer.json()
    return summary


def at(moment: datetime) -> str:
    return moment.isoformat()


def event(customer: str, kind: str, moment: datetime, **fields: Any) -> dict[str, Any]:
    return {"customerId": customer, "eventType": kind, "occurredAt": at(moment), **fields}


# --- the summary ------------------------------------------------------------------------------


async def test_a_summary_says_what_all_events_come_to(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "siti")
    now = datetime.now(UTC)
    bought = now - 10 * DAY
    await send(
        client,
        event("siti", "purchase", bought, eventValue="100.01", eventCategory="website",
              productCategory="Shoes", deviceType="mobile"),
        event("siti", "purchase", bought - 6 * DAY, eventValue="50.00", eventCategory="email",
              productCategory="Shoes", deviceType="desktop"),
        event("siti", "purchase", bought - 3 * DAY, productCategory="Hats"),
        event("siti", "page_view", now - DAY, eventCategory="email", sessionId="s"),
        event("siti", "page_view", now - DAY + timedelta(seconds=90), sessionId="s"),
        event("siti", "page_view", now - 2 * DAY, sessionId="bounce"),
        event("siti", "product_view", now - 20 * DAY),
        event("siti", "add_to_cart", now - 20 * DAY),
        event("siti", "wishlist", now - 40 * DAY),
    )  # fmt: skip
    summary = await behavior(client)
    created, updated = summary.pop("createdAt"), summary.pop("updatedAt")
    assert created <= updated
    assert summary == {
        "customerId": "siti",
        "totalEvents": 9,
        "totalPageViews": 3,
        "totalProductViews": 1,
        "totalAddToCart": 1,
        "totalPurchases": 3,
        "totalSpent": "150.01",
        "avgOrderValue": "50.00",
        "firstEventAt": at(now - 40 * DAY).replace("+00:00", "Z"),
        "lastEventAt": at(now - DAY + timedelta(seconds=90)).replace("+00:00", "Z"),
        "firstPurchaseDate": at(bought - 6 * DAY).replace("+00:00", "Z"),
        "lastPurchaseDate": at(bought).replace("+00:00", "Z"),
        "daysSincePurchase": 10,
        "purchaseFrequencyDays": 3.0,
        "preferredCategory": "Shoes",
        # Named equally often: the first by alphabet.
        "preferredDevice": "desktop",
        "preferredSource": "email",
        "categories": {"Shoes": 2, "Hats": 1},
        "devices": {"mobile": 1, "desktop": 1},
        "sources": {"website": 1, "email": 2},
        "recentSessions": {
            "days": 30,
            "sessions": 2,
            "bounces": 1,
            "bounceRate": 0.5,
            "averageDurationSeconds": 45.0,
            "eventsPerSession": 1.5,
        },
    }


async def test_a_customer_without_events_has_zeros(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "siti")
    summary = await behavior(client)
    assert (summary["totalEvents"], summary["totalSpent"]) == (0, "0.00")
    assert summary["avgOrderValue"] is None
    assert summary["recentSessions"]["bounceRate"] is None
    missing = await client.get("/api/segmentation/customers/nobody/behavior")
    assert missing.status_code == 404


async def test_a_summary_stays_with_its_tenant_and_is_told_under_a_pseudonym(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "siti")
    await send(client, event("siti", "page_view", datetime.now(UTC)))
    other = await make_tenant(database, "other")
    await make_customer(database, other, "siti")
    key = await make_key(database, other)
    path = "/api/segmentation/customers/siti/behavior"
    theirs = await anonymous.get(path, headers={"X-API-Key": key})
    assert theirs.json()["totalEvents"] == 0
    scopes = {Scope.CUSTOMERS_READ, Scope.CUSTOMERS_ANONYMIZED}
    key = await make_key(database, tenant, scopes=scopes)
    told = (await anonymous.get(path, headers={"X-API-Key": key})).json()
    assert told["customerId"] != "siti"
    assert told["totalEvents"] == 1


async def test_whose_summary_was_read_is_noted(
    app: FastAPI, client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "siti")
    await behavior(client)
    await app.state.access_log.flush(database)
    [read] = (await client.get("/api/privacy/audit")).json()["items"]
    async with database.tenant_transaction(tenant.id) as connection:
        subject = pseudonym(await tenants.get_pseudonym_key(connection), "siti")
    assert (read["operation"], read["subject"]) == ("get_customer_behavior", subject)


_RECOUNT = """
SELECT e.customer_sk, count(*) AS events,
       count(*) FILTER (WHERE event_type = 'page_view') AS page_views,
       count(*) FILTER (WHERE event_type = 'product_view') AS product_views,
       count(*) FILTER (WHERE event_type = 'add_to_cart') AS cart_additions,
       count(*) FILTER (WHERE event_type = 'purchase') AS purchases,
       coalesce(sum(event_value) FILTER (WHERE event_type = 'purchase'), 0) AS spent,
       min(occurred_at) AS first_event_at, max(occurred_at) AS last_event_at,
       min(occurred_at) FILTER (WHERE event_type = 'purchase') AS first_purchase_at,
       max(occurred_at) FILTER (WHERE event_type = 'purchase') AS last_purchase_at,
       (SELECT coalesce(jsonb_object_agg(n, c), '{}') FROM (
           SELECT product_category AS n, count(*) AS c FROM behavior_events o
           WHERE o.customer_sk = e.customer_sk AND product_category IS NOT NULL GROUP BY 1) x
       ) AS categories,
       (SELECT coalesce(jsonb_object_agg(n, c), '{}') FROM (
           SELECT device_type AS n, count(*) AS c FROM behavior_events o
           WHERE o.customer_sk = e.customer_sk AND device_type IS NOT NULL GROUP BY 1) x
       ) AS devices,
       (SELECT coalesce(jsonb_object_agg(n, c), '{}') FROM (
           SELECT event_category AS n, count(*) AS c FROM behavior_events o
           WHERE o.customer_sk = e.customer_sk AND event_category IS NOT NULL GROUP BY 1) x
       ) AS sources
FROM behavior_events e GROUP BY 1 ORDER BY 1
"""
_KEPT = """
SELECT customer_sk, events, page_views, product_views, cart_additions, purchases, spent,
       first_event_at, last_event_at, first_purchase_at, last_purchase_at, categories, devices,
       sources
FROM behavior_summaries ORDER BY 1
"""


async def both_counts(database: Database, tenant: Tenant) -> tuple[list[Any], list[Any]]:
    """The summaries as kept, and as counted anew from the events."""
    async with database.tenant_transaction(tenant.id) as connection:
        kept = [tuple(row) for row in await connection.execute(text(_KEPT))]
        recount = [tuple(row) for row in await connection.execute(text(_RECOUNT))]
    return kept, recount


def random_events(chance: random.Random, customers: list[str], number: int) -> list[dict[str, Any]]:
    """Events in no order of time, some of them with an id that came before."""
    start = datetime(2026, 1, 30, tzinfo=UTC)
    return [
        {
            name: value
            for name, value in {
                "eventId": None if chance.random() < 0.3 else f"e{chance.randrange(number)}",
                "customerId": chance.choice(customers),
                "eventType": chance.choice(
                    ["page_view", "product_view", "add_to_cart", "purchase", "share"]
                ),
                "eventCategory": chance.choice([None, "website", "email"]),
                "productCategory": chance.choice([None, "Shoes", "Hats", 'a"{}\\']),
                "deviceType": chance.choice([None, "mobile", "desktop"]),
                "eventValue": chance.choice([None, "10.50", "3", "-1.25"]),
                "occurredAt": at(start + chance.random() * 90 * DAY),
            }.items()
            if value is not None
        }
        for _ in range(number)
    ]


@pytest.mark.parametrize("seed", range(6))
async def test_a_summary_is_the_count_of_its_events_whatever_came_how(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, seed: int
) -> None:
    chance = random.Random(seed)
    names = ["ani", "budi", "citra"]
    for name in names:
        await make_customer(database, tenant, name)
    for step in range(6):
        sent = random_events(chance, names, chance.choice([1, 3, 40]))
        if len(sent) == 1:
            answer = await client.post(EVENTS, json=sent[0])
            assert answer.status_code in (200, 201), answer.text
        else:
            await send(client, *sent)
        if step == 3:
            # What is sent of the one who is gone counts for the one who stays, from now on.
            merged = await client.post("/api/customers/ani/merge", json={"duplicateId": "budi"})
            assert merged.status_code == 200, merged.text
        kept, recount = await both_counts(database, tenant)
        assert kept == recount
        assert kept
    erased = await client.delete("/api/customers/citra")
    assert erased.status_code == 200, erased.text
    kept, recount = await both_counts(database, tenant)
    assert kept == recount
    assert len(kept) == 1


async def test_totals_outlive_the_events(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "siti")
    await make_customer(database, tenant, "twin")
    moment = datetime(2026, 1, 30, tzinfo=UTC)
    await send(
        client,
        event("siti", "purchase", moment, eventValue="10"),
        event("twin", "purchase", moment + DAY, eventValue="5", deviceType="mobile"),
    )
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(text("DELETE FROM behavior_events"))
    await client.post("/api/customers/siti/merge", json={"duplicateId": "twin"})
    await send(client, event("siti", "purchase", moment + 2 * DAY, eventValue="1"))
    summary = await behavior(client)
    assert (summary["totalPurchases"], summary["totalSpent"]) == (3, "16.00")
    assert summary["purchaseFrequencyDays"] == 1.0
    assert summary["devices"] == {"mobile": 1}


# --- the funnel -------------------------------------------------------------------------------

Trace = list[tuple[datetime, str]]


def chains(trace: Trace, steps: list[str], within: timedelta) -> Iterator[list[datetime]]:
    """Every chain of one customer that takes the first steps in their order, of any length."""
    for length in range(1, len(steps) + 1):
        for places in itertools.combinations(range(len(trace)), length):
            chosen = [trace[place] for place in places]
            if [kind for _, kind in chosen] == steps[:length]:
                moments = [moment for moment, _ in chosen]
                if moments[-1] - moments[0] <= within:
                    yield moments


def best_chain(trace: Trace, steps: list[str], within: timedelta) -> list[datetime]:
    """The chain that came furthest; there first; begun last; with its steps soonest."""
    found = list(chains(trace, steps, within))
    if not found:
        return []
    furthest = max(map(len, found))
    found = [chain for chain in found if len(chain) == furthest]
    ended = min(chain[-1] for chain in found)
    found = [chain for chain in found if chain[-1] == ended]
    began = max(chain[0] for chain in found)
    return min(chain for chain in found if chain[0] == began)


@pytest.mark.parametrize("seed", range(8))
async def test_a_funnel_counts_as_trying_every_chain_does(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, seed: int
) -> None:
    chance = random.Random(seed)
    steps = [["a", "b", "c"], ["a", "a", "b"], ["a", "b"], ["a", "b", "a", "c"]][seed % 4]
    within = timedelta(hours=chance.choice([2, 5, 30]))
    start = datetime(2026, 2, 1, tzinfo=UTC)
    traces: list[Trace] = []
    sent = []
    for number in range(12):
        await make_customer(database, tenant, f"c{number}")
        moments = chance.sample(range(48), chance.randrange(9))
        trace = [(start + timedelta(hours=m), chance.choice("abcd")) for m in sorted(moments)]
        traces.append(trace)
        sent += [event(f"c{number}", kind, moment) for moment, kind in trace]
    chance.shuffle(sent)
    await send(client, *sent)
    answer = await client.get(
        FUNNEL,
        params={
            "steps": ",".join(steps),
            "within": f"PT{within // timedelta(hours=1)}H",
            "from": "2026-01-31",
            "to": "2026-02-04",
        },
    )
    assert answer.status_code == 200, answer.text
    best = [best_chain(trace, steps, within) for trace in traces]
    for place, step in enumerate(answer.json()["steps"]):
        reached = [chain for chain in best if len(chain) > place]
        assert step["customers"] == len(reached)
        if place:
            gaps = [(chain[place] - chain[place - 1]).total_seconds() for chain in reached]
            assert step["medianSeconds"] == (median(gaps) if gaps else None)


async def test_a_funnel_says_who_drops_off_where(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    start = datetime(2026, 2, 2, 5, tzinfo=UTC)
    sent = []
    for number, done in enumerate([1, 2, 3, 3]):
        await make_customer(database, tenant, f"c{number}")
        kinds = ["product_view", "add_to_cart", "purchase"][:done]
        sent += [
            event(f"c{number}", kind, start + place * timedelta(minutes=10 + number))
            for place, kind in enumerate(kinds)
        ]
    await send(client, *sent)
    answer = await client.get(
        FUNNEL,
        params={
            "steps": "product_view, Add_To_Cart,purchase",
            "within": "PT1H",
            "from": "2026-02-02",
            "to": "2026-02-02",
            "userId": tenant.slug,
        },
    )
    assert answer.json() == {
        "from": "2026-02-02",
        "to": "2026-02-02",
        "withinSeconds": 3600.0,
        "segment": None,
        "steps": [
            {"step": "product_view", "customers": 4, "conversion": 1.0, "stepConversion": 1.0,
             "dropOff": 0, "medianSeconds": None},
            {"step": "add_to_cart", "customers": 3, "conversion": 0.75, "stepConversion": 0.75,
             "dropOff": 1, "medianSeconds": 720.0},
            {"step": "purchase", "customers": 2, "conversion": 0.5, "stepConversion": 0.6667,
             "dropOff": 1, "medianSeconds": 750.0},
        ],
    }  # fmt: skip
    nobody = await client.get(FUNNEL, params={"steps": "x,y"})
    assert [step["customers"] for step in nobody.json()["steps"]] == [0, 0]
    assert nobody.json()["steps"][1]["conversion"] is None


async def test_a_funnel_begins_on_the_tenants_days_and_may_end_later(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant, "siti")
    # 23:30 and 00:30 in Jakarta.
    await send(
        client,
        event("siti", "a", datetime(2026, 2, 2, 16, 30, tzinfo=UTC)),
        event("siti", "b", datetime(2026, 2, 2, 17, 30, tzinfo=UTC)),
    )
    for day, customers in (("2026-02-02", [1, 1]), ("2026-02-03", [0, 0])):
        answer = await client.get(FUNNEL, params={"steps": "a,b", "from": day, "to": day})
        assert [step["customers"] for step in answer.json()["steps"]] == customers


async def test_the_window_of_a_funnel_is_closed(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    start = datetime(2026, 2, 2, 5, 0, 0, 123457, tzinfo=UTC)
    for name, more in (("on", 0), ("over", 1)):
        await make_customer(database, tenant, name)
        later = start + timedelta(hours=1, microseconds=more)
        await send(client, event(name, "a", start), event(name, "b", later))
    answer = await client.get(
        FUNNEL, params={"steps": "a,b", "within": "PT1H", "from": "2026-02-02", "to": "2026-02-02"}
    )
    assert [step["customers"] for step in answer.json()["steps"]] == [2, 1]


async def test_a_funnel_of_a_segment_is_of_its_customers_only(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    start = datetime(2026, 2, 2, 5, tzinfo=UTC)
    for name in ("buyer", "looker"):
        await make_customer(database, tenant, name)
        await send(client, event(name, "a", start), event(name, "b", start + DAY))
    order = {"id": "o", "customerId": "buyer", "orderedAt": at(start), "totalAmount": "10"}
    assert (await client.post("/api/orders", json=order)).status_code == 201
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(text("UPDATE customer_analytics SET rfm_segment = 'champion'"))
    params = {"from": "2026-02-02", "to": "2026-02-02", "segment": "champion"}
    answer = await client.get(FUNNEL, params={"steps": "a,b", **params})
    assert [step["customers"] for step in answer.json()["steps"]] == [1, 1]
    cohorts = (await client.get(RETENTION, params={"bucket": "day", **params})).json()["cohorts"]
    assert [cohort["customers"] for cohort in cohorts] == [1]


async def test_a_funnel_of_the_members_of_a_segment_is_of_the_present_ones(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    start = datetime(2026, 2, 2, 5, tzinfo=UTC)
    for name in ("stays", "leaves", "never"):
        await make_customer(database, tenant, name)
        await send(client, event(name, "a", start), event(name, "b", start + DAY))
    body = {"name": "Hand-picked", "segmentType": "custom"}
    made = await client.post("/api/segmentation/segments", json=body)
    members = f"/api/segmentation/segments/{made.json()['id']}/members"
    for name in ("stays", "leaves"):
        assert (await client.post(f"{members}/{name}")).is_success
    assert (await client.delete(f"{members}/leaves")).is_success
    params = {"from": "2026-02-02", "to": "2026-02-02", "segment": made.json()["id"]}
    answer = await client.get(FUNNEL, params={"steps": "a,b", **params})
    assert [step["customers"] for step in answer.json()["steps"]] == [1, 1]
    assert answer.json()["segment"] == made.json()["id"]
    cohorts = (await client.get(RETENTION, params={"bucket": "day", **params})).json()["cohorts"]
    assert [cohort["customers"] for cohort in cohorts] == [1]


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({"steps": "a"}, "steps"),
        ({"steps": "a,,b"}, "steps"),
        ({"steps": ",".join("abcdefghijk")}, "steps"),
        ({"steps": "a,b", "within": "PT0S"}, "within"),
        ({"steps": "a,b", "within": "P400D"}, "within"),
        ({"steps": "a,b", "within": "soon"}, "within"),
        ({"steps": "a,b", "segment": "kings"}, "segment"),
        ({"steps": "a,b", "from": "2024-01-01"}, "from"),
    ],
)
async def test_a_funnel_that_makes_no_sense_is_refused(
    client: httpx.AsyncClient, params: dict[str, str], pointer: str
) -> None:
    answer = await client.get(FUNNEL, params=params)
    assert answer.status_code == 422
    assert any(pointer == error["parameter"] for error in answer.json()["errors"])


# --- retention --------------------------------------------------------------------------------


async def test_retention_follows_cohorts_by_the_tenants_calendar(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    for name in ("ani", "budi", "citra"):
        await make_customer(database, tenant, name)
    # Monday the 2nd of February in Jakarta begins at 17:00 of the 1st in Greenwich.
    monday = datetime(2026, 2, 1, 17, tzinfo=UTC)
    await send(
        client,
        event("ani", "page_view", monday),
        event("ani", "page_view", monday + 6 * DAY),
        event("ani", "page_view", monday + 7 * DAY),
        event("ani", "page_view", monday + 14 * DAY),
        event("budi", "page_view", monday + 6 * DAY),
        event("budi", "purchase", monday + 14 * DAY),
        event("citra", "page_view", monday - timedelta(seconds=1)),
        event("citra", "purchase", monday + 8 * DAY),
    )
    params = {"bucket": "week", "from": "2026-01-28", "to": "2026-02-17"}
    answer = await client.get(RETENTION, params=params)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["from"] == "2026-01-26"  # the week of the day asked for begins here
    assert [
        (cohort["start"], cohort["customers"], [each["customers"] for each in cohort["periods"]])
        for cohort in found["cohorts"]
    ] == [("2026-01-26", 1, [1, 0, 1, 0]), ("2026-02-02", 2, [2, 1, 2])]
    last = found["cohorts"][1]["periods"]
    assert [each["start"] for each in last] == ["2026-02-02", "2026-02-09", "2026-02-16"]
    assert [each["share"] for each in last] == [1.0, 0.5, 1.0]
    # Only two days of the last week were asked for.
    assert [each["complete"] for each in last] == [True, True, False]

    bought = await client.get(RETENTION, params={**params, "by": "first_purchase"})
    assert bought.json()["event"] == "purchase"
    assert [
        (cohort["start"], [each["customers"] for each in cohort["periods"]])
        for cohort in bought.json()["cohorts"]
    ] == [("2026-02-09", [1, 0]), ("2026-02-16", [1])]

    months = await client.get(RETENTION, params={**params, "bucket": "month", "event": "Purchase"})
    assert [
        (cohort["start"], [each["customers"] for each in cohort["periods"]])
        for cohort in months.json()["cohorts"]
    ] == [("2026-02-01", [2])]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("bucket", ["day", "week", "month"])
async def test_retention_is_the_count_of_distinct_customers(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, bucket: str, seed: int
) -> None:
    chance = random.Random(seed)
    start = datetime(2026, 1, 5, tzinfo=UTC)
    buckets: dict[str, list[date]] = {}
    sent = []
    for number in range(8):
        await make_customer(database, tenant, name := f"c{number}")
        moments = [start + chance.random() * 60 * DAY for _ in range(chance.randrange(1, 8))]
        sent += [event(name, "x", moment) for moment in moments]
        buckets[name] = sorted({_bucket(tenant.local_day(m), bucket) for m in moments})
    await send(client, *sent)
    params = {"bucket": bucket, "from": "2026-01-01", "to": "2026-03-31"}
    for cohort in (await client.get(RETENTION, params=params)).json()["cohorts"]:
        began = date.fromisoformat(cohort["start"])
        own = [each for each in buckets.values() if each[0] == began]
        assert cohort["customers"] == len(own)
        for period in cohort["periods"]:
            seen = [each for each in own if date.fromisoformat(period["start"]) in each]
            assert period["customers"] == len(seen)


def _bucket(day: date, bucket: str) -> date:
    return {
        "day": day,
        "week": day - timedelta(days=day.weekday()),
        "month": day.replace(day=1),
    }[bucket]
