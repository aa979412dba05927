"""Scores written back: what somebody else computed becomes part of the one row of truth.

A request is read and looked up chunk by chunk while it arrives, with no transaction left open, and
written as a whole at its end; a run keeps the chunks of its parts until it is committed. What
somebody else wrote says so (`external_scores`), and our own runs leave it alone unless the tenant's
profile says otherwise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import IO, Annotated, Self
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import Field, StringConstraints, model_validator

from app.database import Connection
from app.domain import money, rfm
from app.domain.errors import Conflict, InvalidInput
from app.domain.money import to_minor
from app.domain.tenant import Tenant
from app.domain.written_scores import (
    MAX_PRODUCTS,
    MAX_REASON_LENGTH,
    MAX_REASONS,
    check_as_of,
)
from app.repositories import partition, scoring
from app.repositories import written_score as written
from app.repositories.written_score import (
    ExternalRun,
    Outcome,
    WritingStatements,
    WrittenScore,
)
from app.scoring.postgres import written_scores_sql
from app.services.outcomes import ItemError, Rejected
from app.services.records import Identity, Instant, NotNegative, Record, Share
from app.services.scoring import refresh_customers

#: Customers whose figures were never computed are scored so many at a time.
_UNSCORED_BATCH = 500

#: More rows than so many are written with the settings of a run.
_MANY = 10_000

#: Strict, because Python counts true as 1; a check in Python would cost more than all the others.
Score = Annotated[int, Field(strict=True, ge=1, le=5)]
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Reason = Annotated[Identity, StringConstraints(max_length=MAX_REASON_LENGTH)]
ModelVersion = Annotated[Identity, StringConstraints(max_length=100)]


class RfmScores(Record):
    """Recency, frequency and monetary value, 5 being the best."""

    r: Score
    f: Score
    m: Score


class ScoreRecord(Record):
    """The scores of one customer; what is left out stays as it is.

    `rfmScores` without `rfmSegment` get the segment of the tenant's rules. The factors belong to
    the churn score: one that comes without them has none. A percentile is a whole number; a
    fraction of one is dropped. `nextPurchaseDate` is a day, or an instant within the tenant's
    day.
    """

    customer_id: Identity
    rfm_segment: Identity | None = None
    rfm_scores: RfmScores | None = None
    clv_score: NotNegative | None = None
    clv_percentile: Percent | None = None
    churn_risk_score: Share | None = None
    churn_risk_factors: Annotated[list[Reason], Field(max_length=MAX_REASONS)] | None = None
    influence_score: Percent | None = None
    recommended_products: Annotated[list[Identity], Field(max_length=MAX_PRODUCTS)] | None = None
    next_purchase_date: Instant | None = None
    next_purchase_confidence: Share | None = None
    as_of: Instant | None = None
    model_version: ModelVersion | None = None

    @model_validator(mode="after")
    def _states_whole_scores(self) -> Self:
        if self.clv_percentile is not None and self.clv_score is None:
            raise ValueError("clvPercentile needs clvScore")
        if self.churn_risk_factors is not None and self.churn_risk_score is None:
            raise ValueError("churnRiskFactors need churnRiskScore")
        if self.next_purchase_confidence is not None and self.next_purchase_date is None:
            raise ValueError("nextPurchaseConfidence needs nextPurchaseDate")
        if (
            self.rfm_segment is None
            and self.rfm_scores is None
            and self.clv_score is None
            and self.churn_risk_score is None
            and self.influence_score is None
            and self.recommended_products is None
            and self.next_purchase_date is None
        ):
            raise ValueError("must state at least one score")
        return self


@dataclass(frozen=True, slots=True)
class Refused:
    """An item that was not taken, and why."""

    index: int
    customer_id: str | None
    error: ItemError


NOT_A_CUSTOMER = ItemError("/customerId", "is not the id of a customer")
REPEATED = ItemError("/customerId", "occurs on an earlier item already")


class ScoreRules:
    """Turns records into rows, by the profile, the currency and the clock of a tenant.

    `as_of` and `model_version` hold for items that do not state their own. A run's items must not.
    """

    def __init__(
        self,
        tenant: Tenant,
        now: datetime,
        *,
        as_of: datetime | None,
        model_version: str | None,
        of_run: bool = False,
    ) -> None:
        self._tenant = tenant
        self._now = now
        self._as_of = None if as_of is None else check_as_of(local_instant(tenant, as_of), now)
        self._model_version = model_version
        self._of_run = of_run
        self._segments = {segment.code for segment in tenant.profile.segments}
        self._codes: dict[tuple[int, int, int], str] = {}

    def score(self, record: ScoreRecord, place: int, customer_sk: int) -> WrittenScore:
        """The row that the record states. Raises Rejected."""
        scores = record.rfm_scores
        r, f, m = (None, None, None) if scores is None else (scores.r, scores.f, scores.m)
        reasons = record.churn_risk_factors
        if reasons is None and record.churn_risk_score is not None:
            reasons = []
        percentile = record.clv_percentile
        next_purchase = record.next_purchase_date
        return WrittenScore(
            customer_sk,
            place,
            record.customer_id,
            self._instant(record),
            record.model_version or self._model_version,
            self._segment(record),
            r,
            f,
            m,
            None if record.clv_score is None else self._minor(record),
            None if percentile is None else math.floor(percentile),
            record.churn_risk_score,
            reasons,
            record.influence_score,
            record.recommended_products,
            None if next_purchase is None else self._day(next_purchase),
            record.next_purchase_confidence,
        )

    def _instant(self, record: ScoreRecord) -> datetime:
        if self._of_run and (record.as_of is not None or record.model_version is not None):
            pointer = "/modelVersion" if record.as_of is None else "/asOf"
            raise Rejected(pointer, "belongs to the run, not to its items")
        if record.as_of is not None:
            try:
                return check_as_of(local_instant(self._tenant, record.as_of), self._now)
            except InvalidInput as error:
                raise Rejected("/asOf", error.reason) from None
        if self._as_of is None:
            raise Rejected("/asOf", "is required: in the item, beside the items or in the address")
        return self._as_of

    def _segment(self, record: ScoreRecord) -> str | None:
        if record.rfm_segment is not None:
            if record.rfm_segment not in self._segments:
                codes = ", ".join(sorted(self._segments))
                raise Rejected("/rfmSegment", f"must be a segment of the profile: {codes}")
            return record.rfm_segment
        if record.rfm_scores is None:
            return None
        cell = (record.rfm_scores.r, record.rfm_scores.f, record.rfm_scores.m)
        if cell not in self._codes:
            self._codes[cell] = rfm.segment(self._tenant.profile.segment_rules, *cell)
        return self._codes[cell]

    def _minor(self, record: ScoreRecord) -> int:
        assert record.clv_score is not None
        try:
            return to_minor(record.clv_score, self._tenant.currency)
        except ValueError as error:
            raise Rejected("/clvScore", str(error)) from None

    def _day(self, moment: datetime) -> date:
        # A moment without a zone is the tenant's own: its day is the day it says.
        return moment.date() if moment.tzinfo is None else self._tenant.local_day(moment)


def local_instant(tenant: Tenant, moment: datetime) -> datetime:
    """`moment` as an instant; without a zone it is the tenant's wall clock."""
    if moment.tzinfo is not None:
        return moment
    return moment.replace(tzinfo=ZoneInfo(tenant.timezone))


