"""The scoring profile of a tenant: one of four presets, with what the tenant changed.

A profile is stored as the small document that the tenant wrote, such as
`{"preset": "retail", "windowDays": 180}`, and read as the rules that follow from it. Amounts in it
are in major units of the tenant's currency (`vipSpend: 1000`), because that is how people write
them.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from app.domain.churn import (
    ChurnBand,
    ChurnBands,
    ChurnRules,
    ComponentChurn,
    TieredChurn,
)
from app.domain.clv import TIERS, ClvRules, ClvTier, RetentionClv, SimpleClv
from app.domain.engagement import EngagementRules
from app.domain.errors import InvalidInput
from app.domain.influence import InfluenceRules
from app.domain.lifecycle import LifecycleRules
from app.domain.rfm import Between, Cutoffs, Segment, SegmentRule

Choice = TypeVar("Choice")

#: An as-of outside these is a slip of the pen; within them no window leaves the calendar.
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)

#: Bumped when a formula changes, so that a stored score tells which formula made it.
RULES_VERSION = 2


@dataclass(frozen=True, slots=True)
class Profile:
    """Every rule that scoring needs, for one tenant.

    `as_of` is set for a tenant whose log is closed; `fixed_cutoffs` for one that does not want
    quintiles of its own buyers (their monetary values are in major units); `window_days` bounds the
    orders that RFM looks at. Scores that somebody else wrote stay, unless `keeps_external_scores`
    says that ours take their place.
    """

    preset: str
    segments: tuple[Segment, ...]
    segment_rules: tuple[SegmentRule, ...]
    churn: ChurnRules
    churn_actions: Mapping[ChurnBand, str]
    clv: ClvRules
    lifecycle: LifecycleRules
    churn_bands: ChurnBands = field(default_factory=ChurnBands)
    clv_tiers: tuple[ClvTier, ...] = TIERS
    influence: InfluenceRules = field(default_factory=InfluenceRules)
    engagement: EngagementRules = field(default_factory=EngagementRules)
    keeps_external_scores: bool = True
    window_days: int = 365
    fixed_cutoffs: Cutoffs | None = None
    as_of: datetime | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """Names the rules: the preset, the formulas' version and a digest of the changes."""
        rules = {key: value for key, value in self.changes.items() if key != "asOf"}
        if not rules:
            return f"{self.preset}-{RULES_VERSION}"
        digest = hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()[:8]
        return f"{self.preset}-{RULES_VERSION}-{digest}"

    def segment(self, code: str) -> Segment:
        """What the segment `code` means; KeyError for one this profile does not have."""
        return next(segment for segment in self.segments if segment.code == code)

    def document(self) -> dict[str, Any]:
        """The document this profile was read from."""
        return {"preset": self.preset, **self.changes}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Profile":
        """The profile a tenant wrote. Raises InvalidInput naming the field and the reason."""
        profile = _choice("preset", document.get("preset", "retail"), PRESETS)
        changes = {key: value for key, value in document.items() if key != "preset"}
        for name, value in changes.items():
            if name not in _CHANGES:
                raise InvalidInput(name, f"is not one of {', '.join(sorted(_CHANGES))}")
            profile = _CHANGES[name](profile, value)
        return replace(profile, changes=changes)


def _as_of(profile: Profile, value: object) -> Profile:
    if value is None:
        return replace(profile, as_of=None)
    try:
        instant = datetime.fromisoformat(str(value))
    except ValueError:
        raise InvalidInput("asOf", "must be an ISO 8601 instant") from None
    if instant.tzinfo is None:
        raise InvalidInput("asOf", "must carry a UTC offset, such as 1998-07-01T00:00:00Z")
    if not _EARLIEST <= instant <= _LATEST:
        raise InvalidInput("asOf", f"must lie between {_EARLIEST.year} and {_LATEST.year}")
    return replace(profile, as_of=instant.astimezone(UTC))


def _window_days(profile: Profile, value: object) -> Profile:
    return replace(profile, window_days=_whole("windowDays", value, low=1, high=3650))


def _cutoffs(profile: Profile, value: object) -> Profile:
    if value is None:
        return replace(profile, fixed_cutoffs=None)
    given = _mapping("cutoffs", value, {"recencyDays", "frequency", "monetary"}, whole=True)
    return replace(
        profile,
        fixed_cutoffs=Cutoffs(
            *(
                _ascending(f"cutoffs.{name}", given[name], 4)
                for name in ("recencyDays", "frequency", "monetary")
            )
        ),
    )


