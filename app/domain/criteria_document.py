"""Criteria as JSON: reading what clients send, flat forms included, and writing what is meant.

Whatever will not do is refused with its JSON pointer, and an unknown name with the nearest one.
"""

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo

from app.domain.criteria import (
    AllOf,
    AnyOf,
    CircleClause,
    CohortClause,
    Criteria,
    EventsClause,
    FieldClause,
    GeohashClause,
    Leaf,
    NotOf,
    OrdersClause,
    SegmentClause,
    TagClause,
    Test,
    Value,
    ZoneClause,
)
from app.domain.criteria_fields import FIELDS, OPERATORS, Kind, Operator
from app.domain.duration import Duration, parse_duration
from app.domain.errors import InvalidInput
from app.domain.money import from_minor, to_minor
from app.domain.order import OrderStatus
from app.domain.tenant import Tenant

#: Beyond this nobody could read them, and a statement of them would not end in time.
MAX_DEPTH = 12
MAX_CLAUSES = 200
MAX_VALUES = 1_000
MAX_TEXT = 500
MAX_METRES = 20_037_508
MAX_PROPERTIES = 20

_GEOHASH = re.compile(r"[0-9b-hjkmnp-z]{1,9}")
_MAX_INTEGER = 2**53


_STRUCTURE = ("all", "any", "not")
_LEAVES = ("field", "orders", "events", "place", "segment", "cohort", "tag")
_MEASURES = ("count", "sum", "average")


def nearest(name: str, names: Iterable[str]) -> str:
    """The one of `names` that is most like `name`."""
    known = {each.lower(): each for each in names}
    [found] = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.0)
    return str(known[found])


def _unknown(pointer: str, name: str, what: str, names: Iterable[str]) -> InvalidInput:
    return InvalidInput(pointer, f"is not {what}; the nearest is {nearest(name, names)!r}")


def parse_criteria(document: object, tenant: Tenant, pointer: str = "/criteria") -> Criteria:
    """The criteria in `document`, flat forms included. Raises InvalidInput with a JSON pointer."""
    return _Parser(tenant).parse(document, pointer, 1)


