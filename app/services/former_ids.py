"""Records that name customers by ids they no longer have: of merged customers, and of erased ones.

A merged customer's records go to the customer it was merged into. An erased one's are refused, each
with a reason. Nothing is looked up for ids of present customers, which are found by themselves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from app.database import Connection
from app.domain.privacy import erased_reason
from app.domain.tenant import Tenant
from app.repositories import former
from app.services.outcomes import ItemError
from app.services.records import ContactRecord, CustomerRecord, FeedbackRecord

Owned = TypeVar("Owned", ContactRecord, FeedbackRecord)


@dataclass(frozen=True, slots=True)
class Missing:
    """What became of customers that were not found: present ids, and reasons, by the id named."""

    merged: Mapping[str, str]
    erased: Mapping[str, str]


async def explain_missing(
    connection: Connection, tenant: Tenant, customer_ids: set[str]
) -> Missing:
    """Why no customers have these ids, where they once had."""
    if not customer_ids:
        return Missing({}, {})
    gone = await former.find_former(connection, tenant.id, customer_ids)
    return Missing(
        gone.merged, {each: erased_reason(erased_at) for each, erased_at in gone.erased.items()}
    )


async def with_present_ids(
    connection: Connection, tenant: Tenant, records: Sequence[CustomerRecord]
) -> tuple[list[CustomerRecord], dict[int, tuple[str, str]]]:
    """The records under present ids; and by index, pointer and reason of those of erased ones."""
    referrers = {record.referred_by_customer_id for record in records}
    missing = await explain_missing(
        connection,
        tenant,
        {record.id for record in records} | {each for each in referrers if each is not None},
    )
    refused: dict[int, tuple[str, str]] = {}
    present: list[CustomerRecord] = []
    for index, record in enumerate(records):
        if record.id in missing.erased:
            refused[index] = ("/id", missing.erased[record.id])
        elif (referrer := record.referred_by_customer_id) in missing.erased:
            assert referrer is not None
            refused[index] = ("/referredByCustomerId", missing.erased[referrer])
        present.append(_under_present_ids(record, missing.merged))
    return present, refused


async def with_present_owners(
    connection: Connection, tenant: Tenant, records: Sequence[Owned]
) -> tuple[list[Owned], dict[int, ItemError]]:
    """The records of present customers' ids; and by index why those of erased ones are refused."""
    missing = await explain_missing(connection, tenant, {each.customer_id for each in records})
    refused = {
        index: ItemError("/customerId", missing.erased[record.customer_id])
        for index, record in enumerate(records)
        if record.customer_id in missing.erased
    }
    present = [
        record.model_copy(update={"customer_id": missing.merged[record.customer_id]})
        if record.customer_id in missing.merged
        else record
        for record in records
    ]
    return present, refused


def _under_present_ids(record: CustomerRecord, merged: Mapping[str, str]) -> CustomerRecord:
    changes = {
        name: merged[identity]
        for name in ("id", "referred_by_customer_id")
        if (identity := getattr(record, name)) in merged
    }
    if not changes:
        return record
    return CustomerRecord.model_construct(record.model_fields_set, **{**dict(record), **changes})
