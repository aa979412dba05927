"""Profiles of random customers, against a plain route of the same server with the same bytes."""

import itertools
import random
import tempfile
from collections.abc import Iterator

import httpx

from app.domain.scoring_run import RunMode
from app.services import scoring
from tests.bench.ground import Business, Sizes, business
from tests.bench.load import rate, request
from tests.bench.ratio import Ratio, middle, say
from tests.bench.server import SAME_BYTES, serving


async def measure(cluster_url: str, sizes: Sizes) -> list[Ratio]:
    """Requests a second of the profile over those of the plain route."""
    async with business(cluster_url, "profiles", sizes.customers) as of:
        await scoring.run_scores(of.database, of.tenant, mode=RunMode.FULL, as_of=of.day(0))
        await of.settle()
        with tempfile.NamedTemporaryFile() as answer:
            async with serving(of.url, **{SAME_BYTES: answer.name}) as port:
                ids = await customer_ids(of)
                answer.write(await _profile(of, port, ids[0]))
                answer.flush()
                ratios = await _alternate(of, port, ids, sizes)
    return [Ratio("profile: GET a profile / a plain route", middle(ratios), at_least=0.3)]


async def customer_ids(of: Business) -> list[str]:
    """The ids of all customers, always in the same random order."""
    ids = [row["id"] for row in await of.owner.fetch("SELECT id FROM customers ORDER BY sk")]
    random.Random(1).shuffle(ids)
    return ids


async def _profile(of: Business, port: int, customer_id: str) -> bytes:
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {of.token}"}) as client:
        answer = await client.get(f"http://127.0.0.1:{port}/api/customers/{customer_id}/profile")
        return answer.raise_for_status().content


async def _alternate(of: Business, port: int, ids: list[str], sizes: Sizes) -> list[float]:
    profiles = _requests(of, "/api/customers/{}/profile", ids)
    plain = _requests(of, "/bench/customers/{}/profile", ids)
    await rate(port, profiles, 1)
    ratios = []
    for _ in range(sizes.rounds):
        ours = await rate(port, profiles, sizes.load_seconds)
        baseline = await rate(port, plain, sizes.load_seconds)
        say(f"  {ours:,.0f} profiles a second, plain route {baseline:,.0f}")
        ratios.append(ours / baseline)
    return ratios


def _requests(of: Business, path: str, ids: list[str]) -> Iterator[bytes]:
    return itertools.cycle([request("GET", path.format(each), of.token) for each in ids])