class _Parser:
    def __init__(self, tenant: Tenant) -> None:
        self._currency = tenant.currency
        self._zone = ZoneInfo(tenant.timezone)
        self._clauses = 0

    def parse(self, document: object, pointer: str, depth: int) -> Criteria:
        if not isinstance(document, dict):
            raise InvalidInput(pointer, "must be an object")
        if not document:
            raise InvalidInput(pointer, "must have a clause")
        if depth > MAX_DEPTH:
            raise InvalidInput(pointer, f"must not be nested deeper than {MAX_DEPTH}")
        structure = [name for name in document if name in _STRUCTURE]
        kinds = [name for name in document if name in _LEAVES]
        if structure or kinds:
            named = (structure + kinds)[0]
            allowed = OPERATOR_NAMES if named == "field" else ()
            for name in document:
                if name != named and name not in allowed:
                    if name in (*_STRUCTURE, *_LEAVES):
                        reason = f"must not stand beside {named!r}; join them with 'all' or 'any'"
                        raise InvalidInput(_join(pointer, name), reason)
                    if named == "field":
                        raise _unknown(_join(pointer, name), name, "an operator", OPERATOR_NAMES)
                    reason = f"is not known beside {named!r}; join clauses with 'all' or 'any'"
                    raise InvalidInput(_join(pointer, name), reason)
            if structure:
                return self._structure(named, document[named], _join(pointer, named), depth)
            self._count(pointer)
            return self._leaf(named, document, pointer)
        return self._flat(document, pointer)

    def _count(self, pointer: str) -> None:
        self._clauses += 1
        if self._clauses > MAX_CLAUSES:
            raise InvalidInput(pointer, f"must not have more than {MAX_CLAUSES} clauses")

    def _structure(self, name: str, value: object, pointer: str, depth: int) -> Criteria:
        if name == "not":
            return NotOf(self.parse(value, pointer, depth + 1))
        if not isinstance(value, list) or not value:
            raise InvalidInput(pointer, "must be a list of clauses, and not an empty one")
        clauses = tuple(
            self.parse(each, f"{pointer}/{index}", depth + 1) for index, each in enumerate(value)
        )
        return AllOf(clauses) if name == "all" else AnyOf(clauses)

    def _leaf(  # noqa: PLR0911 - one for each kind
        self, name: str, document: dict[str, object], pointer: str
    ) -> Leaf:
        value, inner = document[name], _join(pointer, name)
        match name:
            case "field":
                return self._field(document, pointer)
            case "orders":
                return self._orders(self._object(value, inner), inner)
            case "events":
                return self._events(self._object(value, inner), inner)
            case "place":
                return self._place(self._object(value, inner), inner)
            case "segment":
                return SegmentClause(self._text(value, inner))
            case "cohort":
                return CohortClause(self._text(value, inner))
            case _:
                return TagClause(self._text(value, inner))

    def _field(self, document: dict[str, object], pointer: str) -> FieldClause:
        name = document["field"]
        if not isinstance(name, str):
            raise InvalidInput(_join(pointer, "field"), "must be the name of a field")
        if name not in FIELDS:
            raise _unknown(_join(pointer, "field"), name, "a field of customers", FIELDS)
        field = FIELDS[name]
        stated = {each: value for each, value in document.items() if each != "field"}
        return FieldClause(field, self._tests(stated, field.kind, pointer))

    def _tests(self, stated: Mapping[str, object], kind: Kind, pointer: str) -> tuple[Test, ...]:
        if not stated:
            names = ", ".join(OPERATORS[kind])
            raise InvalidInput(pointer, f"must have an operator, one of {names}")
        tests = []
        for name, value in stated.items():
            inner = _join(pointer, name)
            if name not in OPERATORS[kind]:
                raise _unknown(inner, name, f"an operator on {_KIND_WORDS[kind]}", OPERATORS[kind])
            operator = Operator(name)
            tests.append(Test(operator, self._value(operator, value, kind, inner)))
        return tuple(sorted(tests, key=lambda test: OPERATOR_NAMES.index(test.operator)))

    def _value(self, operator: Operator, value: object, kind: Kind, pointer: str) -> Value:
        if operator is Operator.EXISTS:
            return self._boolean(value, pointer)
        if operator in (Operator.IN, Operator.NOT_IN):
            if not isinstance(value, list) or not 1 <= len(value) <= MAX_VALUES:
                raise InvalidInput(pointer, f"must be a list of 1 to {MAX_VALUES} values")
            found = [
                self._scalar(each, kind, f"{pointer}/{index}") for index, each in enumerate(value)
            ]
            # Kept in the order stated, and once.
            return tuple(dict.fromkeys(found))  # type: ignore[arg-type]  # no kind with `in` has others
        if operator in (Operator.WITHIN, Operator.WITHIN_NEXT):
            return self._duration(value, pointer)
        if kind in (Kind.INSTANT, Kind.DAY) and isinstance(value, str) and value[:1] == "P":
            if operator in (Operator.EQ, Operator.NE):
                raise InvalidInput(pointer, "must be a day")
            return self._duration(value, pointer)
        return self._scalar(value, Kind.TEXT if kind is Kind.TEXTS else kind, pointer)

    def _scalar(  # noqa: PLR0911 - one for each kind
        self, value: object, kind: Kind, pointer: str
    ) -> str | int | float | bool | date | datetime:
        match kind:
            case Kind.TEXT:
                return self._text(value, pointer)
            case Kind.INTEGER:
                return self._integer(value, pointer)
            case Kind.NUMBER:
                return self._number(value, pointer)
            case Kind.MONEY:
                return self._money(value, pointer)
            case Kind.BOOLEAN:
                return self._boolean(value, pointer)
            case Kind.INSTANT:
                return self._instant(value, pointer)
            case _:
                return self._day(value, pointer)

    def _orders(self, stated: dict[str, object], pointer: str) -> OrdersClause:
        known = (*_MEASURES, "within", "status", "category", "store")
        self._check_names(stated, known, "a part of 'orders'", pointer)
        measure, tests = self._measure(stated, _MEASURES, pointer)
        statuses = self._texts(stated, "status", pointer)
        for status in statuses:
            if status not in list(OrderStatus):
                inner = _join(pointer, "status")
                raise _unknown(inner, status, "a status of orders", list(OrderStatus))
        return OrdersClause(
            measure,
            tests,
            self._optional_duration(stated, pointer),
            statuses,
            self._optional_text(stated, "category", pointer),
            self._optional_text(stated, "store", pointer),
        )

    def _events(self, stated: dict[str, object], pointer: str) -> EventsClause:
        measures = ("count", "sum")
        known = (*measures, "within", "type", "category", "product", "productCategory")
        self._check_names(stated, (*known, "properties"), "a part of 'events'", pointer)
        measure, tests = self._measure(stated, measures, pointer)
        return EventsClause(
            measure,
            tests,
            self._optional_duration(stated, pointer),
            self._texts(stated, "type", pointer),
            self._optional_text(stated, "category", pointer),
            self._optional_text(stated, "product", pointer),
            self._optional_text(stated, "productCategory", pointer),
            self._properties(stated, pointer),
        )

    def _measure(
        self, stated: dict[str, object], measures: Sequence[str], pointer: str
    ) -> tuple[str, tuple[Test, ...]]:
        named = [name for name in measures if name in stated]
        if len(named) > 1:
            raise InvalidInput(_join(pointer, named[1]), f"must not stand beside {named[0]!r}")
        if not named:  # at least one
            return "count", (Test(Operator.GTE, 1),)
        [name] = named
        inner = _join(pointer, name)
        kind = Kind.INTEGER if name == "count" else Kind.MONEY
        return name, self._tests(self._object(stated[name], inner), kind, inner)

    def _properties(
        self, stated: dict[str, object], pointer: str
    ) -> tuple[tuple[str, str | int | float | bool], ...]:
        if "properties" not in stated:
            return ()
        inner = _join(pointer, "properties")
        found = self._object(stated["properties"], inner)
        if len(found) > MAX_PROPERTIES:
            raise InvalidInput(inner, f"must not have more than {MAX_PROPERTIES} members")
        properties: list[tuple[str, str | int | float | bool]] = []
        for name, value in sorted(found.items()):
            if not isinstance(value, str | int | float | bool) or _is_nan(value):
                reason = "must be a text, a number or a boolean"
                raise InvalidInput(_join(inner, name), reason)
            properties.append((name, value))
        return tuple(properties)

    def _place(self, stated: dict[str, object], pointer: str) -> Leaf:
        known = ("within", "zone", "geohash")
        self._check_names(stated, known, "a part of 'place'", pointer)
        if len(stated) != 1:
            raise InvalidInput(pointer, "must have one of within, zone, geohash")
        [name] = stated
        inner = _join(pointer, name)
        if name == "zone":
            return ZoneClause(self._text(stated[name], inner))
        if name == "geohash":
            prefix = self._text(stated[name], inner).lower()
            if not _GEOHASH.fullmatch(prefix):
                raise InvalidInput(inner, "must be 1 to 9 characters of a geohash")
            return GeohashClause(prefix)
        circle = self._object(stated[name], inner)
        sizes = {"latitude": (-90, 90), "longitude": (-180, 180), "metres": (0, MAX_METRES)}
        self._check_names(circle, sizes, "a part of 'within'", inner)
        values = {}
        for part, (least, most) in sizes.items():
            if part not in circle:
                raise InvalidInput(_join(inner, part), "is required")
            values[part] = self._number(circle[part], _join(inner, part))
            if not least <= values[part] <= most:
                raise InvalidInput(_join(inner, part), f"must lie from {least} to {most}")
        return CircleClause(**values)

    def _flat(self, document: dict[str, object], pointer: str) -> Criteria:
        clauses: list[Criteria] = []
        for name, value in document.items():
            inner = _join(pointer, name)
            form = FLAT_FORMS.get(_snake(name))
            if form is None:
                names = (*_STRUCTURE, *_LEAVES, *FLAT_FORMS)
                raise _unknown(inner, name, "a part of criteria", names)
            self._count(inner)
            field = FIELDS[form.field]
            if form.holds is not None:
                wanted = self._boolean(value, inner)
                clause: Criteria = FieldClause(field, (Test(Operator.IN, form.holds),))
                clauses.append(clause if wanted else NotOf(clause))
            elif isinstance(value, list) and form.operator is Operator.EQ:
                clauses.append(FieldClause(field, self._tests({"in": value}, field.kind, inner)))
            else:
                operator = form.operator
                test = Test(operator, self._value(operator, value, field.kind, inner))
                clauses.append(FieldClause(field, (test,)))
        return clauses[0] if len(clauses) == 1 else AllOf(tuple(clauses))

    def _check_names(
        self, stated: Mapping[str, object], known: Iterable[str], what: str, pointer: str
    ) -> None:
        known = list(known)
        for name in stated:
            if name not in known:
                raise _unknown(_join(pointer, name), name, what, known)

    def _object(self, value: object, pointer: str) -> dict[str, object]:
        if not isinstance(value, dict):
            raise InvalidInput(pointer, "must be an object")
        return value

    def _texts(self, stated: Mapping[str, object], name: str, pointer: str) -> tuple[str, ...]:
        """A text or a list of texts; nothing where it is not stated."""
        if name not in stated:
            return ()
        value, inner = stated[name], _join(pointer, name)
        if not isinstance(value, list):
            return (self._text(value, inner),)
        if not 1 <= len(value) <= MAX_VALUES:
            raise InvalidInput(inner, f"must be a list of 1 to {MAX_VALUES} values")
        texts = (self._text(each, f"{inner}/{index}") for index, each in enumerate(value))
        return tuple(dict.fromkeys(texts))

    def _optional_text(self, stated: Mapping[str, object], name: str, pointer: str) -> str | None:
        return self._text(stated[name], _join(pointer, name)) if name in stated else None

    def _optional_duration(self, stated: Mapping[str, object], pointer: str) -> Duration | None:
        if "within" not in stated:
            return None
        return self._duration(stated["within"], _join(pointer, "within"))

    def _duration(self, value: object, pointer: str) -> Duration:
        if not isinstance(value, str):
            raise InvalidInput(pointer, "must be an ISO 8601 duration such as P30D")
        try:
            return parse_duration(value)
        except ValueError as error:
            raise InvalidInput(pointer, str(error)) from None

    def _text(self, value: object, pointer: str) -> str:
        if not isinstance(value, str) or not 1 <= len(value) <= MAX_TEXT:
            raise InvalidInput(pointer, f"must be a text of 1 to {MAX_TEXT} characters")
        return value

    def _boolean(self, value: object, pointer: str) -> bool:
        if not isinstance(value, bool):
            raise InvalidInput(pointer, "must be true or false")
        return value

    def _integer(self, value: object, pointer: str) -> int:
        number = self._number(value, pointer)
        if not number.is_integer():
            raise InvalidInput(pointer, "must be a whole number")
        return int(number)

    def _number(self, value: object, pointer: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidInput(pointer, "must be a number")
        if abs(value) > _MAX_INTEGER or not math.isfinite(value):
            raise InvalidInput(pointer, f"must lie within ±{_MAX_INTEGER}")
        return float(value)

    def _money(self, value: object, pointer: str) -> int:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InvalidInput(pointer, "must be an amount")
        try:
            return to_minor(Decimal(str(value)), self._currency)
        except InvalidOperation:
            raise InvalidInput(pointer, "must be an amount") from None
        except ValueError as error:
            raise InvalidInput(pointer, str(error)) from None

    def _instant(self, value: object, pointer: str) -> datetime:
        reason = "must be an ISO 8601 time, or a duration such as P30D for so long ago"
        if not isinstance(value, str):
            raise InvalidInput(pointer, reason)
        try:
            instant = datetime.fromisoformat(value)
            # A time without a zone is the tenant's wall clock.
            return instant if instant.tzinfo else instant.replace(tzinfo=self._zone)
        except ValueError:
            raise InvalidInput(pointer, reason) from None

    def _day(self, value: object, pointer: str) -> date:
        if not isinstance(value, str):
            raise InvalidInput(pointer, "must be a day such as 2026-01-31")
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise InvalidInput(pointer, "must be a day such as 2026-01-31") from None


OPERATOR_NAMES = tuple(Operator)
_KIND_WORDS = {
    Kind.TEXT: "texts",
    Kind.INTEGER: "whole numbers",
    Kind.NUMBER: "numbers",
    Kind.MONEY: "amounts",
    Kind.BOOLEAN: "booleans",
    Kind.INSTANT: "times",
    Kind.DAY: "days",
    Kind.TEXTS: "lists of texts",
}


@dataclass(frozen=True, slots=True)
class FlatForm:
    """What one name of the flat form asks. With `holds`, its value says whether these hold."""

    field: str
    operator: Operator = Operator.EQ
    holds: tuple[str, ...] | None = None


def _ranges(**fields: str) -> dict[str, FlatForm]:
    """`min_x` and `max_x` for each name."""
    return {
        f"{bound}_{name}": FlatForm(field, operator)
        for name, field in fields.items()
        for bound, operator in (("min", Operator.GTE), ("max", Operator.LTE))
    }


#: By the name in snake case; camelCase is the same.
FLAT_FORMS: dict[str, FlatForm] = {
    "recency_days": FlatForm("daysSinceLastOrder", Operator.LTE),
    "max_recency_days": FlatForm("daysSinceLastOrder", Operator.LTE),
    "min_recency_days": FlatForm("daysSinceLastOrder", Operator.GTE),
    "days_inactive": FlatForm("daysSinceLastOrder", Operator.GTE),
    "min_days_inactive": FlatForm("daysSinceLastOrder", Operator.GTE),
    "max_days_inactive": FlatForm("daysSinceLastOrder", Operator.LTE),
    "high_churn_risk": FlatForm("churnBand", holds=("high", "critical")),
    "rfm_segment": FlatForm("rfmSegment"),
    "lifecycle_segment": FlatForm("lifecycleSegment"),
    "membership_tier": FlatForm("membershipTier"),
    "customer_type": FlatForm("customerType"),
    "gender": FlatForm("gender"),
    "age_group": FlatForm("ageGroup"),
    "acquisition_source": FlatForm("acquisitionSource"),
    "acquired_after": FlatForm("firstOrderAt", Operator.AFTER),
    "acquired_before": FlatForm("firstOrderAt", Operator.BEFORE),
    **_ranges(
        frequency="rfmFrequency",
        monetary="rfmMonetary",
        purchases="countedOrders",
        previous_purchases="countedOrders",
        orders="countedOrders",
        total_spent="revenue",
        revenue="revenue",
        average_order_value="averageOrderValue",
        avg_order_value="averageOrderValue",
        churn_score="churnScore",
        churn_probability="churnScore",
        clv="clv",
        lifetime_value="clv",
        age="age",
        loyalty_points="loyaltyPoints",
        satisfaction_score="satisfactionScore",
        influence_score="influenceScore",
        recency_score="rfmRecencyScore",
        frequency_score="rfmFrequencyScore",
        monetary_score="rfmMonetaryScore",
        referred_customers="referredCustomers",
    ),
}
assert all(form.field in FIELDS for form in FLAT_FORMS.values())


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: f"_{match[1]}", name).lower()


