"""The CDNOW log, scored: a real closed history of 23,570 customers and 69,659 purchases."""

import csv
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import numpy as np
import pytest

import migrations
from app.database import Database
from app.domain.order import OrderStatus
from app.domain.rfm import QUINTILES
from app.domain.scoring_run import RunMode
from app.domain.tenant import Tenant
from app.main import create_app
from app.services.scoring import run_scores
from app.settings import Settings
from tests import scoring_oracle as oracle
from tests.factories import make_key, make_tenant
from tests.repositories.test_scoring import assert_row
from tests.scoring_oracle import Customer, Order
from tests.scoring_rows import read_ranks, read_rows

LOG = Path(migrations.__file__).parents[2] / "shared" / "data" / "cdnow" / "cdnow_master.csv"
AS_OF = datetime(1998, 7, 1, tzinfo=UTC)

pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not LOG.exists(), reason="cdnow_master.csv is not beside the checkout"),
]


def purchases() -> list[tuple[int, Order]]:
    """The log: customers' numbers and what they bought, days in UTC, amounts in cents."""
    with LOG.open(newline="") as lines:
        return [
            (
                int(line["customer_id"]),
                Order(
                    datetime.fromisoformat(line["date"]).replace(tzinfo=UTC),
                    OrderStatus.COMPLETED,
                    int(Decimal(line["amount"]) * 100),
                    item_count=int(line["quantity"]),
                ),
            )
            for line in csv.DictReader(lines)
        ]


async def load(url: str, tenant: Tenant, log: list[tuple[int, Order]]) -> None:
    """Copy the log into the tables as their owner; a customer's sk is the number in the log."""
    owner = await asyncpg.connect(url)
    numbers = sorted({number for number, _ in log})
    await owner.copy_records_to_table(
        "customers",
        columns=["tenant_id", "sk", "id", "name"],
        records=[(tenant.id, number, str(number), str(number)) for number in numbers],
    )
    await owner.copy_records_to_table(
        "orders",
        columns=[
            *("tenant_id", "id", "customer_sk", "status", "ordered_at", "local_at"),
            *("total_amount", "item_count"),
        ],
        records=[
            (tenant.id, f"row-{row}", number, order.status.value, order.ordered_at,
             order.ordered_at.replace(tzinfo=None), order.total_amount, order.item_count)
            for row, (number, order) in enumerate(log)
        ],
    )  # fmt: skip
    await owner.execute("ANALYZE customers, orders")
    await owner.close()


async def test_cdnow_is_scored(fresh_database: Database, fresh_database_url: str) -> None:
    log = purchases()
    tenant = await make_tenant(
        fresh_database,
        "cdnow",
        timezone="UTC",
        currency="USD",
        profile={"preset": "commerce", "asOf": "1998-07-01T00:00:00Z"},
    )
    await load(fresh_database_url, tenant, log)
    await run_scores(
        fresh_database, tenant, mode=RunMode.FULL, as_of=tenant.as_of(datetime.now(UTC))
    )
    rows = await read_rows(fresh_database, tenant)
    assert len(rows) == 23_570
    assert sum(row["total_orders"] for row in rows.values()) == 69_659
    assert sum(row["revenue"] for row in rows.values()) == 2_500_315_63
    await _check_cutoffs(fresh_database, tenant, log, rows)
    await _check_customers(fresh_database, tenant, log, rows)
    await _check_answers(fresh_database, tenant, rows)


async def _check_cutoffs(
    database: Database,
    tenant: Tenant,
    log: list[tuple[int, Order]],
    rows: dict[str, dict[str, Any]],
) -> None:
    ranks = await read_ranks(database, tenant)
    assert ranks is not None
    year = AS_OF - timedelta(days=365)
    last: dict[int, datetime] = {}
    orders: dict[int, int] = {}
    spent: dict[int, int] = {}
    for number, order in log:
        if order.ordered_at >= year:
            last[number] = max(order.ordered_at, last.get(number, year))
            orders[number] = orders.get(number, 0) + 1
            spent[number] = spent.get(number, 0) + order.total_amount
    days = [(AS_OF - bought).days for bought in last.values()]
    for cutoffs, values in (
        (ranks.cutoffs.recency_days, days),
        (ranks.cutoffs.frequency, list(orders.values())),
        (ranks.cutoffs.monetary, list(spent.values())),
    ):
        assert cutoffs == pytest.approx(np.quantile(values, QUINTILES), rel=1e-12)
    buyers = [row for row in rows.values() if row["rfm_status"] == "ok"]
    assert len(buyers) == len(last)
    assert {row["rfm_recency_score"] for row in buyers} == {1, 2, 3, 4, 5}


async def _check_customers(
    database: Database,
    tenant: Tenant,
    log: list[tuple[int, Order]],
    rows: dict[str, dict[str, Any]],
) -> None:
    ranks = await read_ranks(database, tenant)
    # The first ones, the last one, and some in between: every column.
    for number in (1, 2, 3, 4, 5, 111, 8_888, 23_570):
        bought = tuple(order for buyer, order in log if buyer == number)
        features = oracle.features(Customer(str(number), bought), tenant, AS_OF)
        assert_row(rows[str(number)], oracle.expected(features, tenant, ranks))
    # Customer 1 bought once, on the first day; customer 3 six times, the last on 1998-05-28.
    assert (rows["1"]["counted_orders"], rows["1"]["revenue"]) == (1, 11_77)
    assert rows["1"]["days_since_last_order"] == 546
    assert rows["1"]["lifecycle_segment"] == "lost"
    assert rows["1"]["rfm_status"] == "insufficient_data"
    assert (rows["3"]["counted_orders"], rows["3"]["days_since_last_order"]) == (6, 34)
    assert rows["3"]["churn_status"] == "ok"


async def _check_answers(
    database: Database, tenant: Tenant, rows: dict[str, dict[str, Any]]
) -> None:
    app = create_app(Settings(_env_file=None))
    app.state.database = database
    headers = {"X-API-Key": await make_key(database, tenant)}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test", headers=headers
    ) as client:
        segments = (await client.get("/api/analytics/segments")).json()["items"]
        grid = (await client.get("/api/analytics/rfm/distribution")).json()["items"]
        page = (await client.get("/api/analytics/at-risk", params={"limit": 500})).json()
    buyers = [row for row in rows.values() if row["rfm_status"] == "ok"]
    revenue = Decimal(sum(row["revenue_365d"] for row in buyers)) / 100
    assert len(segments) == 12
    for items in (segments, grid):
        assert sum(item["customers"] for item in items) == len(buyers)
        assert sum(Decimal(item["revenue"]) for item in items) == revenue
    assert sum(item["share"] for item in segments) == pytest.approx(1)
    stakes = [Decimal(item["valueAtRisk"]) for item in page["items"]]
    assert len(stakes) == 500
    assert stakes == sorted(stakes, reverse=True)
    urgent = [row["value_at_risk"] for row in rows.values() if row["churn_band"] in _URGENT]
    assert stakes[0] == Decimal(max(urgent)) / 100
    assert page["nextCursor"]


_URGENT = ("high", "critical")
