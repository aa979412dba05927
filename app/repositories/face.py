"""Faces as they are known here: whose they are, where their photos lie, how they are searched."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database import fetch_row
from app.domain.face import Rules
from app.repositories.page import limited


@dataclass(frozen=True, slots=True)
class FaceSettings:
    """How a tenant searches, and the collection its faces are in."""

    collection_id: str
    rules: Rules
    updated_at: datetime
    updated_by: str | None


_SETTINGS = """
    SELECT collection_id, threshold, margin, attributes_on, emotions_on, retention_days,
           searches_per_day, indexes_per_day, updated_at, updated_by
    FROM face_settings WHERE tenant_id = $1
"""


async def find_settings(connection: AsyncConnection, tenant_id: int) -> FaceSettings | None:
    """The settings, where they were made."""
    row = await fetch_row(connection, _SETTINGS, tenant_id)
    if row is None:
        return None
    named = dict(row)
    return FaceSettings(
        collection_id=named.pop("collection_id"),
        updated_at=named.pop("updated_at"),
        updated_by=named.pop("updated_by"),
        rules=Rules(**named),
    )


_ADD_SETTINGS = text("""
    INSERT INTO face_settings (tenant_id, collection_id) VALUES (:tenant_id, :collection_id)
    ON CONFLICT (tenant_id) DO NOTHING
""")


async def add_settings(connection: AsyncConnection, tenant_id: int, collection_id: str) -> None:
    """Make the settings with what is usual, unless they are there."""
    await connection.execute(
        _ADD_SETTINGS, {"tenant_id": tenant_id, "collection_id": collection_id}
    )


_CHANGE_SETTINGS = text("""
    UPDATE face_settings
    SET threshold = :threshold, margin = :margin, attributes_on = :attributes_on,
        emotions_on = :emotions_on, retention_days = :retention_days,
        searches_per_day = :searches_per_day, indexes_per_day = :indexes_per_day,
        updated_at = now(), updated_by = CAST(:actor AS text)
    WHERE tenant_id = :tenant_id
""")


async def change_settings(
    connection: AsyncConnection, tenant_id: int, rules: Rules, *, actor: str | None
) -> None:
    """Search by `rules` from now on."""
    await connection.execute(
        _CHANGE_SETTINGS,
        {
            "tenant_id": tenant_id,
            "threshold": rules.threshold,
            "margin": rules.margin,
            "attributes_on": rules.attributes_on,
            "emotions_on": rules.emotions_on,
            "retention_days": rules.retention_days,
            "searches_per_day": rules.searches_per_day,
            "indexes_per_day": rules.indexes_per_day,
            "actor": actor,
        },
    )


@dataclass(frozen=True, slots=True)
class FaceUser:
    """A person under the opaque id that others know; `status` is active, erasing or erased.

    Age and gender are the provider's estimates that were written to the customer.
    """

    user_id: UUID
    customer_sk: int
    customer_id: str
    status: str
    created_at: datetime
    last_seen_at: datetime | None
    age_range_min: int | None
    age_range_max: int | None
    gender: str | None
    gender_confidence: float | None


_USER_COLUMNS = """u.user_id, u.customer_sk, c.id AS customer_id, u.status, u.created_at,
           u.last_seen_at, u.age_range_min, u.age_range_max, u.gender, u.gender_confidence"""
_USERS_FROM = """face_users u
    JOIN customers c ON c.tenant_id = u.tenant_id AND c.sk = u.customer_sk"""

_ACTIVE_USER = text(f"""
    SELECT {_USER_COLUMNS} FROM {_USERS_FROM}
    WHERE u.tenant_id = :tenant_id AND u.customer_sk = :customer_sk AND u.status = 'active'
""")


async def find_active_user(
    connection: AsyncConnection, tenant_id: int, customer_sk: int
) -> FaceUser | None:
    """The person whose faces the customer has now."""
    parameters = {"tenant_id": tenant_id, "customer_sk": customer_sk}
    row = (await connection.execute(_ACTIVE_USER, parameters)).first()
    return None if row is None else FaceUser(**row._mapping)


_LATEST_USER = text(f"""
    SELECT {_USER_COLUMNS} FROM {_USERS_FROM}
    WHERE u.tenant_id = :tenant_id AND u.customer_sk = :customer_sk
    ORDER BY u.created_at DESC LIMIT 1
