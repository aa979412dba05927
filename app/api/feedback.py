"""Feedback: what customers say of the business."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Body, Request, Response

from app.api.batch import Batch, Results, answer_batch, batch_route
from app.api.dependencies import Caller, Connection, DatabaseAccess, PathId, admits, requires
from app.api.disclosure import Disclosed
from app.api.pagination import (
    DEFAULT_LIMIT,
    Cursor,
    Limit,
    Page,
    decode_moment,
    encode,
    page_of,
)
from app.api.route import router as routes
from app.api.schemas.feedback import EXAMPLE, FeedbackView
from app.database import Connection as Transaction
from app.domain.access import Scope
from app.domain.privacy import FULL
from app.domain.tenant import Tenant
from app.repositories import customer as customers
from app.repositories import feedback
from app.services import engagement
from app.services.outcomes import ItemOutcome
from app.services.records import FeedbackRecord

router = routes("feedback")

Reader = Annotated[Caller, requires(Scope.CUSTOMERS_READ)]
Writer = Annotated[Caller, requires(Scope.CUSTOMERS_WRITE)]


@router.post(
    "/api/feedback",
    status_code=201,
    responses={200: {"model": FeedbackView, "description": "The feedback was there already."}},
)
async def record_feedback(
    record: Annotated[FeedbackRecord, Body(examples=[EXAMPLE])],
    caller: Writer,
    connection: Connection,
    response: Response,
) -> FeedbackView:
    """Record feedback by its id; the customer's figures are up to date with the answer.

    Scores are 0 to 10 for nps, 1 to 10 for csat, 1 to 5 for a review, which may have none; a
    complaint has none.
    """
    if not await engagement.record_one_feedback(connection, caller.tenant, record):
        response.status_code = 200
    return FeedbackView.of(await feedback.get(connection, caller.tenant.id, record.id), FULL)


@router.post("/api/feedback/batch", **batch_route(FeedbackRecord, EXAMPLE))
async def record_feedback_batch(
    request: Request,
    caller: Annotated[Caller, admits(Scope.CUSTOMERS_WRITE)],
    database: DatabaseAccess,
    results: Results = "all",
) -> Response:
    """Record much feedback by its ids, and bring the figures of the customers up to date."""

    async def write(
        connection: Transaction, tenant: Tenant, records: Sequence[FeedbackRecord]
    ) -> list[ItemOutcome]:
        return await engagement.record_feedback(connection, tenant, records)

    batch = Batch(FeedbackRecord, write, caller.tenant, database)
    return await answer_batch(request, batch, results)


@router.get("/api/customers/{id}/feedback")
async def list_customer_feedback(
    id: PathId,
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[FeedbackView]:
    """What a customer said, newest first."""
    customer = await customers.get(connection, caller.tenant.id, id)
    found = await feedback.list_of_customer(
        connection, caller.tenant.id, customer.sk, before=decode_moment(cursor), limit=limit + 1
    )
    shown, next_cursor = page_of(
        found, limit, lambda each: encode(each.given_at.isoformat(), each.sk)
    )
    return Page(
        items=[FeedbackView.of(each, disclosure) for each in shown], next_cursor=next_cursor
    )
