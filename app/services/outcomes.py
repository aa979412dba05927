"""What becomes of the items of a write, and the refusals that a source is told."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from app.domain.errors import InvalidInput
from app.services.records import IdentifiedRecord

R = TypeVar("R", bound=IdentifiedRecord)

#: How often to take locks again for what keeps moving between customers.
ATTEMPTS = 50


@dataclass(frozen=True, slots=True)
class ItemError:
    """Why an item was refused: the JSON pointer of the value inside the item, and the reason."""

    pointer: str
    reason: str


@dataclass(frozen=True, slots=True)
class ItemOutcome:
    """What became of the item at `index`.

    `status` is created, updated, unchanged, duplicate (received before under its id), stale (the
    stored one is newer by its `updatedAt`) or rejected; an error comes with the last only.
    """

    index: int
    id: str | None
    status: str
    error: ItemError | None = None


NO_CUSTOMER = ItemError("/customerId", "is not the id of a customer")
NO_STORE = ItemError("/storeId", "is not the id of a store")


class Rejected(ValueError):
    """A record breaks a rule of its tenant."""

    def __init__(self, pointer: str, reason: str) -> None:
        super().__init__(f"{pointer} {reason}")
        self.error = ItemError(pointer, reason)


def distinct(records: Sequence[R], outcomes: dict[int, ItemOutcome]) -> dict[str, tuple[int, R]]:
    """The records by id, with their places; a second one of an id is refused."""
    stated: dict[str, tuple[int, R]] = {}
    for index, record in enumerate(records):
        if record.id in stated:
            error = ItemError(
                "/id", f"occurs at index {stated[record.id][0]} of this batch already"
            )
            outcomes[index] = ItemOutcome(index, record.id, "rejected", error)
        else:
            stated[record.id] = (index, record)
    return stated


def is_newer(stored: datetime | None, stated: datetime | None) -> bool:
    """Whether what is stored is of a later time than what is stated, where both say theirs."""
    return stored is not None and stated is not None and stored > stated


def invalid(error: ItemError) -> InvalidInput:
    """The error of a request that was one item."""
    return InvalidInput(error.pointer.removeprefix("/").replace("/", "."), error.reason)