def _join(pointer: str, step: str) -> str:
    return f"{pointer}/{step.replace('~', '~0').replace('/', '~1')}"


def criteria_document(  # noqa: PLR0911 - one for each kind
    criteria: Criteria, currency: str
) -> dict[str, object]:
    """The normalised JSON of `criteria`: reading it gives the same again."""
    match criteria:
        case AllOf(clauses):
            return {"all": [criteria_document(each, currency) for each in clauses]}
        case AnyOf(clauses):
            return {"any": [criteria_document(each, currency) for each in clauses]}
        case NotOf(clause):
            return {"not": criteria_document(clause, currency)}
        case FieldClause(field, tests):
            return {"field": field.name, **_tests_document(tests, field.kind, currency)}
        case OrdersClause():
            return {"orders": _orders_document(criteria, currency)}
        case EventsClause():
            return {"events": _events_document(criteria, currency)}
        case CircleClause(latitude, longitude, metres):
            circle = {"latitude": latitude, "longitude": longitude, "metres": metres}
            return {"place": {"within": circle}}
        case ZoneClause(zone):
            return {"place": {"zone": zone}}
        case GeohashClause(prefix):
            return {"place": {"geohash": prefix}}
        case SegmentClause(segment):
            return {"segment": segment}
        case CohortClause(cohort):
            return {"cohort": cohort}
        case TagClause(tag):
            return {"tag": tag}


