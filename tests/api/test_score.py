"""Scores written back over HTTP: what is taken, what stays, and what is said about the rest."""

import asyncio
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.database import Database
from app.domain.errors import Conflict
from app.domain.tenant import Tenant
from app.services.scoring import refresh_customers
from app.services.written_scores import add_part, commit_run
from app.services.written_scores import open_run as open_score_run
from tests.factories import make_customer, make_key, make_order, make_tenant

AS_OF = "2026-03-01T00:00:00Z"
SEED = {
    "customerId": "cus-1",
    "rfmSegment": "at_risk",
    "rfmScores": {"r": 2, "f": 4, "m": 5},
    "clvScore": 15000000,
    "clvPercentile": 92.7,
    "churnRiskScore": 0.73,
    "churnRiskFactors": ['no "visit"', "a\\b, {c}"],
    "influenceScore": 41.5,
    "recommendedProducts": ["sku-1", "sku-2"],
}
PATH = "/api/analytics/update-scores"
RUNS = "/api/analytics/batch-update"


async def row_of(database: Database, tenant: Tenant, customer_id: str = "cus-1") -> dict[str, Any]:
    async with database.tenant_transaction(tenant.id) as connection:
        found = await connection.execute(
            text(
                "SELECT a.* FROM customer_analytics a"
                " JOIN customers c ON c.tenant_id = a.tenant_id AND c.sk = a.customer_sk"
                " WHERE c.tenant_id = :tenant AND c.id = :id"
            ),
            {"tenant": tenant.id, "id": customer_id},
        )
        return dict(found.one()._mapping)


async def send(client: httpx.AsyncClient, *items: dict[str, Any], **query: str) -> httpx.Response:
    return await client.post(PATH, json=list(items), params={"asOf": AS_OF} | query)


def counts(answer: httpx.Response) -> tuple[int, int, int, int]:
    body = answer.json()
    return body["updated"], body["unchanged"], body["stale"], body["rejected"]


async def post_lines(
    client: httpx.AsyncClient, path: str, *items: object, **query: str
) -> httpx.Response:
    lines = "".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in items)
    return await client.post(
        path, content=lines, params=query, headers={"Content-Type": "application/x-ndjson"}
    )


async def test_the_array_of_the_guide_is_written_and_what_follows_from_it(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant)
    answer = await send(client, SEED, modelVersion="xgb-7")
    assert answer.status_code == 200
    assert answer.json() == {
        "updated": 1,
        "unchanged": 0,
        "stale": 0,
        "rejected": 0,
        "errors": [],
    }
    row = await row_of(database, tenant)
    expected = {
        "rfm_segment": "at_risk",
        "rfm_code": "245",
        "rfm_status": "ok",
        "clv": 15_000_000_00,
        "clv_percentile": 92,
        "clv_tier": "gold",
        "clv_status": "ok",
        "churn_score": 0.73,
        "churn_band": "high",
        "churn_status": "ok",
        "churn_reasons": SEED["churnRiskFactors"],
        "value_at_risk": 10_950_000_00,
        "influence_score": 41.5,
        "recommended_products": ["sku-1", "sku-2"],
        "next_purchase_on": None,
        "next_purchase_status": "insufficient_data",
        "external_scores": ["rfm", "clv", "churn", "influence", "products"],
        "external_as_of": datetime(2026, 3, 1, tzinfo=UTC),
        "external_model_version": "xgb-7",
        "standing_since": tenant.local_day(datetime.now(UTC)),
    }
    assert {name: row[name] for name in expected} == expected
    async with database.tenant_transaction(tenant.id) as connection:
        history = await connection.execute(
            text("SELECT day, rfm_segment, churn_band, clv FROM score_history")
        )
        assert [tuple(each) for each in history] == [
            (row["standing_since"], "at_risk", "high", 15_000_000_00)
        ]


async def test_the_profile_shows_what_was_written_and_that_it_was(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant)
    await send(client, SEED, modelVersion="xgb-7")
    answer = await client.get("/api/customers/cus-1/profile")
    assert answer.status_code == 200
    scores = answer.json()["scores"]
    assert [each["code"] for each in scores["churn"]["reasons"]] == SEED["churnRiskFactors"]
    assert scores["external"] == {
        "scores": ["rfm", "clv", "churn", "influence", "products"],
        "asOf": AS_OF,
        "modelVersion": "xgb-7",
    }


