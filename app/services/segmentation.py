"""Segments by criteria: making and changing them, and keeping their members.

**Live.** Whatever changes customers calls `refresh_customers` or `refresh_memberships` in its
transaction: segments that ask of the customer's own rows only are told there and then, of the
customers touched. What asks of orders or events is told by a job a minute later, of the same
customers (`evaluate_touched`).

**Everybody.** After an edit, each night after the scores, and each hour where time alone changes
who belongs, a job evaluates all customers (`evaluate_requested`). Until it has committed, the
members before are the members. Customers who change while it is at work are evaluated after it.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from app.database import Connection, Database
from app.domain.criteria import (
    Clock,
    CohortClause,
    Criteria,
    Leaf,
    Reading,
    SegmentClause,
    Traits,
    clock_of,
    holds,
    leaf_holds,
    leaves,
    traits,
)
from app.domain.criteria_document import criteria_document, parse_criteria
from app.domain.errors import CannotEvaluate, Conflict, DomainError, InvalidInput, NotFound
from app.domain.lookalike import Likeness, likeness
from app.domain.tenant import Tenant
from app.repositories import audience, former, job, statistics
from app.repositories import customer as customers
from app.repositories import segment as segments
from app.repositories import segment_member as members
from app.repositories.audience import Lookalike, Preview
from app.repositories.criteria import Compiler
from app.repositories.segment import Segment
from app.repositories.segment_member import (
    Asked,
    ListedEvaluation,
    Membership,
)
from app.services.segment_records import CUSTOM, SegmentPatch, SegmentRecord

#: Segments that one statement evaluates.
GROUP = 40
#: Customers that the job takes up at a time.
TOUCHED_BATCH = 5_000
#: So many are not looked at one by one.
MANY_TOUCHED = 50_000
#: How often an evaluation under way looks whether it was cancelled.
CANCEL_SECONDS = 1.0


# --- Making and changing ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Checked:
    """Criteria as sent and as stored; None asks for nobody."""

    sent: dict[str, Any] | None
    normalized: dict[str, Any] | None


async def create_segment(
    connection: Connection, tenant: Tenant, record: SegmentRecord, *, actor: str | None
) -> Segment:
    """Add a segment and queue its first evaluation. Raises InvalidInput."""
    checked = await _check(connection, tenant, record.criteria, of=None)
    segment_id = await segments.add(
        connection,
        tenant.id,
        name=record.name,
        description=record.description,
        segment_type=record.segment_type,
        criteria=checked.sent,
        normalized=checked.normalized,
        actor=actor,
    )
    segment = await segments.get(connection, tenant.id, str(segment_id))
    await request_evaluation(connection, tenant, [segment.sk])
    return await segments.get(connection, tenant.id, str(segment_id))


async def change_segment(
    connection: Connection,
    tenant: Tenant,
    segment_id: str,
    patch: SegmentPatch,
    *,
    actor: str | None,
) -> Segment:
    """Change what the patch names; other criteria, or taking it up again, queue an evaluation.

    Raises NotFound, InvalidInput, and Conflict where others refer to a segment that is to rest.
    """
    segment = await segments.get(connection, tenant.id, segment_id, lock=True)
    stated = patch.model_fields_set
    segment_type = patch.segment_type or segment.segment_type
    checked = _Checked(segment.criteria, segment.normalized)
    if "criteria" in stated:
        checked = await _check(connection, tenant, patch.criteria, of=segment)
    is_active = segment.is_active if patch.is_active is None else patch.is_active
    if segment.is_active and not is_active:
        await _check_not_referred_to(connection, tenant, segment)
    reevaluate = checked.normalized != segment.normalized or (is_active and not segment.is_active)
    await segments.change(
        connection,
        tenant.id,
        segment.sk,
        name=patch.name if patch.name is not None else segment.name,
        description=patch.description if "description" in stated else segment.description,
        segment_type=segment_type,
        criteria=checked.sent,
        normalized=checked.normalized,
        is_active=is_active,
        reevaluate=reevaluate,
        actor=actor,
    )
    await _renew_version(connection, tenant)
    if reevaluate and is_active:
        await request_evaluation(connection, tenant, [segment.sk])
    return await segments.get(connection, tenant.id, segment_id)


async def remove_segment(
    connection: Connection, tenant: Tenant, segment_id: str, *, actor: str | None
) -> None:
    """Let the segment rest: it keeps its last members and is evaluated no more.

    Raises NotFound, and Conflict where active segments refer to it.
    """
    patch = SegmentPatch.model_validate({"isActive": False})
    await change_segment(connection, tenant, segment_id, patch, actor=actor)


async def _check(
    connection: Connection, tenant: Tenant, sent: dict[str, Any] | None, *, of: Segment | None
) -> _Checked:
    """The criteria normalised; whatever they refer to is there, and closes no circle."""
    if not sent:
        return _Checked(sent, None)
    criteria = parse_criteria(sent, tenant)
    await check_references(connection, tenant, criteria, of=of)
    return _Checked(sent, criteria_document(criteria, tenant.currency))


async def check_references(
    connection: Connection, tenant: Tenant, criteria: Criteria, *, of: Segment | None = None
) -> Compiler:
    """A compiler that knows what the criteria refer to. Raises InvalidInput.

    `of` is the segment whose criteria they are to be: it must not come to depend on itself.
    """
    known = {each.id: each for each in await segments.list_references(connection, tenant.id)}
    cohort_ids = {leaf.cohort for _, leaf in leaves(criteria) if isinstance(leaf, CohortClause)}
    cohorts = await segments.find_cohorts(connection, tenant.id, cohort_ids)
    for pointer, leaf in leaves(criteria, "/criteria"):
        if isinstance(leaf, CohortClause) and leaf.cohort not in cohorts:
            raise InvalidInput(f"{pointer}/cohort", "is not the id of a cohort")
        if not isinstance(leaf, SegmentClause):
            continue
        place = f"{pointer}/segment"
        if leaf.segment not in known or not known[leaf.segment].is_active:
            raise InvalidInput(place, "is not the id of an active segment")
        if of is not None and _leads_to(known, leaf.segment, str(of.id)):
            raise InvalidInput(place, "leads back to this segment")
    return Compiler(segments={each.id: each.sk for each in known.values()}, cohorts=cohorts)


def _leads_to(known: Mapping[str, segments.SegmentReference], start: str, target: str) -> bool:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        segment_id = waiting.pop()
        if segment_id == target:
            return True
        if segment_id in seen or segment_id not in known:
            continue
        seen.add(segment_id)
        waiting += _referred_by(known[segment_id].normalized)
    return False


def _referred_by(normalized: object) -> list[str]:
    """The segments that a normalised document names."""
    if isinstance(normalized, list):
        return [name for each in normalized for name in _referred_by(each)]
    if not isinstance(normalized, dict):
        return []
    if "segment" in normalized:
        return [str(normalized["segment"])]
    found: list[str] = []
    for name in ("all", "any", "not"):
        found += _referred_by(normalized.get(name))
    return found


async def _check_not_referred_to(connection: Connection, tenant: Tenant, segment: Segment) -> None:
    for each in await segments.list_active(connection, tenant.id):
        if each.sk != segment.sk and str(segment.id) in _referred_by(each.normalized):
            raise Conflict(f"The segment {each.name!r} ({each.id}) refers to this one.")


# --- Questions --------------------------------------------------------------------------------


async def preview_criteria(
    connection: Connection, tenant: Tenant, sent: dict[str, Any], *, now: datetime
) -> tuple[dict[str, object], Preview]:
    """The criteria normalised, and who meets them. Raises InvalidInput and TookTooLong."""
    criteria = parse_criteria(sent, tenant)
    compiler = await check_references(connection, tenant, criteria)
    found = await audience.preview(connection, tenant.id, clock_of(tenant, now), criteria, compiler)
    return criteria_document(criteria, tenant.currency), found


@dataclass(frozen=True, slots=True)
class ExplainedClause:
    """One clause at its pointer into the normalised criteria: what was read, and the verdict."""

    pointer: str
    leaf: Leaf
    reading: Reading
    holds: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """Whether a customer meets the criteria now, and whether the membership says so, too."""

    segment: Segment
    holds: bool
    membership: Membership | None
    clauses: list[ExplainedClause]


async def explain_membership(
    connection: Connection, tenant: Tenant, segment_id: str, customer_id: str, *, now: datetime
) -> Explanation:
    """Each clause of the segment's criteria with the customer's value. Raises NotFound."""
    segment = await segments.get(connection, tenant.id, segment_id)
    customer_sk = await audience.get_sk(connection, tenant.id, customer_id)
    membership = await members.find(connection, tenant.id, segment.sk, customer_sk)
    if segment.normalized is None:
        return Explanation(segment, False, membership, [])
    criteria = parse_criteria(segment.normalized, tenant)
    compiler = await check_references(connection, tenant, criteria)
    clock = clock_of(tenant, now)
    readings = await audience.read_customer(
        connection, tenant.id, clock, criteria, compiler, customer_sk=customer_sk
    )
    clauses = [
        ExplainedClause(pointer, leaf, readings[leaf], leaf_holds(leaf, readings[leaf], clock))
        for pointer, leaf in leaves(criteria)
    ]
    return Explanation(segment, holds(criteria, readings, clock), membership, clauses)


async def find_lookalikes(
    connection: Connection, tenant: Tenant, segment_id: str, *, limit: int
) -> tuple[Segment, Likeness | None, list[Lookalike]]:
    """Who is most like the members without being one. Raises NotFound; Conflict for no members."""
    segment = await segments.get(connection, tenant.id, segment_id)
    if segment.member_count == 0:
        raise Conflict("The segment has no members to be like.")
    moments = await audience.measure_features(connection, tenant.id, segment.sk)
    measured = likeness(moments)
    if measured is None:
        return segment, None, []
    found = await audience.list_lookalikes(connection, tenant.id, segment.sk, measured, limit=limit)
    return segment, measured, found


async def count_overlap(
    connection: Connection, tenant: Tenant, segment_ids: Sequence[str]
) -> tuple[list[Segment], Mapping[int, int]]:
    """The segments, and how many customers are in exactly which: bit `i` is the `i`-th of them.

    Raises InvalidInput for a segment that is not there.
    """
    found = []
    for index, segment_id in enumerate(segment_ids):
        try:
            found.append(await segments.get(connection, tenant.id, segment_id))
        except NotFound:
            raise InvalidInput(f"/segmentIds/{index}", "is not the id of a segment") from None
    return found, await members.count_regions(connection, tenant.id, [each.sk for each in found])


# --- Members by hand --------------------------------------------------------------------------


async def add_member(
    connection: Connection, tenant: Tenant, segment_id: str, customer_id: str, *, now: datetime
) -> bool:
    """Make the customer a member until taken out by hand; whether it was none before.

    Raises NotFound, InvalidInput for the customer, and Conflict where the segment takes none.
    """
    segment = await _custom(connection, tenant, segment_id)
    customer_sk = await _lock_customer(connection, tenant, customer_id)
    if customer_sk is None:
        raise InvalidInput("customerId", "is not the id of a customer")
    is_new = await members.add_manual(connection, tenant.id, segment.sk, customer_sk)
    await refresh_memberships(connection, tenant, [customer_sk], now=now)
    return is_new


async def remove_member(
    connection: Connection, tenant: Tenant, segment_id: str, customer_id: str, *, now: datetime
) -> None:
    """Take out a member who was put in by hand, unless the criteria want the customer anyway.

    Raises NotFound, and Conflict where it is the criteria that make the customer a member.
    """
    segment = await _custom(connection, tenant, segment_id)
    customer_sk = await _lock_customer(connection, tenant, customer_id)
    found = (
        None
        if customer_sk is None
        else await members.find(connection, tenant.id, segment.sk, customer_sk)
    )
    if customer_sk is None or found is None:
        raise NotFound("member", customer_id)
    if not found.manual:
        raise Conflict("The customer is a member by the criteria, not by hand.")
    await members.remove(connection, tenant.id, segment.sk, customer_sk)
    await refresh_memberships(connection, tenant, [customer_sk], now=now)


async def _custom(connection: Connection, tenant: Tenant, segment_id: str) -> Segment:
    segment = await segments.get(connection, tenant.id, segment_id)
    if segment.segment_type != CUSTOM:
        raise Conflict("Only segments of the type custom take members by hand.")
    if not segment.is_active:
        raise Conflict("The segment is not active.")
    return segment


async def _lock_customer(connection: Connection, tenant: Tenant, customer_id: str) -> int | None:
    present_id = await former.find_present_id(connection, tenant.id, customer_id) or customer_id
    locked = await customers.lock(connection, tenant.id, {present_id: True}, ())
    return locked[present_id].sk if present_id in locked else None


# --- The customers of a request ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Known:
    """A segment with its criteria read. `criteria` is None where it asks for nobody."""

    segment: Segment
    criteria: Criteria | None
    traits: Traits


@dataclass(frozen=True, slots=True)
class _LiveSet:
    """The statements that tell memberships of one version of a tenant's segments."""

    version: UUID
    statements: tuple[ListedEvaluation, ...]