def _orders_document(clause: OrdersClause, currency: str) -> dict[str, object]:
    return _present(
        {
            clause.measure: _measured_document(clause, currency),
            "within": clause.within,
            "status": clause.statuses,
            "category": clause.category,
            "store": clause.store,
        }
    )


def _events_document(clause: EventsClause, currency: str) -> dict[str, object]:
    return _present(
        {
            "type": clause.types,
            "category": clause.category,
            "product": clause.product,
            "productCategory": clause.product_category,
            "properties": dict(clause.properties),
            clause.measure: _measured_document(clause, currency),
            "within": clause.within,
        }
    )


def _measured_document(clause: OrdersClause | EventsClause, currency: str) -> dict[str, object]:
    kind = Kind.INTEGER if clause.measure == "count" else Kind.MONEY
    return _tests_document(clause.tests, kind, currency)


def _tests_document(tests: Iterable[Test], kind: Kind, currency: str) -> dict[str, object]:
    return {str(test.operator): _value_document(test.value, kind, currency) for test in tests}


def _value_document(value: Value, kind: Kind, currency: str) -> object:
    if isinstance(value, tuple):
        return [_value_document(each, kind, currency) for each in value]
    if isinstance(value, bool):
        return value
    if kind is Kind.MONEY:
        assert isinstance(value, int)
        return str(from_minor(value, currency))
    if isinstance(value, date):  # an instant is one, too
        return value.isoformat()
    return str(value) if isinstance(value, Duration) else value


def _present(parts: Mapping[str, object]) -> dict[str, object]:
    """What was stated: a single text as such."""
    document: dict[str, object] = {}
    for name, value in parts.items():
        if isinstance(value, Duration):
            document[name] = str(value)
        elif isinstance(value, tuple):
            if value:
                document[name] = value[0] if len(value) == 1 else list(value)
        elif value not in (None, {}):
            document[name] = value
    return document