""")


async def find_latest_user(
    connection: AsyncConnection, tenant_id: int, customer_sk: int
) -> FaceUser | None:
    """The person whose faces the customer has, or had last."""
    parameters = {"tenant_id": tenant_id, "customer_sk": customer_sk}
    row = (await connection.execute(_LATEST_USER, parameters)).first()
    return None if row is None else FaceUser(**row._mapping)


_USERS = text(f"""
    SELECT {_USER_COLUMNS} FROM {_USERS_FROM}
    WHERE u.tenant_id = :tenant_id AND u.user_id = ANY (CAST(:user_ids AS uuid[]))
""")


async def list_users(
    connection: AsyncConnection, tenant_id: int, user_ids: Collection[UUID]
) -> dict[UUID, FaceUser]:
    """Who of these is known, by id; those being erased and those erased as well."""
    parameters = {"tenant_id": tenant_id, "user_ids": list(user_ids)}
    rows = await connection.execute(_USERS, parameters)
    return {row.user_id: FaceUser(**row._mapping) for row in rows}


_ADD_USER = text("""
    INSERT INTO face_users (tenant_id, user_id, customer_sk)
    VALUES (:tenant_id, :user_id, :customer_sk)
""")


async def add_user(
    connection: AsyncConnection, tenant_id: int, user_id: UUID, customer_sk: int
) -> None:
    """Give a locked customer, who has none, an opaque id."""
    await connection.execute(
        _ADD_USER, {"tenant_id": tenant_id, "user_id": user_id, "customer_sk": customer_sk}
    )


_SET_STATUS = text("""
    UPDATE face_users SET status = :status
    WHERE tenant_id = :tenant_id AND user_id = :user_id
""")


async def set_user_status(
    connection: AsyncConnection, tenant_id: int, user_id: UUID, status: str
) -> None:
    """Say that the person is active, erasing or erased."""
    await connection.execute(
        _SET_STATUS, {"tenant_id": tenant_id, "user_id": user_id, "status": status}
    )


@dataclass(frozen=True, slots=True)
class Face:
    """One enrolled photo. Brightness, sharpness and confidence go from 0 to 100.

    `photo_key` is None where the photo is gone, `face_id` while the face is pending.
    """

    id: UUID
    user_id: UUID
    status: str
    face_id: str | None
    photo_key: str | None
    brightness: float | None
    sharpness: float | None
    confidence: float | None
    model_version: str | None
    created_at: datetime
    created_by: str | None
    indexed_at: datetime | None


_FACE_COLUMNS = """id, user_id, status, face_id, photo_key, brightness, sharpness, confidence,
           model_version, created_at, created_by, indexed_at"""

_FACES_OF_USER = text(f"""
    SELECT {_FACE_COLUMNS} FROM faces
    WHERE tenant_id = :tenant_id AND user_id = :user_id
    ORDER BY created_at DESC, id
""")


async def list_of_user(connection: AsyncConnection, tenant_id: int, user_id: UUID) -> list[Face]:
    """The faces of a person, pending ones as well, the latest first."""
    rows = await connection.execute(_FACES_OF_USER, {"tenant_id": tenant_id, "user_id": user_id})
    return [_face(row) for row in rows]


_FACE = text(f"""
    SELECT {_FACE_COLUMNS} FROM faces WHERE tenant_id = :tenant_id AND id = :id
""")


async def find(connection: AsyncConnection, tenant_id: int, face: UUID) -> Face | None:
    """The face, pending or stored."""
    row = (await connection.execute(_FACE, {"tenant_id": tenant_id, "id": face})).first()
    return None if row is None else _face(row)


_ADD_PENDING = text("""
    INSERT INTO faces (tenant_id, id, customer_sk, user_id, photo_key, created_by)
    VALUES (:tenant_id, :id, :customer_sk, :user_id, :photo_key, :actor)
