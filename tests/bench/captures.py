"""Captures: single ones against a plain route, the backlog of an app against a bare COPY."""

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

#: Phones that send at the same time.
_PHONES = 64
_BACKLOG = 1_000
#: A day of a driver: so many customers, each of them passed and met several times.
_STOPS = 50
_BACKLOGS = 20

#: What is there already, so that indexes have the size they will have.
_CAPTURES_A_CUSTOMER = 5
_HISTORY = """
WITH made AS (
    INSERT INTO location_history (tenant_id, id, customer_sk, captured_at, location, source,
                                  captured_by, device_id)
    SELECT tenant_id, 'history-' || sk || '-' || number, sk,
           now() - make_interval(days => 2 + (sk % 28)::integer, mins => number),
           ST_SetSRID(
               ST_MakePoint(106.5 + (sk % 6007) * 0.0001, -6.5 + (sk % 5003) * 0.0001), 4326
           ),
           'gps', 'driver-' || sk % 500, 'device-' || sk % 500
    FROM customers, generate_series(1, $1::integer) AS number
    RETURNING tenant_id, id
)
INSERT INTO received_ids (tenant_id, kind, digest)
SELECT tenant_id, 'capture', received_digest(id) FROM made
"""

_COPIED = (
    "tenant_id",
    "id",
    "customer_sk",
    "captured_at",
    "location",
    "accuracy",
    "speed",
    "heading",
    "source",
    "captured_by",
    "device_id",
)


async def measure(cluster_url: str, sizes: Sizes) -> list[Ratio]:
    """Captures a second over validated bodies a second, and a backlog's rate over COPY's."""
    async with business(cluster_url, "captures", sizes.many_customers) as of:
        await of.owner.execute(
            "SELECT ensure_partition('location_history', (now() - interval '31 days')::date),"
            " ensure_partition('location_history', (now() - interval '1 day')::date),"
            " ensure_partition('location_history', now()::date)"
        )
        taken = await seconds_of(of.owner.execute(_HISTORY, _CAPTURES_A_CUSTOMER))
        say(f"  {_CAPTURES_A_CUSTOMER * sizes.many_customers:,} captures in {taken:.0f} s")
        await of.settle()
        ids = await customer_ids(of)
        return [await _singles(of, sizes, ids), await _backlogs(of, sizes, ids)]


async def _singles(of: Business, sizes: Sizes, ids: list[str]) -> Ratio:
    ratios = []
    async with (
        serving(of.url) as port,
        serving(of.url, factory="create_plain_app") as plain_port,
    ):
        ours = _requests(of, "/api/geo/capture", ids, seed=1)
        plain = _requests(of, "/bench/capture", ids, seed=2)
        # After a checkpoint each page that is touched first goes into the log as a whole. That is
        # over in a while, and the next checkpoint a quarter of an hour away.
        await rate(port, ours, sizes.load_seconds, connections=_PHONES)
        await rate(plain_port, plain, sizes.load_seconds, connections=_PHONES)
        for _ in range(sizes.rounds):
            captured = await rate(port, ours, sizes.load_seconds, connections=_PHONES)
            validated = await rate(plain_port, plain, sizes.load_seconds, connections=_PHONES)
            say(f"  {captured:,.0f} captures a second, {validated:,.0f} validated bodies")
            ratios.append(captured / validated)
    return Ratio("captures: POST a capture / validate only", middle(ratios), at_least=0.35)


async def _backlogs(of: Business, sizes: Sizes, ids: list[str]) -> Ratio:
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
        await _post(client, [_body(_backlog(chance, ids, "warm"))])
        for number in range(sizes.rounds):
            backlogs = [_backlog(chance, ids, f"{number}-{each}") for each in range(_BACKLOGS)]
            files = [_copy_file(of, backlog, keys) for backlog in backlogs]
            bodies = [_body(backlog) for backlog in backlogs]
            await of.settle()
            copied = await seconds_of(_copy(of, files))
            await of.owner.execute("DELETE FROM location_history WHERE id LIKE 'copied-%'")
            await of.settle()
            posted = await seconds_of(_post(client, bodies))
            say(
                f"  {_BACKLOG:,} captures: {posted / _BACKLOGS * 1000:.0f} ms,"
                f" COPY {copied / _BACKLOGS * 1000:.0f} ms"
            )
            ratios.append(copied / posted)
    return Ratio(f"captures: a batch of {_BACKLOG:,} / COPY", middle(ratios), at_least=0.4)


def _requests(of: Business, path: str, ids: list[str], *, seed: int) -> Iterator[bytes]:
    """Captures of random customers, each with an id of its own, as they happen."""
    chance = random.Random(seed)
    number = 0
    while True:
        number += 1
        capture = _capture(chance, f"bench-{seed}-{number}", chance.choice(ids), datetime.now(UTC))
        yield request("POST", path, of.token, json.dumps(capture).encode())


def _backlog(chance: random.Random, ids: list[str], name: str) -> list[dict[str, object]]:
    """A day of one device, in no order."""
    began = datetime.now(UTC) - timedelta(hours=10)
    stops = chance.sample(ids, _STOPS)
    backlog = [
        _capture(
            chance,
            f"{name}-{number}",
            stops[number * _STOPS // _BACKLOG],
            began + timedelta(seconds=30 * number),
        )
        for number in range(_BACKLOG)
    ]
    chance.shuffle(backlog)
    return backlog


def _capture(
    chance: random.Random, identity: str, customer_id: str, at: datetime
) -> dict[str, object]:
    return {
        "captureId": identity,
        "customerId": customer_id,
        "latitude": round(-6.2 + chance.gauss(0, 0.05), 6),
        "longitude": round(106.8 + chance.gauss(0, 0.05), 6),
        "accuracy": round(chance.uniform(3, 40), 1),
        "speed": round(chance.uniform(0, 15), 1),
        "heading": round(chance.uniform(0, 360), 1),
        "source": "gps",
        "capturedBy": f"emp-{chance.randrange(50)}",
        "deviceId": f"device-{chance.randrange(50)}",
        "capturedAt": at.isoformat(),
    }


def _body(backlog: list[dict[str, object]]) -> bytes:
    return json.dumps(backlog).encode()


def _copy_file(of: Business, backlog: list[dict[str, object]], keys: dict[str, int]) -> bytes:
    """The rows that the backlog becomes, as CSV, under other ids."""
    lines = io.StringIO()
    csv.writer(lines).writerows(
        (
            of.tenant.id,
            f"copied-{each['captureId']}",
            keys[str(each["customerId"])],
            each["capturedAt"],
            f"SRID=4326;POINT({each['longitude']} {each['latitude']})",
            *(each[name] for name in ("accuracy", "speed", "heading", "source")),
            each["capturedBy"],
            each["deviceId"],
        )
        for each in backlog
    )
    return lines.getvalue().encode()


async def _copy(of: Business, files: list[bytes]) -> None:
    """A bare COPY of each into the table with its indexes and constraints, past all policies."""
    for file in files:
        await of.owner.copy_to_table(
            "location_history", source=io.BytesIO(file), columns=_COPIED, format="csv"
        )


async def _post(client: httpx.AsyncClient, bodies: list[bytes]) -> None:
    for body in bodies:
        answer = await client.post(
            "/api/geo/capture/batch", content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 200, answer.text
