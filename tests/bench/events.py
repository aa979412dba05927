"""Events: single ones against a plain route, a batch against a bare COPY."""

import csv
import io
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx

from tests.bench.ground import Business, Sizes, business
from tests.bench.load import rate, request
from tests.bench.profile import customer_ids
from tests.bench.ratio import Ratio, middle, say, seconds_of
from tests.bench.server import serving

#: Requests on their way at the same time.
_CONNECTIONS = 32
_BATCH = 1_000
#: An hour of a shop on the web: so many visits, of five events each.
_VISITS = 200
_BATCHES = 20

_USER_AGENTS = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like"
    " Gecko) Version/17.2 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 14; SM-A546E) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/131.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/131.0.0.0 Safari/537.36",
)
_TYPES = ("page_view", "page_view", "product_view", "add_to_cart", "purchase")

#: What is there already, so that indexes have the size they will have.
_EVENTS_A_CUSTOMER = 5
_HISTORY = """
WITH made AS (
    INSERT INTO behavior_events (tenant_id, id, customer_sk, occurred_at, event_type,
                                 event_category, product_id, product_category, event_value,
                                 session_id, device_type)
    SELECT tenant_id, 'history-' || sk || '-' || number, sk,
           now() - make_interval(days => 2 + (sk % 28)::integer, mins => number),
           CASE number % 3 WHEN 0 THEN 'product_view' ELSE 'page_view' END, 'website',
           'prod-' || sk % 500, 'Category ' || sk % 20, 100 * number, 's-' || sk, 'mobile'
    FROM customers, generate_series(1, $1::integer) AS number
    RETURNING tenant_id, id
)
INSERT INTO received_ids (tenant_id, kind, digest)
SELECT tenant_id, 'event', received_digest(id) FROM made
"""

#: What is sent, by the column it becomes, where nothing has to be done for it.
_COPIED = {
    "id": "eventId",
    "occurred_at": "occurredAt",
    "event_type": "eventType",
    "event_category": "eventCategory",
    "product_id": "productId",
    "product_category": "productCategory",
    "page_url": "pageUrl",
    "session_id": "sessionId",
}
_COLUMNS = (
    *("tenant_id", "customer_sk", *_COPIED),
    *("event_value", "properties", "ip_network", "device_type", "browser", "os", "user_agent"),
)


async def measure(cluster_url: str, sizes: Sizes) -> list[Ratio]:
    """Events a second over validated bodies a second, and a batch's rate over COPY's."""
    async with business(cluster_url, "events", sizes.many_customers) as of:
        await of.owner.execute(
            "SELECT ensure_partition('behavior_events', (now() - interval '31 days')::date),"
            " ensure_partition('behavior_events', (now() - interval '1 day')::date),"
            " ensure_partition('behavior_events', now()::date)"
        )
        taken = await seconds_of(of.owner.execute(_HISTORY, _EVENTS_A_CUSTOMER))
        say(f"  {_EVENTS_A_CUSTOMER * sizes.many_customers:,} events in {taken:.0f} s")
        await of.settle()
        ids = await customer_ids(of)
        return [await _singles(of, sizes, ids), await _batches(of, sizes, ids)]


async def _singles(of: Business, sizes: Sizes, ids: list[str]) -> Ratio:
    ratios = []
    async with (
        serving(of.url) as port,
        serving(of.url, factory="create_plain_app") as plain_port,
    ):
        ours = _requests(of, "/api/segmentation/events", ids, seed=1)
        plain = _requests(of, "/bench/event", ids, seed=2)
        # After a checkpoint each page that is touched first goes into the log as a whole. That is
        # over in a while, and the next checkpoint a quarter of an hour away.
        await rate(port, ours, sizes.load_seconds, connections=_CONNECTIONS)
        await rate(plain_port, plain, sizes.load_seconds, connections=_CONNECTIONS)
        for _ in range(sizes.rounds):
            recorded = await rate(port, ours, sizes.load_seconds, connections=_CONNECTIONS)
            validated = await rate(plain_port, plain, sizes.load_seconds, connections=_CONNECTIONS)
            say(f"  {recorded:,.0f} events a second, {validated:,.0f} validated bodies")
            ratios.append(recorded / validated)
    return Ratio("events: POST an event / validate only", middle(ratios), at_least=0.35)


