"""Events: single ones against a plain route, a batch against a bare COPY."""

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.bench import received
from tests.bench.ground import Sizes
from tests.bench.ratio import Ratio
from tests.bench.received import BATCH, Item, Kind

#: An hour of a shop on the web: so many visits, of five events each.
_VISITS = 200

_USER_AGENTS = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like"
    " Gecko) Version/17.2 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 14; SM-A546E) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/131.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/131.0.0.0 Safari/537.36",
)
_TYPES = ("page_view", "page_view", "product_view", "add_to_cart", "purchase")

_HISTORY = """
WITH made AS (
    INSERT INTO behavior_events (tenant_id, id, customer_sk, occurred_at, event_type,
                                 event_category, product_id, product_category, event_value,
                                 session_id, device_type)
    SELECT tenant_id, 'history-' || sk || '-' || number, sk,
           now() - make_interval(days => 2 + (sk % 28)::integer, mins => number),
           CASE number % 3 WHEN 0 THEN 'product_view' ELSE 'page_view' END, 'website',
           'prod-' || sk % 500, 'Category ' || sk % 20, 100 * number, 's-' || sk, 'mobile'
    FROM customers, generate_series(1, $1::integer) AS number
    RETURNING tenant_id, id
)
INSERT INTO received_ids (tenant_id, kind, digest)
SELECT tenant_id, 'event', received_digest(id) FROM made
"""

#: What is sent, by the column it becomes, where nothing has to be done for it.
_COPIED = {
    "occurred_at": "occurredAt",
    "event_type": "eventType",
    "event_category": "eventCategory",
    "product_id": "productId",
    "product_category": "productCategory",
    "page_url": "pageUrl",
    "session_id": "sessionId",
}
_WORKED_OUT = (
    *("event_value", "properties", "ip_network", "device_type", "browser", "os", "user_agent"),
)


def _event(
    chance: random.Random, identity: str, customer_id: str, at: datetime, session: str
) -> Item:
    product = chance.randrange(500)
    return {
        "eventId": identity,
        "customerId": customer_id,
        "eventType": chance.choice(_TYPES),
        "eventCategory": "website",
        "productId": f"prod-{product}",
        "productCategory": f"Category {product % 20}",
        "eventValue": f"{chance.randint(50, 900)}000.00",
        "eventProperties": {"position": product % 7, "list": "new"},
        "pageUrl": f"https://shop.example/products/{product}",
        "ipAddress": f"203.0.113.{product % 256}",
        "userAgent": chance.choice(_USER_AGENTS),
        "sessionId": session,
        "occurredAt": at.isoformat(),
    }


def _single(chance: random.Random, identity: str, customer_id: str, at: datetime) -> Item:
    return _event(chance, identity, customer_id, at, f"s-{identity}")


def _batch(chance: random.Random, ids: list[str], name: str) -> list[Item]:
    """The visits of an hour, in the order of their events."""
    began = datetime.now(UTC) - timedelta(hours=1)
    visitors = chance.sample(ids, _VISITS)
    return [
        _event(
            chance,
            f"{name}-{number}",
            visitors[visit := chance.randrange(_VISITS)],
            began + timedelta(seconds=3 * number),
            f"{name}-{visit}",
        )
        for number in range(BATCH)
    ]


def _row(event: Item) -> Sequence[Any]:
    return (
        f"copied-{event['eventId']}",
        *(event[name] for name in _COPIED.values()),
        *(event["eventValue"].replace(".", ""), json.dumps(event["eventProperties"])),
        *("203.0.113.0/24", "mobile", "Mobile Safari", "iOS", "Mobile Safari/17 iOS/17"),
    )


_KIND = Kind(
    name="events",
    history=_HISTORY,
    path="/api/segmentation/events",
    plain_path="/bench/event",
    senders=32,
    table="behavior_events",
    columns=("id", *_COPIED, *_WORKED_OUT),
    one=_single,
    batch=_batch,
    row=_row,
)


async def measure(cluster_url: str, sizes: Sizes) -> list[Ratio]:
    """Events a second over validated bodies a second, and a batch's rate over COPY's."""
    return await received.measure(cluster_url, sizes, _KIND)
