"""Batches: many records of a kind in one request, as JSON up to a limit or as NDJSON without one.

A JSON batch is one transaction, unless it is one that can be sent again without harm: that is
written in a few portions at a time. An NDJSON body is read as it arrives and committed a chunk at a
time, so it holds no transaction while the client is slow; its answer is spooled to disk until the
body has ended, because a client that does not read while it writes would otherwise stop both.
"""

import asyncio
import hashlib
import json
from collections import deque
from collections.abc import AsyncIterable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, Annotated, Any, Generic, Literal, TypeVar

from fastapi import Query, Request
from pydantic import ValidationError
from pydantic_core import to_json
from starlette.responses import Response, StreamingResponse

from app.api import errors, idempotency, ndjson
from app.api.errors import BodyTooLarge, UnsupportedMediaType
from app.api.schemas.batch import BatchAnswer, batch_body
from app.database import Connection, Database, DatabaseUnavailableError
from app.domain.errors import InvalidInput
from app.domain.tenant import Tenant
from app.services.ingestion import learn_sizes
from app.services.outcomes import ItemError, ItemOutcome
from app.services.records import IdentifiedRecord, first_problem
from app.services.repetition import SeenIds

MAX_ITEMS = 1_000
_CHUNK_LINES = 5_000
# While the database works on one, the other is put into words for it.
_CHUNKS_AT_ONCE = 2
_WORTH_LEARNING = 1_000
# While the database works on one portion, another is put into words for it.
_PORTIONS = 3
_WORTH_DIVIDING = 200
_CHUNK_BYTES = 4 * 1024 * 1024
_IN_MEMORY_BYTES = 1024 * 1024
#: A longer answer is not kept for a repeated request, which then does its harmless work again.
_MAX_KEPT_BYTES = 5 * 1024 * 1024

R = TypeVar("R", bound=IdentifiedRecord)
#: Writes records in the transaction given and says what became of each.
Write = Callable[[Connection, Tenant, Sequence[R]], Coroutine[Any, Any, list[ItemOutcome]]]

#: What was sent, with its place among the others.
Item = tuple[int, Any]

Results = Annotated[
    Literal["all", "errors"],
    Query(description="For NDJSON: answer every line, or only those that were refused."),
]


def batch_route(model: type[IdentifiedRecord], example: dict[str, Any]) -> dict[str, Any]:
    """What a route that calls `answer_batch` tells FastAPI of its body and its answers."""
    return {
        "response_model": BatchAnswer,
        "responses": {207: {"model": BatchAnswer, "description": "Some items were refused."}},
        "openapi_extra": batch_body(model, example),
    }


@dataclass(frozen=True, slots=True)
class Batch(Generic[R]):
    """What the items of a request are, and how they are written.

    Of items that are a success when they come again, those with the same `subject`, the name of a
    field, are written together and in their order; others may be written at the same time.
    """

    model: type[R]
    write: Write[R]
    tenant: Tenant
    database: Database
    subject: str | None = None

    async def record_items(
        self, connection: Connection, items: Sequence[Item]
    ) -> list[ItemOutcome]:
        """Write the items that are valid, and say what became of each, in any order."""
        validate = self.model.__pydantic_validator__.validate_python
        refused: list[ItemOutcome] = []
        places: list[tuple[int, R]] = []
        for index, item in items:
            try:
                places.append((index, validate(item)))
            except ValidationError as error:
                refused.append(_rejected(self, index, item, error))
        return refused + await self.record(connection, places)

    async def record(
        self, connection: Connection, places: Sequence[tuple[int, R]]
    ) -> list[ItemOutcome]:
        """Write valid records; the outcomes have the indexes that the records came with."""
        outcomes = await self.write(connection, self.tenant, [record for _, record in places])
        return [
            ItemOutcome(places[outcome.index][0], outcome.id, outcome.status, outcome.error)
            for outcome in outcomes
        ]

    def identity_in(self, item: object) -> str | None:
        """The id of an item as it was sent, if it has one."""
        identity = item.get(self.model.id_name) if isinstance(item, dict) else None
        return identity if isinstance(identity, str) else None


