"""The documents that tenants write: what each change does, and that a refusal names its field."""

from datetime import UTC, datetime
from typing import Any

import pytest

from app.domain.churn import ChurnBand, ComponentChurn, TieredChurn
from app.domain.clv import RetentionClv, SimpleClv
from app.domain.errors import InvalidInput
from app.domain.profile import PRESETS, Profile
from app.domain.rfm import Cutoffs


def read(**changes: Any) -> Profile:
    return Profile.from_document({"preset": "retail", **changes})


def test_without_a_preset_a_tenant_is_a_retailer() -> None:
    assert Profile.from_document({}) == PRESETS["retail"]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_read_as_it_is_declared(preset: str) -> None:
    profile = Profile.from_document({"preset": preset})
    assert profile == PRESETS[preset]
    assert profile.document() == {"preset": preset}
    assert profile.version == f"{preset}-2"


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_has_an_action_for_every_band(preset: str) -> None:
    assert set(PRESETS[preset].churn_actions) == set(ChurnBand)
    assert all(PRESETS[preset].churn_actions.values())


def test_the_four_presets_follow_their_systems() -> None:
    retail, ticketing, commerce, appointments = PRESETS.values()
    assert isinstance(retail.churn, ComponentChurn)
    assert isinstance(ticketing.churn, TieredChurn)
    assert isinstance(commerce.churn, ComponentChurn)
    assert isinstance(appointments.churn, TieredChurn)
    assert retail.churn_bands.bounds == (0.3, 0.6, 0.8)
    assert commerce.churn_bands.bounds == (0.25, 0.5, 0.75)
    assert [len(p.segments) for p in (retail, ticketing, commerce)] == [5, 9, 12]


def test_a_full_document_comes_back_as_it_was_written() -> None:
    document = {
        "preset": "commerce",
        "asOf": "1998-07-01T07:00:00+07:00",
        "windowDays": 180,
        "cutoffs": {
            "recencyDays": [7, 30, 90, 180],
            "frequency": [1, 2, 4, 8],
            "monetary": [10, 20.5, 40, 80],
        },
        "churn": {"method": "tiered", "bands": [0.2, 0.4, 0.9]},
        "clv": {"method": "simple", "margin": 0.4, "years": 5},
        "lifecycle": {
            "lostAfterDays": 300,
            "dormantAfterDays": 200,
            "atRiskAfterDays": 100,
            "vipSpend": 500,
            "vipOrders": 3,
            "regularOrders": 1,
        },
    }
    profile = Profile.from_document(document)
    assert profile.document() == document
    assert profile.as_of == datetime(1998, 7, 1, tzinfo=UTC)
    assert profile.window_days == 180
    assert profile.fixed_cutoffs == Cutoffs((7, 30, 90, 180), (1, 2, 4, 8), (10, 20.5, 40, 80))
    assert profile.churn == TieredChurn()
    assert profile.churn_bands.bounds == (0.2, 0.4, 0.9)
    assert profile.churn_bands.upper_inclusive, "the preset's reading of a bound stays"
    assert profile.clv == SimpleClv(margin=0.4, years=5)
    assert profile.lifecycle.at_risk_after_days == 100
    assert profile.lifecycle.vip_spend == 500
    assert Profile.from_document(profile.document()) == profile


def test_the_retention_method_takes_a_discount_rate() -> None:
    profile = read(clv={"method": "retention", "discountRate": 0.2, "margin": 1})
    assert profile.clv == RetentionClv(margin=1.0, discount_rate=0.2)


def test_null_takes_a_pinned_instant_or_fixed_cutoffs_back() -> None:
    profile = read(asOf=None, cutoffs=None)
    assert profile.as_of is None
    assert profile.fixed_cutoffs is None


def test_the_version_follows_the_rules_and_not_the_clock() -> None:
    plain = read()
    assert read(asOf="1998-07-01T00:00:00Z").version == plain.version
    assert read(windowDays=180).version != plain.version
    assert read(windowDays=180).version != read(windowDays=181).version
    assert read(windowDays=180).version == read(windowDays=180).version


