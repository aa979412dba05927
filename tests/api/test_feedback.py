"""Feedback over HTTP: which scores each kind may have, whose it is, when and in which segment."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.database import Database
from app.domain.tenant import Tenant
from tests.factories import make_customer, make_feedback

NDJSON = {"content-type": "application/x-ndjson"}


def feedback(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"fb-{number}",
        "customerId": "cus-1",
        "kind": "nps",
        "score": 9,
        "givenAt": "2026-03-02T18:30:00Z",
    } | changes


async def post(client: httpx.AsyncClient, body: dict[str, Any]) -> httpx.Response:
    return await client.post("/api/feedback", json=body)


async def column(database: Database, tenant: Tenant, name: str) -> list[Any]:
    async with database.tenant_transaction(tenant.id) as connection:
        rows = await connection.execute(text(f"SELECT {name} FROM feedback ORDER BY id"))
        return list(rows.scalars())


@pytest.fixture
async def customer(database: Database, tenant: Tenant) -> int:
    return await make_customer(database, tenant)


@pytest.mark.usefixtures("customer")
async def test_feedback_is_recorded_and_listed(client: httpx.AsyncClient) -> None:
    await client.post("/api/stores", json={"id": "s", "name": "Kemang"})
    sent = feedback(storeId="s", sentiment=0.5, comment="Ramah\nsekali")
    created = await post(client, sent)
    assert created.status_code == 201, created.text
    listed = (await client.get("/api/customers/cus-1/feedback")).json()["items"]
    assert listed == [created.json()]
    assert {key: listed[0][key] for key in sent} == sent
    again = await post(client, feedback(score=2))
    assert again.status_code == 200
    assert (again.json()["score"], again.json()["comment"]) == (2, None)


@pytest.mark.usefixtures("customer")
@pytest.mark.parametrize(
    ("kind", "score", "accepted"),
    [
        ("nps", 0, True),
        ("nps", 10, True),
        ("nps", 11, False),
        ("nps", -1, False),
        ("nps", None, False),
        ("csat", 1, True),
        ("csat", 10, True),
        ("csat", 0, False),
        ("csat", None, False),
        ("review", 1, True),
        ("review", 5, True),
        ("review", None, True),
        ("review", 6, False),
        ("review", 0, False),
        ("complaint", None, True),
        ("complaint", 1, False),
        ("nps", True, False),
        ("nps", 8.5, False),
    ],
)
async def test_each_kind_has_its_scores(
    client: httpx.AsyncClient, kind: str, score: Any, accepted: bool
) -> None:
    answer = await post(client, feedback(kind=kind, score=score))
    assert answer.status_code == (201 if accepted else 422), answer.text
    if not accepted:
        assert answer.json()["errors"][0]["pointer"] == "/score"


@pytest.mark.usefixtures("customer")
async def test_a_score_that_is_left_out_is_missed(client: httpx.AsyncClient) -> None:
    body = feedback()
    del body["score"]
    answer = await post(client, body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/score"
    assert (await post(client, body | {"kind": "complaint"})).status_code == 201


@pytest.mark.usefixtures("customer")
async def test_what_will_not_do_is_refused_by_name(client: httpx.AsyncClient) -> None:
    ahead = (datetime.now(UTC) + timedelta(hours=25)).isoformat()
    for changes in (
        {"sentiment": 1.1},
        {"storeId": "nowhere"},
        {"customerId": "nobody"},
        {"givenAt": ahead},
        {"kind": "gossip"},
    ):
        answer = await post(client, feedback(**changes))
        assert answer.status_code == 422, (changes, answer.text)
        assert answer.json()["errors"][0]["pointer"] == f"/{next(iter(changes))}"


@pytest.mark.usefixtures("customer")
async def test_a_batch_keeps_what_is_good_and_the_newest(client: httpx.AsyncClient) -> None:
    await post(client, feedback(1, updatedAt="2026-03-05T00:00:00Z"))
    answer = await client.post(
        "/api/feedback/batch",
        json=[
            feedback(1, score=0, updatedAt="2026-03-04T00:00:00Z"),
            feedback(2, kind="complaint", score=None),
            feedback(3, score=12),
            feedback(4, storeId="nowhere"),
        ],
    )
    assert answer.status_code == 207
    assert [each["status"] for each in answer.json()["items"]] == [
        "stale",
        "created",
        "rejected",
        "rejected",
    ]
    body = "".join(f"{json.dumps(feedback(number))}\n" for number in range(1, 5))
    stream = await client.post("/api/feedback/batch", content=body, headers=NDJSON)
    statuses = [json.loads(line).get("status") for line in stream.text.splitlines()]
    assert statuses == ["unchanged", "updated", "created", "created", None]


async def test_the_segment_is_that_of_the_recording(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, customer: int
) -> None:
    await make_customer(database, tenant, "cus-2")
    assert (await post(client, feedback(1))).json()["rfmSegment"] is None
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(
            text("UPDATE customer_analytics SET rfm_segment = 'loyal' WHERE customer_sk = :sk"),
            {"sk": customer},
        )
    recorded = await client.post("/api/feedback/batch", json=[feedback(1, score=3), feedback(2)])
    assert [each["status"] for each in recorded.json()["items"]] == ["updated", "created"]
    assert await column(database, tenant, "rfm_segment") == [None, "loyal"]
    await post(client, feedback(2, customerId="cus-2"))
    assert await column(database, tenant, "rfm_segment") == [None, None]


@pytest.mark.usefixtures("customer")
async def test_feedback_keeps_the_wall_clock_and_moves_with_it(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    await post(client, feedback())
    assert await column(database, tenant, "local_at") == [
        datetime(2026, 3, 3, 1, 30)  # noqa: DTZ001 - a wall clock
    ]
    await client.patch("/api/admin/tenant", json={"timezone": "America/Los_Angeles"})
    assert await column(database, tenant, "local_at") == [
        datetime(2026, 3, 2, 10, 30)  # noqa: DTZ001 - a wall clock
    ]


async def test_feedback_comes_newest_first_in_pages(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, customer: int
) -> None:
    given = datetime(2026, 3, 2, tzinfo=UTC)
    for number in range(5):
        moment = given + timedelta(days=min(number, 3))
        await make_feedback(database, tenant, feedback_id=f"fb-{number}", given_at=moment)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        path = "/api/customers/cus-1/feedback"
        page = (await client.get(path, params={"limit": 2, **cursor})).json()
        seen += [item["id"] for item in page["items"]]
        if page["nextCursor"] is None:
            break
        cursor = {"cursor": page["nextCursor"]}
    assert seen == ["fb-4", "fb-3", "fb-2", "fb-1", "fb-0"]


async def test_feedback_scores_its_customer_and_adds_to_the_month(
    client: httpx.AsyncClient, database: Database, tenant: Tenant, customer: int
) -> None:
    await client.post("/api/feedback/batch", json=[feedback(1), feedback(2, score=3)])
    await post(client, feedback(2, score=10))
    async with database.tenant_transaction(tenant.id) as connection:
        scored = await connection.execute(text("SELECT customer_sk FROM customer_analytics"))
        assert list(scored.scalars()) == [customer]
        sums = await connection.execute(
            text(
                "SELECT sum(answers)::int, sum(promoters)::int, sum(score_sum)::int"
                " FROM satisfaction_months WHERE kind = 'nps'"
            )
        )
        assert tuple(sums.one()) == (2, 2, 19)


@pytest.mark.usefixtures("customer")
async def test_an_anonymous_reader_gets_no_words(client: httpx.AsyncClient) -> None:
    await post(client, feedback(comment="Saya, Siti, kecewa"))
    answer = await client.get("/api/customers/cus-1/feedback", params={"anonymize": "true"})
    [item] = answer.json()["items"]
    assert (item["score"], item["comment"]) == (9, None)
    assert not any(mark in answer.text for mark in ("cus-1", "fb-1", "Siti"))