async def answer_batch(request: Request, batch: Batch[R], results: Results) -> Response:
    """Write the items of the request's body and say what became of each.

    Raises UnsupportedMediaType, InvalidInput, BodyTooLarge and what `idempotency.claim` raises.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "application/json":
        return await _answer_json(request, batch)
    if media_type in ndjson.MEDIA_TYPES:
        return await _answer_ndjson(request, batch, errors_only=results == "errors")
    raise UnsupportedMediaType(f"Send the batch as application/json or as {ndjson.MEDIA_TYPE}.")


# --- JSON -------------------------------------------------------------------------------------


async def _answer_json(request: Request, batch: Batch[R]) -> Response:
    items = list(enumerate(_items(await request.json())))
    if idempotency.HEADER not in request.headers:
        return _json_response(request, await _record_portions(batch, items))
    async with batch.database.tenant_transaction(batch.tenant.id) as connection:
        await idempotency.claim(request, connection, batch.tenant.id)
        response = _json_response(request, await batch.record_items(connection, items))
        await idempotency.keep(request, response)
    return response


async def _record_portions(batch: Batch[R], items: Sequence[Item]) -> list[ItemOutcome]:
    """Commit items in portions at the same time, or as a whole where they have to stay one."""
    portions = _portions(batch, items)
    if len(portions) == 1:
        return await _record_portion(batch, items)
    written = await asyncio.gather(
        *(_record_portion(batch, portion) for portion in portions), return_exceptions=True
    )
    outcomes: list[ItemOutcome] = []
    for portion, result in zip(portions, written, strict=True):
        if isinstance(result, DatabaseUnavailableError):
            # Two portions may have waited for each other, as two requests may. Now there is one.
            outcomes += await _record_portion(batch, portion)
        elif isinstance(result, BaseException):
            raise result
        else:
            outcomes += result
    return outcomes


async def _record_portion(batch: Batch[R], items: Sequence[Item]) -> list[ItemOutcome]:
    async with batch.database.tenant_transaction(batch.tenant.id) as connection:
        return await batch.record_items(connection, items)


def _portions(batch: Batch[R], items: Sequence[Item]) -> list[Sequence[Item]]:
    """The items by portions of about one size, what is about one subject in one of them.

    Where one portion is committed and another fails, the client sends all of them again. So an item
    without an id, which would be another one then, keeps the batch whole; and so does an id that
    comes twice, which has to be the first one's.
    """
    if batch.subject is None or len(items) < _WORTH_DIVIDING:
        return [items]
    ids: set[str] = set()
    by_subject: dict[object, list[Item]] = {}
    for place, item in items:
        identity = batch.identity_in(item)
        subject = item.get(batch.subject) if isinstance(item, dict) else None
        if identity is None or identity in ids or not isinstance(subject, str):
            return [items]
        ids.add(identity)
        by_subject.setdefault(subject, []).append((place, item))
    portions: list[list[Item]] = [[] for _ in range(_PORTIONS)]
    for together in by_subject.values():
        min(portions, key=len).extend(together)
    return [portion for portion in portions if portion]


def _items(body: Any) -> list[Any]:
    items = body.get("items") if isinstance(body, dict) and set(body) == {"items"} else body
    if not isinstance(items, list):
        raise InvalidInput("", 'The body must be an array of items, or {"items": [...]}.')
    if len(items) > MAX_ITEMS:
        raise BodyTooLarge(
            f"A JSON batch may have {MAX_ITEMS} items; send more as {ndjson.MEDIA_TYPE}."
        )
    return items


def _rejected(batch: Batch[R], index: int, item: Any, error: ValidationError) -> ItemOutcome:
    pointer, reason = first_problem(error)
    return ItemOutcome(index, batch.identity_in(item), "rejected", ItemError(pointer, reason))


def _json_response(request: Request, outcomes: list[ItemOutcome]) -> Response:
    outcomes.sort(key=_index)
    items = [_document(outcome) for outcome in outcomes]
    rejected = [outcome for outcome in outcomes if outcome.error is not None]
    document: dict[str, Any] = {
        "items": items,
        "accepted": len(items) - len(rejected),
        "rejected": len(rejected),
    }
    if not rejected:
        status = 200
    elif len(rejected) < len(items):
        status = 207
    else:
        return _none_accepted(request, rejected, document)
    return Response(to_json(document), status_code=status, media_type="application/json")


def _none_accepted(
    request: Request, rejected: Sequence[ItemOutcome], document: dict[str, Any]
) -> Response:
    """A problem document that has the items as well."""
    problem = errors.answer(
        request.scope,
        errors.KINDS[InvalidInput],
        "Not one item was accepted.",
        errors=[
            {"pointer": f"/{outcome.index}{outcome.error.pointer}", "reason": outcome.error.reason}
            for outcome in rejected
            if outcome.error is not None
        ],
    )
    return Response(
        json.dumps(json.loads(bytes(problem.body)) | document),
        status_code=problem.status_code,
        media_type=errors.MEDIA_TYPE,
    )


def _document(outcome: ItemOutcome) -> dict[str, Any]:
    document: dict[str, Any] = {
        "index": outcome.index,
        "id": outcome.id,
        "status": outcome.status,
    }
    if outcome.error is not None:
        document["error"] = {"pointer": outcome.error.pointer, "reason": outcome.error.reason}
    return document


# --- NDJSON -----------------------------------------------------------------------------------


async def _answer_ndjson(request: Request, batch: Batch[R], *, errors_only: bool) -> Response:
    if idempotency.HEADER not in request.headers:
        results = _Results(errors_only=errors_only)
        await _record_stream(batch, request.stream(), results)
        return results.response()
    with SpooledTemporaryFile(_IN_MEMORY_BYTES) as body:
        digest = hashlib.sha256()
        async for part in request.stream():
            digest.update(part)
            body.write(part)
        body.seek(0)
        # Holds the key, and nothing that anybody else waits for, while other transactions write.
        async with batch.database.tenant_transaction(batch.tenant.id) as connection:
            await idempotency.claim(
                request, connection, batch.tenant.id, body_sha256=digest.digest()
            )
            results = _Results(errors_only=errors_only)
            await _record_stream(batch, ndjson.read_parts(body), results)
            if results.size <= _MAX_KEPT_BYTES:
                await idempotency.keep(
                    request, Response(results.everything(), media_type=ndjson.MEDIA_TYPE)
                )
            idempotency.release(request)
        return results.response()


class _Results:
    """The answer to a stream, a line for each of its lines and a last one that counts them."""

    def __init__(self, *, errors_only: bool) -> None:
        self._errors_only = errors_only
        self._file: IO[bytes] = SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 - outlives this call
        self._accepted = 0
        self._rejected = 0
        self.size = 0

    def add(self, outcomes: Sequence[ItemOutcome]) -> None:
        """Note outcomes, which come in the order of their lines."""
        lines: list[str] = []
        for outcome in outcomes:
            if outcome.error is None:
                self._accepted += 1
                if self._errors_only:
                    continue
            else:
                self._rejected += 1
            lines.append(json.dumps(_document(outcome)))
        self._write(lines)

    def finish(self) -> None:
        """Write the last line."""
        summary = {"accepted": self._accepted, "rejected": self._rejected}
        self._write([json.dumps({"summary": summary})])

    def everything(self) -> bytes:
        """The whole answer."""
        self._file.seek(0)
        return self._file.read()

    def response(self) -> Response:
        """The answer, read from where it was spooled as the client takes it."""
        self._file.seek(0)
        return StreamingResponse(self._read(), media_type=ndjson.MEDIA_TYPE)

    def _write(self, lines: Sequence[str]) -> None:
        data = "".join(f"{line}\n" for line in lines).encode()
        self.size += len(data)
        self._file.write(data)

    def _read(self) -> Iterator[bytes]:
        with self._file as file:
            while part := file.read(64 * 1024):
                yield part


class _Chunk(Generic[R]):
    """Lines that will be one transaction: the valid records, and what is wrong with the others."""

    def __init__(self) -> None:
        self.records: list[tuple[int, R]] = []
        self.rejected: list[ItemOutcome] = []
        self.bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether it is time to write."""
        lines = len(self.records) + len(self.rejected)
        return lines >= _CHUNK_LINES or self.bytes >= _CHUNK_BYTES


