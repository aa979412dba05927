"""A vector tile of a dense city against tipg's of the same customers, side by side.

A fifth of the customers lives in one city, the others all over the country. Both servers have one
process on one database. Ours counts the customers of the tile and encodes the counts; tipg encodes
them one by one, 10,000 of them and no more, with their id, as it does unless told otherwise.
"""

import asyncio
import math
import os
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

import httpx
from sqlalchemy import make_url

from app.domain.tile import Tile
from app.services import totals
from tests.bench.ground import Business, Sizes, business
from tests.bench.ratio import Ratio, middle, say, seconds_of
from tests.bench.server import serving

MOST_MILLISECONDS = 100.0
REQUESTS = 20
"""For each tile, server and round."""

WARM_UP = 3

_ZOOMS = (6, 8, 10, 11, 12, 13)
_MIDDLE = 11
"""The whole city on one tile of about 20 km by 20 km."""

# The first column of the key is the same in every row.
_SETTINGS = {"TIPG_TABLE_CONFIG__PUBLIC_CUSTOMERS__PK": "sk"}

_LATITUDE, _LONGITUDE = -6.2, 106.82

# Gaussian around the centre of the city, 5 km in each direction; the others are spread evenly from
# Sumatra to Papua.
_SETTLE = """
    UPDATE customers SET
        last_known_latitude = CASE WHEN sk % 5 = 0
            THEN -6.2 + 0.045 * sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random())
            ELSE -9 + 14 * random() END,
        last_known_longitude = CASE WHEN sk % 5 = 0
            THEN 106.82 + 0.045 * sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random())
            ELSE 95 + 45 * random() END
"""


async def measure(cluster_url: str, sizes: Sizes) -> list[Ratio]:
    """The median time of a tile in milliseconds, and how much longer tipg takes for it."""
    async with business(cluster_url, "tiles", sizes.many_customers) as of:
        taken = await seconds_of(of.owner.execute(_SETTLE))
        say(f"  customers moved in {taken:.1f} s")
        await _compact(of)
        await of.settle()
        async with (
            serving(of.url) as port,
            _tipg(of.url) as other_port,
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}/api/geo/tiles",
                headers={"Authorization": f"Bearer {of.token}"},
                params={"layers": "customers"},
                timeout=120,
            ) as ours,
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{other_port}/collections/public.customers/tiles/"
                "WebMercatorQuad",
                params={"geom-column": "last_known_location", "properties": "id"},
                timeout=120,
            ) as tipg,
        ):
            found = [await _compare(ours, tipg, zoom, sizes.rounds) for zoom in _ZOOMS]
            await _show_others(ours)
    ratios = []
    for zoom, (milliseconds, factor) in zip(_ZOOMS, found, strict=True):
        name = f"tiles: zoom {zoom} at {sizes.many_customers:,}"
        ratios += [
            Ratio(f"{name}, ms", milliseconds, at_most=MOST_MILLISECONDS),
            Ratio(f"{name}: tipg / ours", factor, at_least=1.0),
        ]
    return ratios


def _city(zoom: int) -> Tile:
    """The tile of the middle of the city."""
    size = 1 << zoom
    down = 0.5 - math.asinh(math.tan(math.radians(_LATITUDE))) / (2 * math.pi)
    return Tile(zoom, int((_LONGITUDE + 180) / 360 * size), int(down * size))


async def _compare(
    ours: httpx.AsyncClient, tipg: httpx.AsyncClient, zoom: int, rounds: int
) -> tuple[float, float]:
    """Our median milliseconds, and the median of tipg's over ours."""
    tile = _city(zoom)
    milliseconds, factors = [], []
    length = other_length = 0
    for _ in range(rounds):
        own, length = await _median(ours, f"/{zoom}/{tile.x}/{tile.y}.mvt")
        other, other_length = await _median(tipg, f"/{zoom}/{tile.x}/{tile.y}")
        milliseconds.append(own)
        factors.append(other / own)
    say(
        f"  zoom {zoom:2}: {middle(milliseconds):8.1f} ms for {length:9,} bytes, tipg "
        f"{middle(milliseconds) * middle(factors):8.1f} ms for {other_length:9,} bytes"
    )
    return middle(milliseconds), middle(factors)


async def _median(client: httpx.AsyncClient, path: str) -> tuple[float, int]:
    """Milliseconds to the last byte, and how many bytes."""
    times = []
    length = 0
    for _ in range(WARM_UP + REQUESTS):
        started = time.perf_counter()
        answer = (await client.get(path)).raise_for_status()
        times.append(time.perf_counter() - started)
        length = len(answer.content)
    return 1000 * middle(times[WARM_UP:]), length


async def _show_others(ours: httpx.AsyncClient) -> None:
    """What has no counterpart and no target: the world, a street, a filter, rough places."""
    for zoom, query in (
        (0, {}),
        (15, {}),
        (_MIDDLE, {"type": "retail"}),
        (_MIDDLE, {"segment": "champion"}),
        (_MIDDLE, {"anonymize": "true"}),
        (0, {"anonymize": "true"}),
    ):
        tile = _city(zoom)
        started = time.perf_counter()
        answer = await ours.get(f"/{zoom}/{tile.x}/{tile.y}.mvt", params=query)
        taken = time.perf_counter() - started
        said = "&".join(f"{name}={value}" for name, value in query.items()) or "everybody"
        say(
            f"  zoom {zoom:2}, {said}: {1000 * taken:.1f} ms for {len(answer.content):,} bytes"
            f" ({answer.status_code})"
        )


async def _compact(of: Business) -> None:
    """As the worker does, until there is nothing left to add up."""
    while await of.owner.fetchval("SELECT EXISTS (SELECT FROM place_totals WHERE NOT compacted)"):
        async with of.database.tenant_transaction(of.tenant.id) as connection:
            taken = await seconds_of(totals.compact(connection, of.tenant))
        say(f"  totals compacted in {taken:.1f} s")


@asynccontextmanager
async def _tipg(database_url: str) -> AsyncIterator[int]:
    """The port of tipg, with one process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "uvicorn", "tipg.main:app"),
        *("--port", str(port), "--loop", "uvloop", "--http", "httptools"),
        *("--no-access-log", "--log-level", "warning"),
        env=os.environ | {"DATABASE_URL": _with_host(database_url), **_SETTINGS},
    )
    try:
        await _ready(port)
        yield port
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _with_host(database_url: str) -> str:
    """The same address with its directory of sockets for a host, as tipg insists on one."""
    url = make_url(database_url)
    directory, port = url.query["host"], url.query["port"]
    return f"postgresql://{url.username}@{quote(str(directory), safe='')}:{port}/{url.database}"


async def _ready(port: int) -> None:
    async with httpx.AsyncClient(timeout=60) as client:
        for _ in range(600):
            try:
                path = "/collections/public.customers"
                if (await client.get(f"http://127.0.0.1:{port}{path}")).is_success:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)
    raise TimeoutError("tipg did not start")
