"""Digests of received ids that lie near each other where the ids do.

A digest of the whole id falls on any page of the index, so each of a thousand captures of one
backlog was written to a page of its own, and after a checkpoint that page to the log as well. Ids
that count up or begin with the time now share the first half of their digests, and a few pages.
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# As `app.repositories.received_id.digest_of`.
DIGEST = r"""
CREATE FUNCTION received_digest(id text) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (left(md5(
        CASE WHEN length(id) = 36 AND substr(id, 15, 1) = '7' THEN left(id, 8)
             WHEN id ~ '[0-9]{3}$' THEN left(id, -3)
             ELSE id END
    ), 16) || left(md5(id), 16))::uuid;
"""

# From what is stored; of what is not any more, retention or an erasure refuses what comes again.
REMEMBERED = """
DO $$
DECLARE tenant integer;
BEGIN
    FOR tenant IN SELECT id FROM tenant_directory() LOOP
        PERFORM set_config('app.tenant_id', tenant::text, true);
        DELETE FROM received_ids WHERE tenant_id = tenant;
        INSERT INTO received_ids (tenant_id, kind, digest, received_at)
        SELECT tenant_id, 'capture', {digest}, recorded_at
        FROM location_history WHERE tenant_id = tenant
        ON CONFLICT DO NOTHING;
        INSERT INTO received_ids (tenant_id, kind, digest, received_at)
        SELECT tenant_id, 'event', {digest}, received_at
        FROM behavior_events WHERE tenant_id = tenant
        ON CONFLICT DO NOTHING;
    END LOOP;
    PERFORM set_config('app.tenant_id', '', true);
END $$;
"""


def upgrade() -> None:
    _run(DIGEST)
    _run(REMEMBERED.format(digest="received_digest(id)"))


def downgrade() -> None:
    _run(REMEMBERED.format(digest="md5(id)::uuid"))
    _run("DROP FUNCTION received_digest(text)")


def _run(script: str) -> None:
    """Run a script of several statements as one round trip."""
    connection = op.get_bind().connection.dbapi_connection
    assert connection is not None
    connection.run_async(lambda driver: driver.execute(script))
