"""Captures: the places of customers as they were received, and the last one known of each."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from app.database import driver_of, fetch_row, fetch_rows
from app.domain.capture import Fix, Place
from app.repositories.arrays import columns_of, joined, split, unnested
from app.repositories.received_id import WRITTEN_DIGESTS, written_digests


class NewCapture(NamedTuple):
    """A capture to be stored. `flags` are joined with commas, if there are any."""

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
    flags: str | None


@dataclass(frozen=True, slots=True)
class Owner:
    """A locked customer, and where it was last known to be."""

    sk: int
    known_place: Fix | None


@dataclass(frozen=True, slots=True)
class Taken:
    """What `take` found: owners by their ids, and the digests that were new.

    `kept_since` is the instant before which the tenant keeps nothing, if there is one.
    """

    owners: Mapping[str, Owner]
    new: frozenset[str]
    kept_since: datetime | None


# The rows of customers are locked in the order of their keys, and digests come after them in their
# own order, so that no two writers wait for each other. An id is received only where its customer
# is there: what is refused may be sent again. `IS TRUE` keeps the list of owners a hash.
_TAKE = f"""
WITH kept AS MATERIALIZED (
    SELECT $7::timestamptz - location_retention_days * interval '1 day' AS since
    FROM tenants WHERE id = $1
), months AS MATERIALIZED (
    SELECT count(ensure_partition('location_history', month)) FROM unnest($3::date[]) AS month
    WHERE month + interval '1 month 1 day' > coalesce((SELECT since FROM kept), '-infinity')
), locked AS MATERIALIZED (
    SELECT id, sk, last_known_latitude, last_known_longitude, last_location_accuracy,
           last_location_captured_at, last_location_source, last_location_captured_by
    FROM customers
    WHERE tenant_id = $1 AND id = ANY ({split("$2")}) AND (SELECT count FROM months) >= 0
    ORDER BY sk
    FOR NO KEY UPDATE
), received AS (
    INSERT INTO received_ids (tenant_id, kind, digest)
    SELECT $1, 'capture', stated.digest::uuid
    FROM unnest({split("$4")}, {split("$5")}) AS stated (digest, customer_id)
    WHERE (stated.customer_id IN (SELECT id FROM locked)) IS TRUE
      AND $6::timestamptz >= coalesce((SELECT since FROM kept), '-infinity')
    ORDER BY stated.digest
    ON CONFLICT DO NOTHING
    RETURNING digest
)
SELECT 'owner' AS found, locked.*, NULL AS digest FROM locked
UNION ALL
SELECT 'new', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, {WRITTEN_DIGESTS} FROM received
UNION ALL
SELECT 'kept', NULL, NULL, NULL, NULL, NULL, since, NULL, NULL, NULL FROM kept
"""


class Received(NamedTuple):
    """An id that a client gave, as a digest, and of whose capture."""

    digest: str
    customer_id: str


async def take(
    connection: AsyncConnection,
    tenant_id: int,
    customer_ids: Collection[str],
    months: Collection[date],
    received: Sequence[Received],
    *,
    oldest: datetime,
    now: datetime,
) -> Taken:
    """Lock the customers, make the months' partitions, and receive the ids.

    The customers are locked in key order until the transaction ends. No id is received where the
    tenant keeps nothing as old as `oldest`.
    """
    digests, owned_by = zip(*received, strict=True) if received else ((), ())
    rows = await fetch_rows(
        connection,
        _TAKE,
        tenant_id,
        joined(list(customer_ids)),
        list(months),
        joined(digests),
        joined(owned_by),
        oldest,
        now,
    )
    owners: dict[str, Owner] = {}
    new: frozenset[str] = frozenset()
    kept: datetime | None = None
    for found, identity, sk, *place, digest in rows:
        if found == "owner":
            owners[identity] = Owner(sk, _known_place(place))
        elif found == "new":
            new = written_digests(digest)
        else:
            kept = place[3]
    return Taken(owners, new, kept)


def _known_place(columns: Sequence[Any]) -> Fix | None:
    latitude, longitude, *known = columns
    return None if latitude is None else Fix(Place(latitude, longitude), *known)


# The columns of a `NewCapture`, beginning with $2. Notes are prose.
_KINDS = {
    "customer_sk": "bigint",
    "captured_at": "timestamptz",
    "visit_notes": "text",
} | dict.fromkeys(
    ("latitude", "longitude", "accuracy", "altitude", "speed", "heading"), "double precision"
)

# An id that is received for the first time has no row: whatever has one stays received for as long.
_ADD = f"""
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
), stored AS (
    INSERT INTO location_history (
        tenant_id, id, customer_sk, captured_at, location, accuracy, altitude, speed, heading,
        source, captured_by, device_id, visit_type, visit_notes, photo_url, flags
    )
    SELECT $1, id, customer_sk, captured_at,
           ST_SetSRID(ST_MakePoint(longitude, latitude), 4326), accuracy, altitude, speed, heading,
           source, captured_by, device_id, visit_type, visit_notes, photo_url,
           coalesce(string_to_array(flags, ','), '{{}}')
    FROM unnest({unnested(NewCapture._fields, _KINDS, first=2)}
    ) AS incoming (
        id, customer_sk, captured_at, latitude, longitude, accuracy, altitude, speed, heading,
        source, captured_by, device_id, visit_type, visit_notes, photo_url, flags
    )
)
SELECT watch_segments($1, $18) WHERE cardinality($18) > 0
"""
_NO_MOVES: tuple[tuple[Any, ...], ...] = ((),) * 7


async def add_many(
    connection: AsyncConnection,
    tenant_id: int,
    captures: Sequence[NewCapture],
    moved: Mapping[int, Fix],
) -> UUID | None:
    """Store captures, and the last known places of customers by their keys, in one statement.

    The version of the segments to tell the customers who moved of, if there are any
    (`segment_member.watch`).
    """
    places = [
        (sk, *known.place, known.accuracy, known.at, known.source, known.captured_by)
        for sk, known in moved.items()
    ]
    rows = await fetch_rows(
        connection,
        _ADD,
        tenant_id,
        *columns_of(captures, NewCapture._fields, _KINDS),
        *map(list, zip(*places, strict=True) if places else _NO_MOVES),
    )
    return rows[0][0] if rows else None


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
class First:
    """What a client is told of a capture that was there already."""

    captured_at: datetime
    place: Place
    flags: list[str]


_FIND_MANY = """
SELECT h.id, h.captured_at, ST_Y(h.location), ST_X(h.location), h.flags
FROM unnest($2::text[], $3::text[]) AS wanted (id, customer_id)
CROSS JOIN LATERAL (
    SELECT sk FROM customers
    WHERE tenant_id = (SELECT $1::integer)
      AND id BETWEEN wanted.customer_id AND wanted.customer_id
    ORDER BY id LIMIT 1
) AS c
CROSS JOIN LATERAL (
    SELECT id, captured_at, location, flags FROM location_history
    WHERE tenant_id = (SELECT $1::integer) AND customer_sk BETWEEN c.sk AND c.sk
      AND id = wanted.id
    LIMIT 1
) AS h
"""


async def find_many(
    connection: AsyncConnection, tenant_id: int, ids: Mapping[str, str]
) -> dict[str, First]:
    """Captures by their ids, each of the customer whose id `ids` has."""
    if not ids:
        return {}
    rows = await fetch_rows(connection, _FIND_MANY, tenant_id, list(ids), list(ids.values()))
    return {
        identity: First(captured_at, Place(latitude, longitude), flags)
        for identity, captured_at, latitude, longitude, flags in rows
    }


@dataclass(frozen=True, slots=True)
class Capture:
    """A stored capture. `step_metres` is the way from the one before it in the trace."""

    id: str
    customer_id: str
    captured_at: datetime
    latitude: float
    longitude: float
    geohash: str
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
    flags: list[str]
    step_metres: float | None


class Follow(StrEnum):
    """Whose captures make a trace; the value is a column that an index begins with."""

    CUSTOMER = "customer_sk"
    CAPTURED_BY = "captured_by"
    DEVICE = "device_id"


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFilter:
    """The captures of `whom` in [since, until), after a position; flagged ones where wanted.

    `whom` is the key of a customer, or the name of who captured or of the device. `after` is the
    time and the id of the last capture seen.
    """

    follow: Follow
    whom: int | str
    since: datetime
    until: datetime
    with_flagged: bool
    after: tuple[datetime, str] | None = None


# The distance on the spheroid from the one before; the columns of the order are those of the index
# with the id for ties.
_TRACE = """
SELECT h.id, c.id AS customer_id, h.captured_at, ST_Y(h.location) AS latitude,
       ST_X(h.location) AS longitude, h.geohash, h.accuracy, h.altitude, h.speed, h.heading,
       h.source, h.captured_by, h.device_id, h.visit_type, h.visit_notes, h.photo_url, h.flags,
       ST_Distance(
           h.location::geography,
           (lag(h.location) OVER (ORDER BY h.captured_at, h.id))::geography
       ) AS step_metres