async def _record_stream(batch: Batch[R], parts: AsyncIterable[bytes], results: _Results) -> None:
    """Commit the lines chunk by chunk; the next one is read while others are being written."""
    seen = SeenIds()
    validate = batch.model.__pydantic_validator__.validate_json
    writing: deque[asyncio.Task[list[ItemOutcome]]] = deque()
    chunk: _Chunk[R] = _Chunk()
    try:
        async for lines in ndjson.read_lines(parts):
            for index, line in lines:
                if line is None:
                    error = ItemError("", f"The line is longer than {ndjson.MAX_LINE_BYTES} bytes.")
                    chunk.rejected.append(ItemOutcome(index, None, "rejected", error))
                    continue
                try:
                    chunk.records.append((index, validate(line)))
                    chunk.bytes += len(line)
                except ValidationError as invalid:
                    chunk.rejected.append(_rejected(batch, index, _parsed(line), invalid))
            if chunk.is_full:
                if len(writing) == _CHUNKS_AT_ONCE:
                    results.add(await writing.popleft())
                writing.append(asyncio.create_task(_record_chunk(batch, chunk, seen)))
                chunk = _Chunk()
        while writing:
            results.add(await writing.popleft())
        results.add(await _record_chunk(batch, chunk, seen))
    finally:
        if writing:
            # The client has gone; what is being written is whole, and is let through.
            await asyncio.wait(writing)
    results.finish()


async def _record_chunk(batch: Batch[R], chunk: _Chunk[R], seen: SeenIds) -> list[ItemOutcome]:
    outcomes = chunk.rejected
    repeated = seen.repeated([record.id for _, record in chunk.records])
    places: list[tuple[int, R]] = []
    for (index, record), again in zip(chunk.records, repeated, strict=True):
        if again and not batch.model.repeats_are_duplicates:
            error = ItemError("/id", "occurs on an earlier line already")
            outcomes.append(ItemOutcome(index, record.id, "rejected", error))
        else:
            places.append((index, record))
    if places:
        async with batch.database.tenant_transaction(batch.tenant.id) as connection:
            outcomes += await batch.record(connection, places)
        if len(chunk.records) >= _WORTH_LEARNING:
            await learn_sizes(batch.database)
    return sorted(outcomes, key=_index)


def _index(outcome: ItemOutcome) -> int:
    return outcome.index


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
