"""What statements make of criteria is what criteria mean, whoever is asked about."""

import random
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import insert, select, text

from app.database import Connection
from app.domain.criteria import (
    CircleClause,
    Clock,
    EventsClause,
    FieldClause,
    GeohashClause,
    Leaf,
    OrdersClause,
    Reading,
    TagClause,
    clock_of,
    holds,
    leaves,
)
from app.domain.criteria_document import parse_criteria
from app.domain.criteria_fields import Source
from app.domain.demographics import age
from app.domain.tenant import Tenant
from app.repositories import audience, segment_member
from app.repositories.criteria import Compiler
from app.repositories.segment_member import Asked, ListedEvaluation
from app.repositories.tables import (
    behavior_events,
    customer_analytics,
    customers,
    order_items,
    orders,
    stores,
)
from tests.domain.criteria_samples import random_criteria

NOW = datetime(2026, 3, 1, 5, tzinfo=UTC)
CUSTOMERS = 25
CRITERIA = 160
SEGMENT = 7


@dataclass(slots=True)
class _Person:
    """A customer as the test made it: rows by table, and what was bought and done."""

    sk: int
    declared: dict[str, Any]
    computed: dict[str, Any]
    orders: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)


def _maybe(chance: random.Random, *values: Any) -> Any:
    return chance.choice((None, *values))


def _moment(chance: random.Random) -> datetime:
    days = chance.choice((0.1, 0.9, 1, 1.1, 13, 14.5, 29, 30, 31, 364, 400))
    return NOW - timedelta(days=days)


def _declared(chance: random.Random, number: int) -> dict[str, Any]:
    placed = chance.random() < 0.6
    return {
        "id": f"c-{number}",
        "name": f"Name {number % 3}",
        "email": _maybe(chance, "a@example.com", "b@example.com"),
        "membership_tier": _maybe(chance, "gold", "silver"),
        "credit_limit": _maybe(chance, 0, 100_000, 150_000),
        "loyalty_points": _maybe(chance, 0, 1, 2, 3),
        "opt_in_email": chance.choice((True, False)),
        "last_known_latitude": -6.2 + chance.choice((0, 0.005, 0.2)) if placed else None,
        "last_known_longitude": 106.8 if placed else None,
        "last_location_captured_at": _maybe(chance, _moment(chance)),
        "date_of_birth": _maybe(chance, date(1990, 5, 17), date(1990, 3, 1), date(1990, 3, 2)),
        "age_estimate": _maybe(chance, 36),
        "community_tags": chance.choice(([], ["x"], ["x", "y"])),
    }


def _computed(chance: random.Random) -> dict[str, Any]:
    return {
        "revenue": chance.choice((0, 100_000, 150_000, 250_050)),
        "counted_orders": chance.choice((0, 1, 2, 3)),
        "churn_score": _maybe(chance, 0.0, 0.5, 1.0),
        "rfm_segment": _maybe(chance, "champion", "x"),
        "last_order_at": _maybe(chance, _moment(chance)),
        "next_purchase_on": _maybe(chance, date(2026, 3, 1), date(2026, 3, 20)),
        "preferred_categories": _maybe(chance, [], ["x"], ["x", "y"]),
        "average_order_value": _maybe(chance, 100_000, 250_050),
    }


_ALWAYS = {
    "as_of": NOW,
    "model_version": "m",
    "rfm_status": "ok",
    "clv_status": "ok",
    "churn_status": "ok",
    "lifecycle_segment": "new",
    "churn_reasons": [],
    "standing_since": date(2026, 1, 1),
}


async def _people(connection: Connection, tenant: Tenant, chance: random.Random) -> list[_Person]:
    """Customers with and without everything, orders, items and events."""
    store_sk = await connection.scalar(
        insert(stores).values(tenant_id=tenant.id, id="store", name="S").returning(stores.c.sk)
    )
    await connection.execute(
        text(
            "INSERT INTO delivery_zones (tenant_id, id, name, area) VALUES (:t, 'z', 'Z',"
            " ST_Multi(ST_MakeEnvelope(106, -6.21, 107, -6.19, 4326)))"
        ),
        {"t": tenant.id},
    )
    months = {NOW - timedelta(days=days) for days in (0, 2, 14, 29, 31, 60, 364, 400)}
    for month in months:
        await connection.execute(
            text("SELECT ensure_partition('behavior_events', :day)"), {"day": month.date()}
        )
    required = {
        column.name: 0
        for column in customer_analytics.c
        if not column.nullable and column.server_default is None and column.computed is None
    }
    people = []
    for number in range(CUSTOMERS):
        declared = _declared(chance, number) | {"home_store_sk": _maybe(chance, store_sk)}
        sk = await connection.scalar(
            insert(customers).values(tenant_id=tenant.id, **declared).returning(customers.c.sk)
        )
        assert sk is not None
        person = _Person(sk, declared, {})
        people.append(person)
        if number:  # the first was never scored
            person.computed = _computed(chance)
            row = required | _ALWAYS | person.computed
            row |= {"tenant_id": tenant.id, "customer_sk": sk}
            await connection.execute(insert(customer_analytics).values(row))
        for place in range(chance.randrange(4)):
            await _buy(connection, tenant, chance, person, f"o-{number}-{place}", store_sk)
        for place in range(chance.randrange(4)):
            await _do(connection, tenant, chance, person, f"e-{number}-{place}")
    return people


