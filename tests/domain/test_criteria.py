"""Criteria as JSON and back, their schema, and what they mean."""

import json
import random
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.criteria import (
    Clock,
    FieldClause,
    Reading,
    holds,
    leaf_holds,
    leaves,
    traits,
)
from app.domain.criteria_document import (
    FLAT_FORMS,
    MAX_CLAUSES,
    MAX_DEPTH,
    criteria_document,
    parse_criteria,
)
from app.domain.criteria_fields import FIELDS, OPERATORS, Kind, Operator
from app.domain.criteria_schema import criteria_schema
from app.domain.duration import parse_duration
from app.domain.errors import InvalidInput
from app.domain.profile import Profile
from app.domain.tenant import Tenant
from app.repositories.analytics import Analytics
from app.repositories.customer import Customer
from tests.domain.criteria_samples import random_criteria
from tests.domain.write_criteria_schema import FILE

TENANT = Tenant(
    1, "kidz", "Kidz", "Asia/Jakarta", "IDR", Profile.from_document({"preset": "retail"})
)
CLOCK = Clock(datetime(2026, 3, 1, 5, tzinfo=UTC), ZoneInfo("Asia/Jakarta"))
VALIDATOR = jsonschema.Draft202012Validator(criteria_schema())

seeds = st.integers(0, 2**32)


@given(seeds)
def test_normalised_criteria_mean_the_same_and_fit_the_schema(seed: int) -> None:
    sent = random_criteria(random.Random(seed))
    VALIDATOR.validate(sent)
    criteria = parse_criteria(sent, TENANT)
    document = criteria_document(criteria, TENANT.currency)
    VALIDATOR.validate(document)
    assert parse_criteria(document, TENANT) == criteria
    assert criteria_document(parse_criteria(document, TENANT), TENANT.currency) == document


@given(seeds)
def test_pointers_lead_to_their_clauses(seed: int) -> None:
    criteria = parse_criteria(random_criteria(random.Random(seed)), TENANT)
    document = criteria_document(criteria, TENANT.currency)
    for pointer, leaf in leaves(criteria):
        place: Any = document
        for step in pointer.split("/")[1:]:
            place = place[int(step)] if isinstance(place, list) else place[step]
        assert place == criteria_document(leaf, TENANT.currency)


def test_the_schema_is_one_and_refuses_what_the_parser_refuses() -> None:
    jsonschema.Draft202012Validator.check_schema(criteria_schema())
    refused: list[dict[str, Any]] = [
        {},
        {"field": "nothing", "eq": 1},
        {"field": "churnScore"},
        {"field": "churnScore", "contains": "x"},
        {"all": []},
        {"orders": {"count": {}}},
        {"tag": "a", "segment": "b"},
        {"place": {}},
        {"min_nothing": 1},
    ]
    for bad in refused:
        assert not VALIDATOR.is_valid(bad), bad
        with pytest.raises(InvalidInput):
            parse_criteria(bad, TENANT)


def test_every_figure_of_a_customer_is_a_field() -> None:
    apart = {
        "sk",
        "service_area",
        "as_of",
        "computed_at",
        "model_version",
        "home_store_id",
        "referred_by_customer_id",
    }
    columns = {field.column for field in FIELDS.values()}
    names = {*Customer.__dataclass_fields__, *Analytics.__dataclass_fields__}
    assert names - apart <= columns
    assert {"homeStoreId", "referredByCustomerId", "age"} <= set(FIELDS)


@pytest.mark.parametrize("name", FLAT_FORMS)
def test_every_flat_form_is_normalised(name: str) -> None:
    form = FLAT_FORMS[name]
    kind = FIELDS[form.field].kind
    value: Any = {Kind.TEXT: "gold", Kind.INSTANT: "2026-01-01"}.get(kind, 3)
    if form.holds is not None:
        value = True
    camel = "".join(
        part.capitalize() if place else part for place, part in enumerate(name.split("_"))
    )
    snaked = parse_criteria({name: value}, TENANT)
    assert parse_criteria({camel: value}, TENANT) == snaked
    assert isinstance(snaked, FieldClause)
    assert snaked.field is FIELDS[form.field]
    VALIDATOR.validate({name: value})
    VALIDATOR.validate({camel: value})


def test_the_flat_forms_of_old_clients() -> None:
    sent = {"recency_days": 30, "min_frequency": 10, "min_monetary": 500}
    assert criteria_document(parse_criteria(sent, TENANT), "IDR") == {
        "all": [
            {"field": "daysSinceLastOrder", "lte": 30},
            {"field": "rfmFrequency", "gte": 10},
            {"field": "rfmMonetary", "gte": "500.00"},
        ]
    }
    assert criteria_document(parse_criteria({"high_churn_risk": True}, TENANT), "IDR") == {
        "field": "churnBand",
        "in": ["high", "critical"],
    }


