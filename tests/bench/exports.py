"""GeoJSON of every customer over HTTP, against `COPY (SELECT …) TO STDOUT` of the same columns.

The copy is of plain columns, which is less work than any text that could be built from them, and
its bytes are thrown away by the process that reads them. The peak of the server's memory is what
the kernel remembers of it.
"""

import asyncio
import re
import time
from pathlib import Path

import asyncpg
import psutil

from app.database import SERVICE_ROLE
from app.domain.scoring_run import RunMode
from app.services import scoring
from tests.bench.ground import Business, Sizes, business
from tests.bench.ratio import Ratio, middle, say, seconds_of
from tests.bench.server import serving

MOST_MEGABYTES = 200.0
OTHER_FORMATS = ("ndjson", "csv", "wkt", "geoparquet")

_PLACES = """
UPDATE customers
SET last_known_longitude = round((106.6 + random() * 0.5)::numeric, 6),
    last_known_latitude = round((-6.4 + random() * 0.4)::numeric, 6),
    last_location_accuracy = round((random() * 30)::numeric, 1), last_location_source = 'gps',
    last_location_captured_at = now() - random() * interval '30 days'
"""

_COPIED = """
SELECT c.last_known_longitude, c.last_known_latitude, c.id, c.code, c.name, c.customer_type,
       a.revenue, left(c.last_known_geohash, 7), a.rfm_segment, a.churn_band, a.churn_score, a.clv,
       c.membership_tier, c.status, c.last_location_accuracy, c.last_location_captured_at,
       c.updated_at
FROM customers c
LEFT JOIN customer_analytics a ON a.tenant_id = c.tenant_id AND a.customer_sk = c.sk
WHERE c.tenant_id = $1 AND c.last_known_location IS NOT NULL
ORDER BY c.sk
"""


async def measure(cluster_url: str, sizes: Sizes) -> list[Ratio]:
    """The rate of the export over that of the copy, and the server's peak in megabytes."""
    async with business(cluster_url, "exports", sizes.many_customers) as of:
        await of.owner.execute(_PLACES)
        await scoring.run_scores(of.database, of.tenant, mode=RunMode.FULL, as_of=of.day(0))
        await of.settle()
        async with serving(of.url) as port:
            server = _listening(port)
            # Both sides read what the other has read before.
            await _copy(of)
            await _export(port, of.token, "geojson")
            rounds = []
            for _ in range(sizes.rounds):
                copied, exported = await _copy(of), await _export(port, of.token, "geojson")
                rounds.append(copied / exported)
                say(f"  copied in {copied:.2f} s, exported in {exported:.2f} s")
            peak = _peak_megabytes(server)
            for kind in OTHER_FORMATS:
                taken = await _export(port, of.token, kind)
                say(f"  {kind} in {taken:.2f} s, peak {_peak_megabytes(server):.0f} MB")
    at_size = f"exports: geojson at {sizes.many_customers:,}"
    return [
        Ratio(f"{at_size} / copy", middle(rounds), at_least=0.5),
        Ratio(f"{at_size}, peak MB", peak, at_most=MOST_MEGABYTES),
    ]


async def _copy(of: Business) -> float:
    """How long the copy takes, for the role and with the settings of the service."""
    connection = await asyncpg.connect(
        of.url,
        server_settings={"role": SERVICE_ROLE, "jit": "off", "enable_seqscan": "off"},
    )

    async def throw_away(rows: bytes) -> None:
        pass

    try:
        tenant = of.tenant.id
        await connection.execute("SELECT set_config('app.tenant_id', $1, false)", str(tenant))
        return await seconds_of(connection.copy_from_query(_COPIED, tenant, output=throw_away))
    finally:
        await connection.close()


async def _export(port: int, token: str, kind: str) -> float:
    """How long a whole export takes; the bytes are thrown away here, too."""
    started = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(
            f"GET /api/geo/export/customers?format={kind} HTTP/1.1\r\nHost: bench\r\n"
            f"Authorization: Bearer {token}\r\nConnection: close\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(head.decode())
        end = b""
        while part := await reader.read(1 << 20):
            end = (end + part)[-16:]
        if not end.endswith(b"0\r\n\r\n"):
            raise RuntimeError("the export was cut off")
    finally:
        writer.close()
    return time.perf_counter() - started


def _listening(port: int) -> int:
    """The process that serves the port."""
    for child in psutil.Process().children(recursive=True):
        if str(port) in child.cmdline():
            return child.pid
    raise RuntimeError("no process serves the port")


def _peak_megabytes(process: int) -> float:
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    assert peak is not None
    return int(peak[1]) / 1024
