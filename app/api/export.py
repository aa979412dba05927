"""Lists of customers as CSV files, however long."""

from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Any

from pydantic import BaseModel
from starlette.responses import Response

from app.api.analytics import Bands, MinScore, check_segment, chosen_bands
from app.api.csv_stream import MEDIA_TYPE, Cell, CsvResponse, row_of
from app.api.dependencies import Caller, DatabaseAccess, PathId, admits
from app.api.disclosure import Anonymize, disclosure_to
from app.api.route import router as routes
from app.api.schemas.analytics import AtRiskView, SegmentCustomerView
from app.domain.access import Scope
from app.repositories import analytics

router = routes("exports", "/api/analytics")

Exporter = Annotated[Caller, admits(Scope.EXPORTS_READ)]

_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A CSV file (RFC 4180, UTF-8, a header line) in the order of the list. Texts"
        " that a spreadsheet would take for a formula begin with an apostrophe.",
        "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}


def _columns(view: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in view.model_fields.items()]


_AT_RISK = [*_columns(AtRiskView), "reasonCodes", "currency"]
_SEGMENT = [*_columns(SegmentCustomerView), "currency"]


@router.get("/at-risk.csv", response_class=Response, responses=_FILE)
async def export_at_risk(
    caller: Exporter,
    database: DatabaseAccess,
    min_score: MinScore = None,
    band: Bands = None,
    anonymize: Anonymize = False,
) -> CsvResponse:
    """All customers at risk as a CSV file, the greatest value at risk first."""
    tenant = caller.tenant

    async def rows() -> AsyncGenerator[Sequence[Sequence[Cell]]]:
        async with database.tenant_transaction(tenant.id) as connection:
            disclosure = await disclosure_to(connection, caller, anonymize)
            async for found in analytics.stream_at_risk(
                connection,
                tenant.id,
                min_score=min_score,
                bands=chosen_bands(band, min_score),
            ):
                yield [_at_risk_row(AtRiskView.of(c, tenant, disclosure)) for c in found]

    def _at_risk_row(view: AtRiskView) -> list[Cell]:
        cells = view.model_dump(by_alias=True)
        cells["reasons"] = [reason.sentence for reason in view.reasons]
        cells["reasonCodes"] = [reason.code for reason in view.reasons]
        return row_of(cells | {"currency": tenant.currency}, _AT_RISK)

    return CsvResponse("at-risk", _AT_RISK, rows())


@router.get("/segments/{segment}/customers.csv", response_class=Response, responses=_FILE)
async def export_segment_customers(
    segment: PathId, caller: Exporter, database: DatabaseAccess, anonymize: Anonymize = False
) -> CsvResponse:
    """All customers of an RFM segment as a CSV file, those first recorded in front."""
    tenant = caller.tenant
    check_segment(tenant, segment)

    async def rows() -> AsyncGenerator[Sequence[Sequence[Cell]]]:
        async with database.tenant_transaction(tenant.id) as connection:
            disclosure = await disclosure_to(connection, caller, anonymize)
            async for found in analytics.stream_segment(connection, tenant.id, segment):
                views = (SegmentCustomerView.of(c, tenant.currency, disclosure) for c in found)
                yield [
                    row_of(view.model_dump(by_alias=True) | {"currency": tenant.currency}, _SEGMENT)
                    for view in views
                ]

    return CsvResponse(f"segment-{segment}", _SEGMENT, rows())
