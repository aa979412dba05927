"""The relations that the score definitions read: names and columns, no engine.

An engine supplies each of them, as a table, a common table expression or a Parquet file. `touched`
bounds the work: all customers of a tenant, those of a window, or the few of one request.
"""

import ibis
from ibis.expr.types import Table

INSTANT = "timestamp('UTC')"

#: `previously_computed_at` is when the stored row was computed; it travels with the customer, so
#: that whoever writes the new row can tell whether another writer came in between.
touched: Table = ibis.table(
    {
        "customer_sk": "int64",
        "membership_tier": "string",
        "previously_computed_at": INSTANT,
    },
    name="touched",
)

orders: Table = ibis.table(
    {
        "sk": "int64",
        "customer_sk": "int64",
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
