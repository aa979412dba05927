"""What each day came to: of the whole business, and of each segment."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# Counts and sums, of which rates are made when they are shown: rates of several days cannot be
# added up. Standing is null for days of which no scores are known.
SCRIPT = """
CREATE TABLE behavioral_analytics (
    tenant_id         integer NOT NULL REFERENCES tenants (id),
    day               date NOT NULL,
    total_customers   bigint NOT NULL,
    new_customers     bigint NOT NULL,
    active_customers  bigint NOT NULL,
    at_risk_customers bigint,
    churned_customers bigint,
    page_views        bigint NOT NULL,
    product_views     bigint NOT NULL,
    cart_additions    bigint NOT NULL,
    purchases         bigint NOT NULL,
    visitors          bigint NOT NULL,
    converted         bigint NOT NULL,
    sessions          bigint NOT NULL,
    bounces           bigint NOT NULL,
    session_seconds   double precision NOT NULL,
    buyers            bigint NOT NULL,
    repeat_buyers     bigint NOT NULL,
    orders            bigint NOT NULL,
    revenue           numeric NOT NULL,
    computed_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, day)
);

CREATE TABLE segment_performance (
    tenant_id      integer NOT NULL,
    segment_sk     bigint NOT NULL,
    day            date NOT NULL,
    member_count   bigint NOT NULL,
    active_members bigint NOT NULL,
    stayed         bigint,
    lost           bigint,
    valued         bigint NOT NULL,
    value          numeric NOT NULL,
    orders_30d     bigint NOT NULL,
    revenue_30d    numeric NOT NULL,
    visitors       bigint NOT NULL,
    converted      bigint NOT NULL,
    emailed        bigint NOT NULL,
    email_opened   bigint NOT NULL,
    email_clicked  bigint NOT NULL,
    texted         bigint NOT NULL,
    text_opened    bigint NOT NULL,
    engagement     double precision NOT NULL,
    revenue        numeric NOT NULL,
    computed_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, segment_sk, day),
    FOREIGN KEY (tenant_id, segment_sk) REFERENCES segments (tenant_id, sk) ON DELETE CASCADE
);
"""

NEW_TABLES = ("behavioral_analytics", "segment_performance")

CURRENT_TENANT = "(SELECT nullif(current_setting('app.tenant_id', true), '')::integer)"


def upgrade() -> None:
    _run(SCRIPT)
    for table in NEW_TABLES:
        _run(f"""
            ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
            ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
            CREATE POLICY own_tenant ON {table} TO PUBLIC
                USING (tenant_id = {CURRENT_TENANT}) WITH CHECK (tenant_id = {CURRENT_TENANT});
            GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO bps_app;
        """)


def downgrade() -> None:
    _run(f"DROP TABLE {', '.join(reversed(NEW_TABLES))};")


def _run(script: str) -> None:
    """Run a script of several statements as one round trip."""
    connection = op.get_bind().connection.dbapi_connection
    assert connection is not None
    connection.run_async(lambda driver: driver.execute(script))
