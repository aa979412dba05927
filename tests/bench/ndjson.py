"""Orders streamed to the batch route over HTTP, against a bare COPY of the same rows."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from app.domain.scoring_run import RunMode
from app.services import demo, scoring
from tests.bench.copied import copy_orders, export_orders, remove_orders
from tests.bench.ground import Business, Sizes, business
from tests.bench.ratio import Ratio, middle, say, seconds_of
from tests.bench.server import serving

_PIECE = 64 * 1024


async def measure(cluster_url: str, sizes: Sizes) -> list[Ratio]:
    """The rate over COPY's, live refresh of every customer included."""
    with tempfile.TemporaryDirectory() as directory:
        copied, given = Path(directory) / "copied.csv", Path(directory) / "given.ndjson"
        async with business(cluster_url, "streams", sizes.streamed_orders // 10) as of:
            await scoring.run_scores(of.database, of.tenant, mode=RunMode.FULL, as_of=of.day(0))
            await export_orders(of, copied)
            orders = demo.write_orders_ndjson(given, of.options)
            ratios = []
            async with serving(of.url) as port:
                for _ in range(sizes.rounds):
                    await remove_orders(of)
                    baseline = await seconds_of(copy_orders(of, copied))
                    await remove_orders(of)
                    ours = await seconds_of(_post(of, port, given))
                    assert await of.owner.fetchval("SELECT count(*) FROM orders") == orders
                    say(f"  {orders:,} orders: {ours:.1f} s, COPY {baseline:.1f} s")
                    ratios.append(baseline / ours)
    return [Ratio(f"ndjson: {orders:,} orders / COPY", middle(ratios), at_least=0.25)]


async def _post(of: Business, port: int, path: Path) -> None:
    headers = {"Authorization": f"Bearer {of.token}", "Content-Type": "application/x-ndjson"}
    async with (
        httpx.AsyncClient(headers=headers, timeout=None) as client,
        client.stream(
            "POST", f"http://127.0.0.1:{port}/api/orders/batch", content=_pieces(path)
        ) as answer,
    ):
        answer.raise_for_status()
        async for _ in answer.aiter_raw():
            pass


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece
