"""The fastest way in that PostgreSQL has: a bare COPY of rows that are ready to be stored."""

from pathlib import Path

from tests.bench.ground import Business

COLUMNS = (
    "tenant_id",
    "id",
    "customer_sk",
    "store_sk",
    "status",
    "ordered_at",
    "local_at",
    "total_amount",
    "discount_amount",
    "refund_amount",
    "payment_method",
    "channel",
    "item_count",
    "notes",
)


async def export_orders(of: Business, path: Path) -> None:
    """Write all orders as the CSV that `copy_orders` reads."""
    await of.owner.copy_from_query(
        f"SELECT {', '.join(COLUMNS)} FROM orders ORDER BY sk", output=path, format="csv"
    )


async def copy_orders(of: Business, path: Path) -> None:
    """A bare COPY into the table of orders with its indexes and constraints, past all policies."""
    await of.owner.copy_to_table("orders", source=path, columns=COLUMNS, format="csv")


async def remove_orders(of: Business) -> None:
    """Make the table of orders as empty as it was at first."""
    await of.owner.execute("TRUNCATE orders CASCADE")
    await of.settle()
