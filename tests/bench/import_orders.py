"""A file of orders through the importer, against a bare COPY of the same rows."""

import asyncio
import json
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from app.services import demo
from tests.bench.copied import copy_orders, export_orders, remove_orders
from tests.bench.ground import SLUG, Business, Sizes, business
from tests.bench.ratio import Ratio, middle, say, seconds_of

MEMORY_LIMIT_MB = 300
SHORT = 200_000
"""Files of up to so many orders are imported in several rounds."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What the importing process says at its end."""

    seconds: float
    peak_mb: float
    created: int


async def measure(cluster_url: str, sizes: Sizes) -> list[Ratio]:
    """The rate over COPY's, and the memory of the importing process, also for a larger file."""
    with tempfile.TemporaryDirectory() as directory:
        return await _measure(cluster_url, sizes, Path(directory))


async def _measure(cluster_url: str, sizes: Sizes, directory: Path) -> list[Ratio]:
    copied, given, larger = (directory / name for name in ("copied.csv", "given.csv", "larger.csv"))
    async with business(cluster_url, "imports", sizes.orders // 10) as of:
        await export_orders(of, copied)
        orders = demo.write_orders_csv(given, of.options)
        demo.write_orders_csv(larger, replace(of.options, customers=3 * of.options.customers))
        ratios = []
        for _ in range(sizes.rounds if orders <= SHORT else 1):
            await remove_orders(of)
            baseline = await seconds_of(copy_orders(of, copied))
            await remove_orders(of)
            imported = await _import(of, given)
            assert imported.created == orders
            say(
                f"  {orders:,} orders: {imported.seconds:.1f} s, COPY {baseline:.1f} s,"
                f" {imported.peak_mb:.0f} MB"
            )
            ratios.append(baseline / imported.seconds)
        await remove_orders(of)
        threefold = await _import(of, larger)
        say(
            f"  {threefold.created:,} orders: {threefold.seconds:.1f} s, {threefold.peak_mb:.0f} MB"
        )
    return [
        Ratio(f"import: {orders:,} orders / COPY", middle(ratios), at_least=0.4),
        _memory(f"import: memory for {orders:,} orders / limit", imported),
        _memory(f"import: memory for {threefold.created:,} orders / limit", threefold),
    ]


def _memory(name: str, imported: Imported) -> Ratio:
    return Ratio(name, imported.peak_mb / MEMORY_LIMIT_MB, at_most=1.0)


async def _import(of: Business, path: Path) -> Imported:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.bench.import_process", of.url, SLUG, str(path)),
        stdout=asyncio.subprocess.PIPE,
    )
    answer, _ = await process.communicate()
    assert process.returncode == 0
    return Imported(**json.loads(answer))