async def _buy(
    connection: Connection,
    tenant: Tenant,
    chance: random.Random,
    person: _Person,
    order_id: str,
    store_sk: int | None,
) -> None:
    ordered_at = chance.choice((_moment(chance), NOW + timedelta(hours=1)))
    row = {
        "status": chance.choice(("completed", "accepted", "cancelled")),
        "ordered_at": ordered_at,
        "total_amount": chance.choice((100_000, 150_001)),
        "refund_amount": chance.choice((0, 0, 100_000)),
        "store_sk": _maybe(chance, store_sk),
    }
    category = _maybe(chance, "x", "y")
    sk = await connection.scalar(
        insert(orders)
        .values(
            tenant_id=tenant.id,
            id=order_id,
            customer_sk=person.sk,
            local_at=tenant.local(ordered_at),
            **row,
        )
        .returning(orders.c.sk)
    )
    if category is not None:
        for line_no in (1, 2):
            await connection.execute(
                insert(order_items).values(
                    tenant_id=tenant.id,
                    order_sk=sk,
                    line_no=line_no,
                    product_id="p",
                    category=category,
                    quantity=1,
                    unit_price=1,
                )
            )
    person.orders.append(row | {"category": category, "sk": sk})


async def _do(
    connection: Connection, tenant: Tenant, chance: random.Random, person: _Person, event_id: str
) -> None:
    row = {
        "occurred_at": _moment(chance),
        "event_type": chance.choice(("view", "purchase")),
        "event_category": _maybe(chance, "x", "y"),
        "product_id": _maybe(chance, "x"),
        "product_category": _maybe(chance, "y"),
        "event_value": _maybe(chance, 100_000, 150_000),
        "properties": _maybe(chance, {"colour": "red"}, {"colour": "red", "size": 3, "a": []}),
    }
    await connection.execute(
        insert(behavior_events).values(
            tenant_id=tenant.id, id=event_id, customer_sk=person.sk, **row
        )
    )
    person.events.append(row)


def _observed(  # noqa: PLR0911 - one for each kind
    leaf: Leaf, person: _Person, clock: Clock, seen: dict[Leaf, Reading]
) -> Reading:
    """The reading as the test's own rows have it; of places, the database's."""
    match leaf:
        case FieldClause(field=asked):
            if asked.name == "age":
                declared = person.declared
                return age(clock.today, declared["date_of_birth"], declared["age_estimate"])
            if asked.name == "homeStoreId":
                return None if person.declared["home_store_sk"] is None else "store"
            rows = person.declared if asked.source is Source.CUSTOMER else person.computed
            value: Reading = rows.get(asked.column)
            return value
        case OrdersClause():
            return _of_orders(leaf, person, clock)
        case EventsClause():
            return _of_events(leaf, person, clock)
        case TagClause():
            tags: list[str] = person.declared["community_tags"]
            return tags
        case _:
            return seen[leaf]


def _of_orders(clause: OrdersClause, person: _Person, clock: Clock) -> Reading:
    found = []
    for order in person.orders:
        sold = order["status"] in ("accepted", "completed")
        refunded = order["refund_amount"] >= order["total_amount"]
        by_status = order["status"] in clause.statuses
        chosen = by_status if clause.statuses else sold and not refunded
        if clause.category is not None:
            chosen = chosen and order["category"] == clause.category
        if clause.store is not None:
            chosen = chosen and order["store_sk"] is not None and clause.store == "store"
        if chosen and _in_time(order["ordered_at"], clause, clock):
            found.append(order["total_amount"] - order["refund_amount"] if sold else 0)
    if clause.measure == "count":
        return len(found)
    if clause.measure == "sum":
        return sum(found)
    return Decimal(sum(found)) / len(found) if found else None


def _of_events(clause: EventsClause, person: _Person, clock: Clock) -> Reading:
    found = [
        event["event_value"] or 0
        for event in person.events
        if (not clause.types or event["event_type"] in clause.types)
        and clause.category in (None, event["event_category"])
        and clause.product in (None, event["product_id"])
        and clause.product_category in (None, event["product_category"])
        and dict(clause.properties).items()
        <= {name: value for name, value in (event["properties"] or {}).items() if value}.items()
        and _in_time(event["occurred_at"], clause, clock)
    ]
    return len(found) if clause.measure == "count" else sum(found)


