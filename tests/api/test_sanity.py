"""The verifications: all pass on a sound tenant, and each notices what it is there for."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.database import Connection, Database
from app.domain.sanity import VERIFICATIONS, Check, passed
from app.domain.scoring_run import RunMode
from app.domain.tenant import Tenant
from app.services import tenancy
from app.services.sanity import check_tenant
from app.services.scoring import run_scores
from tests.factories import make_customer, make_order, make_tenant

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
NAMES = [each.name for each in VERIFICATIONS]

#: Statements that break one thing each, and the verifications that have to notice.
BREAKS = {
    "a count": ("UPDATE customer_analytics SET total_orders = 99", {"counts"}),
    "a counted order too few": (
        "UPDATE customer_analytics SET counted_orders = counted_orders - 1"
        " WHERE counted_orders > 1",
        {"counts"},
    ),
    "the first order": (
        "UPDATE customer_analytics SET first_order_at = first_order_at - interval '1 second'",
        {"first_counted_order"},
    ),
    "the revenue": ("UPDATE customer_analytics SET revenue = revenue + 1", {"revenue"}),
    "the average": (
        "UPDATE customer_analytics SET average_order_value = average_order_value + 1",
        {"averages"},
    ),
    "a score out of range": (
        "UPDATE customer_analytics SET churn_score = 1.5",
        {"scores_in_range"},
    ),
    "an unknown segment": (
        "UPDATE customer_analytics SET rfm_segment = 'royalty' WHERE rfm_segment IS NOT NULL",
        {"scores_in_range"},
    ),
    "an RFM score": (
        "UPDATE customer_analytics SET rfm_recency_score = 6 - rfm_recency_score,"
        " rfm_code = ((6 - rfm_recency_score) * 100 + rfm_frequency_score * 10"
        " + rfm_monetary_score)::text WHERE rfm_recency_score <> 3",
        {"rfm_cutoffs"},
    ),
    "the cutoffs": (
        "UPDATE rfm_cutoffs SET monetary_cutoffs = '{0,0,0,0}'",
        {"rfm_cutoffs"},
    ),
    "a segment that is missing": (
        "UPDATE customer_analytics SET rfm_segment = NULL",
        {"segments_sum"},
    ),
    "the totals of a segment": (
        "UPDATE population_totals SET customers = customers + 1 WHERE figure = 'lifecycle'",
        {"segments_sum"},
    ),
    "the sales of a day": (
        "UPDATE sales_days SET revenue = revenue + 1",
        {"sales_days"},
    ),
    "the customers in a cell of the map": (
        "UPDATE place_totals SET customers = customers + 1 WHERE zoom = 14",
        {"place_totals"},
    ),
    "a cell of the map that nobody is in": (
        "INSERT INTO place_totals (tenant_id, zoom, code, x, y, customers)"
        " SELECT id, 10, 0, 0, 0, 1 FROM tenants",
        {"place_totals"},
    ),
    "a place that was not counted": (
        "DELETE FROM place_totals",
        {"place_totals"},
    ),
    "other rules": (
        "UPDATE customer_analytics SET model_version = 'retail-0'",
        {"no_stale_rows"},
    ),
    "an order that was not reflected": (
        "INSERT INTO orders (tenant_id, id, customer_sk, status, ordered_at, local_at,"
        " total_amount, recorded_at) SELECT tenant_id, 'late', sk, 'pending',"
        " clock_timestamp(), clock_timestamp() AT TIME ZONE 'UTC', 1,"
        " clock_timestamp() FROM customers WHERE id = 'cus-0'",
        {"no_stale_rows"},
    ),
    "an old order that was not reflected": (
        "INSERT INTO orders (tenant_id, id, customer_sk, status, ordered_at, local_at,"
        " total_amount) SELECT tenant_id, 'late', sk, 'pending',"
        " now() - interval '50 days', now() AT TIME ZONE 'UTC', 1"
        " FROM customers WHERE id = 'cus-0'",
        {"counts"},
    ),
    "a customer without a row": (
        "INSERT INTO customers (tenant_id, id, name) SELECT id, 'new', 'New' FROM tenants",
        {"all_scored"},
    ),
}


async def sound(database: Database, tenant: Tenant, as_of: datetime = NOW) -> None:
    """Six customers, one of them without an order, scored; two of them somewhere."""
    for number in range(6):
        place = {"last_known_latitude": -6.2 + number, "last_known_longitude": 106.8}
        await make_customer(database, tenant, f"cus-{number}", **(place if number < 2 else {}))
        for order in range(number):
            await make_order(
                database, tenant, f"cus-{number}", f"ord-{number}-{order}",
                ordered_at=NOW - (10 + 17 * order + 5 * number) * DAY,
                total_amount=100_01 * (number + order),
            )  # fmt: skip
    # Credit notes, refunds and what never counted are in the figures, too.
    await make_order(
        database, tenant, "cus-2", "back", ordered_at=NOW - 3 * DAY, refund_amount=250_000_00
    )
    await make_order(
        database, tenant, "cus-3", "credit", ordered_at=NOW - 2 * DAY, status="refunded",
        total_amount=-50_00,
    )  # fmt: skip
    await make_order(database, tenant, "cus-4", "ahead", ordered_at=NOW + 2 * DAY)
    await run_scores(database, tenant, mode=RunMode.FULL, as_of=as_of)


async def execute(database: Database, tenant: Tenant, statement: str) -> None:
    async with database.tenant_transaction(tenant.id) as connection:
        assert (await connection.execute(text(statement))).rowcount > 0


async def failed(database: Database, tenant: Tenant, now: datetime | None = None) -> set[str]:
    result = await check_tenant(database, tenant, now=now or datetime.now(UTC))
    assert [check.name for check in result.checks] == NAMES
    assert result.passed == passed(result.checks)
    return {check.name for check in result.checks if not check.passed}


async def test_everything_passes_on_a_sound_tenant(database: Database, tenant: Tenant) -> None:
    await sound(database, tenant)
    other = await make_tenant(database, "other")
    await make_customer(database, other, "elsewhere")
    result = await check_tenant(database, tenant, now=datetime.now(UTC))
    assert [check for check in result.checks if not check.passed] == []
    figures = {check.name: check.figure for check in result.checks}
    assert figures["counts"] == figures["all_scored"] == 6
    assert figures["segments_sum"] == 5
    assert figures["sales_days"] > 5
    assert figures["place_totals"] == 2 * 3
    assert figures["no_orphans"] > 6 + 17
    assert await failed(database, other) == {"all_scored"}


async def test_everything_passes_on_an_empty_tenant(database: Database, tenant: Tenant) -> None:
    assert await failed(database, tenant) == set()


@pytest.mark.parametrize("what", BREAKS)
async def test_what_is_broken_is_noticed_by_name(
    database: Database, tenant: Tenant, what: str
) -> None:
    await sound(database, tenant)
    statement, expected = BREAKS[what]
    await execute(database, tenant, statement)
    assert await failed(database, tenant) == expected


async def test_a_pinned_log_ends_where_it_ends(database: Database) -> None:
    pinned = NOW - 30 * DAY
    tenant = await make_tenant(
        database, "closed", profile={"preset": "commerce", "asOf": pinned.isoformat()}
    )
    await sound(database, tenant, as_of=pinned)
    assert await failed(database, tenant) == set()


async def test_fixed_cutoffs_are_those_of_the_profile(database: Database, tenant: Tenant) -> None:
    fixed = {
        "recencyDays": [7, 30, 60, 90],
        "frequency": [1, 2, 3, 4],
        "monetary": [100, 200, 300, 400],
    }
    async with database.tenant_transaction(tenant.id) as connection:
        changed = await tenancy.change_profile(
            connection, tenant, {"preset": "retail", "cutoffs": fixed}
        )
    await sound(database, changed)
    assert await failed(database, changed) == set()
    await execute(
        database, tenant, "UPDATE customer_analytics SET rfm_monetary = 0 WHERE rfm_monetary > 0"
    )
    assert await failed(database, changed) >= {"rfm_cutoffs"}


async def test_scores_from_outside_are_not_held_to_our_cutoffs(
    database: Database, tenant: Tenant
) -> None:
    await sound(database, tenant)
    await execute(
        database, tenant,
        "UPDATE customer_analytics SET rfm_frequency_score = 6 - rfm_frequency_score,"
        " rfm_code = NULL, external_scores = '{rfm}'",
    )  # fmt: skip
    assert await failed(database, tenant) == set()


async def _without_keys(connection: Connection, statement: str) -> None:
    """As the owner of the database, with its keys looking away."""
    for each in (
        "SET LOCAL ROLE NONE",
        "SET LOCAL session_replication_role = replica",
        statement,
        "SET LOCAL session_replication_role = origin",
        "SET LOCAL ROLE bps_app",
    ):
        await connection.execute(text(each))


@pytest.mark.parametrize(
    ("statement", "orphan"),
    [
        ("DELETE FROM customers WHERE id = 'cus-0'", "customer_terms:cus"),
        ("DELETE FROM customers WHERE id = 'cus-1'", "customer_analytics:"),
        ("UPDATE orders SET customer_sk = 987654321 WHERE id = 'ord-1-0'", "orders:ord-1-0"),
        (
            "INSERT INTO order_items (tenant_id, order_sk, line_no, product_id, quantity,"
            " unit_price) SELECT id, 987654321, 1, 'p', 1, 1 FROM tenants",
            "order_items:987654321",
        ),
    ],
)
async def test_orphans_are_found_whatever_the_keys_say(
    database: Database, tenant: Tenant, statement: str, orphan: str
) -> None:
    await sound(database, tenant)
    async with database.tenant_transaction(tenant.id) as connection:
        await _without_keys(connection, statement)
    result = await check_tenant(database, tenant, now=datetime.now(UTC))
    [check] = [each for each in result.checks if each.name == "no_orphans"]
    assert not check.passed
    assert any(each.startswith(orphan) for each in check.examples)


async def test_the_last_result_is_served(
    client: httpx.AsyncClient, database: Database, tenant: Tenant
) -> None:
    answer = await client.get("/api/admin/sanity")
    assert answer.json() == {"checkedAt": None, "passed": None, "checks": []}
    await sound(database, tenant)
    await check_tenant(database, tenant, now=datetime.now(UTC))
    assert (await client.get("/api/admin/sanity")).json()["passed"] is True
    await execute(database, tenant, "UPDATE customer_analytics SET revenue = revenue + 1")
    await check_tenant(database, tenant, now=datetime.now(UTC))
    served = (await client.get("/api/admin/sanity")).json()
    assert served["passed"] is False
    assert served["checkedAt"]
    checks: dict[str, dict[str, Any]] = {each["name"]: each for each in served["checks"]}
    assert list(checks) == NAMES
    revenue = checks["revenue"]
    assert (revenue["figure"], revenue["offenders"], revenue["passed"]) == (6, 6, False)
    assert len(set(revenue["examples"]) & {f"cus-{number}" for number in range(6)}) == 5
    assert revenue["expectation"]
    rough = (await client.get("/api/admin/sanity", params={"anonymize": "true"})).json()
    [anonymous] = [each for each in rough["checks"] if each["name"] == "revenue"]
    assert not set(anonymous["examples"]) & set(revenue["examples"])


async def test_cells_of_the_map_are_named_roughly(database: Database, tenant: Tenant) -> None:
    await sound(database, tenant)
    await execute(database, tenant, "UPDATE place_totals SET customers = 2 WHERE y % 2 = 0")
    result = await check_tenant(database, tenant, now=datetime.now(UTC))
    [check] = [each for each in result.checks if each.name == "place_totals"]
    assert set(check.examples) <= {"10/815/529", "10/815/526"}
    assert check.offenders >= len(check.examples) >= 1


def test_one_offender_is_enough_to_fail() -> None:
    sane = [Check(name, 10, 0, ()) for name in NAMES]
    assert passed(sane)
    assert not passed([*sane, Check("counts", 10, 1, ("cus-1",))])