# The latest version of each tenant; a version is never used again.
_live_sets: dict[int, _LiveSet] = {}


async def refresh_memberships(
    connection: Connection, tenant: Tenant, customer_sks: Collection[int], *, now: datetime
) -> None:
    """Tell the memberships of customers whose attributes, place or events have changed.

    In the transaction of the change, whose caller has locked the customers' rows.
    """
    if customer_sks:
        version = await members.watch(connection, tenant.id, customer_sks)
        await refresh_watched(connection, tenant, customer_sks, version, now=now)


async def refresh_watched(
    connection: Connection,
    tenant: Tenant,
    customer_sks: Collection[int],
    version: UUID | None,
    *,
    now: datetime,
    with_referrers: bool = True,
) -> None:
    """`refresh_memberships` for the version that was read already; None has nothing to tell.

    Of who brought these customers in too, unless their rows are not locked.
    """
    if version is None:
        return
    live = _live_sets.get(tenant.id)
    if live is None or live.version != version:
        live = _LiveSet(version, await _live_statements(connection, tenant))
        _live_sets[tenant.id] = live
    clock = clock_of(tenant, now)
    for statement in live.statements:
        await statement.run(
            connection, tenant.id, clock, customer_sks, with_referrers=with_referrers
        )


async def _live_statements(connection: Connection, tenant: Tenant) -> tuple[ListedEvaluation, ...]:
    """Statements for the segments of one look, in the order in which they refer to each other.

    Segments whose members are not yet those of their criteria wait for their evaluation.
    """
    known, compiler_of = await _read_active(connection, tenant)
    told = {
        each.segment.sk
        for each in known
        if each.traits.of_row and each.segment.is_current and each.criteria is not None
    }
    queues = any(not each.traits.of_row for each in known)
    statements: list[ListedEvaluation] = []
    for group in _groups(known, told):
        asked = [Asked(each.segment.sk, each.criteria) for each in group if each.criteria]
        # All but the last leave nobody to the job, which is to be done once.
        statements.append(ListedEvaluation(asked, compiler_of(), queues=queues and not statements))
    if queues and not statements:
        statements.append(ListedEvaluation([], compiler_of(), queues=True))
    return tuple(statements)


