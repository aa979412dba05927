"""The relations that the score definitions read: names and columns, no engine.

An engine supplies each of them, as a table, a common table expression or a Parquet file. `touched`
bounds the work: all customers of a tenant, those of a window, or the few of one request.
"""

import ibis
from ibis.expr.types import Table

INSTANT = "timestamp('UTC')"

#: Scores that somebody else computed and wrote into the customer's row; null where nobody did.
WRITTEN = {
    "written_rfm_segment": "string",
    "written_rfm_recency_score": "int16",
    "written_rfm_frequency_score": "int16",
    "written_rfm_monetary_score": "int16",
    "written_clv": "int64",
    "written_clv_percentile": "int16",
    "written_churn_score": "float64",
    "written_churn_reasons": "array<string>",
    "written_influence_score": "float64",
    "written_next_purchase_on": "date",
    "written_next_purchase_confidence": "float64",
}

#: `previously_computed_at` is when the stored row was computed; it travels with the customer, so
#: that whoever writes the new row can tell whether another writer came in between. The groups of
#: scores that came from outside are `external_scores`.
touched: Table = ibis.table(
    {
        "customer_sk": "int64",
        "membership_tier": "string",
        "loyalty_points": "int32",
        "gender": "string",
        "date_of_birth": "date",
        "age_estimate": "int16",
        "previously_computed_at": INSTANT,
        "external_scores": "array<string>",
        **WRITTEN,
    },
    name="touched",
)

orders: Table = ibis.table(
    {
        "sk": "int64",
        "customer_sk": "int64",
        "store_sk": "int64",
        "status": "string",
        "ordered_at": INSTANT,
        "local_at": "timestamp",
        "local_weekday": "int16",
        "local_hour": "int16",
        "discount_amount": "int64",
        "refund_amount": "int64",
        "counted": "boolean",
        "net_amount": "int64",
        "payment_method": "string",
        "item_count": "int32",
        "notes": "string",
    },
    name="touched_orders",
)

order_items: Table = ibis.table(
    {
        "order_sk": "int64",
        "customer_sk": "int64",
        "category": "string",
        "brand": "string",
        "quantity": "decimal(14, 3)",
    },
    name="touched_items",
)

contacts: Table = ibis.table(
    {
        "sk": "int64",
        "customer_sk": "int64",
        "channel": "string",
        "sent_at": INSTANT,
        "responded_at": INSTANT,
    },
    name="touched_contacts",
)

feedback: Table = ibis.table(
    {"customer_sk": "int64", "kind": "string", "score": "int16", "given_at": INSTANT},
    name="touched_feedback",
)

#: One row for each customer that a touched one (`customer_sk`) brought in.
referred: Table = ibis.table(
    {"customer_sk": "int64", "referred_sk": "int64"}, name="touched_referred"
)

#: The orders of those, under the customer who brought them in.
referred_orders: Table = ibis.table(
    {"customer_sk": "int64", "ordered_at": INSTANT, "net_amount": "int64"},
    name="touched_referred_orders",
)

#: One row: the instant to score for and where each window begins.
run: Table = ibis.table(
    {
        "as_of": INSTANT,
        "as_of_day": "date",
        "since_30d": INSTANT,
        "since_90d": INSTANT,
        "since_180d": INSTANT,
        "since_365d": INSTANT,
        "rfm_since": INSTANT,
    },
    name="run",
)

#: No row before the first full run, else one: what splits this tenant's buyers.
cutoffs: Table = ibis.table(
    {
        "recency_cutoffs": "array<float64>",
        "frequency_cutoffs": "array<float64>",
        "monetary_cutoffs": "array<float64>",
        "recency_percentiles": "array<float64>",
        "frequency_percentiles": "array<float64>",
        "monetary_percentiles": "array<float64>",
        "clv_percentiles": "array<float64>",
    },
    name="cutoffs",
)

#: Stored rows of customers with somebody else's scores laid over them; `place` is an engine's own
#: way back to the stored row.
merged: Table = ibis.table(
    {
        "customer_sk": "int64",
        "place": "string",
        "differs": "boolean",
        "is_newer": "boolean",
        "is_stale": "boolean",
        "external_scores": "array<string>",
        "external_as_of": INSTANT,
        "external_model_version": "string",
        "rfm_segment": "string",
        "rfm_recency_score": "int16",
        "rfm_frequency_score": "int16",
        "rfm_monetary_score": "int16",
        "clv": "int64",
        "clv_percentile": "int16",
        "churn_score": "float64",
        "churn_reasons": "array<string>",
        "influence_score": "float64",
        "recommended_products": "array<string>",
        "next_purchase_on": "date",
        "next_purchase_confidence": "float64",
    },
    name="merged",
)