FROM (
    SELECT * FROM location_history
    WHERE tenant_id = (SELECT $1::integer) AND {column} = $2
      AND captured_at >= $3 AND captured_at < $4
      AND (captured_at, id) > ($5, $6)
      AND ($7 OR NOT flags && ARRAY['null_island', 'suspected_swap'])
    ORDER BY captured_at, id
    {limit}
) AS h
JOIN customers c ON c.tenant_id = (SELECT $1::integer) AND c.sk = h.customer_sk
ORDER BY h.captured_at, h.id
"""
_BEFORE_ALL = (datetime.min.replace(tzinfo=UTC), "")
_STREAMED_ROWS = 2_000


@cache
def _trace(follow: Follow, limit: int | None) -> str:
    return _TRACE.format(column=follow.value, limit="" if limit is None else f"LIMIT {limit:d}")


def _trace_arguments(tenant_id: int, wanted: TraceFilter) -> tuple[object, ...]:
    since, until = wanted.since, wanted.until
    after = wanted.after or _BEFORE_ALL
    # The range of the index begins where the page does.
    return tenant_id, wanted.whom, max(since, after[0]), until, *after, wanted.with_flagged


async def list_trace(
    connection: AsyncConnection, tenant_id: int, wanted: TraceFilter, *, limit: int
) -> list[Capture]:
    """Up to `limit` captures of a trace, in the order of their times."""
    rows = await fetch_rows(
        connection, _trace(wanted.follow, limit), *_trace_arguments(tenant_id, wanted)
    )
    return [Capture(*row) for row in rows]


async def stream_trace(
    connection: AsyncConnection, tenant_id: int, wanted: TraceFilter
) -> AsyncGenerator[list[Capture]]:
    """All captures of a trace, some at a time; inside the caller's transaction."""
    cursor = await driver_of(connection).cursor(
        _trace(wanted.follow, None), *_trace_arguments(tenant_id, wanted)
    )
    while rows := await cursor.fetch(_STREAMED_ROWS):
        yield [Capture(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class NearestStore:
    """The store nearest to a place, and how far it is."""

    store_id: str
    name: str
    distance_metres: float


_NEAREST_STORES = """
SELECT wanted.number, s.id, s.name, ST_Distance(s.geography, wanted.point) AS metres
FROM (
    SELECT number, ST_SetSRID(ST_MakePoint(longitude, latitude), 4326)::geography AS point
    FROM unnest($2::integer[], $3::float8[], $4::float8[]) AS stated (number, latitude, longitude)
) AS wanted
CROSS JOIN LATERAL (
    SELECT id, name, geography FROM stores
    WHERE tenant_id = (SELECT $1::integer) AND geography IS NOT NULL
    ORDER BY geography <-> wanted.point LIMIT 1
) AS s
"""


async def find_nearest_stores(
    connection: AsyncConnection, tenant_id: int, places: Sequence[Place]
) -> list[NearestStore | None]:
    """The nearest store of each place, where the tenant has any with a place."""
    rows = await fetch_rows(
        connection,
        _NEAREST_STORES,
        tenant_id,
        list(range(len(places))),
        [place.latitude for place in places],
        [place.longitude for place in places],
    )
    found = {number: NearestStore(*store) for number, *store in rows}
    return [found.get(number) for number in range(len(places))]


_ADDRESS_DISTANCES = """
SELECT wanted.number, min(ST_Distance(
    a.location::geography,
    ST_SetSRID(ST_MakePoint(wanted.longitude, wanted.latitude), 4326)::geography
))
FROM unnest($2::integer[], $3::text[], $4::float8[], $5::float8[])
    AS wanted (number, customer_id, latitude, longitude)
JOIN customers c ON c.tenant_id = (SELECT $1::integer) AND c.id = wanted.customer_id
JOIN addresses a
    ON a.tenant_id = (SELECT $1::integer) AND a.customer_sk = c.sk AND a.location IS NOT NULL
GROUP BY wanted.number
"""


async def find_address_distances(
    connection: AsyncConnection, tenant_id: int, made: Sequence[Capture]
) -> dict[str, float]:
    """How far captures were from the nearest address of their customers in metres, by id.

    One whose customer has no address with a place is left out.
    """
    rows = await fetch_rows(
        connection,
        _ADDRESS_DISTANCES,
        tenant_id,
        list(range(len(made))),
        [capture.customer_id for capture in made],
        [capture.latitude for capture in made],
        [capture.longitude for capture in made],
    )
    return {made[number].id: metres for number, metres in rows}


_RETENTION = "SELECT location_retention_days FROM tenants WHERE id = $1"


async def kept_since(connection: AsyncConnection, tenant_id: int, now: datetime) -> datetime | None:
    """The instant before which no capture is kept or told of; None where all are kept."""
    row = await fetch_row(connection, _RETENTION, tenant_id)
    days = None if row is None else row[0]
    return None if days is None else now - timedelta(days=days)