class _CompilerOf:
    """Makes compilers that know the tenant's segments and cohorts."""

    def __init__(self, segment_keys: Mapping[str, int], cohort_keys: Mapping[str, int]) -> None:
        self._segments = segment_keys
        self._cohorts = cohort_keys

    def __call__(self) -> Compiler:
        return Compiler(segments=self._segments, cohorts=self._cohorts)


async def _read_active(connection: Connection, tenant: Tenant) -> tuple[list[_Known], _CompilerOf]:
    """The active segments whose criteria can be read, and what makes compilers for them."""
    known, _, compiler_of = await _read_all_active(connection, tenant)
    return known, compiler_of


async def _read_all_active(
    connection: Connection, tenant: Tenant
) -> tuple[list[_Known], dict[int, str], _CompilerOf]:
    """Active segments; why criteria cannot be read any more, by segment; a maker of compilers."""
    parsed: list[tuple[Segment, Criteria | None]] = []
    broken: dict[int, str] = {}
    active = await segments.list_active(connection, tenant.id)
    for segment in active:
        try:
            criteria = parse_criteria(segment.normalized, tenant) if segment.normalized else None
        except InvalidInput as error:
            broken[segment.sk] = str(error)
            continue
        parsed.append((segment, criteria))
    cohort_ids = {
        leaf.cohort
        for _, criteria in parsed
        if criteria is not None
        for _, leaf in leaves(criteria)
        if isinstance(leaf, CohortClause)
    }
    cohorts = await segments.find_cohorts(connection, tenant.id, cohort_ids)
    keys = {str(segment.id): segment.sk for segment in active}
    known = []
    for segment, criteria in parsed:
        missing = [] if criteria is None else _missing(criteria, keys, cohorts)
        if missing:
            broken[segment.sk] = f"The criteria refer to what is not there: {', '.join(missing)}."
        else:
            nothing = Traits(of_row=True, of_events=False, drifts=False, segments=frozenset())
            known.append(_Known(segment, criteria, traits(criteria) if criteria else nothing))
    return known, broken, _CompilerOf(keys, cohorts)