def test_depth_and_number_of_clauses_are_bounded() -> None:
    nested: dict[str, Any] = {"tag": "x"}
    for _ in range(MAX_DEPTH):
        nested = {"not": nested}
    with pytest.raises(InvalidInput, match="deeper"):
        parse_criteria(nested, TENANT)
    parse_criteria({"any": [{"tag": "x"}] * MAX_CLAUSES}, TENANT)
    with pytest.raises(InvalidInput, match="more than"):
        parse_criteria({"any": [{"tag": "x"}] * (MAX_CLAUSES + 1)}, TENANT)


def _reads(document: dict[str, Any], reading: Reading) -> bool:
    criteria = parse_criteria(document, TENANT)
    [(_, leaf)] = leaves(criteria)
    assert holds(criteria, {leaf: reading}, CLOCK) is leaf_holds(leaf, reading, CLOCK)
    return leaf_holds(leaf, reading, CLOCK)


def test_nothing_passes_no_test_but_the_negative_ones() -> None:
    passing = {Operator.NE, Operator.NOT_IN}
    operands: dict[Operator, Any] = {Operator.IN: ["x"], Operator.NOT_IN: ["x"]}
    for operator in OPERATORS[Kind.TEXT]:
        if operator is Operator.EXISTS:
            continue
        document = {"field": "email", str(operator): operands.get(operator, "x")}
        assert _reads(document, None) is (operator in passing)
    assert _reads({"field": "email", "exists": False}, None)
    assert not _reads({"field": "email", "exists": True}, None)
    assert _reads({"field": "communityTags", "exists": False}, [])


def test_time_is_counted_on_the_tenants_clock() -> None:
    # It is noon of 1 March in Jakarta.
    within = {"field": "lastOrderAt", "within": "P1D"}
    assert _reads(within, CLOCK.as_of - timedelta(days=1))
    assert not _reads(within, CLOCK.as_of - timedelta(days=1, seconds=1))
    assert not _reads(within, CLOCK.as_of + timedelta(seconds=1))
    assert _reads({"field": "lastOrderAt", "before": "P1M"}, datetime(2026, 2, 1, 4, tzinfo=UTC))
    day = {"field": "dateOfBirth", "within": "P30D"}
    assert _reads(day, date(2026, 1, 30))
    assert not _reads(day, date(2026, 1, 29))
    ahead = {"field": "nextPurchaseOn", "withinNext": "P7D"}
    assert _reads(ahead, date(2026, 3, 8))
    assert not _reads(ahead, date(2026, 3, 9))
    assert not _reads(ahead, date(2026, 2, 28))


@given(st.integers(0, 30), st.integers(0, 60), st.integers(0, 3000))
def test_durations_are_written_as_they_are_read(months: int, days: int, minutes: int) -> None:
    duration = parse_duration(f"P{months}M{days}DT{minutes}M")
    assert parse_duration(str(duration)) == duration
    zone = ZoneInfo("America/New_York")
    moment = datetime(2026, 3, 9, 12, tzinfo=UTC)
    assert duration.before(moment, zone) <= moment <= duration.after(moment, zone)


def test_a_day_of_a_clock_change_is_a_day() -> None:
    zone = ZoneInfo("America/New_York")
    noon = datetime(2026, 3, 8, 12, tzinfo=zone)
    assert parse_duration("P1D").before(noon, zone) == datetime(2026, 3, 7, 12, tzinfo=zone)
    assert parse_duration("PT24H").before(noon, zone) == datetime(2026, 3, 7, 11, tzinfo=zone)
    end = datetime(2026, 3, 31, 12, tzinfo=zone)
    assert parse_duration("P1M").before(end, zone) == datetime(2026, 2, 28, 12, tzinfo=zone)


@pytest.mark.parametrize("text", ["", "P", "PT", "30D", "P-3D", "P1.5D", "P1DT", "P101Y", "p1d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        parse_duration(text)


def test_traits_say_how_members_are_kept() -> None:
    def of(document: dict[str, Any]) -> tuple[bool, bool]:
        found = traits(parse_criteria(document, TENANT))
        return found.of_row, found.drifts

    assert of({"field": "revenue", "gte": 1}) == (True, False)
    assert of({"field": "lastOrderAt", "within": "P1D"}) == (True, True)
    assert of({"field": "age", "gte": 1}) == (True, True)
    assert of({"orders": {"count": {"gte": 1}}}) == (False, False)
    assert of({"any": [{"tag": "x"}, {"events": {"within": "P1D"}}]}) == (False, True)
    assert traits(parse_criteria({"not": {"segment": "s"}}, TENANT)).segments == {"s"}


def test_the_schema_in_the_manual_is_the_one_that_is_served() -> None:
    # Write it anew with: python -m tests.domain.write_criteria_schema
    assert json.loads(FILE.read_text()) == criteria_schema()
