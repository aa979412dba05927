"""How a tenant searches by face, and what it keeps."""

from app.database import Connection
from app.domain.face import Rules, check_rules
from app.domain.tenant import Tenant
from app.repositories import face as faces
from app.services.face_backend import settings_of


async def change_rules(
    connection: Connection, tenant: Tenant, rules: Rules, *, actor: str | None
) -> Rules:
    """Search by `rules` from now on. Raises InvalidInput."""
    check_rules(rules)
    await settings_of(connection, tenant)
    await faces.change_settings(connection, tenant.id, rules, actor=actor)
    return rules
