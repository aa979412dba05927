"""Behaviour events: received once, written with what they add to the summaries."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from pydantic_core import to_json
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database import fetch_rows
from app.domain.event import Totals
from app.repositories.arrays import columns_of, joined, split, unnested
from app.repositories.received_id import WRITTEN_DIGESTS, written_digests


class NewEvent(NamedTuple):
    """An event as it is to be stored. `event_value` in minor units, `properties` as JSON text."""

    id: str
    occurred_at: datetime
    event_type: str
    event_category: str | None
    product_id: str | None
    product_name: str | None
    product_category: str | None
    event_value: int | None
    properties: str | None
    page_url: str | None
    referrer_url: str | None
    ip_network: str | None
    user_agent: str | None
    device_type: str | None
    browser: str | None
    os: str | None
    latitude: float | None
    longitude: float | None
    country: str | None
    city: str | None
    session_id: str | None


@dataclass(frozen=True, slots=True)
class Received:
    """Customers by external id, and which of the digests were not known before, as 32 digits."""

    customers: Mapping[str, int]
    fresh: frozenset[str]


# Customers are shared with other writers of events; only whoever merges or erases one is waited
# for, here and nowhere later, while this transaction holds nothing yet. Then a month nobody wrote
# to before is made: that takes a lock on the table of customers, with which no row of it may be
# waited for, because whoever has the row may want the table. The parts are done in the order of the
# union; to count the customers is to lock all of them.
#
# IS TRUE keeps the planner from turning the look-up into a loop over pairs: it knows nothing of the
# lengths of arrays.
_RECEIVE = f"""
WITH known AS MATERIALIZED (
    SELECT sk, id FROM customers
    WHERE tenant_id = $1 AND id = ANY ({split("$2")})
    ORDER BY sk
    FOR KEY SHARE
), months AS MATERIALIZED (
    SELECT ensure_partition('behavior_events', month) AS made
    FROM unnest($5::date[]) AS needed (month)
    WHERE (SELECT count(*) FROM known) > 0
), fresh AS (
    INSERT INTO received_ids (tenant_id, kind, digest)
    SELECT $1, 'event', named.digest::uuid
    FROM unnest({split("$3")}, {split("$4")}) AS named (digest, customer_id)
    WHERE (named.customer_id IN (SELECT id FROM known)) IS TRUE
    ORDER BY named.digest
    ON CONFLICT DO NOTHING
    RETURNING digest
)
SELECT sk, id, NULL AS digest FROM known
UNION ALL
SELECT NULL, NULL, NULL FROM months WHERE made IS NULL
UNION ALL
SELECT NULL, NULL, {WRITTEN_DIGESTS} FROM fresh
"""

#: What follows an INSERT INTO behavior_summaries AS s: it adds to what is there.
ADD_TO_SUMMARY = """
ON CONFLICT (tenant_id, customer_sk) DO UPDATE SET
    events = s.events + excluded.events,
    page_views = s.page_views + excluded.page_views,
    product_views = s.product_views + excluded.product_views,
    cart_additions = s.cart_additions + excluded.cart_additions,
    purchases = s.purchases + excluded.purchases,
    spent = s.spent + excluded.spent,
    first_event_at = least(s.first_event_at, excluded.first_event_at),
    last_event_at = greatest(s.last_event_at, excluded.last_event_at),
    first_purchase_at = least(s.first_purchase_at, excluded.first_purchase_at),
    last_purchase_at = greatest(s.last_purchase_at, excluded.last_purchase_at),
    categories = add_counts(s.categories, excluded.categories),
    devices = add_counts(s.devices, excluded.devices),
    sources = add_counts(s.sources, excluded.sources),
    updated_at = now()
