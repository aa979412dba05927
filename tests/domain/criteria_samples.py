"""Random criteria, of every kind of clause, about values that customers are likely to have."""

import random
from typing import Any

from app.domain.criteria_fields import FIELDS, OPERATORS, Kind, Operator

#: Fields that the customers of the tests have values in.
SAMPLED = [
    name
    for line in (
        "name email membershipTier creditLimit loyaltyPoints optInEmail lastKnownLatitude",
        "lastLocationCapturedAt dateOfBirth age communityTags homeStoreId revenue countedOrders",
        "churnScore rfmSegment lastOrderAt nextPurchaseOn preferredCategories averageOrderValue",
    )
    for name in line.split()
]
_TEXTS = ("gold", "silver", "Name 1", "Name 2", "a@example.com", "x", "y", "store", "champion")
_DURATIONS = ("P1D", "P30D", "P1M", "P1Y", "P40Y", "PT36H", "P2W")
_DAYS = ("1990-05-17", "2026-01-31", "2024-02-29")
_INSTANTS = ("2026-01-31T10:00:00Z", "2026-02-20T23:30:00+07:00", "2025-12-01")
_NUMBERS = (-6.2, 0, 0.5, 1, 2, 3, 30)


def random_criteria(chance: random.Random, depth: int = 0) -> dict[str, Any]:
    """A document that `parse_criteria` takes."""
    kind = chance.randrange(10) if depth < 3 else chance.randrange(3, 10)
    if kind < 2:
        name = ("all", "any")[kind]
        return {name: [random_criteria(chance, depth + 1) for _ in range(chance.randint(1, 3))]}
    if kind == 2:
        return {"not": random_criteria(chance, depth + 1)}
    if kind < 7:
        return _field(chance)
    if kind == 7:
        return {"orders": _orders(chance)}
    if kind == 8:
        return {"events": _events(chance)}
    return chance.choice(
        [
            {"tag": chance.choice(_TEXTS)},
            {"place": {"zone": chance.choice(["z", "nowhere"])}},
            {"place": {"geohash": chance.choice(["qqg", "q", "u0"])}},
            {
                "place": {
                    "within": {
                        "latitude": -6.2,
                        "longitude": 106.8,
                        "metres": chance.choice([0, 1_000, 50_000]),
                    }
                }
            },
        ]
    )


def _field(chance: random.Random) -> dict[str, Any]:
    field = FIELDS[chance.choice(SAMPLED)]
    count = min(chance.choice((1, 1, 2)), len(OPERATORS[field.kind]))
    operators = chance.sample(OPERATORS[field.kind], count)
    return {
        "field": field.name,
        **{str(operator): _operand(chance, operator, field.kind) for operator in operators},
    }


def _operand(chance: random.Random, operator: Operator, kind: Kind) -> Any:
    if operator is Operator.EXISTS:
        return chance.choice((True, False))
    if operator in (Operator.WITHIN, Operator.WITHIN_NEXT):
        return chance.choice(_DURATIONS)
    if operator in (Operator.IN, Operator.NOT_IN):
        return [_scalar(chance, kind) for _ in range(chance.randint(1, 3))]
    relative = kind in (Kind.INSTANT, Kind.DAY) and operator not in (Operator.EQ, Operator.NE)
    if relative and chance.random() < 0.5:
        return chance.choice(_DURATIONS)
    return _scalar(chance, kind)


def _scalar(chance: random.Random, kind: Kind) -> Any:  # noqa: PLR0911 - one for each kind
    match kind:
        case Kind.TEXT | Kind.TEXTS:
            return chance.choice(_TEXTS)
        case Kind.INTEGER:
            return chance.choice((0, 1, 2, 3, 36))
        case Kind.NUMBER:
            return chance.choice(_NUMBERS)
        case Kind.MONEY:
            return chance.choice(("0", "1000.00", 1500, 2500.5))
        case Kind.BOOLEAN:
            return chance.choice((True, False))
        case Kind.INSTANT:
            return chance.choice(_INSTANTS)
        case Kind.DAY:
            return chance.choice(_DAYS)


def _orders(chance: random.Random) -> dict[str, Any]:
    measure = chance.choice(("count", "sum", "average"))
    kind = Kind.INTEGER if measure == "count" else Kind.MONEY
    operator = chance.choice(OPERATORS[kind])
    parts: dict[str, Any] = {measure: {str(operator): _operand(chance, operator, kind)}}
    return parts | _some(
        chance,
        within=chance.choice(_DURATIONS),
        status=chance.choice(["cancelled", "completed", ["completed", "cancelled"]]),
        category=chance.choice(_TEXTS),
        store=chance.choice(["store", "nowhere"]),
    )


def _events(chance: random.Random) -> dict[str, Any]:
    measure = chance.choice(("count", "sum"))
    kind = Kind.INTEGER if measure == "count" else Kind.MONEY
    operator = chance.choice(OPERATORS[kind])
    parts: dict[str, Any] = {measure: {str(operator): _operand(chance, operator, kind)}}
    return parts | _some(
        chance,
        within=chance.choice(_DURATIONS),
        type=chance.choice(["view", "purchase", ["view", "purchase"]]),
        category=chance.choice(_TEXTS),
        product=chance.choice(_TEXTS),
        productCategory=chance.choice(_TEXTS),
        properties=chance.choice([{"colour": "red"}, {"colour": "red", "size": 3}]),
    )


def _some(chance: random.Random, **parts: Any) -> dict[str, Any]:
    return {name: value for name, value in parts.items() if chance.random() < 0.3}