async def look_up(
    connection: Connection,
    tenant: Tenant,
    rules: ScoreRules,
    records: Sequence[tuple[int, ScoreRecord]],
) -> tuple[list[WrittenScore], list[Refused]]:
    """The rows of valid records, each with its index, and what will not do."""
    ids = [record.customer_id for _, record in records]
    sks = await written.find_customer_sks(connection, tenant.id, ids)
    scores: list[WrittenScore] = []
    refused: list[Refused] = []
    for index, record in records:
        sk = sks.get(record.customer_id)
        if sk is None:
            refused.append(Refused(index, record.customer_id, NOT_A_CUSTOMER))
            continue
        try:
            scores.append(rules.score(record, index, sk))
        except Rejected as rejected:
            refused.append(Refused(index, record.customer_id, rejected.error))
    return scores, refused


_statements: dict[tuple[str, int, bool], WritingStatements] = {}


def _statements_for(tenant: Tenant, *, of_run: bool) -> WritingStatements:
    decimals = money.decimals(tenant.currency)
    key = (tenant.profile.version, decimals, of_run)
    if key not in _statements:
        derived = written_scores_sql(tenant.profile, decimals)
        _statements[key] = written.writing_statements(derived, of_run=of_run)
    return _statements[key]


async def write_scores(
    connection: Connection, tenant: Tenant, lines: IO[bytes], staged: int, *, now: datetime
) -> tuple[Outcome, list[Refused]]:
    """Write the rows of one request in the caller's transaction, with one statement.

    `lines` are `staged` lines of `app.repositories.written_score.copy_lines`, no customer twice.
    Refused is who was erased since the rows were looked up.
    """
    if not staged:
        return Outcome(0, 0, 0), []
    if staged > _MANY:
        await written.allow_many(connection)
    await written.stage(connection, lines)
    statements = _statements_for(tenant, of_run=False)
    outcome, absent = await _write(connection, tenant, statements, staged, now=now)
    if not absent:
        return outcome, []
    gone = await written.list_absent(connection, statements, tenant.id)
    return outcome, [Refused(each.place, each.customer_id, NOT_A_CUSTOMER) for each in gone]