WHOLE = {name: [1, 2, 3, 4] for name in ("recencyDays", "frequency", "monetary")}
REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"preset": "bakery"}, "preset"),
    ({"preset": None}, "preset"),
    ({"preset": ["retail"]}, "preset"),
    ({"preset": {}}, "preset"),
    ({"window": 30}, "window"),
    ({"segments": []}, "segments"),
    ({"asOf": "yesterday"}, "asOf"),
    ({"asOf": 19980701}, "asOf"),
    ({"asOf": "1998-07-01"}, "asOf"),
    ({"asOf": "1998-07-01T00:00:00"}, "asOf"),
    ({"asOf": "0001-01-01T00:00:00+14:00"}, "asOf"),
    ({"asOf": "9999-12-31T23:59:59-14:00"}, "asOf"),
    ({"asOf": "1969-12-31T23:59:59Z"}, "asOf"),
    ({"asOf": ["1998-07-01T00:00:00Z"]}, "asOf"),
    ({"windowDays": 0}, "windowDays"),
    ({"windowDays": 3651}, "windowDays"),
    ({"windowDays": 30.5}, "windowDays"),
    ({"windowDays": True}, "windowDays"),
    ({"windowDays": "30"}, "windowDays"),
    ({"windowDays": None}, "windowDays"),
    ({"windowDays": float("nan")}, "windowDays"),
    ({"windowDays": float("inf")}, "windowDays"),
    ({"cutoffs": []}, "cutoffs"),
    ({"cutoffs": {"frequency": [1, 2, 3, 4]}}, "cutoffs"),
    ({"cutoffs": {"recency": [1, 2, 3, 4]}}, "cutoffs"),
    ({"churn": "tiered"}, "churn"),
    ({"churn": {"model": "tiered"}}, "churn"),
    ({"churn": {"method": "magic"}}, "churn.method"),
    ({"churn": {"method": ["tiered"]}}, "churn.method"),
    ({"churn": {"bands": [0.3, 0.6]}}, "churn.bands"),
    ({"churn": {"bands": 0.3}}, "churn.bands"),
    ({"churn": {"bands": [0.6, 0.3, 0.8]}}, "churn.bands"),
    ({"churn": {"bands": [0, 0.3, 0.8]}}, "churn.bands"),
    ({"churn": {"bands": [0.3, 0.6, 1.1]}}, "churn.bands"),
    ({"churn": {"bands": [0.3, "0.6", 0.8]}}, "churn.bands"),
    ({"clv": 3}, "clv"),
    ({"clv": {"rate": 3}}, "clv"),
    ({"clv": {"method": None}}, "clv.method"),
    ({"clv": {"method": {}}}, "clv.method"),
    ({"clv": {"margin": 1.01}}, "clv.margin"),
    ({"clv": {"margin": -0.1}}, "clv.margin"),
    ({"clv": {"years": 101}}, "clv.years"),
    ({"clv": {"method": "retention", "years": 3}}, "clv.years"),
    ({"clv": {"discountRate": 0.1}}, "clv.discountRate"),
    ({"clv": {"method": "retention", "discountRate": 2}}, "clv.discountRate"),
    ({"lifecycle": None}, "lifecycle"),
    ({"lifecycle": {"vip": 3}}, "lifecycle"),
    ({"lifecycle": {"vipSpend": -1}}, "lifecycle.vipSpend"),
    ({"lifecycle": {"vipSpend": 10**13}}, "lifecycle.vipSpend"),
    ({"lifecycle": {"vipOrders": 1.5}}, "lifecycle.vipOrders"),
    ({"lifecycle": {"lostAfterDays": 180}}, "lifecycle"),
    ({"lifecycle": {"atRiskAfterDays": 200}}, "lifecycle"),
    ({"cutoffs": WHOLE | {"recencyDays": [1, 2, 3]}}, "cutoffs.recencyDays"),
    ({"cutoffs": WHOLE | {"frequency": [4, 3, 2, 1]}}, "cutoffs.frequency"),
    ({"cutoffs": WHOLE | {"monetary": [1, 2, 3, None]}}, "cutoffs.monetary"),
    ({"cutoffs": WHOLE | {"monetary": [1, 2, 3, 1e16]}}, "cutoffs.monetary"),
    ({"cutoffs": WHOLE | {"monetary": "1234"}}, "cutoffs.monetary"),
]


@pytest.mark.parametrize(("document", "field"), REFUSALS, ids=[str(d) for d, _ in REFUSALS])
def test_a_refusal_names_its_field_and_the_reason(document: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        Profile.from_document(document)
    assert refusal.value.field == field
    assert refusal.value.reason
