"""Criteria of segments: what they are, and what they mean.

A criterion is a tree of `all`, `any` and `not` over clauses. Each clause makes one observation of a
customer (a field, a count of orders, a distance …), and tests it. Nothing is unknown: a test of a
value that is not there fails, but for `ne`, `notIn` and `exists`, so `not` means the others.

The observation is made by a statement (`app.repositories.criteria`), its test is said here and
there; `holds` is the meaning that statements are held to.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from operator import ge, gt, le, lt
from zoneinfo import ZoneInfo

from app.domain.criteria_fields import Field, Operator, Source
from app.domain.duration import Duration
from app.domain.tenant import Tenant

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: A value as a test holds it: amounts in minor units, a Duration for so long ago.
Value = str | int | float | bool | date | datetime | Duration | tuple[str | int | float, ...]
#: What was observed of a customer; None where there is nothing.
Reading = str | int | float | bool | date | datetime | Decimal | Sequence[str] | None


@dataclass(frozen=True, slots=True)
class Test:
    """One comparison."""

    operator: Operator
    value: Value


@dataclass(frozen=True, slots=True)
class FieldClause:
    """A field of the customer passes all tests."""

    field: Field
    tests: tuple[Test, ...]


@dataclass(frozen=True, slots=True)
class OrdersClause:
    """A figure over some of the customer's orders passes all tests.

    `measure` is count, sum or average of the net amounts. Without `statuses` the counted orders
    are meant. `category` asks for a line of it, `store` is the id of a store.
    """

    measure: str
    tests: tuple[Test, ...]
    within: Duration | None = None
    statuses: tuple[str, ...] = ()
    category: str | None = None
    store: str | None = None


@dataclass(frozen=True, slots=True)
class EventsClause:
    """A figure over some of the customer's behaviour events passes all tests.

    `measure` is count, or sum of the values. `properties` are equal to those of the event.
    """

    measure: str
    tests: tuple[Test, ...]
    within: Duration | None = None
    types: tuple[str, ...] = ()
    category: str | None = None
    product: str | None = None
    product_category: str | None = None
    properties: tuple[tuple[str, str | int | float | bool], ...] = ()


@dataclass(frozen=True, slots=True)
class CircleClause:
    """The customer was last seen at most so many metres from a point."""

    latitude: float
    longitude: float
    metres: float


@dataclass(frozen=True, slots=True)
class ZoneClause:
    """The customer was last seen in a delivery zone."""

    zone: str


@dataclass(frozen=True, slots=True)
class GeohashClause:
    """The customer was last seen in the cell of a geohash."""

    prefix: str


@dataclass(frozen=True, slots=True)
class SegmentClause:
    """The customer is a member of another segment."""

    segment: str


@dataclass(frozen=True, slots=True)
class CohortClause:
    """The customer is a member of a cohort."""

    cohort: str


@dataclass(frozen=True, slots=True)
class TagClause:
    """The customer has a tag."""

    tag: str


Leaf = (
    FieldClause
    | OrdersClause
    | EventsClause
    | CircleClause
    | ZoneClause
    | GeohashClause
    | SegmentClause
    | CohortClause
    | TagClause
)


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every clause holds; so it does of none."""

    clauses: tuple["Criteria", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one clause holds."""

    clauses: tuple["Criteria", ...]


@dataclass(frozen=True, slots=True)
class NotOf:
    """The clause does not hold."""

    clause: "Criteria"


Criteria = AllOf | AnyOf | NotOf | Leaf


@dataclass(frozen=True, slots=True)
class Clock:
    """The instant that criteria are evaluated for, and the clock that days are counted on."""

    as_of: datetime
    zone: ZoneInfo

    @property
    def today(self) -> date:
        """The tenant's day."""
        return self.day(self.as_of)

    def day(self, instant: datetime) -> date:
        """The tenant's day at `instant`."""
        return instant.astimezone(self.zone).date()

    def ago(self, duration: Duration) -> datetime:
        """The instant so long before."""
        return duration.before(self.as_of, self.zone)

    def ahead(self, duration: Duration) -> datetime:
        """The instant so long after."""
        return duration.after(self.as_of, self.zone)


def clock_of(tenant: Tenant, now: datetime) -> Clock:
    """The tenant's clock; a closed log stands still."""
    return Clock(tenant.as_of(now), ZoneInfo(tenant.timezone))


# --- Meaning ----------------------------------------------------------------------------------


def leaves(criteria: Criteria, pointer: str = "") -> Iterator[tuple[str, Leaf]]:
    """The clauses with their JSON pointers into the normalised document, in its order."""
    match criteria:
        case AllOf(clauses) | AnyOf(clauses):
            name = "all" if isinstance(criteria, AllOf) else "any"
            for index, clause in enumerate(clauses):
                yield from leaves(clause, f"{pointer}/{name}/{index}")
        case NotOf(clause):
            yield from leaves(clause, f"{pointer}/not")
        case _:
            yield pointer, criteria


def holds(criteria: Criteria, readings: Mapping[Leaf, Reading], clock: Clock) -> bool:
    """Whether a customer of whom `readings` were made meets the criteria."""
    match criteria:
        case AllOf(clauses):
            return all(holds(clause, readings, clock) for clause in clauses)
        case AnyOf(clauses):
            return any(holds(clause, readings, clock) for clause in clauses)
        case NotOf(clause):
            return not holds(clause, readings, clock)
        case _:
            return leaf_holds(criteria, readings[criteria], clock)


def leaf_holds(leaf: Leaf, reading: Reading, clock: Clock) -> bool:
    """Whether what was read for a clause passes its tests.

    A circle reads a distance in metres, a geohash that of the place, a tag all tags, and zones,
    segments and cohorts whether the customer is in them.
    """
    match leaf:
        case FieldClause(_, tests) | OrdersClause(_, tests) | EventsClause(_, tests):
            return all(_passes(test, reading, clock) for test in tests)
        case CircleClause():
            return isinstance(reading, float) and reading <= leaf.metres
        case GeohashClause():
            return isinstance(reading, str) and reading.startswith(leaf.prefix)
        case TagClause():
            return isinstance(reading, Sequence) and leaf.tag in reading
        case _:
            return bool(reading)


def _passes(test: Test, reading: Reading, clock: Clock) -> bool:
    operator, value = test.operator, test.value
    if operator is Operator.EXISTS:
        return (reading is not None and reading not in ([], ())) is value
    if operator is Operator.NE:
        return reading != value
    if operator is Operator.NOT_IN:
        return reading not in _values(value)
    return reading is not None and _compares(operator, value, reading, clock)


def _compares(operator: Operator, value: Value, reading: Reading, clock: Clock) -> bool:
    """Whether something that was read passes."""
    if operator is Operator.EQ:
        return reading == value
    if operator is Operator.IN:
        return reading in _values(value)
    if operator in (Operator.CONTAINS, Operator.STARTS_WITH):
        assert isinstance(value, str)
        if operator is Operator.CONTAINS:
            assert isinstance(reading, Sequence)
            return value in reading
        assert isinstance(reading, str)
        return reading.startswith(value)
    return _is_ordered(operator, value, reading, clock)


def _is_ordered(operator: Operator, value: Value, reading: Reading, clock: Clock) -> bool:
    read = _ordinal(reading)
    if operator in (Operator.WITHIN, Operator.WITHIN_NEXT):
        assert isinstance(value, Duration)
        back = operator is Operator.WITHIN
        start = clock.ago(value) if back else clock.as_of
        end = clock.as_of if back else clock.ahead(value)
        return _like(reading, start, clock) <= read <= _like(reading, end, clock)
    if isinstance(value, Duration):
        bound = _like(reading, clock.ago(value), clock)
    else:
        assert not isinstance(value, str | tuple)
        bound = _ordinal(value)
    return _ORDERS[operator](read, bound)


_ORDERS: dict[Operator, Callable[[float, float], bool]] = {
    Operator.GT: gt,
    Operator.AFTER: gt,
    Operator.GTE: ge,
    Operator.LT: lt,
    Operator.BEFORE: lt,
    Operator.LTE: le,
}


def _values(value: Value) -> tuple[str | int | float, ...]:
    assert isinstance(value, tuple)
    return value


def _like(reading: Reading, instant: datetime, clock: Clock) -> float:
    """`instant`, as a day where the reading is one."""
    return _ordinal(instant if isinstance(reading, datetime) else clock.day(instant))


def _ordinal(value: Reading) -> float:
    """A number that orders as the value does."""
    if isinstance(value, datetime):
        return (value - _EPOCH) // timedelta(microseconds=1)
    if isinstance(value, date):
        return value.toordinal()
    assert isinstance(value, (int, float, Decimal))
    return value  # type: ignore[return-value]  # decimals order among numbers, too


@dataclass(frozen=True, slots=True)
class Traits:
    """How criteria have to be kept up.

    `of_row`: all they ask of is in the customer's rows, so that one look tells. `of_events`: they
    ask of events. `drifts`: they may hold of others tomorrow though nothing was written.
    `segments` are those that they refer to.
    """

    of_row: bool
    of_events: bool
    drifts: bool
    segments: frozenset[str]


def traits(criteria: Criteria) -> Traits:
    """What keeping the members of `criteria` takes."""
    found = [leaf for _, leaf in leaves(criteria)]
    return Traits(
        of_row=not any(isinstance(leaf, OrdersClause | EventsClause) for leaf in found),
        of_events=any(map(_is_of_events, found)),
        drifts=any(map(_drifts, found)),
        segments=frozenset(leaf.segment for leaf in found if isinstance(leaf, SegmentClause)),
    )


def _is_of_events(leaf: Leaf) -> bool:
    match leaf:
        case FieldClause(field, _):
            return field.source is Source.BEHAVIOR
        case _:
            return isinstance(leaf, EventsClause)


def _drifts(leaf: Leaf) -> bool:
    match leaf:
        case FieldClause(field, tests):
            return field.drifts or any(isinstance(test.value, Duration) for test in tests)
        case OrdersClause() | EventsClause():
            return leaf.within is not None
        case ZoneClause():
            return True  # a zone may be drawn anew
        case _:
            return False