async def test_our_own_scoring_leaves_written_scores_alone(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    sk = await make_customer(database, tenant)
    now = datetime.now(UTC)
    await send(client, SEED)
    await make_order(database, tenant, ordered_at=now - timedelta(days=1))
    async with database.tenant_transaction(tenant.id) as connection:
        await refresh_customers(connection, tenant, [sk], now=now)
    row = await row_of(database, tenant)
    assert row["counted_orders"] == 1
    assert (row["rfm_code"], row["clv"], row["churn_band"]) == ("245", 15_000_000_00, "high")


async def test_an_older_as_of_never_overwrites_a_newer_one(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant)
    score = {"customerId": "cus-1", "influenceScore": 10}
    assert counts(await send(client, score)) == (1, 0, 0, 0)
    assert counts(await send(client, score)) == (0, 1, 0, 0)
    # The same values as of later: nothing changes, but what lies between is old now.
    assert counts(await send(client, score, asOf="2026-03-05T00:00:00Z")) == (0, 1, 0, 0)
    between = score | {"influenceScore": 20}
    assert counts(await send(client, between, asOf="2026-03-04T00:00:00Z")) == (0, 0, 1, 0)
    assert (await row_of(database, tenant))["influence_score"] == 10
    assert counts(await send(client, between, asOf="2026-03-05T00:00:00Z")) == (1, 0, 0, 0)
    # An item's own as-of holds against that of the request.
    own = score | {"asOf": "2026-02-01T00:00:00+07:00"}
    assert counts(await send(client, own, asOf="2026-03-09T00:00:00Z")) == (0, 0, 1, 0)
    row = await row_of(database, tenant)
    assert row["influence_score"] == 20
    assert row["external_as_of"] == datetime(2026, 3, 5, tzinfo=UTC)


async def test_an_item_changes_only_what_it_states(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant)
    await send(client, SEED)
    item = {
        "customerId": "cus-1",
        "churnRiskScore": 0.8,
        "nextPurchaseDate": "2026-04-02T20:00:00Z",
        "nextPurchaseConfidence": 0.7,
    }
    assert counts(await send(client, item)) == (1, 0, 0, 0)
    row = await row_of(database, tenant)
    assert (row["churn_band"], row["churn_reasons"]) == ("critical", [])
    assert row["value_at_risk"] == 12_000_000_00
    assert (row["rfm_code"], row["clv"]) == ("245", 15_000_000_00)
    # Three in the morning of the next day in Jakarta.
    assert str(row["next_purchase_on"]) == "2026-04-03"
    assert (row["next_purchase_status"], row["next_purchase_confidence"]) == ("ok", 0.7)
    assert row["external_scores"] == [
        *("rfm", "clv", "churn", "influence", "next_purchase", "products")
    ]


async def test_scores_alone_get_the_segment_of_the_profile_and_a_segment_needs_none(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant)
    await make_customer(database, tenant, "cus-2")
    answer = await send(
        client,
        {"customerId": "cus-1", "rfmScores": {"r": 5, "f": 5, "m": 4}},
        {"customerId": "cus-2", "rfmSegment": "loyal"},
    )
    assert counts(answer) == (2, 0, 0, 0)
    scored, named = await row_of(database, tenant), await row_of(database, tenant, "cus-2")
    assert (scored["rfm_segment"], scored["rfm_code"]) == ("champion", "554")
    assert (named["rfm_segment"], named["rfm_code"], named["rfm_status"]) == ("loyal", None, "ok")


BAD = [
    ({"customerId": "nobody", "clvScore": 1}, "/customerId", "is not the id of a customer"),
    ({"customerId": "cus-1", "clvScore": 2}, "/customerId", "earlier item"),
    ({"customerId": "cus-2", "rfmSegment": "whales"}, "/rfmSegment", "champion"),
    ({"customerId": "cus-2", "rfmScores": {"r": 6, "f": 1, "m": 1}}, "/rfmScores/r", "5"),
    ({"customerId": "cus-2", "rfmScores": {"r": True, "f": 1, "m": 1}}, "/rfmScores/r", "integer"),
    ({"customerId": "cus-2", "rfmScores": {"r": 1, "f": 1}}, "/rfmScores/m", "required"),
    ({"customerId": "cus-2", "clvScore": -1}, "/clvScore", "0"),
    ({"customerId": "cus-2", "clvScore": "1.005"}, "/clvScore", "2 decimal places"),
    ({"customerId": "cus-2", "clvPercentile": 5}, "", "clvPercentile needs clvScore"),
    ({"customerId": "cus-2", "clvScore": 1, "clvPercentile": 101}, "/clvPercentile", "100"),
    ({"customerId": "cus-2", "churnRiskScore": 1.01}, "/churnRiskScore", "1"),
    ({"customerId": "cus-2", "churnRiskFactors": ["x"]}, "", "need churnRiskScore"),
    (
        {"customerId": "cus-2", "churnRiskScore": 0, "churnRiskFactors": ["x" * 101]},
        "/churnRiskFactors/0",
        "100",
    ),
    ({"customerId": "cus-2", "influenceScore": 100.1}, "/influenceScore", "100"),
    ({"customerId": "cus-2", "recommendedProducts": ["p"] * 101}, "/recommendedProducts", "100"),
    ({"customerId": "cus-2", "nextPurchaseConfidence": 1}, "", "needs nextPurchaseDate"),
    ({"customerId": "cus-2"}, "", "at least one score"),
    ({"customerId": "cus-2", "clv": 3}, "/clv", "known field"),
    (
        {"customerId": "cus-2", "clvScore": 3, "asOf": "2999-01-01T00:00:00Z"},
        "/asOf",
        "24 hours",
    ),
    ({"clvScore": 3}, "/customerId", "required"),
    (7, "", "object"),
]


@pytest.mark.parametrize("lines", [False, True], ids=["json", "ndjson"])
async def test_bad_items_are_named_and_the_others_are_written(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, *, lines: bool
) -> None:
    for each in ("cus-1", "cus-2"):
        await make_customer(database, tenant, each)
    items = [{"customerId": "cus-1", "clvScore": 1}, *(item for item, _, _ in BAD)]
    if lines:
        answer = await post_lines(client, PATH, *items, asOf=AS_OF)
        *refused, last = [json.loads(line) for line in answer.text.splitlines()]
        assert last["summary"] == {
            "updated": 1,
            "unchanged": 0,
            "stale": 0,
            "rejected": len(BAD),
        }
    else:
        answer = await client.post(PATH, json=items, params={"asOf": AS_OF})
        assert counts(answer) == (1, 0, 0, len(BAD))
        refused = answer.json()["errors"]
    assert answer.status_code == 207
    assert [each["index"] for each in refused] == list(range(1, len(items)))
    for each, (item, pointer, reason) in zip(refused, BAD, strict=True):
        assert each["error"]["pointer"] == pointer, item
        assert reason in each["error"]["reason"], item
        named = item.get("customerId") if isinstance(item, dict) else None
        assert each["customerId"] == named
    assert (await row_of(database, tenant))["clv"] == 1_00


async def test_where_all_are_refused_the_answer_is_a_problem(client: httpx.AsyncClient) -> None:
    item = {"customerId": "nobody", "clvScore": 1}
    for answer in (await send(client, item), await post_lines(client, PATH, item, asOf=AS_OF)):
        assert answer.status_code == 422
        assert answer.headers["Content-Type"] == "application/problem+json"
        problem = answer.json()
        assert problem["rejected"] == 1
        assert problem["errors"] == [
            {"pointer": "/0/customerId", "reason": "is not the id of a customer"}
        ]


async def test_the_as_of_may_stand_beside_the_items_and_must_stand_somewhere(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant)
    item = {"customerId": "cus-1", "clvScore": 1}
    without = await client.post(PATH, json=[item])
    assert without.status_code == 422
    assert without.json()["errors"][0]["pointer"] == "/0/asOf"
    beside = {"items": [item], "asOf": AS_OF, "modelVersion": "m-1"}
    assert (await client.post(PATH, json=beside)).status_code == 200
    assert (await row_of(database, tenant))["external_model_version"] == "m-1"
    tomorrow = (datetime.now(UTC) + timedelta(hours=25)).isoformat()
    for ahead in ({"items": [item], "asOf": tomorrow}, {"items": [item], "asOf": "soon"}):
        answer = await client.post(PATH, json=ahead)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/asOf"
    misshapen: tuple[object, ...] = ({"item": []}, {"items": 3}, "x")
    for body in misshapen:
        assert (await client.post(PATH, json=body)).status_code == 422
    too_many = await client.post(PATH, json=[item] * 10_001)
    assert too_many.status_code == 413
    other = await client.post(PATH, content="x", headers={"Content-Type": "text/csv"})
    assert other.status_code == 415


async def test_the_same_request_under_a_key_is_answered_again(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant)
    lines = json.dumps({"customerId": "cus-1", "clvScore": 1}) + "\n"
    headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": "night-1"}
    first, again, other = [
        await client.post(PATH, content=content, params={"asOf": AS_OF}, headers=headers)
        for content in (lines, lines, lines.replace("1}", "2}"))
    ]
    assert first.status_code == 200
    assert again.text == first.text
    assert again.headers["Idempotent-Replayed"] == "true"
    assert other.status_code == 422
    assert (await row_of(database, tenant))["clv"] == 1_00


async def open_run(client: httpx.AsyncClient, as_of: str = AS_OF) -> str:
    answer = await client.post(RUNS, json={"asOf": as_of, "modelVersion": "night"})
    assert answer.status_code == 201, answer.text
    assert (answer.json()["status"], answer.json()["staged"]) == ("open", 0)
    return f"{RUNS}/{answer.json()['runId']}"


async def test_a_run_is_seen_at_its_commit_and_not_before(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    for each in ("cus-1", "cus-2", "cus-3"):
        await make_customer(database, tenant, each)
    await send(client, {"customerId": "cus-3", "clvScore": 9}, asOf="2026-03-02T00:00:00Z")
    run = await open_run(client)
    await post_lines(client, f"{run}/parts", SEED | {"churnRiskScore": 0.1})
    part = await post_lines(
        client,
        f"{run}/parts",
        SEED,
        {"customerId": "cus-2", "influenceScore": 7},
        {"customerId": "cus-3", "clvScore": 1},
        {"customerId": "cus-9", "clvScore": 1},
        {"customerId": "cus-2", "clvScore": 1, "asOf": AS_OF},
        "{",
    )
    assert part.status_code == 207
    *refused, last = [json.loads(line) for line in part.text.splitlines()]
    assert last == {"summary": {"accepted": 3, "rejected": 3}}
    assert [each["error"]["pointer"] for each in refused] == ["/customerId", "/asOf", ""]
    assert (await client.get(run)).json()["staged"] == 3
    async with database.tenant_transaction(tenant.id) as connection:
        assert not await connection.scalar(
            text("SELECT count(*) FROM customer_analytics WHERE clv IS NOT NULL AND clv <> 900")
        )
    committed = await client.post(f"{run}/commit")
    assert committed.status_code == 200
    body = committed.json()
    assert body["outcome"] == {"updated": 2, "unchanged": 0, "stale": 1}
    assert (body["status"], body["staged"]) == ("committed", None)
    row = await row_of(database, tenant)
    assert (row["churn_score"], row["external_model_version"]) == (0.73, "night")
    assert (await row_of(database, tenant, "cus-3"))["clv"] == 9_00
    async with database.tenant_transaction(tenant.id) as connection:
        assert not await connection.scalar(text("SELECT count(*) FROM external_run_rows"))
    assert (await client.post(f"{run}/commit")).json() == body
    assert (await client.delete(run)).status_code == 409
    assert (await post_lines(client, f"{run}/parts", SEED)).status_code == 409


async def test_a_discarded_run_leaves_nothing(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant)
    run = await open_run(client)
    assert (await client.post(f"{run}/parts", json=[SEED])).json() == {
        "accepted": 1,
        "rejected": 0,
        "errors": [],
    }
    for _ in range(2):
        assert (await client.delete(run)).status_code == 204
    assert (await client.post(f"{run}/commit")).status_code == 409
    assert (await client.get(run)).json()["status"] == "discarded"
    async with database.tenant_transaction(tenant.id) as connection:
        assert not await connection.scalar(text("SELECT count(*) FROM external_run_rows"))
        assert not await connection.scalar(text("SELECT count(*) FROM customer_analytics"))


async def test_runs_are_listed_newest_first_a_page_at_a_time(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    opened = [(await open_run(client)).rpartition("/")[2] for _ in range(5)]
    async with database.tenant_transaction(tenant.id) as connection:
        # Opened within one transaction here, they would all have its time.
        for hour, run_id in enumerate(opened[:3]):
            await connection.execute(
                text("UPDATE external_runs SET opened_at = opened_at + :ago WHERE id = :id"),
                {"ago": timedelta(hours=hour - 3), "id": run_id},
            )
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await client.get(RUNS, params={"limit": "2"} | cursor)).json()
        seen += [each["runId"] for each in page["items"]]
        if page["nextCursor"] is None:
            break
        cursor = {"cursor": page["nextCursor"]}
    assert seen == [*sorted(opened[3:], reverse=True), *reversed(opened[:3])]
    assert (await client.get(RUNS, params={"cursor": "WyJ4IiwieSJd"})).status_code == 400


async def test_a_run_as_of_the_future_and_one_that_is_not_there(client: httpx.AsyncClient) -> None:
    body = {"asOf": "2999-01-01T00:00:00Z", "modelVersion": "x"}
    assert (await client.post(RUNS, json=body)).status_code == 422
    nowhere = f"{RUNS}/00000000-0000-0000-0000-000000000000"
    assert (await client.get(nowhere)).status_code == 404
    assert (await client.delete(nowhere)).status_code == 404
    assert (await client.post(f"{nowhere}/commit")).status_code == 404
    assert (await post_lines(client, f"{nowhere}/parts", SEED)).status_code == 404


async def test_no_score_reaches_a_customer_of_another_tenant(
    anonymous: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await make_customer(database, tenant)
    other = await make_tenant(database, "other")
    anonymous.headers["X-API-Key"] = await make_key(database, other)
    assert (await send(anonymous, SEED)).status_code == 422
    async with database.tenant_transaction(tenant.id) as connection:
        assert not await connection.scalar(text("SELECT count(*) FROM customer_analytics"))


async def test_a_part_and_a_commit_do_not_pass_each_other(fresh_database: Database) -> None:
    tenant = await make_tenant(fresh_database)
    now = datetime.now(UTC)
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        run = await open_score_run(
            connection, tenant, as_of=now, model_version="m", actor="k", now=now
        )
    async with fresh_database.tenant_transaction(tenant.id) as adding:
        await add_part(adding, tenant, run.id, io.BytesIO(), 0)

        async def commit() -> None:
            async with fresh_database.tenant_transaction(tenant.id) as connection:
                await commit_run(connection, tenant, run.id, now=now)

        committing = asyncio.create_task(commit())
        # Another part is let in at the same time; the commit waits for both.
        async with fresh_database.tenant_transaction(tenant.id) as other:
            await add_part(other, tenant, run.id, io.BytesIO(), 0)
        done, _ = await asyncio.wait({committing}, timeout=0.3)
        assert not done
    await committing
    async with fresh_database.tenant_transaction(tenant.id) as late:
        with pytest.raises(Conflict):
            await add_part(late, tenant, run.id, io.BytesIO(), 0)


async def test_thousands_of_lines_are_written_by_one_request(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(
            text(
                "INSERT INTO customers (tenant_id, id, name)"
                " SELECT :tenant, 'c-' || n, 'c' FROM generate_series(1, 5200) n"
            ),
            {"tenant": tenant.id},
        )
    lines = [{"customerId": f"c-{n}", "influenceScore": n % 100} for n in range(1, 5_201)]
    answer = await post_lines(client, PATH, *lines, lines[0], asOf=AS_OF)
    refused, last = [json.loads(line) for line in answer.text.splitlines()]
    assert (refused["index"], refused["customerId"]) == (5_200, "c-1")
    assert last["summary"] == {"updated": 5_200, "unchanged": 0, "stale": 0, "rejected": 1}
    async with database.tenant_transaction(tenant.id) as connection:
        assert not await connection.scalar(
            text(
                "SELECT count(*) FROM customers c JOIN customer_analytics a"
                " ON a.tenant_id = c.tenant_id AND a.customer_sk = c.sk"
                " WHERE a.influence_score IS DISTINCT FROM substr(c.id, 3)::integer % 100"
            )
        )