""")


async def add_pending(
    connection: AsyncConnection,
    tenant_id: int,
    face: UUID,
    *,
    customer_sk: int,
    user_id: UUID,
    photo_key: str,
    actor: str | None,
) -> None:
    """Note that a face is about to be stored, before anything is stored anywhere."""
    await connection.execute(
        _ADD_PENDING,
        {
            "tenant_id": tenant_id,
            "id": face,
            "customer_sk": customer_sk,
            "user_id": user_id,
            "photo_key": photo_key,
            "actor": actor,
        },
    )


_SAME_FACE = text(f"""
    SELECT {_FACE_COLUMNS} FROM faces WHERE tenant_id = :tenant_id AND face_id = :face_id
""")


async def find_by_face_id(connection: AsyncConnection, tenant_id: int, face_id: str) -> Face | None:
    """The stored face that the provider calls `face_id`."""
    parameters = {"tenant_id": tenant_id, "face_id": face_id}
    row = (await connection.execute(_SAME_FACE, parameters)).first()
    return None if row is None else _face(row)


_STORE = text("""
    UPDATE faces
    SET status = 'stored', face_id = :face_id, brightness = :brightness, sharpness = :sharpness,
        confidence = :confidence, model_version = :model_version, indexed_at = :now
    WHERE tenant_id = :tenant_id AND id = :id
""")


async def mark_stored(
    connection: AsyncConnection,
    tenant_id: int,
    face: UUID,
    *,
    face_id: str,
    brightness: float | None,
    sharpness: float | None,
    confidence: float | None,
    model_version: str,
    now: datetime,
) -> None:
    """Note under which id the provider has the face, and how good it is."""
    await connection.execute(
        _STORE,
        {
            "tenant_id": tenant_id,
            "id": face,
            "face_id": face_id,
            "brightness": brightness,
            "sharpness": sharpness,
            "confidence": confidence,
            "model_version": model_version,
            "now": now,
        },
    )


_REMOVE = text("DELETE FROM faces WHERE tenant_id = :tenant_id AND id = :id")


async def remove(connection: AsyncConnection, tenant_id: int, face: UUID) -> None:
    """Forget a face here; what is elsewhere has to be gone already."""
    await connection.execute(_REMOVE, {"tenant_id": tenant_id, "id": face})


_REMOVE_OF_USER = text("DELETE FROM faces WHERE tenant_id = :tenant_id AND user_id = :user_id")


async def remove_of_user(connection: AsyncConnection, tenant_id: int, user_id: UUID) -> int:
    """Forget the faces of a person here; how many."""
    result = await connection.execute(_REMOVE_OF_USER, {"tenant_id": tenant_id, "user_id": user_id})
    return result.rowcount


_FORGET_PHOTO = text("""
    UPDATE faces SET photo_key = NULL WHERE tenant_id = :tenant_id AND id = :id
""")


async def forget_photo(connection: AsyncConnection, tenant_id: int, face: UUID) -> None:
    """Note that the photo of a face is not there any more."""
    await connection.execute(_FORGET_PHOTO, {"tenant_id": tenant_id, "id": face})


_FACE_PAGE = f"""
    SELECT {_FACE_COLUMNS} FROM faces
    WHERE tenant_id = :tenant_id AND id > CAST(:after AS uuid)
    ORDER BY id LIMIT :limit
"""


async def list_page(
    connection: AsyncConnection, tenant_id: int, *, after: UUID, limit: int
) -> list[Face]:
    """Up to `limit` faces of the tenant beyond `after`, in the order of their ids."""
    rows = await connection.execute(
        limited(_FACE_PAGE, limit), {"tenant_id": tenant_id, "after": after}
    )
    return [_face(row) for row in rows]


_KNOWN_FACES = text("""
    SELECT face_id FROM faces
    WHERE tenant_id = :tenant_id AND face_id = ANY (CAST(:face_ids AS text[]))
""")
_KNOWN_KEYS = text("""
    SELECT photo_key FROM unnest(CAST(:photo_keys AS text[])) AS wanted (photo_key)
    JOIN faces f USING (photo_key)
    WHERE f.tenant_id = :tenant_id AND f.id = ANY (CAST(:ids AS uuid[]))
""")


async def list_known_face_ids(
    connection: AsyncConnection, tenant_id: int, face_ids: Collection[str]
) -> set[str]:
    """Which of the provider's ids belong to a face here."""
    rows = await connection.execute(
        _KNOWN_FACES, {"tenant_id": tenant_id, "face_ids": list(face_ids)}
    )
    return set(rows.scalars())


