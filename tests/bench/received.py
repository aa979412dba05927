"""What is received in great numbers: one by one against a plain route, in batches against COPY."""

import csv
import io
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from tests.bench.ground import Business, Sizes, business
from tests.bench.load import rate, request
from tests.bench.profile import customer_ids
from tests.bench.ratio import Ratio, middle, say, seconds_of
from tests.bench.server import client_of, serving

BATCH = 1_000
_BATCHES = 20
#: So many there are already.
_A_CUSTOMER = 5

#: An item as it is sent.
Item = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Captures or events: the route and a plain one, so many senders, what is sent and stored.

    `one` makes an item of chance, an id of its own, the id of its customer and its time; `batch`
    makes `BATCH` of chance, the ids of all customers and a name for them. `row` has the values of
    `columns` for an item, with an id that begins with "copied-". `history` is the statement that
    stores so many of each customer before, so that indexes have the size they will have.
    """

    name: str
    history: str
    path: str
    plain_path: str
    senders: int
    table: str
    columns: Sequence[str]
    one: Callable[[random.Random, str, str, datetime], Item]
    batch: Callable[[random.Random, list[str], str], list[Item]]
    row: Callable[[Item], Sequence[Any]]


async def measure(cluster_url: str, sizes: Sizes, kind: Kind) -> list[Ratio]:
    """Requests a second over validated bodies a second, and a batch's rate over COPY's."""
    async with business(cluster_url, kind.name, sizes.many_customers) as of:
        await of.owner.execute(
            "SELECT ensure_partition($1, (now() - make_interval(days => days_ago))::date)"
            " FROM unnest(ARRAY[31, 1, 0]) AS days_ago",
            kind.table,
        )
        taken = await seconds_of(of.owner.execute(kind.history, _A_CUSTOMER))
        say(f"  {_A_CUSTOMER * sizes.many_customers:,} {kind.name} in {taken:.0f} s")
        await of.settle()
        ids = await customer_ids(of)
        return [await _singles(of, sizes, kind, ids), await _batches(of, sizes, kind, ids)]


# After a checkpoint each page that is touched first goes into the log as a whole, and in a new
# process of the database into its map of the shared memory. That is over in a while, and the next
# checkpoint a quarter of an hour away: so both sides are timed after as long a time untimed.


async def _singles(of: Business, sizes: Sizes, kind: Kind, ids: list[str]) -> Ratio:
    ratios = []
    async with (
        serving(of.url) as port,
        serving(of.url, factory="create_plain_app") as plain_port,
    ):
        ours = _requests(of, kind, kind.path, ids, seed=1)
        plain = _requests(of, kind, kind.plain_path, ids, seed=2)
        await rate(port, ours, sizes.load_seconds, connections=kind.senders)
        await rate(plain_port, plain, sizes.load_seconds, connections=kind.senders)
        for _ in range(sizes.rounds):
            stored = await rate(port, ours, sizes.load_seconds, connections=kind.senders)
            validated = await rate(plain_port, plain, sizes.load_seconds, connections=kind.senders)
            say(f"  {stored:,.0f} {kind.name} a second, {validated:,.0f} validated bodies")
            ratios.append(stored / validated)
    return Ratio(f"{kind.name}: POST one / validate only", middle(ratios), at_least=0.35)


async def _batches(of: Business, sizes: Sizes, kind: Kind, ids: list[str]) -> Ratio:
    ratios = []
    async with (
        serving(of.url) as port,
        client_of(port, of.token) as client,
    ):
        chance = random.Random(3)
        rows = await of.owner.fetch("SELECT id, sk FROM customers")
        keys = {row["id"]: row["sk"] for row in rows}
        for number in range(sizes.rounds):
            batches = [kind.batch(chance, ids, f"{number}-{each}") for each in range(2 * _BATCHES)]
            untimed, timed = batches[:_BATCHES], batches[_BATCHES:]
            await of.settle()
            await _copy(of, kind, _files(of, kind, untimed, keys))
            copied = await seconds_of(_copy(of, kind, _files(of, kind, timed, keys)))
            await of.owner.execute(f"DELETE FROM {kind.table} WHERE id LIKE 'copied-%'")
            await of.settle()
            await _post(client, kind, _bodies(untimed))
            posted = await seconds_of(_post(client, kind, _bodies(timed)))
            say(
                f"  {BATCH:,} {kind.name}: {posted / _BATCHES * 1000:.0f} ms,"
                f" COPY {copied / _BATCHES * 1000:.0f} ms"
            )
            ratios.append(copied / posted)
    return Ratio(f"{kind.name}: a batch of {BATCH:,} / COPY", middle(ratios), at_least=0.4)


def _requests(of: Business, kind: Kind, path: str, ids: list[str], *, seed: int) -> Iterator[bytes]:
    """Items of random customers, each with an id of its own, as they happen."""
    chance = random.Random(seed)
    number = 0
    while True:
        number += 1
        item = kind.one(chance, f"bench-{seed}-{number}", chance.choice(ids), datetime.now(UTC))
        yield request("POST", path, of.token, json.dumps(item).encode())


def _bodies(batches: list[list[Item]]) -> list[bytes]:
    return [json.dumps(batch).encode() for batch in batches]


def _files(
    of: Business, kind: Kind, batches: list[list[Item]], keys: dict[str, int]
) -> list[bytes]:
    """The rows that the batches become, as CSV."""
    files = []
    for batch in batches:
        lines = io.StringIO()
        csv.writer(lines).writerows(
            (of.tenant.id, keys[item["customerId"]], *kind.row(item)) for item in batch
        )
        files.append(lines.getvalue().encode())
    return files


async def _copy(of: Business, kind: Kind, files: list[bytes]) -> None:
    """A bare COPY of each into the table with its indexes and constraints, past all policies."""
    for file in files:
        await of.owner.copy_to_table(
            kind.table,
            source=io.BytesIO(file),
            columns=["tenant_id", "customer_sk", *kind.columns],
            format="csv",
        )


async def _post(client: httpx.AsyncClient, kind: Kind, bodies: list[bytes]) -> None:
    for body in bodies:
        answer = await client.post(
            f"{kind.path}/batch", content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 200, answer.text
