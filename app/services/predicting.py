"""Taking in predictions of lifetime value that somebody else has made."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from app.database import Connection
from app.domain.errors import Conflict
from app.domain.ltv import growth_potential
from app.domain.money import to_minor
from app.domain.order import MAX_AHEAD
from app.domain.tenant import Tenant
from app.repositories import customer as customers
from app.repositories import prediction
from app.repositories.prediction import PredictionRow
from app.services.former_ids import explain_missing
from app.services.outcomes import (
    NO_CUSTOMER,
    ItemOutcome,
    Rejected,
    invalid,
)
from app.services.records import PredictionRecord
from app.services.wall_clock import zoned


async def record_predictions(
    connection: Connection, tenant: Tenant, records: Sequence[PredictionRecord]
) -> list[ItemOutcome]:
    """Write each prediction that can be written and say what became of each, in the order given.

    One made before the stored one is `stale` and changes nothing.
    """
    now = datetime.now(UTC)
    missing = await explain_missing(connection, tenant, {record.id for record in records})
    present = {record.id: missing.merged.get(record.id, record.id) for record in records}
    locked = await customers.lock(connection, tenant.id, dict.fromkeys(present.values(), False), ())
    sks = {identity: customer.sk for identity, customer in locked.items()}
    outcomes: dict[int, ItemOutcome] = {}
    revenues = await prediction.list_revenues(connection, tenant.id, list(sks.values()))
    places: dict[int, int] = {}
    rows: list[PredictionRow] = []
    for index, record in enumerate(records):
        sk = sks.get(present[record.id])
        try:
            if record.id in missing.erased:
                raise Rejected("/customerId", missing.erased[record.id])
            if sk is None:
                raise Rejected(NO_CUSTOMER.pointer, NO_CUSTOMER.reason)
            if sk in places:
                raise Rejected("/customerId", f"occurs at index {places[sk]} of this batch already")
            rows.append(_row(tenant, record, sk, revenues.get(sk, 0), now))
            places[sk] = index
        except Rejected as rejected:
            outcomes[index] = ItemOutcome(index, record.id, "rejected", rejected.error)
    written = await prediction.upsert_many(connection, tenant.id, rows) if rows else {}
    for sk, index in places.items():
        status = "stale" if sk not in written else "created" if written[sk] else "updated"
        outcomes[index] = ItemOutcome(index, present[records[index].id], status)
    return [outcomes[index] for index in range(len(records))]


async def record_prediction(
    connection: Connection, tenant: Tenant, record: PredictionRecord
) -> tuple[str, bool]:
    """Record one prediction; the id of its customer, and whether it is their first.

    Raises InvalidInput where a value will not do, Conflict where a later one is stored.
    """
    [outcome] = await record_predictions(connection, tenant, [record])
    if outcome.error is not None:
        raise invalid(outcome.error)
    if outcome.status == "stale":
        raise Conflict("A prediction that was made later is stored already.")
    assert outcome.id is not None
    return outcome.id, outcome.status == "created"


def _row(
    tenant: Tenant, record: PredictionRecord, sk: int, revenue: int, now: datetime
) -> PredictionRow:
    predicted_at = zoned(record.prediction_date or now, ZoneInfo(tenant.timezone))
    if predicted_at > now + MAX_AHEAD:
        raise Rejected("/predictionDate", "lies in the future")
    amounts = {
        name: None if value is None else _minor(tenant, pointer, value)
        for name, pointer, value in (
            ("current", "/currentLtv", record.current_ltv),
            ("one", "/predictedLtv1Year", record.predicted_ltv_1_year),
            ("three", "/predictedLtv3Year", record.predicted_ltv_3_year),
            ("five", "/predictedLtv5Year", record.predicted_ltv_5_year),
        )
    }
    current = revenue if amounts["current"] is None else amounts["current"]
    one = amounts["one"]
    assert one is not None
    _check_order(one, amounts["three"], "/predictedLtv3Year")
    _check_order(amounts["three"] or one, amounts["five"], "/predictedLtv5Year")
    return PredictionRow(
        customer_sk=sk,
        predicted_at=predicted_at,
        current_ltv=current,
        predicted_1_year=one,
        predicted_3_year=amounts["three"],
        predicted_5_year=amounts["five"],
        churn_probability=record.churn_probability,
        growth_potential=record.growth_potential or growth_potential(current, one),
        confidence=record.confidence_score,
        model_version=record.model_version,
    )


def _minor(tenant: Tenant, pointer: str, amount: Decimal) -> int:
    try:
        return to_minor(amount, tenant.currency)
    except ValueError as error:
        raise Rejected(pointer, str(error)) from None


def _check_order(shorter: int, longer: int | None, pointer: str) -> None:
    """What a customer is worth after more years is not less. Raises Rejected."""
    if longer is not None and longer < shorter:
        raise Rejected(pointer, "is less than what is predicted for fewer years")