async def _batches(of: Business, sizes: Sizes, ids: list[str]) -> Ratio:
    ratios = []
    async with (
        serving(of.url) as port,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {of.token}"},
            timeout=60,
        ) as client,
    ):
        chance = random.Random(3)
        rows = await of.owner.fetch("SELECT id, sk FROM customers")
        keys = {row["id"]: row["sk"] for row in rows}
        await _post(client, [_body(_batch(chance, ids, "warm"))])
        for number in range(sizes.rounds):
            batches = [_batch(chance, ids, f"{number}-{each}") for each in range(_BATCHES)]
            files = [_copy_file(of, batch, keys) for batch in batches]
            bodies = [_body(batch) for batch in batches]
            await of.settle()
            copied = await seconds_of(_copy(of, files))
            await of.owner.execute("DELETE FROM behavior_events WHERE id LIKE 'copied-%'")
            await of.settle()
            posted = await seconds_of(_post(client, bodies))
            say(
                f"  {_BATCH:,} events: {posted / _BATCHES * 1000:.0f} ms,"
                f" COPY {copied / _BATCHES * 1000:.0f} ms"
            )
            ratios.append(copied / posted)
    return Ratio(f"events: a batch of {_BATCH:,} / COPY", middle(ratios), at_least=0.4)


def _requests(of: Business, path: str, ids: list[str], *, seed: int) -> Iterator[bytes]:
    """Events of random customers, each with an id of its own, as they happen."""
    chance = random.Random(seed)
    number = 0
    while True:
        number += 1
        event = _event(
            chance, f"bench-{seed}-{number}", chance.choice(ids), f"s-{number}", datetime.now(UTC)
        )
        yield request("POST", path, of.token, json.dumps(event).encode())


def _batch(chance: random.Random, ids: list[str], name: str) -> list[dict[str, object]]:
    """The visits of an hour, in the order of their events."""
    began = datetime.now(UTC) - timedelta(hours=1)
    visitors = chance.sample(ids, _VISITS)
    return [
        _event(
            chance,
            f"{name}-{number}",
            visitors[visit := chance.randrange(_VISITS)],
            f"{name}-{visit}",
            began + timedelta(seconds=3 * number),
        )
        for number in range(_BATCH)
    ]


def _event(
    chance: random.Random, identity: str, customer_id: str, session: str, at: datetime
) -> dict[str, object]:
    product = chance.randrange(500)
    return {
        "eventId": identity,
        "customerId": customer_id,
        "eventType": chance.choice(_TYPES),
        "eventCategory": "website",
        "productId": f"prod-{product}",
        "productCategory": f"Category {product % 20}",
        "eventValue": f"{chance.randint(50, 900)}000.00",
        "eventProperties": {"position": product % 7, "list": "new"},
        "pageUrl": f"https://shop.example/products/{product}",
        "ipAddress": f"203.0.113.{product % 256}",
        "userAgent": chance.choice(_USER_AGENTS),
        "sessionId": session,
        "occurredAt": at.isoformat(),
    }


def _body(batch: list[dict[str, object]]) -> bytes:
    return json.dumps(batch).encode()


def _copy_file(of: Business, batch: list[dict[str, object]], keys: dict[str, int]) -> bytes:
    """The rows that the batch becomes, as CSV, under other ids."""
    lines = io.StringIO()
    csv.writer(lines).writerows(
        (
            *(of.tenant.id, keys[str(each["customerId"])], f"copied-{each['eventId']}"),
            *(each[name] for name in list(_COPIED.values())[1:]),
            *(str(each["eventValue"]).replace(".", ""), json.dumps(each["eventProperties"])),
            *("203.0.113.0/24", "mobile", "Mobile Safari", "iOS", "Mobile Safari/17 iOS/17"),
        )
        for each in batch
    )
    return lines.getvalue().encode()


async def _copy(of: Business, files: list[bytes]) -> None:
    """A bare COPY of each into the table with its indexes and constraints, past all policies."""
    for file in files:
        await of.owner.copy_to_table(
            "behavior_events", source=io.BytesIO(file), columns=_COLUMNS, format="csv"
        )


async def _post(client: httpx.AsyncClient, bodies: list[bytes]) -> None:
    for body in bodies:
        answer = await client.post(
            "/api/segmentation/events/batch",
            content=body,
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code == 200, answer.text
