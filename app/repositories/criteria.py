"""Criteria as SQL: one expression for each clause, every value a bound parameter.

`app.domain.criteria.holds` says what criteria mean; tests hold the two together. What a clause
observes is an expression of its own (`Compiler.reading`), which explanations select.

Statements join what is asked of, and nothing else: `c` is the customer, `a` the computed row, `b`
the summary of the behaviour, `o` and `e` figures over orders and events, one column each.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime

from app.domain.criteria import (
    AllOf,
    AnyOf,
    CircleClause,
    Clock,
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
from app.domain.criteria_fields import AGE, Field, Kind, Operator, Source
from app.domain.duration import Duration

_TYPES = {
    Kind.TEXT: "text",
    Kind.INTEGER: "bigint",
    Kind.NUMBER: "double precision",
    Kind.MONEY: "bigint",
    Kind.BOOLEAN: "boolean",
    Kind.INSTANT: "timestamptz",
    Kind.DAY: "date",
    Kind.TEXTS: "text",
}
_COMPARED = {
    Operator.EQ: "=",
    Operator.GT: ">",
    Operator.GTE: ">=",
    Operator.LT: "<",
    Operator.LTE: "<=",
    Operator.BEFORE: "<",
    Operator.AFTER: ">",
}
_ALIASES = {Source.CUSTOMER: "c", Source.ANALYTICS: "a", Source.BEHAVIOR: "b"}

#: Columns of `customers` that refer to something by its key; criteria name it by its id.
_REFERRED = {"home_store_sk": "stores", "referred_by_sk": "customers"}

_ONE_CIRCLE = "CAST(ST_SetSRID(ST_MakePoint({longitude}, {latitude}), 4326) AS geography)"

Bound = object | Callable[[Clock], object]


class Compiler:
    """Collects the expressions of any number of criteria, and what they have to be joined to.

    `segments` and `cohorts` give the key of each that the criteria name.
    """

    def __init__(
        self, *, segments: Mapping[str, int] | None = None, cohorts: Mapping[str, int] | None = None
    ) -> None:
        self._segments = segments or {}
        self._cohorts = cohorts or {}
        self._bound: dict[str, Bound] = {}
        self._names: dict[tuple[str, object], str] = {}
        self._orders: dict[OrdersClause, str] = {}
        self._events: dict[EventsClause, str] = {}
        self._sources = {Source.CUSTOMER}

    def parameters(self, clock: Clock) -> dict[str, object]:
        """The values of all parameters but `tenant_id`, at an instant."""
        return {
            name: bound(clock) if callable(bound) else bound for name, bound in self._bound.items()
        }

    # --- Expressions ---

    def predicate(self, criteria: Criteria) -> str:
        """An expression that is true of who meets the criteria, and null or false of others."""
        match criteria:
            case AllOf(clauses):
                return f"({' AND '.join(map(self.predicate, clauses))})"
            case AnyOf(clauses):
                return f"({' OR '.join(map(self.predicate, clauses))})"
            case NotOf(clause):
                # Nothing is unknown: who does not meet it is one of the others.
                return f"({self.predicate(clause)} IS NOT TRUE)"
            case _:
                return self._leaf(criteria)

    def reading(self, leaf: Leaf) -> str:
        """What a clause observes of a customer, as `app.domain.criteria.leaf_holds` takes it."""
        match leaf:
            case FieldClause(field):
                return self._field(field)
            case OrdersClause() | EventsClause():
                return self._figure(leaf)
            case CircleClause():
                return f"ST_Distance(c.last_known_geography, {self._center(leaf)})"
            case GeohashClause():
                return "c.last_known_geohash"
            case TagClause():
                return "c.community_tags"
            case _:
                return f"({self._leaf(leaf)} IS TRUE)"

    def _leaf(self, leaf: Leaf) -> str:  # noqa: PLR0911 - one for each kind
        match leaf:
            case FieldClause(field, tests):
                expression = self._field(field)
                return self._all(self._test(test, expression, field.kind) for test in tests)
            case OrdersClause() | EventsClause():
                kind = Kind.INTEGER if leaf.measure == "count" else Kind.MONEY
                figure = self._figure(leaf)
                return self._all(self._test(test, figure, kind) for test in leaf.tests)
            case CircleClause():
                metres = self._value(leaf.metres, "double precision")
                return f"ST_DWithin(c.last_known_geography, {self._center(leaf)}, {metres})"
            case ZoneClause(zone):
                # Not joined: looked up once a statement.
                area = (
                    "(SELECT z.area FROM delivery_zones z WHERE z.tenant_id = :tenant_id"
                    f" AND z.id = {self._value(zone, 'text')})"
                )
                return f"ST_Covers({area}, c.last_known_location)"
            case GeohashClause(prefix):
                return f"starts_with(c.last_known_geohash, {self._value(prefix, 'text')})"
            case SegmentClause(segment):
                key = self._value(self._segments[segment], "bigint")
                return (
                    "EXISTS (SELECT FROM segment_members m WHERE m.tenant_id = :tenant_id"
                    f" AND m.segment_sk = {key} AND m.customer_sk = c.sk AND m.left_at IS NULL)"
                )
            case CohortClause(cohort):
                key = self._value(self._cohorts[cohort], "bigint")
                return (
                    "EXISTS (SELECT FROM cohort_membership m WHERE m.tenant_id = :tenant_id"
                    f" AND m.cohort_sk = {key} AND m.customer_sk = c.sk)"
                )
            case TagClause(tag):
                return f"({self._value(tag, 'text')} = ANY (c.community_tags))"

    def _all(self, tests: Iterable[str]) -> str:
        return f"({' AND '.join(tests)})"

    def _field(self, field: Field) -> str:
        self._sources.add(field.source)
        if field is AGE:
            return self._age()
        column = f"{_ALIASES[field.source]}.{field.column}"
        table = _REFERRED.get(field.column)
        if table is not None:
            return (
                f"(SELECT r.id FROM {table} r WHERE r.tenant_id = :tenant_id AND r.sk = {column})"
            )
        return column

    def _age(self) -> str:
        today = self._at("today", "date", lambda clock: clock.today)
        return (
            "CASE WHEN c.date_of_birth IS NULL THEN c.age_estimate"
            f" ELSE CAST(date_part('year', {today}) - date_part('year', c.date_of_birth)"
            f" - CASE WHEN (date_part('month', {today}), date_part('day', {today}))"
            " < (date_part('month', c.date_of_birth), date_part('day', c.date_of_birth))"
            " THEN 1 ELSE 0 END AS integer) END"
        )

    def _center(self, circle: CircleClause) -> str:
        longitude = self._value(circle.longitude, "double precision")
        latitude = self._value(circle.latitude, "double precision")
        # In a subquery, which is evaluated once, and not for each customer.
        return f"(SELECT {_ONE_CIRCLE.format(longitude=longitude, latitude=latitude)})"

    def _test(  # noqa: PLR0911 - one for each kind
        self, test: Test, expression: str, kind: Kind
    ) -> str:
        operator, value = test.operator, test.value
        match operator:
            case Operator.EXISTS:
                there = (
                    f"(coalesce(cardinality({expression}), 0) > 0)"
                    if kind is Kind.TEXTS
                    else f"({expression} IS NOT NULL)"
                )
                return there if value else f"(NOT {there})"
            case Operator.NE:
                return f"({expression} IS DISTINCT FROM {self._bound_value(value, kind)})"
            case Operator.IN:
                return f"({expression} = ANY ({self._list(value, kind)}))"
            case Operator.NOT_IN:
                return f"(({expression} = ANY ({self._list(value, kind)})) IS NOT TRUE)"
            case Operator.CONTAINS:
                part = self._bound_value(value, kind)
                if kind is Kind.TEXTS:
                    return f"({part} = ANY ({expression}))"
                return f"(position({part} IN {expression}) > 0)"
            case Operator.STARTS_WITH:
                return f"starts_with({expression}, {self._bound_value(value, kind)})"
            case Operator.WITHIN:
                assert isinstance(value, Duration)
                start, end = self._ago(value, kind), self._now(kind)
                return f"({expression} BETWEEN {start} AND {end})"
            case Operator.WITHIN_NEXT:
                assert isinstance(value, Duration)
                start, end = self._now(kind), self._ahead(value, kind)
                return f"({expression} BETWEEN {start} AND {end})"
            case _:
                return f"({expression} {_COMPARED[operator]} {self._bound_value(value, kind)})"

    # --- Figures over orders and events ---

    def _figure(self, clause: OrdersClause | EventsClause) -> str:
        if isinstance(clause, OrdersClause):
            name = self._orders.setdefault(clause, f"o{len(self._orders)}")
            figure = f"o.{name}"
        else:
            name = self._events.setdefault(clause, f"e{len(self._events)}")
            figure = f"e.{name}"
        # An average of nothing is nothing.
        return figure if clause.measure == "average" else f"coalesce({figure}, 0)"

    def _order_figure(self, clause: OrdersClause) -> str:
        conditions = ["o.ordered_at <= " + self._now(Kind.INSTANT)]
        if clause.statuses:
            conditions.append(f"o.status = ANY ({self._value(list(clause.statuses), 'text[]')})")
        else:
            conditions.append("o.counted")
        if clause.within is not None:
            conditions.append(f"o.ordered_at >= {self._ago(clause.within, Kind.INSTANT)}")
        if clause.store is not None:
            conditions.append(
                "o.store_sk = (SELECT s.sk FROM stores s WHERE s.tenant_id = :tenant_id"
                f" AND s.id = {self._value(clause.store, 'text')})"
            )
        if clause.category is not None:
            conditions.append(
                "EXISTS (SELECT FROM order_items i WHERE i.tenant_id = :tenant_id"
                " AND i.order_sk = o.sk"
                f" AND i.category = {self._value(clause.category, 'text')})"
            )
        return _figure(clause.measure, "o.net_amount", conditions)

    def _event_figure(self, clause: EventsClause) -> str:
        conditions = ["v.occurred_at <= " + self._now(Kind.INSTANT)]
        if clause.types:
            conditions.append(f"v.event_type = ANY ({self._value(list(clause.types), 'text[]')})")
        if clause.within is not None:
            conditions.append(f"v.occurred_at >= {self._ago(clause.within, Kind.INSTANT)}")
        for column, value in (
            ("event_category", clause.category),
            ("product_id", clause.product),
            ("product_category", clause.product_category),
        ):
            if value is not None:
                conditions.append(f"v.{column} = {self._value(value, 'text')}")
        if clause.properties:
            document = json.dumps(dict(clause.properties))
            conditions.append(f"v.properties @> {self._value(document, 'jsonb')}")
        return _figure(clause.measure, "v.event_value", conditions)

    # --- What is joined ---

    def everybody(self) -> str:
        """FROM and WHERE of a statement about all customers of the tenant."""
        joins = ["customers c"]
        if Source.ANALYTICS in self._sources:
            joins.append(
                "LEFT JOIN customer_analytics a"
                " ON a.tenant_id = c.tenant_id AND a.customer_sk = c.sk"
            )
        if Source.BEHAVIOR in self._sources:
            joins.append(
                "LEFT JOIN behavior_summaries b"
                " ON b.tenant_id = c.tenant_id AND b.customer_sk = c.sk"
            )
        for alias, rows, figures, since in self._figures():
            since_condition = f" AND {since}" if since else ""
            joins.append(
                f"LEFT JOIN (SELECT {rows}.customer_sk, {figures}"
                f" WHERE {rows}.tenant_id = :tenant_id{since_condition}"
                f" GROUP BY {rows}.customer_sk) {alias} ON {alias}.customer_sk = c.sk"
            )
        return f"FROM {' '.join(joins)} WHERE c.tenant_id = :tenant_id"

    def listed(self, listed: str) -> str:
        """FROM of a statement about the customers in `listed.customer_sk`, each looked up by key.

        OFFSET 0 leaves the planner no other way, whatever the statistics say.
        """
        joins = [
            f"""{listed}
        CROSS JOIN LATERAL (
            SELECT * FROM customers
            WHERE tenant_id = :tenant_id AND sk = {listed}.customer_sk OFFSET 0
        ) c"""
        ]
        for source, table in (
            (Source.ANALYTICS, "customer_analytics"),
            (Source.BEHAVIOR, "behavior_summaries"),
        ):
            if source in self._sources:
                joins.append(
                    f"""LEFT JOIN LATERAL (
            SELECT * FROM {table}
            WHERE tenant_id = :tenant_id AND customer_sk = {listed}.customer_sk OFFSET 0
        ) {_ALIASES[source]} ON true"""
                )
        for alias, rows, figures, since in self._figures():
            since_condition = f" AND {since}" if since else ""
            joins.append(
                f"""LEFT JOIN LATERAL (
            SELECT {figures}
            WHERE {rows}.tenant_id = :tenant_id
              AND {rows}.customer_sk = {listed}.customer_sk{since_condition} OFFSET 0
        ) {alias} ON true"""
            )
        return f"FROM {' '.join(joins)}"

    def _figures(self) -> list[tuple[str, str, str, str]]:
        """For orders and for events: alias, alias of the rows, figures FROM the rows, since when.

        No row before the longest window is read, if every figure has one.
        """
        found = []
        if self._orders:
            figures = ", ".join(
                f"{self._order_figure(clause)} AS {name}" for clause, name in self._orders.items()
            )
            since = self._since("orders", [clause.within for clause in self._orders])
            condition = f"o.ordered_at >= {since}" if since else ""
            found.append(("o", "o", f"{figures} FROM orders o", condition))
        if self._events:
            figures = ", ".join(
                f"{self._event_figure(clause)} AS {name}" for clause, name in self._events.items()
            )
            since = self._since("events", [clause.within for clause in self._events])
            condition = f"v.occurred_at >= {since}" if since else ""
            found.append(("e", "v", f"{figures} FROM behavior_events v", condition))
        return found

    def _since(self, name: str, windows: list[Duration | None]) -> str | None:
        limited = [window for window in windows if window is not None]
        if len(limited) < len(windows):
            return None
        return self._at(f"{name}_since", "timestamptz", lambda clock: min(map(clock.ago, limited)))

    # --- Parameters ---

    def _value(self, value: object, kind: str) -> str:
        hashable = tuple(value) if isinstance(value, list) else value
        key = (kind, hashable)
        if key not in self._names:
            name = f"p{len(self._bound)}"
            self._names[key] = name
            self._bound[name] = value
        return f"CAST(:{self._names[key]} AS {kind})"

    def _at(self, name: str, kind: str, at: Callable[[Clock], object]) -> str:
        """A parameter that goes with the clock; one of a name, the latest said."""
        self._bound[name] = at
        return f"CAST(:{name} AS {kind})"

    def _bound_value(self, value: Value, kind: Kind) -> str:
        if isinstance(value, Duration):
            return self._ago(value, kind)
        return self._value(value, _TYPES[kind])

    def _list(self, value: Value, kind: Kind) -> str:
        assert isinstance(value, tuple)
        return self._value(list(value), f"{_TYPES[kind]}[]")

    def _now(self, kind: Kind) -> str:
        if kind is Kind.DAY:
            return self._at("today", "date", lambda clock: clock.today)
        return self._at("as_of", "timestamptz", lambda clock: clock.as_of)

    def _ago(self, duration: Duration, kind: Kind) -> str:
        return self._moved("ago", duration, kind, lambda clock: clock.ago(duration))

    def _ahead(self, duration: Duration, kind: Kind) -> str:
        return self._moved("ahead", duration, kind, lambda clock: clock.ahead(duration))

    def _moved(
        self, name: str, duration: Duration, kind: Kind, at: Callable[[Clock], datetime]
    ) -> str:
        # Named by numbers only, whatever was written.
        suffix = f"{duration.months}_{duration.days}_{duration.minutes}"
        if kind is not Kind.DAY:
            return self._at(f"{name}_{suffix}", "timestamptz", at)

        def day(clock: Clock) -> date:
            return clock.day(at(clock))

        return self._at(f"{name}_{suffix}_day", "date", day)


def _figure(measure: str, amount: str, conditions: list[str]) -> str:
    figure = {
        "count": "count(*)",
        "sum": f"sum({amount})",
        "average": f"avg({amount})",
    }[measure]
    filtered = f"{figure} FILTER (WHERE {' AND '.join(conditions)})"
    return f"CAST({filtered} AS bigint)" if measure == "sum" else filtered
