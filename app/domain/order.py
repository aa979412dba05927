"""What an order is, and which orders count.

An order is a sale or a booking. It counts once it is accepted or completed, until it is refunded in
full. A credit note is an order of status refunded with a negative total: it takes away revenue and
does not count. The table `orders` keeps both rules as generated columns; tests hold the two equal.
"""

from datetime import timedelta
from enum import StrEnum


class OrderStatus(StrEnum):
    """Where an order stands."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    NO_SHOW = "no_show"
    REFUNDED = "refunded"


class PaymentMethod(StrEnum):
    """How an order was paid."""

    CASH = "cash"
    TRANSFER = "transfer"
    QRIS = "qris"
    CARD = "card"
    CREDIT = "credit"
    EWALLET = "ewallet"
    OTHER = "other"


COUNTED_STATUSES = frozenset({OrderStatus.ACCEPTED, OrderStatus.COMPLETED})

#: Clocks differ and bookings lie ahead, but a sale of next week is a mistake.
MAX_AHEAD = timedelta(hours=24)


def is_counted(status: OrderStatus, total_amount: int, refund_amount: int) -> bool:
    """Whether the order counts towards frequency and recency."""
    return status in COUNTED_STATUSES and (refund_amount == 0 or refund_amount < total_amount)


def net_amount(status: OrderStatus, total_amount: int, refund_amount: int) -> int:
    """What the order adds to revenue, in minor units; negative for a credit note."""
    if status in COUNTED_STATUSES:
        return total_amount - refund_amount
    return min(total_amount, 0)
