"""Segments that ask of events are told of the customers who send them."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# Events come by the thousand, and few tenants have segments that ask of them. Whoever renews the
# version says whether this one has; until then it is taken to have some.
ASKS = "ALTER TABLE segment_versions ADD COLUMN asks_of_events boolean NOT NULL DEFAULT true"

# As `watch_segments`: with a share of the lock, whoever makes a segment evaluates everybody after
# the events have been committed; without one, an evaluation is under way that may not see them.
TOUCH = """
CREATE FUNCTION touch_segments(tenant integer, customer_sks bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF pg_try_advisory_xact_lock_shared(hashtext('segment members'), tenant) THEN
        IF NOT EXISTS (
            SELECT FROM segment_versions WHERE tenant_id = tenant AND asks_of_events
        ) THEN
            RETURN;
        END IF;
    END IF;
    INSERT INTO segment_touched (tenant_id, customer_sk) SELECT tenant, unnest(customer_sks);
END $$;
REVOKE ALL ON FUNCTION touch_segments(integer, bigint[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION touch_segments(integer, bigint[]) TO bps_app;
"""


def upgrade() -> None:
    op.execute(ASKS)
    _run(TOUCH)


def downgrade() -> None:
    op.execute("DROP FUNCTION touch_segments(integer, bigint[])")
    op.execute("ALTER TABLE segment_versions DROP COLUMN asks_of_events")


def _run(script: str) -> None:
    """Run a script of several statements as one round trip."""
    connection = op.get_bind().connection.dbapi_connection
    assert connection is not None
    connection.run_async(lambda driver: driver.execute(script))
