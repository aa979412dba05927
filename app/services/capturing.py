"""Taking in captures: into the history, and where they are the latest, as last known places."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from app.database import Connection
from app.domain.capture import (
    Fix,
    Flag,
    Place,
    flags_of,
    is_believed,
    last_known,
    may_be_swapped,
    read_place,
)
from app.domain.tenant import Tenant
from app.repositories import capture as captures
from app.repositories.capture import NewCapture, Owner, Received, Taken
from app.repositories.received_id import digest_of
from app.services.former_ids import explain_missing
from app.services.outcomes import (
    NO_CUSTOMER,
    ItemError,
    ItemOutcome,
    Rejected,
)
from app.services.records import CaptureRecord
from app.services.segmentation import refresh_watched
from app.services.wall_clock import WallClock


@dataclass(frozen=True, slots=True)
class CaptureOutcome(ItemOutcome):
    """What became of a capture; `moved` says whether it is the customer's last known place now."""

    captured_at: datetime | None = None
    place: Place | None = None
    flags: Sequence[str] = ()
    moved: bool = False


@dataclass(slots=True)
class _Stated:
    """A capture that keeps the rules; `digest` is that of the id its client gave it."""

    index: int
    record: CaptureRecord
    captured_at: datetime
    ahead: timedelta
    swapped: bool
    at: datetime
    fix: Fix
    speed: float | None
    heading: float | None
    digest: str | None


async def record_captures(
    connection: Connection, tenant: Tenant, records: Sequence[CaptureRecord]
) -> list[CaptureOutcome]:
    """Store each capture that can be stored and say what became of each, in the order given.

    One whose id was received before is a duplicate: the first one stays as it is.
    """
    now = datetime.now(UTC)
    rules = _Rules(tenant, now)
    outcomes: dict[int, CaptureOutcome] = {}
    stated: list[_Stated] = []
    for index, record in enumerate(records):
        try:
            stated.append(rules.stated(index, record))
        except Rejected as rejected:
            outcomes[index] = _rejected(index, record, rejected.error)
    taken, gone = await _take(connection, tenant, stated, now)
    # Not just once: somebody may have the tenant keep less meanwhile.
    while taken.kept_since is not None and taken.kept_since > _oldest(stated):
        kept: list[_Stated] = []
        for each in stated:
            if each.captured_at >= taken.kept_since:
                kept.append(each)
            else:
                error = _too_old(taken.kept_since)
                outcomes[each.index] = _rejected(each.index, each.record, error)
        # Nothing was received yet: what is refused may be sent again.
        stated = kept
        taken, gone = await _take(connection, tenant, stated, now)
    unseen = set(taken.new)
    written: list[tuple[_Stated, Owner]] = []
    for each in stated:
        owner = taken.owners.get(each.record.customer_id)
        if owner is None:
            error = gone.get(each.record.customer_id, NO_CUSTOMER)
            outcomes[each.index] = _rejected(each.index, each.record, error)
        elif each.digest is None:
            written.append((each, owner))
        elif each.digest in unseen:
            # The same id may come again further on.
            unseen.remove(each.digest)
            written.append((each, owner))
        else:
            outcomes[each.index] = _outcome(each, "duplicate")
    for outcome in await _write(connection, tenant, written):
        outcomes[outcome.index] = outcome
    return [outcomes[index] for index in range(len(records))]


async def record_capture_batch(
    connection: Connection, tenant: Tenant, records: Sequence[CaptureRecord]
) -> list[ItemOutcome]:
    """`record_captures` for a batch, whose items are told no more than their status."""
    return list(await record_captures(connection, tenant, records))


async def record_single_captures(
    connection: Connection, tenant: Tenant, records: Sequence[CaptureRecord]
) -> list[CaptureOutcome]:
    """`record_captures` for requests of one each: a duplicate is told what was stored first."""
    outcomes = await record_captures(connection, tenant, records)
    owners = {
        outcome.id: records[outcome.index].customer_id
        for outcome in outcomes
        if outcome.status == "duplicate" and outcome.id is not None
    }
    if not owners:
        return outcomes
    stored = await captures.find_many(connection, tenant.id, owners)
    return [
        replace(
            outcome,
            captured_at=stored[outcome.id].captured_at,
            place=stored[outcome.id].place,
            flags=stored[outcome.id].flags,
        )
        if outcome.status == "duplicate" and outcome.id in stored
        else outcome
        for outcome in outcomes
    ]


class _Rules:
    """Reads records by the clock of a tenant."""

    def __init__(self, tenant: Tenant, now: datetime) -> None:
        self._tenant = tenant
        self._clock = WallClock(tenant, now)

    def stated(self, index: int, record: CaptureRecord) -> _Stated:
        """The capture as it is to be judged. Raises Rejected."""
        if record.user_id is not None and not self._tenant.is_named(record.user_id):
            raise Rejected("/userId", "names another tenant than the key's")
        now = self._clock.now
        captured_at = self._clock.past(record.captured_at, "/capturedAt")
        try:
            place, swapped = read_place(record.latitude, record.longitude)
        except ValueError as error:
            raise Rejected("/latitude", str(error)) from None
        at = min(captured_at, now)
        fix = Fix(
            place,
            _known("/accuracy", record.accuracy),
            at,
            record.source.value,
            record.captured_by,
        )
        return _Stated(
            index,
            record,
            captured_at,
            captured_at - now,
            swapped,
            at,
            fix,
            _known("/speed", record.speed),
            _known("/heading", record.heading),
            digest_of(record.id) if record.is_named else None,
        )


def _known(pointer: str, value: float | None) -> float | None:
    if value is None or value >= 0:
        return value
    if value == -1:
        return None
    raise Rejected(pointer, "must not be negative; -1 means unknown")