async def list_known_keys(
    connection: AsyncConnection, tenant_id: int, keys: dict[str, UUID]
) -> set[str]:
    """Which photo keys belong to a face here; each comes with the face its name says."""
    rows = await connection.execute(
        _KNOWN_KEYS,
        {"tenant_id": tenant_id, "photo_keys": list(keys), "ids": list(keys.values())},
    )
    return set(rows.scalars())


_PENDING_USERS = text("""
    SELECT DISTINCT user_id FROM faces
    WHERE tenant_id = :tenant_id AND user_id = ANY (CAST(:user_ids AS uuid[]))
      AND status = 'pending' AND created_at > :since
""")


async def list_enrolling(
    connection: AsyncConnection, tenant_id: int, user_ids: Collection[UUID], *, since: datetime
) -> set[UUID]:
    """Who of these has a face that has been pending since no earlier than `since`."""
    rows = await connection.execute(
        _PENDING_USERS, {"tenant_id": tenant_id, "user_ids": list(user_ids), "since": since}
    )
    return set(rows.scalars())


_COUNT_FACES = text("""
    SELECT count(*) FROM faces WHERE tenant_id = :tenant_id AND created_at >= :since
""")


async def count_since(connection: AsyncConnection, tenant_id: int, since: datetime) -> int:
    """How many faces were enrolled since an instant, or are being."""
    parameters = {"tenant_id": tenant_id, "since": since}
    return int(await connection.scalar(_COUNT_FACES, parameters) or 0)


# What was stated stands: a date of birth makes an estimate of the age needless, and a gender
# without a confidence was not estimated.
_WRITE_ATTRIBUTES = text("""
    WITH estimated AS (
        UPDATE face_users
        SET age_range_min = :age_low, age_range_max = :age_high,
            gender = CAST(:gender AS text), gender_confidence = :gender_confidence
        WHERE tenant_id = :tenant_id AND user_id = :user_id
    )
    UPDATE customers
    SET age_range_min = CASE WHEN stated.age THEN age_range_min ELSE :age_low END,
        age_range_max = CASE WHEN stated.age THEN age_range_max ELSE :age_high END,
        age_estimate = CASE WHEN stated.age THEN age_estimate ELSE :age_estimate END,
        gender = CASE WHEN stated.gender THEN customers.gender ELSE CAST(:gender AS text) END,
        gender_confidence =
            CASE WHEN stated.gender THEN gender_confidence ELSE :gender_confidence END,
        updated_at = now(), updated_by = CAST(:actor AS text)
    FROM (
        SELECT sk,
               date_of_birth IS NOT NULL OR CAST(:age_low AS smallint) IS NULL AS age,
               CAST(:gender AS text) IS NULL OR coalesce(
                   gender IN ('male', 'female') AND gender_confidence IS NULL, false
               ) AS gender
        FROM customers WHERE tenant_id = :tenant_id AND sk = :customer_sk
    ) AS stated
    WHERE tenant_id = :tenant_id AND customers.sk = stated.sk
      AND NOT (stated.age AND stated.gender)
""")


async def write_attributes(
    connection: AsyncConnection,
    tenant_id: int,
    user_id: UUID,
    customer_sk: int,
    *,
    age_low: int | None,
    age_high: int | None,
    age_estimate: int | None,
    gender: str | None,
    gender_confidence: float | None,
    actor: str | None,
) -> bool:
    """Write estimates to a locked customer where nothing was stated; whether any was written.

    `gender_confidence` is of one.
    """
    result = await connection.execute(
        _WRITE_ATTRIBUTES,
        {
            "tenant_id": tenant_id,
            "user_id": user_id,
            "customer_sk": customer_sk,
            "age_low": age_low,
            "age_high": age_high,
            "age_estimate": age_estimate,
            "gender": gender,
            "gender_confidence": gender_confidence,
            "actor": actor,
        },
    )
    return result.rowcount > 0


