"""The web application: the only place where the parts are wired together."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from alembic.script import ScriptDirectory
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Gauge

import migrations
from app.api import (
    address,
    admin,
    analytics,
    behavior,
    capture,
    churn,
    cluster,
    clv,
    cohort,
    consent,
    contact,
    customer,
    dashboard,
    docs,
    errors,
    event,
    export,
    face,
    feedback,
    health,
    heatmap,
    influence,
    insight,
    journey,
    ltv_prediction,
    movement,
    nearby,
    openapi,
    order,
    performance,
    place_export,
    population,
    privacy,
    referral,
    retention,
    sanity,
    satisfaction,
    score,
    segment,
    stage,
    store,
    store_distance,
    tile,
    trace,
    venue,
    zone,
)
from app.api.dependencies import check_keys
from app.api.middleware import RequestMetrics, RequestMiddleware
from app.database import Database
from app.gateways.face import face_provider
from app.gateways.object_store import object_store
from app.services.auditing import AccessLog
from app.services.capturing import record_single_captures
from app.services.event_recording import record_event_batch
from app.services.face_backend import FaceBackend, prepare_collections
from app.services.gathering import Gathering, Line
from app.settings import Settings


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service as an ASGI application. Opens nothing before its lifespan begins."""
    settings = settings or Settings()
    registry = CollectorRegistry()
    pool_size = Gauge("bps_database_pool_size", "Connections at most.", registry=registry)
    pool_size.set(settings.database_pool_size)
    in_use = Gauge("bps_database_connections_in_use", "Connections now.", registry=registry)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if settings.database_url is None:
            raise RuntimeError("Set DATABASE_URL, or start the service with `bps up`.")
        app.state.database = Database(
            settings.database_url,
            pool_size=settings.database_pool_size,
            pool_timeout=settings.database_pool_timeout_seconds,
            statement_timeout=settings.statement_timeout_seconds,
            application_name="bps-api",
        )
        in_use.set_function(app.state.database.connections_in_use)
        # A long body makes objects by the million that are gone again with the next chunk. Looking
        # for circles among them every few hundred, and among all that was imported, took longer
        # than parsing them.
        gc.freeze()
        gc.set_threshold(20_000, 25, 25)
        auditing = asyncio.create_task(app.state.access_log.run(app.state.database))
        preparing = asyncio.create_task(prepare_collections(app.state.database, app.state.faces))
        try:
            yield
        finally:
            preparing.cancel()
            await app.state.captures.drain()
            await app.state.events.drain()
            app.state.access_log.stop()
            await asyncio.wait([preparing, auditing])
            await app.state.faces.close()
            await app.state.database.close()

    app = FastAPI(
        title="Business Partner Service",
        version=_version(),
        description=openapi.DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # ours needs nothing from elsewhere
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.registry = registry
    app.state.access_log = AccessLog()
    app.state.faces = FaceBackend(face_provider(settings), object_store(settings))
    app.state.key_checks = Line(check_keys)
    app.state.captures = Gathering(record_single_captures)
    app.state.events = Gathering(record_event_batch)
    app.state.schema_revision = _schema_revision()
    app.add_middleware(RequestMiddleware, metrics=RequestMetrics(registry))
    errors.install(app)
    openapi.install(app)
    for part in (
        capture,  # these two first: they come by the thousand, and routes are tried in order
        event,
        face,  # somebody waits at the till
        privacy,  # before the customers, and so are the venues: an id would match their words
        venue,
        customer,
        order,
        contact,
        feedback,
        address,
        store,
        insight,
        journey,
        trace,
        referral,
        analytics,
        population,
        dashboard,
        influence,
        satisfaction,
        movement,
        clv,
        churn,
        export,
        score,
        segment,
        consent,
        cohort,
        ltv_prediction,
        stage,
        performance,
        admin,
        retention,
        sanity,
        place_export,
        nearby,
        cluster,
        heatmap,
        store_distance,
        zone,
        tile,
        behavior,
        health,
        docs,
    ):
        # Not include_router: it would match every request twice, once for the router.
        app.router.routes.extend(part.router.routes)
    app.router.routes.extend(face.seed_router.routes)
    return app


def _version() -> str:
    try:
        return version("business-partner-service")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "0"


@cache
def _schema_revision() -> str | None:
    """The newest migration: what the database has to be at."""
    return ScriptDirectory(str(Path(migrations.__file__).parent)).get_current_head()