async def _write(
    connection: Connection,
    tenant: Tenant,
    statements: WritingStatements,
    staged: int,
    *,
    now: datetime,
    run_id: UUID | None = None,
) -> tuple[Outcome, int]:
    day = tenant.local_day(tenant.as_of(now))
    await partition.ensure(connection, "score_history", day.replace(day=1))
    await written.touch_segments(connection, statements, tenant.id, run_id)
    savepoint = await connection.begin_nested()
    outcome, absent = await written.write(
        connection, statements, tenant.id, staged=staged, as_of_day=day, run_id=run_id
    )
    if not absent:
        await savepoint.commit()
        return outcome, 0
    # Customers are locked before the first row of scores is (see `services.ingestion`), so the rows
    # just written are given back, and written again once there are rows of all.
    await savepoint.rollback()
    unscored = await written.list_unscored(connection, statements, tenant.id, run_id)
    await scoring.lock_customers(connection, tenant.id, unscored)
    for start in range(0, len(unscored), _UNSCORED_BATCH):
        batch = unscored[start : start + _UNSCORED_BATCH]
        await refresh_customers(connection, tenant, batch, now=now)
    return await written.write(
        connection, statements, tenant.id, staged=staged, as_of_day=day, run_id=run_id
    )


# --- Runs of many requests --------------------------------------------------------------------


async def open_run(
    connection: Connection,
    tenant: Tenant,
    *,
    as_of: datetime,
    model_version: str,
    actor: str,
    now: datetime,
) -> ExternalRun:
    """Open a run that parts can be added to. Raises InvalidInput."""
    return await written.add_run(
        connection,
        tenant.id,
        as_of=check_as_of(local_instant(tenant, as_of), now),
        model_version=model_version,
        opened_by=actor,
    )


async def add_part(
    connection: Connection, tenant: Tenant, run_id: UUID, lines: IO[bytes], staged: int
) -> list[Refused]:
    """Keep the `staged` rows of one request for the run, in the caller's transaction.

    Refused is who was erased since the rows were looked up. Raises NotFound, and Conflict where the
    run was closed.
    """
    _check_open(await written.share_run(connection, tenant.id, run_id))
    if not staged:
        return []
    if staged > _MANY:
        await written.allow_many(connection)
    await written.stage(connection, lines)
    gone = await written.add_run_rows(connection, tenant.id, run_id)
    return [Refused(each.place, each.customer_id, NOT_A_CUSTOMER) for each in gone]


async def check_run_open(connection: Connection, tenant: Tenant, run_id: UUID) -> ExternalRun:
    """The run, which can be added to. Raises NotFound, and Conflict where it was closed."""
    run = await written.get_run(connection, tenant.id, run_id)
    _check_open(run)
    return run


async def commit_run(
    connection: Connection, tenant: Tenant, run_id: UUID, *, now: datetime
) -> ExternalRun:
    """Write all parts of the run in the caller's transaction; as before, where that was done.

    Raises NotFound, and Conflict where the run was discarded.
    """
    await written.allow_many(connection)
    run = await written.lock_run(connection, tenant.id, run_id)
    if run.status == "committed":
        return run
    _check_open(run)
    rows = await written.count_run_rows(connection, tenant.id, run_id)
    outcome = Outcome(0, 0, 0)
    if rows:
        statements = _statements_for(tenant, of_run=True)
        outcome, _ = await _write(connection, tenant, statements, rows, now=now, run_id=run_id)
    return await written.close_run(
        connection, tenant.id, run_id, status="committed", outcome=outcome
    )


async def discard_run(connection: Connection, tenant: Tenant, run_id: UUID) -> None:
    """Drop what was added to the run. Raises NotFound, and Conflict where it was committed."""
    await written.allow_many(connection)
    run = await written.lock_run(connection, tenant.id, run_id)
    if run.status == "discarded":
        return
    _check_open(run)
    await written.close_run(connection, tenant.id, run_id, status="discarded")


def _check_open(run: ExternalRun) -> None:
    if run.status != "open":
        raise Conflict(f"The run {run.id} was {run.status} already.")
