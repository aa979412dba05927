"""Recency, frequency, monetary value: scores of 1 to 5 and the segment they make.

Over the counted orders of the window: recency in whole days between the local days of the last
order and the as-of, frequency in orders, monetary value in minor units. Four cutoffs split the
tenant's buyers into quintiles (20, 40, 60, 80 % quantiles, linear interpolation). Values that tie
always share a score, which is why a score counts the cutoffs *strictly below* the value.

Source: Hughes, Strategic Database Marketing (1994), for the quintile method.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

QUINTILES = (0.2, 0.4, 0.6, 0.8)

#: Where a percentile from 1 to 100 begins.
PERCENTILES = tuple(step / 100 for step in range(1, 101))


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """The four values that split the buyers into quintiles, ascending, for each of R, F and M."""

    recency_days: tuple[float, ...]
    frequency: tuple[float, ...]
    monetary: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Between:
    """An inclusive range of a score."""

    low: int
    high: int

    def __contains__(self, score: int) -> bool:
        return self.low <= score <= self.high


ANY = Between(1, 5)
ANY_SUM = Between(2, 10)


@dataclass(frozen=True, slots=True)
class SegmentRule:
    """Scores within every range belong to `segment`; `fm` bounds the sum of F and M."""

    segment: str
    r: Between = ANY
    f: Between = ANY
    m: Between = ANY
    fm: Between = ANY_SUM

    def matches(self, r: int, f: int, m: int) -> bool:
        return r in self.r and f in self.f and m in self.m and f + m in self.fm


@dataclass(frozen=True, slots=True)
class Segment:
    """What a segment means to the business. `priority` 1 is the best place to be."""

    code: str
    name: str
    priority: int
    value_tier: str
    action: str


def score_high(value: float, cutoffs: Sequence[float]) -> int:
    """1 to 5, more is better: one more than the cutoffs strictly below the value."""
    return 1 + bisect_left(cutoffs, value)


def score_low(value: float, cutoffs: Sequence[float]) -> int:
    """1 to 5, less is better: five less the cutoffs strictly below the value."""
    return 5 - bisect_left(cutoffs, value)


def percentile_high(value: float, percentiles: Sequence[float]) -> int:
    """0 to 100, more is better: how many of the hundred percentile bounds the value has reached."""
    return bisect_right(percentiles, value)


def percentile_low(value: float, percentiles: Sequence[float]) -> int:
    """0 to 100, less is better: how many of the hundred percentile bounds are not below the value.

    Like `percentile_high`, it says how many buyers are no better, so that the best always have 100.
    """
    return len(percentiles) - bisect_left(percentiles, value)


def segment(rules: Sequence[SegmentRule], r: int, f: int, m: int) -> str:
    """The segment of the first rule that matches; the last rule of a profile matches everything."""
    return next(rule.segment for rule in rules if rule.matches(r, f, m))


def code(r: int, f: int, m: int) -> str:
    """The three scores as they are spoken of, such as `"545"`."""
    return f"{r}{f}{m}"
