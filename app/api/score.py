"""Scores written back: of one request, or of a run of many requests that is committed as one.

A body is read and looked up as it arrives, and what it states is kept as the lines of a COPY in a
temporary file: no connection waits for a slow client. One transaction then writes all of it.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import compress, islice
from operator import not_
from tempfile import SpooledTemporaryFile
from typing import IO, Annotated, Any
from uuid import UUID

from fastapi import Path, Query, Request
from pydantic import TypeAdapter, ValidationError
from starlette.responses import Response, StreamingResponse

from app.api import errors, idempotency, ndjson
from app.api.dependencies import Caller, Connection, DatabaseAccess, admits, requires
from app.api.errors import BodyTooLarge, UnsupportedMediaType
from app.api.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, decode, encode, page_of
from app.api.route import router as routes
from app.api.schemas.score import (
    MAX_ITEMS,
    NewRun,
    PartAnswer,
    RunView,
    ScoreAnswer,
    score_body,
)
from app.database import Database
from app.domain.access import Scope
from app.domain.errors import InvalidInput
from app.domain.tenant import Tenant
from app.repositories import written_score as written
from app.repositories.written_score import ExternalRun
from app.services import written_scores
from app.services.outcomes import ItemError
from app.services.records import Instant, first_problem
from app.services.repetition import SeenIds
from app.services.written_scores import (
    REPEATED,
    ModelVersion,
    Refused,
    ScoreRecord,
    ScoreRules,
)

router = routes("scores", "/api/analytics")

_CHUNK_ITEMS = 5_000
_CHUNK_BYTES = 4 * 1024 * 1024
_IN_MEMORY_BYTES = 8 * 1024 * 1024
#: A longer answer is not kept for a repeated request, which then does its harmless work again.
_MAX_KEPT_BYTES = 5 * 1024 * 1024
#: A problem document names so many items; it says how many there are.
_MAX_NAMED = 1_000

Writer = Annotated[Caller, requires(Scope.SCORES_WRITE)]
AsOf = Annotated[
    Instant | None,
    Query(
        alias="asOf",
        description="As of when the scores were computed, where the items do not say so.",
    ),
]
Version = Annotated[
    ModelVersion | None,
    Query(alias="modelVersion", description="What computed them, where the items do not say so."),
]
RunId = Annotated[UUID, Path(alias="runId")]

_INSTANT = TypeAdapter(Instant)
_MODEL_VERSION: TypeAdapter[str] = TypeAdapter(ModelVersion)


@router.post(
    "/update-scores",
    responses={207: {"model": ScoreAnswer, "description": "Some items were refused."}},
    response_model=ScoreAnswer,
    openapi_extra=score_body(of_run=False),
)
async def update_scores(
    request: Request,
    caller: Annotated[Caller, admits(Scope.SCORES_WRITE)],
    database: DatabaseAccess,
    as_of: AsOf = None,
    model_version: Version = None,
) -> Response:
    """Write scores that were computed elsewhere: all valid items at once, or none.

    They stay until newer ones come: neither an older as-of nor the nightly run takes their place,
    unless the profile says `externalScores: overwrite`. What an item leaves out stays as it is.
    """
    now = datetime.now(UTC)
    tenant = caller.tenant
    body = await _open(request, as_of=as_of, model_version=model_version)
    rules = ScoreRules(tenant, now, as_of=body.as_of, model_version=body.model_version)
    with _Intake() as intake:
        await intake.take(body, database, tenant, rules)
        async with database.tenant_transaction(tenant.id) as connection:
            await idempotency.claim(request, connection, tenant.id, body_sha256=body.sha256())
            outcome, gone = await written_scores.write_scores(
                connection, tenant, intake.lines(), intake.staged, now=now
            )
            intake.refuse(gone)
            counts = {
                "updated": outcome.updated,
                "unchanged": outcome.unchanged,
                "stale": outcome.stale,
                "rejected": intake.refused,
            }
            return await _answer(request, body, intake, counts)


@router.post("/batch-update", status_code=201)
async def open_score_run(run: NewRun, caller: Writer, connection: Connection) -> RunView:
    """Open a run of scores: add parts to it, then commit or discard it as one."""
    opened = await written_scores.open_run(
        connection,
        caller.tenant,
        as_of=run.as_of,
        model_version=run.model_version,
        actor=caller.key_id,
        now=datetime.now(UTC),
    )
    return RunView.of(opened, staged=0)


@router.get("/batch-update")
async def list_score_runs(
    caller: Writer, connection: Connection, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[RunView]:
    """The runs, newest first."""
    before = _position(cursor) if cursor is not None else None
    found = await written.list_runs(connection, caller.tenant.id, before=before, limit=limit + 1)
    shown, next_cursor = page_of(found, limit, _cursor_of)
    return Page(items=[RunView.of(run) for run in shown], next_cursor=next_cursor)


@router.get("/batch-update/{runId}")
async def get_score_run(run_id: RunId, caller: Writer, connection: Connection) -> RunView:
    """One run: how many customers were added, or what its commit did."""
    run = await written.get_run(connection, caller.tenant.id, run_id)
    staged = (
        await written.count_run_rows(connection, caller.tenant.id, run_id)
        if run.status == "open"
        else None
    )
    return RunView.of(run, staged=staged)


@router.post(
    "/batch-update/{runId}/parts",
    responses={207: {"model": PartAnswer, "description": "Some items were refused."}},
    response_model=PartAnswer,
    openapi_extra=score_body(of_run=True),
)
async def add_score_part(
    request: Request,
    run_id: RunId,
    caller: Annotated[Caller, admits(Scope.SCORES_WRITE)],
    database: DatabaseAccess,
) -> Response:
    """Add scores to an open run; nobody sees them before the commit.

    A part may be sent again: what it says of a customer takes the place of what was said before.
    """
    now = datetime.now(UTC)
    tenant = caller.tenant
    async with database.tenant_transaction(tenant.id) as connection:
        run = await written_scores.check_run_open(connection, tenant, run_id)
    body = await _open(request, of_run=True)
    rules = ScoreRules(tenant, now, as_of=run.as_of, model_version=run.model_version, of_run=True)
    with _Intake() as intake:
        await intake.take(body, database, tenant, rules)
        async with database.tenant_transaction(tenant.id) as connection:
            await idempotency.claim(request, connection, tenant.id, body_sha256=body.sha256())
            gone = await written_scores.add_part(
                connection, tenant, run_id, intake.lines(), intake.staged
            )
            intake.refuse(gone)
            counts = {"accepted": intake.staged - len(gone), "rejected": intake.refused}
            return await _answer(request, body, intake, counts)


@router.post("/batch-update/{runId}/commit")
async def commit_score_run(run_id: RunId, caller: Writer, connection: Connection) -> RunView:
    """Write all parts of the run at once. Sent again, it answers the same and does nothing."""
    run = await written_scores.commit_run(connection, caller.tenant, run_id, now=datetime.now(UTC))
    return RunView.of(run)


@router.delete("/batch-update/{runId}", status_code=204)
async def discard_score_run(run_id: RunId, caller: Writer, connection: Connection) -> None:
    """Drop the run and what was added to it."""
    await written_scores.discard_run(connection, caller.tenant, run_id)


def _cursor_of(run: ExternalRun) -> str:
    return encode(run.opened_at.isoformat(), str(run.id))


def _position(cursor: str) -> tuple[datetime, UUID]:
    opened_at, run_id = decode(cursor, str, str)
    try:
        return datetime.fromisoformat(opened_at), UUID(run_id)
    except ValueError:
        raise errors.BadCursor from None


# --- Reading ----------------------------------------------------------------------------------

#: An item as it came, with its index: a value, the bytes of a line, None for a line too long.
_Items = Sequence[tuple[int, Any]]


@dataclass(slots=True)
class _Body:
    """The items of a request as they arrive, and what it says of all of them."""

    parts: AsyncIterator[_Items]
    is_ndjson: bool
    as_of: datetime | None
    model_version: str | None
    _digest: Any

    def sha256(self) -> bytes | None:
        """The digest of what was read of an NDJSON body; a JSON body is still at hand."""
        digest: bytes | None = self._digest.digest() if self.is_ndjson else None
        return digest


async def _open(
    request: Request,
    *,
    as_of: datetime | None = None,
    model_version: str | None = None,
    of_run: bool = False,
) -> _Body:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in ndjson.MEDIA_TYPES:
        digest = hashlib.sha256()
        parts = ndjson.read_lines(_digested(request, digest))
        return _Body(parts, True, as_of, model_version, digest)
    if media_type != "application/json":
        raise UnsupportedMediaType(f"Send scores as application/json or as {ndjson.MEDIA_TYPE}.")
    body = await request.json()
    known = {"items"} if of_run else {"items", "asOf", "modelVersion"}
    if isinstance(body, dict) and "items" in body and set(body) <= known:
        if body.get("asOf") is not None:
            as_of = _valid(_INSTANT, "asOf", body["asOf"])
        if body.get("modelVersion") is not None:
            model_version = _valid(_MODEL_VERSION, "modelVersion", body["modelVersion"])
        body = body["items"]
    if not isinstance(body, list):
        names = ", ".join(sorted(known))
        raise InvalidInput("", f"The body must be an array of items, or an object of {names}.")
    if len(body) > MAX_ITEMS:
        raise BodyTooLarge(
            f"A JSON body may have {MAX_ITEMS} items; send more as {ndjson.MEDIA_TYPE}."
        )
    return _Body(_once(list(enumerate(body))), False, as_of, model_version, None)


def _valid(kind: TypeAdapter[Any], name: str, value: Any) -> Any:
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        raise InvalidInput(name, first_problem(error)[1]) from None


async def _digested(request: Request, digest: Any) -> AsyncIterator[bytes]:
    needed = idempotency.HEADER in request.headers
    async for part in request.stream():
        if needed:
            digest.update(part)
        yield part


async def _once(items: _Items) -> AsyncIterator[_Items]:
    for start in range(0, len(items), _CHUNK_ITEMS):
        yield items[start : start + _CHUNK_ITEMS]


class _Intake:
    """What was taken from a body, as lines for COPY, and the items that were refused."""

    def __init__(self) -> None:
        self._lines: IO[bytes] = SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 - closed by with
        self._refused: IO[bytes] = SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 - the answer reads it
        self._seen = SeenIds()
        self._is_streamed = False
        self.staged = 0
        self.refused = 0

    def __enter__(self) -> "_Intake":
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        if not self._is_streamed:
            self._refused.close()

    async def take(
        self, body: _Body, database: Database, tenant: Tenant, rules: ScoreRules
    ) -> None:
        """Read all of the body; a chunk is looked up while the next one is read."""
        validator = ScoreRecord.__pydantic_validator__
        validate = validator.validate_json if body.is_ndjson else validator.validate_python
        looking_up: asyncio.Task[None] | None = None
        chunk = _Chunk()
        try:
            async for items in body.parts:
                for index, item in items:
                    if item is None and body.is_ndjson:
                        reason = f"The line is longer than {ndjson.MAX_LINE_BYTES} bytes."
                        chunk.refused.append(Refused(index, None, ItemError("", reason)))
                        continue
                    try:
                        chunk.records.append((index, validate(item)))
                    except ValidationError as error:
                        chunk.refused.append(_refused(index, item, error))
                    if body.is_ndjson:
                        chunk.bytes += len(item)
                if chunk.is_full:
                    if looking_up is not None:
                        await looking_up
                    work = self._look_up(chunk, database, tenant, rules)
                    looking_up = asyncio.create_task(work)
                    chunk = _Chunk()
            if looking_up is not None:
                await looking_up
            await self._look_up(chunk, database, tenant, rules)
        finally:
            if looking_up is not None:
                looking_up.cancel()

    async def _look_up(
        self, chunk: "_Chunk", database: Database, tenant: Tenant, rules: ScoreRules
    ) -> None:
        if chunk.records:
            async with database.tenant_transaction(tenant.id) as connection:
                scores, refused = await written_scores.look_up(
                    connection, tenant, rules, chunk.records
                )
            chunk.refused += refused
            repeated = self._seen.repeated([score.customer_id for score in scores])
            if any(repeated):
                chunk.refused += [
                    Refused(each.place, each.customer_id, REPEATED)
                    for each in compress(scores, repeated)
                ]
                scores = list(compress(scores, map(not_, repeated)))
            self._lines.write(written.copy_lines(scores))
            self.staged += len(scores)
        self.refuse(sorted(chunk.refused, key=lambda each: each.index))

    def refuse(self, refused: Sequence[Refused]) -> None:
        """Note items that were not taken."""
        lines = [json.dumps(_document(each)) + "\n" for each in refused]
        self._refused.write("".join(lines).encode())
        self.refused += len(refused)

    def lines(self) -> IO[bytes]:
        """What was taken, from its beginning."""
        self._lines.seek(0)
        return self._lines

    def refusals(self) -> Iterator[dict[str, Any]]:
        """What was refused."""
        self._refused.seek(0)
        return map(json.loads, self._refused)

    def answer(self, summary: Mapping[str, int], status: int) -> Response:
        """A line for each refused item and a last one that counts; a long answer is streamed."""
        self._refused.write((json.dumps({"summary": summary}) + "\n").encode())
        size = self._refused.tell()
        self._refused.seek(0)
        if size <= _MAX_KEPT_BYTES:
            return Response(self._refused.read(), status, media_type=ndjson.MEDIA_TYPE)
        self._is_streamed = True
        return StreamingResponse(_read(self._refused), status, media_type=ndjson.MEDIA_TYPE)


class _Chunk:
    """Items that are looked up together: the valid ones, and what is wrong with the others."""

    def __init__(self) -> None:
        self.records: list[tuple[int, ScoreRecord]] = []
        self.refused: list[Refused] = []
        self.bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether it is time to look them up."""
        items = len(self.records) + len(self.refused)
        return items >= _CHUNK_ITEMS or self.bytes >= _CHUNK_BYTES


