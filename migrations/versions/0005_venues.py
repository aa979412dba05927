"""Segments of a venue's customers, kept for an hour: counting them reads every order there."""

from alembic import op

revision = "0005"
down_revision = "0003"
branch_labels = None
depends_on = None

VENUES = """
CREATE TABLE venue_segments (
    tenant_id     integer NOT NULL,
    store_sk      bigint NOT NULL,
    kind          text NOT NULL,
    segment       text NOT NULL,
    customers     bigint NOT NULL,
    revenue       bigint NOT NULL,
    as_of         timestamptz NOT NULL,
    model_version text NOT NULL,
    computed_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, store_sk, kind, segment),
    FOREIGN KEY (tenant_id, store_sk) REFERENCES stores (tenant_id, sk) ON DELETE CASCADE
);
ALTER TABLE venue_segments ENABLE ROW LEVEL SECURITY;
ALTER TABLE venue_segments FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON venue_segments TO PUBLIC
    USING (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::integer))
    WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::integer));
GRANT SELECT, INSERT, UPDATE, DELETE ON venue_segments TO bps_app;
"""


def upgrade() -> None:
    connection = op.get_bind().connection.dbapi_connection
    assert connection is not None
    connection.run_async(lambda driver: driver.execute(VENUES))


def downgrade() -> None:
    op.execute("DROP TABLE venue_segments")
