"""One import in a process of its own, which says how long it took and what memory it held."""

import asyncio
import json
import re
import sys
import time
from pathlib import Path

import uvloop

from app.database import Database
from app.services import tenancy
from app.services.importing import import_orders


async def _run(url: str, slug: str, path: Path) -> dict[str, float]:
    database = Database(url, pool_size=2, statement_timeout=None)
    try:
        async with database.transaction() as connection:
            tenant = await tenancy.enter_tenant(connection, slug)
        started = time.perf_counter()
        report = await import_orders(database, tenant, path)
        seconds = time.perf_counter() - started
    finally:
        await database.close()
    if report.error or report.rejected:
        raise AssertionError(f"not all of the file went in: {report}")
    return {"seconds": seconds, "peak_mb": _peak_mb(), "created": report.created}


def _peak_mb() -> float:
    """The most resident memory that this process had.

    Not `getrusage`, which counts what the parent had when it started us.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


if __name__ == "__main__":
    url, slug, path = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(_run(url, slug, Path(path)))))  # noqa: T201
