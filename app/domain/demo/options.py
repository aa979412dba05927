"""How large a made-up business, and how much of it."""

from dataclasses import dataclass
from datetime import date

CHUNK = 5_000
"""Customers drawn together. Part of the definition: another size gives other data."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """One business. The same options always give the same data.

    History covers the `days` local days before `as_of`, which is itself left out: no order, contact
    or fix lies on or after its first instant. `orders_per_customer` counts orders of every status,
    on average over all customers.
    """

    as_of: date
    customers: int = 5_000
    orders_per_customer: float = 10.0
    days: int = 730
    seed: int = 20_231
    with_items: bool = True
    with_engagement: bool = True
    with_places: bool = True
    with_events: bool = True

    def __post_init__(self) -> None:
        if self.customers < 1:
            raise ValueError("customers must be at least 1")
        if not 1.0 < self.orders_per_customer <= 30.0:
            raise ValueError("orders_per_customer must be above 1 and at most 30")
        if self.days < 30:
            raise ValueError("days must be at least 30")