_CLEAR_ATTRIBUTES = text("""
    WITH estimated AS (
        SELECT age_range_min, age_range_max, gender, gender_confidence FROM face_users
        WHERE tenant_id = :tenant_id AND user_id = :user_id
    ), forgotten AS (
        UPDATE face_users
        SET age_range_min = NULL, age_range_max = NULL, gender = NULL, gender_confidence = NULL
        WHERE tenant_id = :tenant_id AND user_id = :user_id
    )
    UPDATE customers c
    SET age_range_min = CASE WHEN same.age THEN NULL ELSE c.age_range_min END,
        age_range_max = CASE WHEN same.age THEN NULL ELSE c.age_range_max END,
        age_estimate = CASE WHEN same.age THEN NULL ELSE c.age_estimate END,
        gender = CASE WHEN same.gender THEN NULL ELSE c.gender END,
        gender_confidence = CASE WHEN same.gender THEN NULL ELSE c.gender_confidence END,
        updated_at = now()
    FROM (
        SELECT x.sk,
               e.age_range_min IS NOT NULL AND x.age_range_min = e.age_range_min
                   AND x.age_range_max = e.age_range_max AS age,
               e.gender IS NOT NULL AND x.gender = e.gender
                   AND x.gender_confidence = e.gender_confidence AS gender
        FROM estimated e CROSS JOIN customers x
        WHERE x.tenant_id = :tenant_id AND x.sk = :customer_sk
    ) AS same
    WHERE c.tenant_id = :tenant_id AND c.sk = same.sk
      AND (same.age IS TRUE OR same.gender IS TRUE)
""")


async def clear_attributes(
    connection: AsyncConnection, tenant_id: int, user_id: UUID, customer_sk: int
) -> bool:
    """Take the estimates of a face away from a locked customer; whether there were any.

    What was stated since, by whomever, stays.
    """
    result = await connection.execute(
        _CLEAR_ATTRIBUTES,
        {"tenant_id": tenant_id, "user_id": user_id, "customer_sk": customer_sk},
    )
    return result.rowcount > 0


_FORGOTTEN = text("""
    SELECT u.customer_sk
    FROM face_users u
    LEFT JOIN customer_analytics a ON a.tenant_id = u.tenant_id AND a.customer_sk = u.customer_sk
    WHERE u.tenant_id = :tenant_id AND u.status = 'active'
      AND greatest(
          u.created_at, u.last_seen_at, a.last_order_at, a.last_contact_at,
          (SELECT max(given_at) FROM face_consents f
           WHERE f.tenant_id = :tenant_id AND f.customer_sk = u.customer_sk)
      ) < :before
    ORDER BY u.customer_sk LIMIT 1000
""")


async def list_without_interaction(
    connection: AsyncConnection, tenant_id: int, *, before: datetime
) -> list[int]:
    """Up to a thousand customers with a face who were last heard of before an instant.

    An interaction is an order, a contact, a consent, an enrolment, a recognition.
    """
    rows = await connection.execute(_FORGOTTEN, {"tenant_id": tenant_id, "before": before})
    return list(rows.scalars())


#: Stands for no store in the figures of a day.
NO_STORE = 0

_NOTE_EMOTION = text("""
    UPDATE face_sightings SET emotion = :emotion
    WHERE tenant_id = :tenant_id AND day = :day AND store_sk = :store_sk
      AND customer_sk = :customer_sk
""")


async def note_emotion(
    connection: AsyncConnection,
    tenant_id: int,
    customer_sk: int,
    *,
    day: date,
    store_sk: int | None,
    emotion: str,
) -> None:
    """Note the latest emotion of somebody who was counted in a store on a day."""
    await connection.execute(
        _NOTE_EMOTION,
        {
            "tenant_id": tenant_id,
            "day": day,
            "store_sk": NO_STORE if store_sk is None else store_sk,
            "customer_sk": customer_sk,
            "emotion": emotion,
        },
    )


@dataclass(frozen=True, slots=True)
class SightedGroup:
    """How many people of one kind were recognised in a store on a day; not yet fit to be told."""

    day: date
    store_id: str | None
    age_low: int | None
    age_high: int | None
    gender: str | None
    emotion: str | None
    people: int


