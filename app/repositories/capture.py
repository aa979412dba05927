"""Captures: the places of customers as they were received, and the last one known of each."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from app.database import fetch_row, fetch_rows
from app.domain.capture import KnownPlace, Place

#: What this is called in `received_ids`.
KIND = "capture"


class NewCapture(NamedTuple):
    """A capture to be stored. `flags` are joined with commas."""

    id: str
    customer_sk: int
    captured_at: datetime
    latitude: float
    longitude: float
    accuracy: float | None
    altitude: float | None
    speed: float | None
    heading: float | None
    source: str
    captured_by: str | None
    device_id: str | None
    visit_type: str | None
    visit_notes: str | None
    photo_url: str | None
    flags: str


@dataclass(frozen=True, slots=True)
class Owner:
    """A locked customer, and where it was last known to be."""

    sk: int
    known_place: KnownPlace | None


@dataclass(frozen=True, slots=True)
class Taken:
    """What `take` found: owners by their ids, and the digests that were new."""

    owners: Mapping[str, Owner]
    new: frozenset[UUID]


# The rows of customers are locked in the order of their keys, and digests come after them in their
# own order, so that no two writers wait for each other. An id is received only where its customer
# is there: what is refused may be sent again. `IS TRUE` keeps the list of owners a hash.
_TAKE = """
WITH months AS MATERIALIZED (
    SELECT count(ensure_partition('location_history', month)) FROM unnest($3::date[]) AS month
), owners AS MATERIALIZED (
    SELECT c.sk
    FROM months CROSS JOIN unnest($2::text[]) AS wanted (id)
    CROSS JOIN LATERAL (
        SELECT sk FROM customers
        WHERE tenant_id = (SELECT $1::integer) AND id BETWEEN wanted.id AND wanted.id
        ORDER BY id LIMIT 1
    ) AS c
    ORDER BY c.sk
), locked AS MATERIALIZED (
    SELECT c.*
    FROM owners
    CROSS JOIN LATERAL (
        SELECT id, sk, last_known_latitude, last_known_longitude, last_location_accuracy,
               last_location_captured_at, last_location_source, last_location_captured_by
        FROM customers
        WHERE tenant_id = (SELECT $1::integer) AND sk BETWEEN owners.sk AND owners.sk
        ORDER BY sk LIMIT 1
        FOR NO KEY UPDATE
    ) AS c
), received AS (
    INSERT INTO received_ids (tenant_id, kind, digest)
    SELECT $1, 'capture', stated.digest
    FROM unnest($4::uuid[], $5::text[]) AS stated (digest, customer_id)
    WHERE (stated.customer_id IN (SELECT id FROM locked)) IS TRUE
    ORDER BY stated.digest
    ON CONFLICT DO NOTHING
    RETURNING digest
)
SELECT locked.*, NULL::uuid AS digest FROM locked
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, digest FROM received
"""


async def take(
    connection: AsyncConnection,
    tenant_id: int,
    customer_ids: Collection[str],
    months: Collection[date],
    received: Mapping[UUID, str],
) -> Taken:
    """Lock the customers, make the months' partitions, and receive ids of present customers.

    `received` has the id of the customer by the digest of the client's id. The customers are locked
    in key order until the transaction ends.
    """
    rows = await fetch_rows(
        connection,
        _TAKE,
        tenant_id,
        list(customer_ids),
        list(months),
        list(received),
        list(received.values()),
    )
    owners: dict[str, Owner] = {}
    new: set[UUID] = set()
    for identity, sk, *place, digest in rows:
        if digest is None:
            owners[identity] = Owner(sk, _known_place(place))
        else:
            new.add(digest)
    return Taken(owners, frozenset(new))


def _known_place(columns: Sequence[Any]) -> KnownPlace | None:
    latitude, longitude, *known = columns
    return None if latitude is None else KnownPlace(Place(latitude, longitude), *known)


_ADD = """
WITH moved AS (
    UPDATE customers c
    SET last_known_latitude = m.latitude, last_known_longitude = m.longitude,
        last_location_accuracy = m.accuracy, last_location_captured_at = m.at,
        last_location_source = m.source, last_location_captured_by = m.captured_by,
        updated_at = now()
    FROM unnest(
        $18::bigint[], $19::float8[], $20::float8[], $21::float8[], $22::timestamptz[],
        $23::text[], $24::text[]
    ) AS m (sk, latitude, longitude, accuracy, at, source, captured_by)
    WHERE c.tenant_id = $1 AND c.sk = m.sk
)
INSERT INTO location_history (
    tenant_id, id, customer_sk, captured_at, location, accuracy, altitude, speed, heading, source,
    captured_by, device_id, visit_type, visit_notes, photo_url, flags
)
SELECT $1, id, customer_sk, captured_at,
       ST_SetSRID(ST_MakePoint(longitude, latitude), 4326), accuracy, altitude, speed, heading,
       source, captured_by, device_id, visit_type, visit_notes, photo_url,
       string_to_array(flags, ',')
