"""Whether the figures can be trusted."""

from typing import Annotated

from app.api.dependencies import Caller, Connection, requires
from app.api.disclosure import Disclosed
from app.api.route import router as routes
from app.api.schemas.sanity import SanityView
from app.domain.access import Scope
from app.repositories import sanity

router = routes("admin", "/api/admin")

Admin = Annotated[Caller, requires(Scope.ADMIN)]


@router.get("/sanity")
async def get_sanity(caller: Admin, connection: Connection, disclosure: Disclosed) -> SanityView:
    """What the last verification found: every figure against its sources, each night."""
    return SanityView.of(await sanity.find_latest(connection, caller.tenant.id), disclosure)