def _missing(
    criteria: Criteria, segment_keys: Collection[str], cohort_keys: Collection[str]
) -> list[str]:
    return [
        pointer
        for pointer, leaf in leaves(criteria)
        if (isinstance(leaf, SegmentClause) and leaf.segment not in segment_keys)
        or (isinstance(leaf, CohortClause) and leaf.cohort not in cohort_keys)
    ]


def _groups(known: Sequence[_Known], wanted: Collection[int]) -> list[list[_Known]]:
    """The wanted segments in groups for one statement each, after those that they refer to."""
    ids = {str(each.segment.id): each for each in known}
    levels: dict[int, int] = {}

    def level(each: _Known) -> int:
        if each.segment.sk not in levels:
            levels[each.segment.sk] = 0  # never met again: circles are refused
            inner = [level(ids[name]) + 1 for name in each.traits.segments if name in ids]
            levels[each.segment.sk] = max(inner, default=0)
        return levels[each.segment.sk]

    chosen = sorted(
        (each for each in known if each.segment.sk in wanted),
        key=lambda each: (level(each), each.segment.sk),
    )
    groups: list[list[_Known]] = []
    for each in chosen:
        full = not groups or len(groups[-1]) == GROUP
        if full or level(groups[-1][0]) != level(each):
            groups.append([])
        groups[-1].append(each)
    return groups