FROM unnest(
    $2::text[], $3::bigint[], $4::timestamptz[], $5::float8[], $6::float8[], $7::float8[],
    $8::float8[], $9::float8[], $10::float8[], $11::text[], $12::text[], $13::text[], $14::text[],
    $15::text[], $16::text[], $17::text[]
) AS incoming (
    id, customer_sk, captured_at, latitude, longitude, accuracy, altitude, speed, heading, source,
    captured_by, device_id, visit_type, visit_notes, photo_url, flags
)
ON CONFLICT DO NOTHING
RETURNING id
"""
_NO_MOVES: tuple[tuple[Any, ...], ...] = ((),) * 7


async def add_many(
    connection: AsyncConnection,
    tenant_id: int,
    captures: Sequence[NewCapture],
    moved: Mapping[int, KnownPlace],
) -> frozenset[str]:
    """Store captures, and the last known places of customers by their keys, in one statement.

    The ids of those stored: not of one that was there with this very id and time.
    """
    places = [
        (sk, *known.place, known.accuracy, known.at, known.source, known.captured_by)
        for sk, known in moved.items()
    ]
    rows = await fetch_rows(
        connection,
        _ADD,
        tenant_id,
        *map(list, zip(*captures, strict=True)),
        *map(list, zip(*places, strict=True) if places else _NO_MOVES),
    )
    return frozenset(row[0] for row in rows)


# The one nearest as stated and the one nearest when turned round, because a sphere has no outline
# that one of them alone would settle.
_REFERENCES = """
SELECT wanted.place, ST_Y(a.location), ST_X(a.location)
FROM unnest($2::integer[], $3::bigint[], $4::float8[], $5::float8[])
    AS wanted (place, sk, latitude, longitude)
CROSS JOIN LATERAL (
    SELECT location FROM addresses
    WHERE tenant_id = (SELECT $1::integer) AND customer_sk BETWEEN wanted.sk AND wanted.sk
      AND location IS NOT NULL
    LIMIT 100
) AS a
UNION ALL
SELECT wanted.place, ST_Y(s.location), ST_X(s.location)
FROM (
    SELECT place, ST_SetSRID(ST_MakePoint(longitude, latitude), 4326)::geography AS point
    FROM unnest($2::integer[], $4::float8[], $5::float8[]) AS stated (place, latitude, longitude)
    UNION ALL
    SELECT place, ST_SetSRID(ST_MakePoint(latitude, longitude), 4326)::geography
    FROM unnest($2::integer[], $4::float8[], $5::float8[]) AS turned (place, latitude, longitude)
) AS wanted
CROSS JOIN LATERAL (
    SELECT location FROM stores
    WHERE tenant_id = (SELECT $1::integer) AND geography IS NOT NULL
    ORDER BY geography <-> wanted.point LIMIT 1
) AS s
"""


async def list_references(
    connection: AsyncConnection, tenant_id: int, wanted: Mapping[int, tuple[int, Place]]
) -> dict[int, list[Place]]:
    """Where customers may be expected: their addresses, and the stores nearest to a place.

    `wanted` has the customer's key and the place by any number; so has the answer. A store is
    looked for near the place and near the place with latitude and longitude swapped.
    """
    rows = await fetch_rows(
        connection,
        _REFERENCES,
        tenant_id,
        list(wanted),
        [sk for sk, _ in wanted.values()],
        [place.latitude for _, place in wanted.values()],
        [place.longitude for _, place in wanted.values()],
    )
    found: dict[int, list[Place]] = {number: [] for number in wanted}
    for number, latitude, longitude in rows:
        found[number].append(Place(latitude, longitude))
    return found


@dataclass(frozen=True, slots=True)
class Stored:
    """What a client is told of a capture that was there already."""

    captured_at: datetime
    geohash: str
    flags: list[str]


_FIND_MANY = """
SELECT h.id, h.captured_at, h.geohash, h.flags
FROM unnest($2::text[], $3::text[]) AS wanted (id, customer_id)
CROSS JOIN LATERAL (
    SELECT sk FROM customers
    WHERE tenant_id = (SELECT $1::integer)
      AND id BETWEEN wanted.customer_id AND wanted.customer_id
    ORDER BY id LIMIT 1
) AS c
CROSS JOIN LATERAL (
    SELECT id, captured_at, geohash, flags FROM location_history
    WHERE tenant_id = (SELECT $1::integer) AND customer_sk BETWEEN c.sk AND c.sk
      AND id = wanted.id
    LIMIT 1
) AS h
"""


async def find_many(
    connection: AsyncConnection, tenant_id: int, ids: Mapping[str, str]
) -> dict[str, Stored]:
    """Captures by their ids, each of the customer whose id `ids` has."""
    if not ids:
        return {}
    rows = await fetch_rows(connection, _FIND_MANY, tenant_id, list(ids), list(ids.values()))
    return {
        identity: Stored(captured_at, geohash, flags)
        for identity, captured_at, geohash, flags in rows
    }


_RETENTION = "SELECT location_retention_days FROM tenants WHERE id = $1"


async def kept_since(connection: AsyncConnection, tenant_id: int, now: datetime) -> datetime | None:
    """The instant before which no capture is kept or told of; None where all are kept."""
    row = await fetch_row(connection, _RETENTION, tenant_id)
    days = None if row is None else row[0]
    return None if days is None else now - timedelta(days=days)
