"""Predictions of lifetime value: recorded by whoever makes them, listed by the risk of leaving."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Body, Query, Request, Response

from app.api.batch import Batch, Results, answer_batch, batch_route
from app.api.dependencies import (
    Caller,
    Connection,
    DatabaseAccess,
    PathId,
    UserId,
    admits,
    check_user_id,
    requires,
)
from app.api.disclosure import Disclosed
from app.api.errors import problems
from app.api.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, decode, encode, page_of
from app.api.route import router as routes
from app.api.schemas.ltv_prediction import EXAMPLE, LtvPredictionView
from app.database import Connection as Transaction
from app.domain.access import Scope
from app.domain.ltv import GrowthPotential
from app.domain.privacy import FULL
from app.domain.tenant import Tenant
from app.repositories import prediction as predictions
from app.services import predicting
from app.services.outcomes import ItemOutcome
from app.services.records import PredictionRecord

router = routes("segmentation", "/api/segmentation/ltv-predictions")

Reader = Annotated[Caller, requires(Scope.SEGMENTS_READ)]


@router.post(
    "",
    status_code=201,
    responses={
        200: {"model": LtvPredictionView, "description": "It replaced an earlier one."},
        **problems(409),
    },
)
async def record_ltv_prediction(
    record: Annotated[PredictionRecord, Body(examples=[EXAMPLE])],
    caller: Annotated[Caller, requires(Scope.SCORES_WRITE)],
    connection: Connection,
    response: Response,
) -> LtvPredictionView:
    """Record a prediction; a later one of the same customer replaces it, an earlier one is 409."""
    check_user_id(caller, record.user_id)
    customer_id, is_new = await predicting.record_prediction(connection, caller.tenant, record)
    if not is_new:
        response.status_code = 200
    found = await predictions.get(connection, caller.tenant.id, customer_id)
    return LtvPredictionView.of(found, caller.tenant.currency, FULL)


@router.post("/batch", **batch_route(PredictionRecord, EXAMPLE))
async def record_ltv_prediction_batch(
    request: Request,
    caller: Annotated[Caller, admits(Scope.SCORES_WRITE)],
    database: DatabaseAccess,
    results: Results = "all",
) -> Response:
    """Record many predictions; one made before the stored one is `stale`."""

    async def write(
        connection: Transaction, tenant: Tenant, records: Sequence[PredictionRecord]
    ) -> list[ItemOutcome]:
        for record in records:
            check_user_id(caller, record.user_id)
        return await predicting.record_predictions(connection, tenant, records)

    batch = Batch(PredictionRecord, write, caller.tenant, database)
    return await answer_batch(request, batch, results)


@router.get("")
async def list_ltv_predictions(
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
    user_id: UserId = None,
    growth_potential: Annotated[GrowthPotential | None, Query(alias="growthPotential")] = None,
    min_churn_probability: Annotated[
        float, Query(alias="minChurnProbability", ge=0, le=1, allow_inf_nan=False)
    ] = 0.0,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[LtvPredictionView]:
    """Predictions, those of the customers likeliest to leave first."""
    check_user_id(caller, user_id)
    after = None if cursor is None else decode(cursor, float, int)
    found = await predictions.list_by_churn(
        connection,
        caller.tenant.id,
        after=None if after is None else (after[0], after[1]),
        least=min_churn_probability,
        growth=growth_potential,
        limit=limit + 1,
    )
    shown, next_cursor = page_of(
        found, limit, lambda each: encode(each.churn_probability, each.customer_sk)
    )
    return Page(
        items=[LtvPredictionView.of(each, caller.tenant.currency, disclosure) for each in shown],
        next_cursor=next_cursor,
    )


@router.get("/{id}")
async def get_ltv_prediction(
    id: PathId, caller: Reader, connection: Connection, disclosure: Disclosed
) -> LtvPredictionView:
    """The latest prediction of a customer."""
    found = await predictions.get(connection, caller.tenant.id, id)
    return LtvPredictionView.of(found, caller.tenant.currency, disclosure)