def _refused(index: int, item: Any, error: ValidationError) -> Refused:
    if isinstance(item, bytes):
        try:
            item = json.loads(item)
        except (ValueError, RecursionError):
            item = None
    identity = item.get("customerId") if isinstance(item, dict) else None
    pointer, reason = first_problem(error)
    return Refused(
        index, identity if isinstance(identity, str) else None, ItemError(pointer, reason)
    )


def _document(refused: Refused) -> dict[str, Any]:
    error = {"pointer": refused.error.pointer, "reason": refused.error.reason}
    return {"index": refused.index, "customerId": refused.customer_id, "error": error}


# --- Answering --------------------------------------------------------------------------------


async def _answer(
    request: Request, body: _Body, intake: _Intake, counts: Mapping[str, int]
) -> Response:
    """200, 207 where some items were refused, a problem where all were; kept under the key."""
    if intake.refused and not any(number for name, number in counts.items() if name != "rejected"):
        idempotency.release(request)
        return _none_accepted(request, intake, counts)
    status = 207 if intake.refused else 200
    if not body.is_ndjson:
        refusals = sorted(intake.refusals(), key=lambda each: int(each["index"]))
        response = Response(
            json.dumps({**counts, "errors": refusals}),
            status_code=status,
            media_type="application/json",
        )
        await idempotency.keep(request, response)
        return response
    answer = intake.answer(counts, status)
    if isinstance(answer, StreamingResponse):
        idempotency.release(request)
    else:
        await idempotency.keep(request, answer)
    return answer


def _none_accepted(request: Request, intake: _Intake, counts: Mapping[str, int]) -> Response:
    named = []
    for each in islice(intake.refusals(), _MAX_NAMED):
        error = each["error"]
        pointer = f"/{each['index']}{error['pointer']}"
        named.append({"pointer": pointer, "reason": error["reason"]})
    detail = "Not one item was accepted."
    if intake.refused > len(named):
        detail += f" The first {len(named)} of {intake.refused} are named."
    problem = errors.answer(request.scope, errors.KINDS[InvalidInput], detail, errors=named)
    return Response(
        json.dumps(json.loads(bytes(problem.body)) | counts),
        status_code=problem.status_code,
        media_type=errors.MEDIA_TYPE,
    )


def _read(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while part := file.read(64 * 1024):
            yield part