# --- Everybody --------------------------------------------------------------------------------


async def request_evaluation(
    connection: Connection, tenant: Tenant, segment_sks: Collection[int]
) -> None:
    """Queue an evaluation of everybody with the data that asks for it."""
    await segments.request(connection, tenant.id, segment_sks)
    await _renew_version(connection, tenant)
    await _enqueue(connection, tenant)


async def _renew_version(connection: Connection, tenant: Tenant) -> None:
    """Let every process read the segments anew, and let events be told of if one asks of them."""
    # First, because it waits for whoever else is changing segments, who are then read as changed.
    await segments.renew_version(connection, tenant.id)
    known, _ = await _read_active(connection, tenant)
    await segments.note_whether_events_matter(
        connection, tenant.id, asks=any(each.traits.of_events for each in known)
    )


async def _enqueue(connection: Connection, tenant: Tenant) -> None:
    # A key of its own: a job that runs already may have taken up what it found before.
    await job.enqueue_once(
        connection, "evaluate_segments", f"segments-{uuid4()}", {"tenant_id": tenant.id}
    )


async def request_all(connection: Connection, tenant: Tenant) -> None:
    """Queue an evaluation of all active segments, as after a full run of the scores."""
    active = await segments.list_active(connection, tenant.id)
    if active:
        await request_evaluation(connection, tenant, [each.sk for each in active])


async def request_due_evaluations(connection: Connection, tenant: Tenant) -> None:
    """Queue, each hour, the segments that time changes, and those whose job got lost."""
    known, _ = await _read_active(connection, tenant)
    due = [
        each.segment.sk
        for each in known
        if each.traits.drifts and each.segment.state not in ("queued", "running")
    ]
    if due:
        await request_evaluation(connection, tenant, due)
    elif any(each.segment.state in ("queued", "running") for each in known):
        await _enqueue(connection, tenant)


async def evaluate_again(connection: Connection, tenant: Tenant, segment_id: str) -> Segment:
    """Queue an evaluation of one segment. Raises NotFound, Conflict where it is at rest."""
    segment = await segments.get(connection, tenant.id, segment_id)
    if not segment.is_active:
        raise Conflict("The segment is not active.")
    await request_evaluation(connection, tenant, [segment.sk])
    return await segments.get(connection, tenant.id, segment_id)


async def cancel_evaluation(connection: Connection, tenant: Tenant, segment_id: str) -> Segment:
    """Cancel the evaluation that waits or is under way. Raises NotFound, Conflict for none."""
    segment = await segments.get(connection, tenant.id, segment_id)
    if not await segments.request_cancel(connection, tenant.id, segment.sk):
        raise Conflict("No evaluation of the segment waits or is under way.")
    return await segments.get(connection, tenant.id, segment_id)


async def evaluate_requested(database: Database, tenant: Tenant) -> None:
    """Evaluate everybody for the segments that wait, and then whoever changed meanwhile.

    A failure is noted at its segments, whose members stay; the others are evaluated all the same.
    """
    while True:
        async with database.tenant_transaction(tenant.id) as connection:
            begun = await segments.start_requested(connection, tenant.id)
        if not begun:
            return
        await _evaluate_unless_cancelled(database, tenant, begun)
        async with database.transaction() as connection:
            await statistics.learn_sizes(connection)
        await evaluate_touched(database, tenant)