def _churn(profile: Profile, value: object) -> Profile:
    given = _mapping("churn", value, {"method", "bands"})
    if "method" in given:
        methods: dict[str, ChurnRules] = {"tiered": TieredChurn(), "component": ComponentChurn()}
        profile = replace(profile, churn=_choice("churn.method", given["method"], methods))
    if "bands" in given:
        low, middle, high = _ascending("churn.bands", given["bands"], 3)
        if not 0 < low <= high <= 1:
            raise InvalidInput("churn.bands", "must lie between 0 and 1")
        bands = replace(profile.churn_bands, bounds=(low, middle, high))
        profile = replace(profile, churn_bands=bands)
    return profile


def _clv(profile: Profile, value: object) -> Profile:
    given = _mapping("clv", value, {"method", "margin", "years", "discountRate"})
    if "method" in given:
        methods: dict[str, ClvRules] = {"simple": SimpleClv(), "retention": RetentionClv()}
        profile = replace(profile, clv=_choice("clv.method", given["method"], methods))
    rules = profile.clv
    if "margin" in given:
        margin = _number("clv.margin", given["margin"], low=0, high=1)
        rules = replace(rules, margin=margin)
    if "years" in given:
        if not isinstance(rules, SimpleClv):
            raise InvalidInput("clv.years", "belongs to the simple method")
        rules = replace(rules, years=_number("clv.years", given["years"], low=0, high=100))
    if "discountRate" in given:
        if not isinstance(rules, RetentionClv):
            raise InvalidInput("clv.discountRate", "belongs to the retention method")
        rate = _number("clv.discountRate", given["discountRate"], low=0, high=1)
        rules = replace(rules, discount_rate=rate)
    return replace(profile, clv=rules)


def _lifecycle(profile: Profile, value: object) -> Profile:
    names = {
        "lostAfterDays": "lost_after_days",
        "dormantAfterDays": "dormant_after_days",
        "atRiskAfterDays": "at_risk_after_days",
        "vipSpend": "vip_spend",
        "vipOrders": "vip_orders",
        "regularOrders": "regular_orders",
    }
    given = _mapping("lifecycle", value, set(names))
    limits = {
        names[name]: _whole(f"lifecycle.{name}", limit, low=0, high=10**12)
        for name, limit in given.items()
    }
    rules = replace(profile.lifecycle, **limits)
    if not rules.at_risk_after_days < rules.dormant_after_days < rules.lost_after_days:
        raise InvalidInput("lifecycle", "days must rise from at risk over dormant to lost")
    return replace(profile, lifecycle=rules)


def _clv_tiers(profile: Profile, value: object) -> Profile:
    if not isinstance(value, list) or not 1 <= len(value) <= 20:
        raise InvalidInput("clvTiers", "must be a list of 1 to 20 tiers, highest first")
    tiers = []
    for place, each in enumerate(value):
        name = f"clvTiers.{place}"
        given = _mapping(name, each, {"code", "name", "fromPercentile"}, whole=True)
        for part in ("code", "name"):
            if not isinstance(given[part], str) or not 1 <= len(given[part]) <= 100:
                raise InvalidInput(f"{name}.{part}", "must be a text of 1 to 100 characters")
        percentile = _whole(f"{name}.fromPercentile", given["fromPercentile"], low=0, high=100)
        tiers.append(ClvTier(given["code"], given["name"], percentile))
    starts = [tier.from_percentile for tier in tiers]
    if starts != sorted(set(starts), reverse=True) or starts[-1] != 0:
        raise InvalidInput("clvTiers", "fromPercentile must fall from tier to tier and end at 0")
    if len({tier.code for tier in tiers}) < len(tiers):
        raise InvalidInput("clvTiers", "must have a code of its own for each tier")
    return replace(profile, clv_tiers=tuple(tiers))


def _influence(profile: Profile, value: object) -> Profile:
    names = {
        "referralWeight": "referral_weight",
        "revenueWeight": "revenue_weight",
        "engagementWeight": "engagement_weight",
        "referralNorm": "referral_norm",
        "revenueNorm": "revenue_norm",
    }
    given = _mapping("influence", value, set(names))
    rules = profile.influence
    for name, number in given.items():
        low, high = (0, 1) if name.endswith("Weight") else (1, 10**15)
        checked = _number(f"influence.{name}", number, low=low, high=high)
        rules = replace(rules, **{names[name]: checked})
    total = rules.referral_weight + rules.revenue_weight + rules.engagement_weight
    if not math.isclose(total, 1.0, abs_tol=1e-9):
        raise InvalidInput("influence", "the three weights must add up to 1")
    return replace(profile, influence=rules)


def _engagement(profile: Profile, value: object) -> Profile:
    given = _mapping("engagement", value, {"low", "high"}, whole=True)
    low, high = (
        _number(f"engagement.{name}", given[name], low=0, high=1) for name in ("low", "high")
    )
    if low > high:
        raise InvalidInput("engagement", "low must not exceed high")
    return replace(profile, engagement=EngagementRules(low, high))


