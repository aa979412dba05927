"""Digests of the ids of all captures and events there are.

Demo data was stored without, and where a clock had been ahead an id was forgotten up to a day
before its row. Rows are written without looking for one of the same id, so each has to be known.
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

REMEMBERED = """
DO $$
DECLARE tenant integer;
BEGIN
    FOR tenant IN SELECT id FROM tenant_directory() LOOP
        PERFORM set_config('app.tenant_id', tenant::text, true);
        INSERT INTO received_ids (tenant_id, kind, digest, received_at)
        SELECT tenant_id, 'capture', received_digest(id), recorded_at
        FROM location_history WHERE tenant_id = tenant
        ON CONFLICT DO NOTHING;
        INSERT INTO received_ids (tenant_id, kind, digest, received_at)
        SELECT tenant_id, 'event', received_digest(id), received_at
        FROM behavior_events WHERE tenant_id = tenant
        ON CONFLICT DO NOTHING;
    END LOOP;
    PERFORM set_config('app.tenant_id', '', true);
END $$;
"""


def upgrade() -> None:
    op.execute(REMEMBERED)


def downgrade() -> None:
    """What is remembered does no harm."""
