"""Is it alive, is it ready, what is it doing: for load balancers and monitors. No key needed."""

from typing import Literal

from fastapi import Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field
from starlette.responses import RedirectResponse, Response

from app.api.dependencies import DatabaseAccess
from app.api.errors import Kind, answer, problems
from app.api.route import router as routes
from app.repositories import migration

router = routes("health")

_NOT_READY = Kind(503, "not-ready", "The service is not ready")


class Health(BaseModel):
    """A service that is well."""

    status: Literal["ok"] = Field(default="ok", examples=["ok"])


@router.get("/", include_in_schema=False)
async def show_documentation() -> Response:
    """Lead a browser to the documentation."""
    return RedirectResponse("/docs")


@router.get("/healthz")
async def check_alive() -> Health:
    """Answer as long as the process lives, whatever the database does."""
    return Health()


@router.get("/readyz", responses=problems(503, 504))
async def check_ready(request: Request, database: DatabaseAccess) -> Response:
    """Answer 200 when the database can be reached and has the schema this service was built for."""
    async with database.transaction() as connection:
        revision = await migration.find_revision(connection)
    wanted: str = request.app.state.schema_revision
    if revision != wanted:
        found = f"is at revision {revision}" if revision else "was never migrated"
        return answer(
            request.scope,
            _NOT_READY,
            f"The database {found}; this service needs {wanted}. Run `bps migrate`.",
            headers={"Retry-After": "5"},
        )
    return Response(Health().model_dump_json(), media_type="application/json")


@router.get("/metrics", response_class=Response)
async def show_metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)
