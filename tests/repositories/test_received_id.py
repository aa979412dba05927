"""Digests of received ids: the same in both languages, and near where the ids are."""

import pytest
from sqlalchemy import text

from app.database import Connection
from app.repositories.received_id import digest_of

UUID_7 = "018f3c2a-7b1e-7c3d-9a5f-2b4c6d8e0f1a"
IDS = (
    *("a", "12", "123", "web-000123", "web-000124", "naïve-777", "emoji 🙂 42", "x" * 255),
    *(UUID_7, UUID_7[:-1] + "b", UUID_7.upper(), "line\n123", "123\n", "\u0663" * 4),
    "f47ac10b-58cc-4372-a567-0e02b2c3d479",
)


async def test_the_database_has_the_same_digests(connection: Connection) -> None:
    rows = await connection.execute(
        text("SELECT id, received_digest(id) FROM unnest(CAST(:ids AS text[])) AS given (id)"),
        {"ids": list(IDS)},
    )
    assert {identity: str(digest).replace("-", "") for identity, digest in rows} == {
        identity: digest_of(identity) for identity in IDS
    }
    assert len({digest_of(identity) for identity in IDS}) == len(IDS)


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("web-000123", "web-000987", True),
        ("web-000123", "web-001123", False),
        (UUID_7, "018f3c2a-ffff-7000-8000-000000000000", True),
        ("f47ac10b-58cc-4372-a567-0e02b2c3d47a", "f47ac10b-58cc-4372-a567-0e02b2c3d47b", False),
    ],
)
def test_ids_that_follow_each_other_are_near(one: str, other: str, *, near: bool) -> None:
    assert (digest_of(one)[:16] == digest_of(other)[:16]) is near
    assert digest_of(one)[16:] != digest_of(other)[16:]
