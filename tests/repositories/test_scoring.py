"""The scores in PostgreSQL are the scalar rules, for whoever bought whatever whenever."""

from dataclasses import astuple
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from app.database import Database
from app.domain.behaviour import WINDOWS
from app.domain.feedback import SCORES, FeedbackKind
from app.domain.order import OrderStatus, PaymentMethod
from app.domain.scoring_run import RunMode
from app.domain.tenant import Tenant
from app.services.scoring import run_scores
from tests import scoring_oracle as oracle
from tests.factories import make_tenant
from tests.scoring_oracle import Contact, Customer, Item, Opinion, Order, Ranks, window_start
from tests.scoring_rows import STORES, read_ranks, read_rows, record, scores

MINUTE = timedelta(minutes=1)
TICK = timedelta(microseconds=1)

AMOUNTS = (0, 1, 2, 3, 5, 99, 100, 12_345, 10_000_00, 20_001, 75_000_00, 400_000_000)
FIXED = {
    "recencyDays": [7, 30, 30, 180],
    "frequency": [1, 2, 3, 5],
    "monetary": [0, 1.5, 100, 10_000],
}

#: A preset each, with the zones, currencies and changes that are easiest to get wrong.
TENANTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "retail": ("Asia/Jakarta", "IDR", {"influence": {"referralNorm": 2, "revenueNorm": 150_000}}),
    "ticketing": ("America/Los_Angeles", "USD", {"windowDays": 90}),
    "commerce": ("Europe/Berlin", "JPY", {}),
    "appointments": ("Australia/Lord_Howe", "KWD", {"lifecycle": {"vipSpend": 10}}),
    "retail, fixed": ("Asia/Kolkata", "USD", {"cutoffs": FIXED, "windowDays": 400}),
    "commerce, fixed": ("Pacific/Tongatapu", "KWD", {"cutoffs": FIXED}),
}

#: The days after clocks went forward or back somewhere, and one without.
AS_OF = [
    datetime(2026, 3, 8, 20, 30, tzinfo=UTC),
    datetime(2026, 4, 10, 10, 0, tzinfo=UTC),
    datetime(2026, 10, 26, 0, 30, tzinfo=UTC),
    datetime(2026, 11, 24, 1, 30, tzinfo=UTC),
]


@st.composite
def order_instants(draw: DrawFn, tenant: Tenant, as_of: datetime) -> datetime:
    """Any time in the last two years and a little ahead, the ends of windows above all."""
    if draw(st.booleans()):
        return as_of - MINUTE * draw(st.integers(-120, 150_000) | st.integers(0, 1_100_000))
    days = draw(st.sampled_from([0, *WINDOWS, tenant.profile.window_days]))
    bound = window_start(tenant, as_of, days).astimezone(UTC)
    return bound + draw(st.sampled_from([-TICK, timedelta(0), TICK, -25 * 60 * MINUTE]))


items = st.builds(
    Item,
    category=st.sampled_from([None, "toys", "Toys", "apparel", "books", "ärzte", "z"]),
    brand=st.sampled_from([None, "Kiko", "abc", "ABC"]),
    quantity=st.sampled_from([Decimal(1), Decimal(2), Decimal("0.5"), Decimal("1.5")]),
)


