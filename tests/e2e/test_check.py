"""`bps check` as a process: one JSON object, a table for people, and an exit code that counts."""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from app.database import Database
from app.domain.scoring_run import RunMode
from app.services.scoring import run_scores
from tests.factories import make_tenant
from tests.scoring_oracle import Customer, Order
from tests.scoring_rows import record

pytestmark = pytest.mark.e2e


async def check(url: str, slug: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.cli", "check", "--tenant", slug,
        env={**os.environ, "DATABASE_URL": url, "COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_it_passes_until_a_figure_is_wrong(
    fresh_database: Database, fresh_database_url: str
) -> None:
    tenant = await make_tenant(fresh_database)
    now = datetime.now(UTC)
    orders = tuple(Order(now - timedelta(days=days)) for days in (3, 9, 40))
    await record(fresh_database, tenant, [Customer("cus-1", orders), Customer("cus-2", ())])
    await run_scores(fresh_database, tenant, mode=RunMode.FULL, as_of=now)
    code, out, err = await check(fresh_database_url, tenant.slug)
    result: dict[str, Any] = json.loads(out)
    assert (code, result["passed"]) == (0, True), err
    assert len(result["checks"]) >= 8
    assert {each["offenders"] for each in result["checks"]} == {0}
    assert "revenue" in err

    async with fresh_database.tenant_transaction(tenant.id) as connection:
        await connection.execute(
            text("UPDATE customer_analytics SET revenue = revenue + 1 WHERE counted_orders > 0")
        )
    code, out, err = await check(fresh_database_url, tenant.slug)
    result = json.loads(out)
    assert (code, result["passed"]) == (1, False)
    [wrong] = [each for each in result["checks"] if not each["passed"]]
    assert wrong == {
        "name": "revenue",
        "passed": False,
        "figure": 2,
        "offenders": 1,
        "examples": ["cus-1"],
    }
    assert "FAILED" in err

    code, out, err = await check(fresh_database_url, "nobody")
    assert (code, out) == (1, "")
    assert "nobody" in err