def _external_scores(profile: Profile, value: object) -> Profile:
    keeps = _choice("externalScores", value, {"keep": True, "overwrite": False})
    return replace(profile, keeps_external_scores=keeps)


def _number(name: str, value: object, *, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InvalidInput(name, f"must be a number from {low} to {high}")
    return float(value)


def _whole(name: str, value: object, *, low: int, high: int) -> int:
    number = _number(name, value, low=low, high=high)
    if not number.is_integer():
        raise InvalidInput(name, "must be a whole number")
    return int(number)


def _choice(name: str, value: object, choices: Mapping[str, Choice]) -> Choice:
    if not isinstance(value, str) or value not in choices:
        raise InvalidInput(name, f"must be one of {', '.join(choices)}")
    return choices[value]


def _ascending(name: str, value: object, length: int) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) != length:
        raise InvalidInput(name, f"must be a list of {length} numbers")
    numbers = tuple(_number(name, number, low=-1e15, high=1e15) for number in value)
    if list(numbers) != sorted(numbers):
        raise InvalidInput(name, "must be ascending")
    return numbers


def _mapping(
    name: str, value: object, allowed: set[str], *, whole: bool = False
) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not set(value) <= allowed:
        raise InvalidInput(name, f"must be an object of {', '.join(sorted(allowed))}")
    if whole and set(value) != allowed:
        raise InvalidInput(name, f"needs all of {', '.join(sorted(allowed))}")
    return value


_CHANGES: dict[str, Callable[[Profile, object], Profile]] = {
    "asOf": _as_of,
    "windowDays": _window_days,
    "cutoffs": _cutoffs,
    "churn": _churn,
    "clv": _clv,
    "lifecycle": _lifecycle,
    "clvTiers": _clv_tiers,
    "influence": _influence,
    "engagement": _engagement,
    "externalScores": _external_scores,
}


HIGH_VALUE = "high_value"
GROWTH = "growth_potential"
FADING = "at_risk"
RECOVERY = "recovery"

_TOP = Between(4, 5)
_UPPER = Between(3, 5)
_LOWER = Between(1, 2)
_GOOD_SUM = Between(8, 10)

_RETAIL_SEGMENTS = (
    Segment("champion", "Champions", 1, HIGH_VALUE, "Reward, early access, invite to refer."),
    Segment("loyal", "Loyal", 2, HIGH_VALUE, "Sell up and across; loyalty programme."),
    Segment("promising", "Promising", 3, GROWTH, "Welcome, explain, a first discount."),
    Segment("at_risk", "At risk", 4, FADING, "Win back with a personal contact."),
    Segment("hibernating", "Hibernating", 5, RECOVERY, "Re-activate cheaply or let go."),
)
_RETAIL_RULES = (
    SegmentRule("champion", r=_TOP, fm=_GOOD_SUM),
    SegmentRule("loyal", r=_UPPER, f=_TOP),
    SegmentRule("at_risk", r=Between(1, 3), fm=_GOOD_SUM),
    SegmentRule("promising", r=_TOP),
    SegmentRule("hibernating"),
)

# The ten codes that name these segments (555 and 554 champions, 454 loyal, 543, 533, 332, 311, 211,
# 112, 111) keep their names; the rules give the other 115 cells to the nearest of them.
_TICKETING_SEGMENTS = (
    Segment("champions", "Champions", 1, HIGH_VALUE, "Reward, early access, invite to refer."),
    Segment("loyal_customers", "Loyal customers", 2, HIGH_VALUE, "Loyalty offers, better seats."),
    Segment("potential_loyalists", "Potential loyalists", 3, GROWTH, "Offer a membership."),
    Segment("recent_customers", "Recent customers", 4, GROWTH, "Suggest the next event soon."),
    Segment("new_customers", "New customers", 5, GROWTH, "Welcome and explain."),
    Segment("promising", "Promising", 6, GROWTH, "Offer a bundle."),
    Segment("at_risk", "At risk", 7, FADING, "Personal retention offer."),
    Segment("hibernating", "Hibernating", 8, RECOVERY, "Re-engagement campaign."),
    Segment("lost", "Lost", 9, RECOVERY, "Let go, or one last offer."),
)
_TICKETING_RULES = (
    SegmentRule("champions", r=Between(5, 5), f=Between(5, 5), m=_TOP),
    SegmentRule("loyal_customers", r=_TOP, f=_TOP, m=_TOP),
    SegmentRule("potential_loyalists", r=_TOP, f=_TOP),
    SegmentRule("recent_customers", r=_TOP, f=Between(2, 3)),
    SegmentRule("new_customers", r=_UPPER, f=Between(1, 1)),
    SegmentRule("promising", r=Between(3, 3)),
    SegmentRule("lost", r=Between(1, 1), fm=Between(2, 2)),
    SegmentRule("at_risk", r=Between(1, 1)),
    SegmentRule("at_risk", r=Between(2, 2), fm=Between(6, 10)),
    SegmentRule("hibernating"),
)