async def _evaluate_unless_cancelled(
    database: Database, tenant: Tenant, begun: Sequence[int]
) -> None:
    work = asyncio.create_task(_evaluate(database, tenant, begun))
    try:
        while not (await asyncio.wait({work}, timeout=CANCEL_SECONDS))[0]:
            async with database.tenant_transaction(tenant.id) as connection:
                if await segments.is_cancelled(connection, tenant.id, begun):
                    break
    finally:
        if not work.done():
            work.cancel()
        [ended] = await asyncio.gather(work, return_exceptions=True)
    if isinstance(ended, asyncio.CancelledError):
        async with database.tenant_transaction(tenant.id) as connection:
            await segments.cancel(connection, tenant.id, begun)
    elif ended is not None:
        async with database.tenant_transaction(tenant.id) as connection:
            reason = str(ended) if isinstance(ended, DomainError) else repr(ended)[:2000]
            await segments.fail(connection, tenant.id, begun, reason)
        raise ended


async def _evaluate(database: Database, tenant: Tenant, begun: Sequence[int]) -> None:
    """Write the members of the segments that were begun, and of those that refer to them."""
    async with database.tenant_transaction(tenant.id) as connection:
        await members.lock_evaluation(connection, tenant.id)
        now = datetime.now(UTC)
        known, broken, compiler_of = await _read_all_active(connection, tenant)
        wanted = _with_dependents(known, begun)
        clock = clock_of(tenant, now)
        failed = {sk: reason for sk, reason in broken.items() if sk in begun}
        evaluated: dict[int, int] = {}
        for group in _groups(known, wanted):
            failed |= await _evaluate_group(connection, tenant, group, compiler_of, clock)
            evaluated |= {
                each.segment.sk: each.segment.revision
                for each in group
                if each.segment.sk not in failed
            }
        await segments.succeed(connection, tenant.id, evaluated, now)
        for sk, reason in failed.items():
            await segments.fail(connection, tenant.id, [sk], reason)
        await members.compact_sizes(connection, tenant.id)
        await _renew_version(connection, tenant)


async def _evaluate_group(
    connection: Connection,
    tenant: Tenant,
    group: Sequence[_Known],
    compiler_of: _CompilerOf,
    clock: Clock,
) -> dict[int, str]:
    """Evaluate the group at once; one by one where that fails. Why not, by segment."""
    try:
        await members.evaluate_everybody(
            connection,
            tenant.id,
            clock,
            [Asked(each.segment.sk, each.criteria) for each in group if each.criteria],
            compiler_of(),
            segment_sks=[each.segment.sk for each in group],
        )
    except CannotEvaluate as error:
        if len(group) == 1:
            return {group[0].segment.sk: str(error)}
        failed: dict[int, str] = {}
        for each in group:
            failed |= await _evaluate_group(connection, tenant, [each], compiler_of, clock)
        return failed
    return {}


def _with_dependents(known: Sequence[_Known], begun: Iterable[int]) -> set[int]:
    """The segments begun, and all that refer to one of them, however remotely."""
    wanted = set(begun)
    ids = {each.segment.sk: str(each.segment.id) for each in known}
    while True:
        names = {ids[sk] for sk in wanted if sk in ids}
        more = {each.segment.sk for each in known if each.traits.segments & names} - wanted
        if not more:
            return wanted
        wanted |= more


async def evaluate_touched(database: Database, tenant: Tenant) -> int:
    """Tell the memberships of customers that were left to the job; how many there were.

    Where they are very many, an evaluation of everybody is queued instead.
    """
    told = 0
    while True:
        async with database.tenant_transaction(tenant.id) as connection:
            waiting = await members.count_touched(connection, tenant.id, MANY_TOUCHED)
            if not waiting:
                return told
            if waiting == MANY_TOUCHED:
                await members.forget_touched(connection, tenant.id)
                await request_all(connection, tenant)
                return told
            await members.lock_evaluation(connection, tenant.id)
            taken = await members.take_touched(connection, tenant.id, TOUCHED_BATCH)
            known, compiler_of = await _read_active(connection, tenant)
            current = {
                each.segment.sk for each in known if each.segment.is_current and each.criteria
            }
            clock = clock_of(tenant, datetime.now(UTC))
            for group in _groups(known, current):
                asked = [Asked(each.segment.sk, each.criteria) for each in group if each.criteria]
                statement = ListedEvaluation(asked, compiler_of(), queues=False)
                await statement.run(connection, tenant.id, clock, taken)
            told += len(taken)


async def compact_sizes(connection: Connection, tenant: Tenant) -> None:
    """Add up the sizes of the segments since the last time."""
    await members.compact_sizes(connection, tenant.id)