async def _take(
    connection: Connection, tenant: Tenant, stated: Sequence[_Stated], now: datetime
) -> tuple[Taken, Mapping[str, ItemError]]:
    """The owners under the ids that were stated, new digests; and why some owners are gone."""
    if not stated:
        return Taken({}, frozenset(), None), {}
    oldest = _oldest(stated)
    taken = await _take_of(connection, tenant, stated, {}, oldest=oldest, now=now)
    absent = {each.record.customer_id for each in stated} - taken.owners.keys()
    missing = await explain_missing(connection, tenant, absent)
    gone = {each: ItemError("/customerId", reason) for each, reason in missing.erased.items()}
    if missing.merged:
        merged = [each for each in stated if each.record.customer_id in missing.merged]
        present = await _take_of(connection, tenant, merged, missing.merged, oldest=oldest, now=now)
        owners = dict(taken.owners)
        for former_id, present_id in missing.merged.items():
            if present_id in present.owners:
                owners[former_id] = present.owners[present_id]
        taken = replace(taken, owners=owners, new=taken.new | present.new)
    return taken, gone


async def _take_of(
    connection: Connection,
    tenant: Tenant,
    stated: Sequence[_Stated],
    present_ids: Mapping[str, str],
    *,
    oldest: datetime,
    now: datetime,
) -> Taken:
    received = [
        Received(each.digest, present_ids.get(each.record.customer_id, each.record.customer_id))
        for each in stated
        if each.digest is not None
    ]
    customer_ids = {each.record.customer_id for each in stated}
    return await captures.take(
        connection,
        tenant.id,
        {present_ids.get(each, each) for each in customer_ids},
        _months(each.captured_at for each in stated),
        received,
        oldest=oldest,
        now=now,
    )


def _oldest(stated: Sequence[_Stated]) -> datetime:
    return min((each.captured_at for each in stated), default=datetime.max.replace(tzinfo=UTC))


def _too_old(kept_since: datetime) -> ItemError:
    return ItemError("/capturedAt", f"lies before {kept_since.date()}, and nothing older is kept")


def _months(moments: Iterable[datetime]) -> Collection[date]:
    return {date(year, month, 1) for year, month in {(each.year, each.month) for each in moments}}


async def _write(
    connection: Connection, tenant: Tenant, written: Sequence[tuple[_Stated, Owner]]
) -> list[CaptureOutcome]:
    """Store new captures of locked customers, and what they move."""
    if not written:
        return []
    references = await _references(connection, tenant, written)
    by_customer: dict[int, list[_Stated]] = defaultdict(list)
    known: dict[int, Fix | None] = {}
    for each, owner in written:
        by_customer[owner.sk].append(each)
        known[owner.sk] = owner.known_place
    rows: list[NewCapture] = []
    outcomes: list[CaptureOutcome] = []
    moved: dict[int, Fix] = {}
    for sk, of_customer in by_customer.items():
        flagged = _flagged(of_customer, known[sk], references)
        after = last_known(known[sk], (each.fix for each, flags in flagged if is_believed(flags)))
        if after is not None and after != known[sk]:
            moved[sk] = after
        for each, flags in flagged:
            rows.append(_row(each, sk, flags))
            is_last = sk in moved and is_believed(flags) and each.fix == after
            outcomes.append(_outcome(each, "created", flags, moved=is_last))
    segments_version = await captures.add_many(connection, tenant.id, rows, moved)
    # Whoever brought a customer in is not locked, and no other for where that customer is.
    await refresh_watched(
        connection,
        tenant,
        list(moved),
        segments_version,
        now=datetime.now(UTC),
        with_referrers=False,
    )
    return outcomes


async def _references(
    connection: Connection, tenant: Tenant, written: Sequence[tuple[_Stated, Owner]]
) -> Mapping[int, Collection[Place]]:
    """By index, where the customers may be expected of whom it matters.

    Not their last known place: which captures are believed would depend on which came first.
    """
    wanted = {
        each.index: (owner.sk, each.fix.place)
        for each, owner in written
        if may_be_swapped(each.fix.place)
    }
    return await captures.list_references(connection, tenant.id, wanted) if wanted else {}


def _time(each: _Stated) -> datetime:
    return each.at


def _flagged(
    of_customer: Sequence[_Stated],
    known: Fix | None,
    references: Mapping[int, Collection[Place]],
) -> list[tuple[_Stated, list[Flag]]]:
    """A customer's captures in the order of their times, with what is suspicious about each."""
    flagged = []
    before = known
    for each in sorted(of_customer, key=_time):
        flags = flags_of(
            each.fix,
            ahead=each.ahead,
            swapped=each.swapped,
            references=references.get(each.index, ()),
            before=before,
        )
        flagged.append((each, flags))
        if is_believed(flags):
            before = each.fix
    return flagged


def _row(each: _Stated, customer_sk: int, flags: Sequence[Flag]) -> NewCapture:
    record = each.record
    return NewCapture(
        record.id,
        customer_sk,
        each.captured_at,
        each.fix.place.latitude,
        each.fix.place.longitude,
        each.fix.accuracy,
        record.altitude,
        each.speed,
        each.heading,
        record.source.value,
        record.captured_by,
        record.device_id,
        None if record.visit_type is None else record.visit_type.value,
        record.notes,
        record.photo_url,
        ",".join(flags) or None,
    )


def _outcome(
    each: _Stated, status: str, flags: Sequence[str] = (), *, moved: bool = False
) -> CaptureOutcome:
    return CaptureOutcome(
        each.index, each.record.id, status, None, each.captured_at, each.fix.place, flags, moved
    )


def _rejected(index: int, record: CaptureRecord, error: ItemError) -> CaptureOutcome:
    return CaptureOutcome(index, record.id, "rejected", error)