_COMMERCE_SEGMENTS = (
    Segment("champions", "Champions", 1, HIGH_VALUE, "Reward, early access, invite to refer."),
    Segment("loyal_customers", "Loyal customers", 2, HIGH_VALUE, "Sell up; ask for reviews."),
    Segment("potential_loyalists", "Potential loyalists", 3, GROWTH, "Offer a membership."),
    Segment("recent_customers", "Recent customers", 4, GROWTH, "Help with the first purchases."),
    Segment("promising", "Promising", 5, GROWTH, "Build the brand; free trials."),
    Segment("needs_attention", "Needs attention", 6, FADING, "Limited offers on past purchases."),
    Segment("about_to_sleep", "About to sleep", 7, FADING, "Popular products at a discount."),
    Segment("at_risk", "At risk", 8, RECOVERY, "Personal messages; renewals."),
    Segment("cant_lose_them", "Can't lose them", 9, RECOVERY, "Win back in person."),
    Segment("hibernating", "Hibernating", 10, RECOVERY, "Other relevant products."),
    Segment("lost", "Lost", 11, RECOVERY, "Let go, or one last offer."),
    Segment("others", "Others", 12, RECOVERY, "Watch."),
)
# First the narrow rules, then the wide ones they lie within: otherwise "can't lose them" and "lost"
# would never be reached.
_COMMERCE_RULES = (
    SegmentRule("champions", r=_TOP, f=_TOP, m=_TOP),
    SegmentRule("loyal_customers", r=_UPPER, f=_UPPER, m=_TOP),
    SegmentRule("recent_customers", r=_TOP),
    SegmentRule("potential_loyalists", r=_UPPER, f=_UPPER, m=_UPPER),
    SegmentRule("promising", r=_UPPER, m=_UPPER),
    SegmentRule("cant_lose_them", r=_LOWER, f=_TOP, m=_TOP),
    SegmentRule("at_risk", r=_LOWER, f=_UPPER, m=_UPPER),
    SegmentRule("needs_attention", r=Between(2, 5), f=Between(2, 5), m=Between(2, 5)),
    SegmentRule("about_to_sleep", r=Between(2, 5)),
    SegmentRule("lost", f=Between(1, 1), m=Between(1, 1)),
    SegmentRule("hibernating", f=_LOWER, m=_LOWER),
    SegmentRule("others"),
)

_RETAIL_ACTIONS = {
    ChurnBand.LOW: "Standard engagement",
    ChurnBand.MEDIUM: "Proactive check-in",
    ChurnBand.HIGH: "Personal call and a special offer",
    ChurnBand.CRITICAL: "Manager steps in, VIP treatment",
}
_COMMERCE_ACTIONS = {
    ChurnBand.LOW: "Monitor engagement",
    ChurnBand.MEDIUM: "Include in the retention programme",
    ChurnBand.HIGH: "Send a win-back campaign",
    ChurnBand.CRITICAL: "Immediate personal outreach",
}

PRESETS: dict[str, Profile] = {
    "retail": Profile(
        preset="retail",
        segments=_RETAIL_SEGMENTS,
        segment_rules=_RETAIL_RULES,
        churn=ComponentChurn(),
        churn_actions=_RETAIL_ACTIONS,
        clv=SimpleClv(),
        lifecycle=LifecycleRules(vip_spend=15_000_000),
    ),
    "ticketing": Profile(
        preset="ticketing",
        influence=InfluenceRules(revenue_norm=10_000.0),
        segments=_TICKETING_SEGMENTS,
        segment_rules=_TICKETING_RULES,
        churn=TieredChurn(),
        churn_actions=_RETAIL_ACTIONS,
        clv=SimpleClv(margin=1.0),
        lifecycle=LifecycleRules(vip_spend=1_000),
    ),
    "commerce": Profile(
        preset="commerce",
        influence=InfluenceRules(revenue_norm=10_000.0),
        segments=_COMMERCE_SEGMENTS,
        segment_rules=_COMMERCE_RULES,
        churn=ComponentChurn(),
        churn_bands=ChurnBands((0.25, 0.5, 0.75), upper_inclusive=True),
        churn_actions=_COMMERCE_ACTIONS,
        clv=RetentionClv(),
        lifecycle=LifecycleRules(vip_spend=1_000),
    ),
    "appointments": Profile(
        preset="appointments",
        influence=InfluenceRules(revenue_norm=10_000.0),
        segments=_RETAIL_SEGMENTS,
        segment_rules=_RETAIL_RULES,
        churn=TieredChurn(),
        churn_actions=_RETAIL_ACTIONS,
        clv=RetentionClv(),
        lifecycle=LifecycleRules(vip_spend=1_000),
    ),
}
