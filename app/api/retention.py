"""How long a tenant keeps captured places and events."""

from typing import Annotated

from app.api.dependencies import Caller, Connection, requires
from app.api.route import router as routes
from app.api.schemas.retention import RetentionSettings
from app.domain.access import Scope
from app.repositories import retention
from app.repositories.retention import Retention
from app.services.retention import change_retention

router = routes("admin", "/api/admin")

Admin = Annotated[Caller, requires(Scope.ADMIN)]


@router.get("/retention")
async def get_retention_settings(caller: Admin, connection: Connection) -> RetentionSettings:
    """For how many days captured places and events are kept."""
    return RetentionSettings.of(await retention.get(connection, caller.tenant.id))


@router.put("/retention")
async def change_retention_settings(
    settings: RetentionSettings, caller: Admin, connection: Connection
) -> RetentionSettings:
    """Keep captured places and events for so many days.

    What is older is not told of from now on; the worker deletes it within a day, for good.
    """
    wanted = Retention(settings.location_days, settings.event_days)
    return RetentionSettings.of(await change_retention(connection, caller.tenant, wanted))
