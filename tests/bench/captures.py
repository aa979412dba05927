"""Captures: single ones against a plain route, the backlog of an app against a bare COPY."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.bench import received
from tests.bench.ground import Sizes
from tests.bench.ratio import Ratio
from tests.bench.received import BATCH, Item, Kind

#: A day of a driver: so many customers, each of them passed and met several times.
_STOPS = 50

_HISTORY = """
WITH made AS (
    INSERT INTO location_history (tenant_id, id, customer_sk, captured_at, location, source,
                                  captured_by, device_id)
    SELECT tenant_id, 'history-' || sk || '-' || number, sk,
           now() - make_interval(days => 2 + (sk % 28)::integer, mins => number),
           ST_SetSRID(
               ST_MakePoint(106.5 + (sk % 6007) * 0.0001, -6.5 + (sk % 5003) * 0.0001), 4326
           ),
           'gps', 'driver-' || sk % 500, 'device-' || sk % 500
    FROM customers, generate_series(1, $1::integer) AS number
    RETURNING tenant_id, id
)
INSERT INTO received_ids (tenant_id, kind, digest)
SELECT tenant_id, 'capture', received_digest(id) FROM made
"""

#: What is sent, by the column it becomes, where nothing has to be done for it.
_COPIED = {
    "captured_at": "capturedAt",
    "accuracy": "accuracy",
    "speed": "speed",
    "heading": "heading",
    "source": "source",
    "captured_by": "capturedBy",
    "device_id": "deviceId",
}


def _capture(chance: random.Random, identity: str, customer_id: str, at: datetime) -> Item:
    return {
        "captureId": identity,
        "customerId": customer_id,
        "latitude": round(-6.2 + chance.gauss(0, 0.05), 6),
        "longitude": round(106.8 + chance.gauss(0, 0.05), 6),
        "accuracy": round(chance.uniform(3, 40), 1),
        "speed": round(chance.uniform(0, 15), 1),
        "heading": round(chance.uniform(0, 360), 1),
        "source": "gps",
        "capturedBy": f"emp-{chance.randrange(50)}",
        "deviceId": f"device-{chance.randrange(50)}",
        "capturedAt": at.isoformat(),
    }


def _backlog(chance: random.Random, ids: list[str], name: str) -> list[Item]:
    """A day of one device, in no order."""
    began = datetime.now(UTC) - timedelta(hours=10)
    stops = chance.sample(ids, _STOPS)
    backlog = [
        _capture(
            chance,
            f"{name}-{number}",
            stops[number * _STOPS // BATCH],
            began + timedelta(seconds=30 * number),
        )
        for number in range(BATCH)
    ]
    chance.shuffle(backlog)
    return backlog


def _row(capture: Item) -> Sequence[Any]:
    return (
        f"copied-{capture['captureId']}",
        f"SRID=4326;POINT({capture['longitude']} {capture['latitude']})",
        *(capture[name] for name in _COPIED.values()),
    )


_KIND = Kind(
    name="captures",
    history=_HISTORY,
    path="/api/geo/capture",
    plain_path="/bench/capture",
    senders=64,
    table="location_history",
    columns=("id", "location", *_COPIED),
    one=_capture,
    batch=_backlog,
    row=_row,
)


async def measure(cluster_url: str, sizes: Sizes) -> list[Ratio]:
    """Captures a second over validated bodies a second, and a backlog's rate over COPY's."""
    return await received.measure(cluster_url, sizes, _KIND)
