"""Behaviour events: which types the summaries know, and what events add to a summary.

A type that is not known here is an event like any other; only it has no count of its own.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Protocol

PAGE_VIEW = "page_view"
PRODUCT_VIEW = "product_view"
ADD_TO_CART = "add_to_cart"
PURCHASE = "purchase"


class Summarised(Protocol):
    """What a summary reads of an event. `event_value` in minor units."""

    @property
    def occurred_at(self) -> datetime: ...
    @property
    def event_type(self) -> str: ...
    @property
    def event_category(self) -> str | None: ...
    @property
    def product_category(self) -> str | None: ...
    @property
    def event_value(self) -> int | None: ...
    @property
    def device_type(self) -> str | None: ...


@dataclass(slots=True)
class Totals:
    """What events of one customer come to, in any order. `spent` in minor units.

    Categories are those of products; a source is where an event happened: website, email, …
    """

    first_event_at: datetime
    last_event_at: datetime
    events: int = 0
    page_views: int = 0
    product_views: int = 0
    cart_additions: int = 0
    purchases: int = 0
    spent: int = 0
    first_purchase_at: datetime | None = None
    last_purchase_at: datetime | None = None
    categories: Counter[str] = field(default_factory=Counter)
    devices: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)

    def add(self, event: Summarised) -> None:
        """Count one more event."""
        at = event.occurred_at
        self.events += 1
        self.first_event_at = min(self.first_event_at, at)
        self.last_event_at = max(self.last_event_at, at)
        if event.product_category is not None:
            self.categories[event.product_category] += 1
        if event.device_type is not None:
            self.devices[event.device_type] += 1
        if event.event_category is not None:
            self.sources[event.event_category] += 1
        if event.event_type == PAGE_VIEW:
            self.page_views += 1
        elif event.event_type == PRODUCT_VIEW:
            self.product_views += 1
        elif event.event_type == ADD_TO_CART:
            self.cart_additions += 1
        elif event.event_type == PURCHASE:
            self.purchases += 1
            self.spent += event.event_value or 0
            if self.first_purchase_at is None or at < self.first_purchase_at:
                self.first_purchase_at = at
            if self.last_purchase_at is None or at > self.last_purchase_at:
                self.last_purchase_at = at


def totals_by_customer(events: Iterable[tuple[int, Summarised]]) -> dict[int, Totals]:
    """What events come to for each customer, each event given with the key of its customer."""
    totals: dict[int, Totals] = {}
    for customer_sk, event in events:
        own = totals.get(customer_sk)
        if own is None:
            own = totals[customer_sk] = Totals(event.occurred_at, event.occurred_at)
        own.add(event)
    return totals


def most_frequent(counts: Mapping[str, int]) -> str | None:
    """The name counted most often, the first by alphabet of equally frequent ones."""
    return min(counts, key=lambda name: (-counts[name], name), default=None)


class CohortBasis(StrEnum):
    """What makes a customer a member of the cohort of a time."""

    FIRST_EVENT = "first_event"
    FIRST_PURCHASE = "first_purchase"


class Bucket(StrEnum):
    """How long a stretch of the tenant's calendar is. A week begins on Monday."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"

    def first_day(self, day: date) -> date:
        """The first day of the bucket that `day` is in."""
        match self:
            case Bucket.DAY:
                return day
            case Bucket.WEEK:
                return day - timedelta(days=day.weekday())
            case Bucket.MONTH:
                return day.replace(day=1)

    def after(self, first_day: date, steps: int = 1) -> date:
        """The first day of the bucket that follows so many after the one of `first_day`."""
        match self:
            case Bucket.DAY:
                return first_day + timedelta(days=steps)
            case Bucket.WEEK:
                return first_day + timedelta(days=7 * steps)
            case Bucket.MONTH:
                months = first_day.year * 12 + first_day.month - 1 + steps
                return date(months // 12, months % 12 + 1, 1)
