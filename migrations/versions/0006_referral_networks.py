"""What the large referral networks come to."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# A small network is added up when somebody asks. One of thousands is not: the nightly run leaves
# its sums here.
SCRIPT = """
CREATE TABLE referral_networks (
    tenant_id   integer NOT NULL,
    customer_sk bigint NOT NULL,
    customers   bigint NOT NULL,
    revenue     numeric NOT NULL,
    computed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, customer_sk),
    FOREIGN KEY (tenant_id, customer_sk) REFERENCES customers (tenant_id, sk) ON DELETE CASCADE
);
ALTER TABLE referral_networks ENABLE ROW LEVEL SECURITY;
ALTER TABLE referral_networks FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON referral_networks TO PUBLIC
    USING (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::integer))
    WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::integer));
GRANT SELECT, INSERT, UPDATE, DELETE ON referral_networks TO bps_app;
"""


def upgrade() -> None:
    connection = op.get_bind().connection.dbapi_connection
    assert connection is not None
    connection.run_async(lambda driver: driver.execute(SCRIPT))


def downgrade() -> None:
    op.execute("DROP TABLE referral_networks")
