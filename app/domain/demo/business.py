"""The business as a stream of chunks."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from app.domain.demo import browsing, engagement, geography, people, sales, trace
from app.domain.demo.columns import Columns
from app.domain.demo.options import CHUNK, DemoOptions
from app.domain.demo.population import draw_purchases, draw_shoppers, find_pace, open_trade
from app.domain.demo.season import LOCAL_OFFSET


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """A run of customers and all that is theirs. Tables that the options leave out are absent.

    Rows refer by number from 0: `customer_no`, `referrer_no` and `order_no` index this chunk's
    customers and orders, `store_no` indexes the stores. Nothing refers to another chunk, so chunks
    may be written in any order and side by side.
    """

    customers: Columns
    addresses: Columns
    orders: Columns
    order_items: Columns | None
    contacts: Columns | None
    feedback: Columns | None
    location_history: Columns | None
    events: Columns | None


def generate(options: DemoOptions) -> Iterator[Chunk]:
    """The business, at most `CHUNK` customers at a time; each chunk covers the whole history."""
    trade = open_trade(options)
    pace = find_pace(options, trade)
    end = np.datetime64(options.as_of, "s") - LOCAL_OFFSET
    for start in range(0, options.customers, CHUNK):
        numbers = np.arange(start, min(start + CHUNK, options.customers)) + 1
        rng = np.random.default_rng([options.seed, start])
        shoppers = draw_shoppers(rng, trade, pace=pace, size=len(numbers))
        homes = geography.settle(rng, shoppers.wholesale)
        sold = sales.sell(
            rng,
            shoppers,
            draw_purchases(rng, shoppers, trade),
            trade,
            numbers=numbers,
            home_store=homes.store,
            with_items=options.with_items,
        )
        customers = people.customer_columns(rng, shoppers, homes, sold, numbers=numbers, end=end)
        addresses = people.address_columns(rng, homes, shoppers.wholesale, numbers)
        contacts = feedback = location_history = None
        if options.with_engagement:
            satisfaction = engagement.draw_satisfaction(rng, shoppers)
            contacts = engagement.contact_columns(rng, satisfaction, customers, numbers, end)
            feedback = engagement.feedback_columns(rng, satisfaction, sold, numbers, end)
        if options.with_places:
            location_history = trace.location_columns(rng, shoppers, homes, numbers, trade)
        events = None
        if options.with_events:
            events = browsing.event_columns(rng, sold, customers, numbers, end)
        yield Chunk(
            customers=customers,
            addresses=addresses,
            orders={"customer_no": sold.owner, **sold.orders},
            order_items=sold.items,
            contacts=contacts,
            feedback=feedback,
            location_history=location_history,
            events=events,
        )