def _in_time(moment: datetime, clause: OrdersClause | EventsClause, clock: Clock) -> bool:
    since = clock.ago(clause.within) if clause.within else datetime.min.replace(tzinfo=UTC)
    return since <= moment <= clock.as_of


def _comparable(reading: Reading) -> Reading:
    return round(reading, 6) if isinstance(reading, Decimal) else reading


async def test_statements_and_meaning_agree(connection: Connection, tenant: Tenant) -> None:
    chance = random.Random(20260301)
    people = await _people(connection, tenant, chance)
    clock = clock_of(tenant, NOW)
    checked = {True: 0, False: 0}
    for number in range(CRITERIA):
        document = random_criteria(chance)
        criteria = parse_criteria(document, tenant)
        expected = set()
        for person in people:
            seen = await audience.read_customer(
                connection, tenant.id, clock, criteria, Compiler(), customer_sk=person.sk
            )
            readings = {leaf: _observed(leaf, person, clock, seen) for _, leaf in leaves(criteria)}
            assert {leaf: _comparable(each) for leaf, each in seen.items()} == {
                leaf: _comparable(each) for leaf, each in readings.items()
            }, document
            verdict = holds(criteria, readings, clock)
            checked[verdict] += 1
            if verdict:
                expected.add(person.sk)
        asked = [Asked(number, criteria)]
        half = {person.sk for person in people[::2]}
        listed = ListedEvaluation(asked, Compiler(), queues=False)
        await listed.run(connection, tenant.id, clock, half)
        assert await _present(connection, number) == expected & half, document
        await segment_member.evaluate_everybody(
            connection, tenant.id, clock, asked, Compiler(), segment_sks=[number]
        )
        assert await _present(connection, number) == expected, document
    # The samples tell something: neither everybody nor nobody.
    assert min(checked.values()) > CRITERIA * CUSTOMERS / 5


async def _present(connection: Connection, segment_sk: int) -> set[int]:
    rows = await connection.execute(
        text("SELECT customer_sk FROM segment_members WHERE segment_sk = :sk AND left_at IS NULL"),
        {"sk": segment_sk},
    )
    return set(rows.scalars())


async def test_many_segments_in_one_statement_are_those_one_by_one(
    connection: Connection, tenant: Tenant
) -> None:
    chance = random.Random(42)
    await _people(connection, tenant, chance)
    clock = clock_of(tenant, NOW)
    asked = [Asked(number, parse_criteria(random_criteria(chance), tenant)) for number in range(30)]
    sks = [each.segment_sk for each in asked]
    await segment_member.evaluate_everybody(
        connection, tenant.id, clock, asked, Compiler(), segment_sks=sks
    )
    together = {sk: await _present(connection, sk) for sk in sks}
    sizes = await connection.execute(
        text("SELECT segment_sk, sum(members) FROM segment_sizes GROUP BY segment_sk")
    )
    assert {sk: int(size) for sk, size in sizes} == {
        sk: len(found) for sk, found in together.items() if found
    }
    everybody = (await connection.execute(select(customers.c.sk))).scalars().all()
    await connection.execute(text("DELETE FROM segment_members"))
    for each in asked:
        alone = ListedEvaluation([each], Compiler(), queues=False)
        await alone.run(connection, tenant.id, clock, everybody)
    assert {sk: await _present(connection, sk) for sk in sks} == together
    # Whom nothing asks for any more leaves.
    await segment_member.evaluate_everybody(
        connection, tenant.id, clock, [], Compiler(), segment_sks=sks
    )
    assert not any([await _present(connection, sk) for sk in sks])
    left = await connection.scalar(text("SELECT sum(members) FROM segment_sizes"))
    assert left == 0


async def test_circles_and_geohashes_read_the_last_known_place(
    connection: Connection, tenant: Tenant
) -> None:
    sk = await connection.scalar(
        insert(customers)
        .values(
            tenant_id=tenant.id,
            id="c",
            name="C",
            last_known_latitude=-6.2,
            last_known_longitude=106.8,
        )
        .returning(customers.c.sk)
    )
    assert sk is not None
    circle = CircleClause(latitude=-6.2, longitude=106.81, metres=1)
    cell = GeohashClause("qqg")
    clock = clock_of(tenant, NOW)
    for leaf in (circle, cell):
        found = await audience.read_customer(
            connection, tenant.id, clock, leaf, Compiler(), customer_sk=sk
        )
        if leaf is circle:
            distance = found[leaf]
            assert isinstance(distance, float)
            assert abs(distance - 1_106) < 2  # a hundredth of a degree at 6.2 degrees south
        else:
            assert str(found[leaf]).startswith("qqg")