"""

# The columns of a `NewEvent`, beginning with $3.
_KINDS = {
    "occurred_at": "timestamptz",
    "event_value": "bigint",
    "properties": "jsonb",
} | dict.fromkeys(("latitude", "longitude"), "double precision")

# A duplicate never comes this far, so what is added is added once. The segments that ask of events
# are left to a job, so that an event waits for none of them.
_INSERT = f"""
WITH written AS (
    INSERT INTO behavior_events (
        tenant_id, customer_sk, id, occurred_at, event_type, event_category, product_id,
        product_name, product_category, event_value, properties, page_url, referrer_url,
        ip_network, user_agent, device_type, browser, os, latitude, longitude, country, city,
        session_id
    )
    SELECT $1, customer_sk, id, occurred_at, event_type, event_category, product_id, product_name,
           product_category, event_value, properties, page_url, referrer_url, ip_network::cidr,
           user_agent, device_type, browser, os, latitude, longitude, country, city, session_id
    FROM unnest($2::bigint[], {unnested(NewEvent._fields, _KINDS, first=3)}
    ) AS incoming (
        customer_sk, id, occurred_at, event_type, event_category, product_id, product_name,
        product_category, event_value, properties, page_url, referrer_url, ip_network, user_agent,
        device_type, browser, os, latitude, longitude, country, city, session_id
    )
), counted AS (
    INSERT INTO behavior_summaries AS s (
        tenant_id, customer_sk, events, page_views, product_views, cart_additions, purchases, spent,
        first_event_at, last_event_at, first_purchase_at, last_purchase_at, categories, devices,
        sources
    )
    SELECT $1, added.*
    FROM unnest(
        $24::bigint[], $25::bigint[], $26::bigint[], $27::bigint[], $28::bigint[], $29::bigint[],
        $30::bigint[], $31::timestamptz[], $32::timestamptz[], $33::timestamptz[],
        $34::timestamptz[], $35::jsonb[], $36::jsonb[], $37::jsonb[]
    ) AS added (customer_sk)
    ORDER BY added.customer_sk
    {ADD_TO_SUMMARY}
)
SELECT touch_segments($1, $24)
"""


async def receive(
    connection: AsyncConnection,
    tenant_id: int,
    *,
    customer_ids: Collection[str],
    named: Sequence[tuple[str, str]],
    months: Collection[date],
) -> Received:
    """Keep the named customers from leaving, remember the ids of events, and make the months ready.

    `named` has the digest of each event with an id of its source's own, and the id of its customer.
    What a customer who is not known sent is not remembered.
    """
    digests, owners = zip(*named, strict=True) if named else ((), ())
    rows = await fetch_rows(
        connection,
        _RECEIVE,
        tenant_id,
        joined(list(customer_ids)),
        joined(digests),
        joined(owners),
        list(months),
    )
    customers: dict[str, int] = {}
    fresh: frozenset[str] = frozenset()
    for sk, customer_id, digests_written in rows:
        if sk is None:
            fresh = written_digests(digests_written)
        else:
            customers[customer_id] = sk
    return Received(customers, fresh)


async def insert_many(
    connection: AsyncConnection,
    tenant_id: int,
    events: Sequence[tuple[int, NewEvent]],
    totals: Mapping[int, Totals],
) -> None:
    """Write events, each with the key of its customer, and add `totals` to the summaries."""
    owners, rows = zip(*events, strict=True)
    await fetch_rows(
        connection,
        _INSERT,
        tenant_id,
        list(owners),
        *columns_of(rows, NewEvent._fields, _KINDS),
        list(totals),
        *_summary_columns(totals),
    )


def _summary_columns(totals: Mapping[int, Totals]) -> Iterable[list[Any]]:
    """The columns after the customers', in the order of the statement."""
    rows = [
        (
            own.events,
            own.page_views,
            own.product_views,
            own.cart_additions,
            own.purchases,
            own.spent,
            own.first_event_at,
            own.last_event_at,
            own.first_purchase_at,
            own.last_purchase_at,
            _json(own.categories),
            _json(own.devices),
            _json(own.sources),
        )
        for own in totals.values()
    ]
    return map(list, zip(*rows, strict=True))


def _json(counts: Counter[str]) -> str:
    return to_json(counts).decode()