@st.composite
def order(draw: DrawFn, tenant: Tenant, as_of: datetime) -> Order:
    sold = [OrderStatus.COMPLETED, OrderStatus.ACCEPTED]
    status = draw(st.sampled_from([*sold * 3, *OrderStatus]))
    total = draw(st.sampled_from(AMOUNTS))
    if status == OrderStatus.REFUNDED and draw(st.booleans()):
        total = -total
    refund = draw(st.sampled_from([0, 0, 0, 1, max(total, 0) // 2, max(total, 0)]))
    return Order(
        ordered_at=draw(order_instants(tenant, as_of)),
        status=status,
        total_amount=total,
        refund_amount=min(refund, max(total, 0)),
        discount_amount=draw(st.sampled_from([0, 0, 5])),
        payment_method=draw(st.sampled_from([None, *(m.value for m in PaymentMethod)])),
        item_count=draw(st.sampled_from([None, 0, 1, 3])),
        notes=draw(st.sampled_from([None, None, "", "gift, ‘wrapped’", "late"])),
        store_sk=draw(st.sampled_from([None, *STORES])),
        items=tuple(draw(st.lists(items, max_size=2))),
    )


@st.composite
def populations(draw: DrawFn, tenant: Tenant, as_of: datetime) -> list[Customer]:
    drawn = draw(st.lists(st.lists(order(tenant, as_of), max_size=7), min_size=1, max_size=16))
    tiers = st.sampled_from([None, "gold"])
    made: list[Customer] = []
    for number, orders in enumerate(drawn):
        earlier = [None, None, *(customer.id for customer in made)]
        made.append(
            Customer(
                f"cus-{number}",
                tuple(orders),
                draw(tiers),
                contacts=tuple(draw(st.lists(contact(tenant, as_of), max_size=5))),
                opinions=tuple(draw(st.lists(opinion(tenant, as_of), max_size=4))),
                referred_by=draw(st.sampled_from(earlier)),
                loyalty_points=draw(st.sampled_from([None, 0, 120])),
                gender=draw(st.sampled_from([None, "female"])),
                date_of_birth=draw(st.none() | births(tenant.local_day(as_of))),
                age_estimate=draw(st.sampled_from([None, 17, 18, 25, 26, 46])),
            )
        )
    return made


@st.composite
def contact(draw: DrawFn, tenant: Tenant, as_of: datetime) -> Contact:
    sent_at = draw(order_instants(tenant, as_of))
    waited = draw(st.sampled_from([None, None, timedelta(0), MINUTE, timedelta(days=3)]))
    return Contact(
        sent_at,
        draw(st.sampled_from(["whatsapp", "email", "phone", "visit"])),
        None if waited is None else sent_at + waited,
    )


@st.composite
def opinion(draw: DrawFn, tenant: Tenant, as_of: datetime) -> Opinion:
    kind = draw(st.sampled_from(FeedbackKind))
    bounds = SCORES.get(kind)
    return Opinion(
        draw(order_instants(tenant, as_of)), kind, draw(st.integers(*bounds)) if bounds else None
    )


@st.composite
def births(draw: DrawFn, today: date) -> date:
    """Birthdays around the as-of, on the ages where a group begins, and on leap days."""
    if draw(st.booleans()):
        return date(draw(st.sampled_from([1980, 2000, 2004])), 2, 29)
    years = draw(st.sampled_from([-1, 0, 18, 26, 36, 46, 80]))
    return date(today.year - years, today.month, min(today.day, 28)) + timedelta(
        days=draw(st.sampled_from([-1, 0, 1, 200]))
    )


slugs = (f"tenant-{number}" for number in count())


async def check(database: Database, tenant: Tenant, made: list[Customer], as_of: datetime) -> None:
    """Score everybody and hold every column of every customer against the oracle."""
    await run_scores(database, tenant, mode=RunMode.FULL, as_of=as_of)
    await compare(database, tenant, made, as_of)


async def compare(
    database: Database, tenant: Tenant, made: list[Customer], as_of: datetime
) -> None:
    rows = await read_rows(database, tenant)
    stored = await read_ranks(database, tenant)
    features = oracle.population(made, tenant, as_of)
    assert_ranks(stored, oracle.ranks(list(features.values())))
    assert set(rows) == set(features)
    for identity, row in rows.items():
        assert_row(row, oracle.expected(features[identity], tenant, stored))
        assert row["as_of"] == as_of


def assert_ranks(stored: Ranks | None, expected: Ranks | None) -> None:
    if stored is None or expected is None:
        assert stored is expected
        return
    for found, wanted in zip(astuple(stored)[1:], astuple(expected)[1:], strict=True):
        assert found == pytest.approx(wanted, rel=1e-12)
    for found, wanted in zip(astuple(stored.cutoffs), astuple(expected.cutoffs), strict=True):
        assert found == pytest.approx(wanted, rel=1e-12)


def assert_row(row: dict[str, Any], expected: dict[str, Any]) -> None:
    found = scores(row)
    assert set(found) == set(expected)
    differing = {
        name: (found[name], wanted)
        for name, wanted in expected.items()
        if found[name]
        != (pytest.approx(wanted, rel=1e-12) if isinstance(wanted, float) else wanted)
    }
    assert not differing


@pytest.mark.parametrize("name", TENANTS)
@settings(
    max_examples=15,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # a failure names its columns; shrinking it would take minutes
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
async def test_the_scores_are_the_scalar_rules(
    fresh_database: Database, name: str, data: st.DataObject
) -> None:
    zone, currency, changes = TENANTS[name]
    tenant = await make_tenant(
        fresh_database,
        next(slugs),
        timezone=zone,
        currency=currency,
        profile={"preset": name.split(",", maxsplit=1)[0], **changes},
    )
    as_of = data.draw(st.sampled_from(AS_OF))
    made = data.draw(populations(tenant, as_of))
    await record(fresh_database, tenant, made)
    await check(fresh_database, tenant, made, as_of)


async def test_names_are_compared_by_code_point_in_any_database(
    fresh_database: Database, fresh_database_url: str
) -> None:
    owner = await asyncpg.connect(fresh_database_url)
    for column in ("category", "brand"):
        await owner.execute(f'ALTER TABLE order_items ALTER {column} TYPE text COLLATE "en-x-icu"')
    await owner.close()
    tenant = await make_tenant(fresh_database)
    names = ("books", "Toys", "ärzte", "apparel")
    bought = tuple(Item(name, name, Decimal(1)) for name in names)
    made = [Customer("cus-1", (Order(AS_OF[0] - MINUTE, items=bought),))]
    await record(fresh_database, tenant, made)
    await check(fresh_database, tenant, made, AS_OF[0])
    [row] = (await read_rows(fresh_database, tenant)).values()
    assert row["preferred_brands"] == ["Toys", "apparel", "books"]