_SIGHTED = text("""
    SELECT g.day, st.id AS store_id, g.age_range_min AS age_low, g.age_range_max AS age_high,
           g.gender, g.emotion, count(*) AS people
    FROM face_sightings g
    LEFT JOIN stores st ON st.tenant_id = g.tenant_id AND st.sk = g.store_sk
    WHERE g.tenant_id = :tenant_id AND g.day BETWEEN :first AND :last
      AND (CAST(:store_sk AS bigint) IS NULL OR g.store_sk = CAST(:store_sk AS bigint))
    GROUP BY 1, 2, 3, 4, 5, 6
    ORDER BY 1 DESC, 2 NULLS LAST, 3, 4, 5, 6
""")


async def list_sighted(
    connection: AsyncConnection, tenant_id: int, *, first: date, last: date, store_sk: int | None
) -> list[SightedGroup]:
    """Who was recognised, by day, store, estimated age, gender and emotion; the latest first."""
    rows = await connection.execute(
        _SIGHTED, {"tenant_id": tenant_id, "first": first, "last": last, "store_sk": store_sk}
    )
    return [SightedGroup(**row._mapping) for row in rows]


_FORGET_SIGHTINGS = text("DELETE FROM face_sightings WHERE tenant_id = :tenant_id AND day < :day")


async def forget_sightings(connection: AsyncConnection, tenant_id: int, *, before: date) -> int:
    """Drop what was counted before a day; how many rows."""
    result = await connection.execute(_FORGET_SIGHTINGS, {"tenant_id": tenant_id, "day": before})
    return result.rowcount


_FORGET_SIGHTINGS_OF = text("""
    DELETE FROM face_sightings WHERE tenant_id = :tenant_id AND customer_sk = :customer_sk
""")


async def forget_sightings_of(
    connection: AsyncConnection, tenant_id: int, customer_sk: int
) -> None:
    """Count the customer on no day any more."""
    await connection.execute(
        _FORGET_SIGHTINGS_OF, {"tenant_id": tenant_id, "customer_sk": customer_sk}
    )


_MOVE_SIGHTINGS = """
UPDATE face_sightings s SET customer_sk = $3
WHERE tenant_id = $1 AND customer_sk = $2 AND NOT EXISTS (
    SELECT FROM face_sightings own
    WHERE own.tenant_id = $1 AND own.day = s.day AND own.store_sk = s.store_sk
      AND own.customer_sk = $3
)
"""


async def move(connection: AsyncConnection, tenant_id: int, *, duplicate: int, target: int) -> int:
    """Give the target the duplicate's faces and sightings; how many faces.

    Of two active persons the duplicate's has to be on its way out already.
    """
    for table in ("face_users", "faces"):
        moved = await connection.exec_driver_sql(
            f"UPDATE {table} SET customer_sk = $3 WHERE tenant_id = $1 AND customer_sk = $2",
            (tenant_id, duplicate, target),
        )
    await connection.exec_driver_sql(_MOVE_SIGHTINGS, (tenant_id, duplicate, target))
    await forget_sightings_of(connection, tenant_id, duplicate)
    return moved.rowcount


@dataclass(frozen=True, slots=True)
class VisitPlace:
    """Where and when a position was captured, and how far from the customer's nearest address.

    Metres; the distance is None where no address has a place.
    """

    captured_at: datetime
    accuracy: float | None
    distance: float | None


_VISIT = text("""
    SELECT h.captured_at, h.accuracy, (
        SELECT min(ST_Distance(CAST(a.location AS geography), CAST(h.location AS geography)))
        FROM addresses a
        WHERE a.tenant_id = :tenant_id AND a.customer_sk = :customer_sk AND a.location IS NOT NULL
    ) AS distance
    FROM location_history h
    WHERE h.tenant_id = :tenant_id AND h.customer_sk = :customer_sk AND h.id = :capture_id
    ORDER BY h.captured_at DESC LIMIT 1
""")


async def find_visit(
    connection: AsyncConnection, tenant_id: int, customer_sk: int, capture_id: str
) -> VisitPlace | None:
    """The capture of this customer called `capture_id`."""
    parameters = {"tenant_id": tenant_id, "customer_sk": customer_sk, "capture_id": capture_id}
    row = (await connection.execute(_VISIT, parameters)).first()
    return None if row is None else VisitPlace(**row._mapping)


#: A face that has been pending for longer was given up by whoever enrolled it.
PENDING_FOR = timedelta(hours=1)


def _face(row: Row[Any]) -> Face:
    return Face(**row._mapping)
