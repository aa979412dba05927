"""Orders over HTTP."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Self

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from app.domain.money import from_minor
from app.domain.order import OrderStatus, PaymentMethod
from app.domain.privacy import FULL, Disclosure
from app.repositories.order import Order, OrderItem

EXAMPLE: dict[str, Any] = {
    "id": "ord-1001",
    "customerId": "cus-123",
    "storeId": "store-01",
    "status": "completed",
    "orderedAt": "2026-02-11T09:30:00Z",
    "totalAmount": "250000.00",
    "discountAmount": "10000.00",
    "paymentMethod": "qris",
    "channel": "store",
    "items": [
        {
            "productId": "sku-7",
            "productName": "Toddler shoes",
            "category": "shoes",
            "brand": "Ceria",
            "quantity": 2,
            "unitPrice": "130000.00",
            "discountAmount": "10000.00",
        }
    ],
}
_STRICT_CAMEL = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class OrderItemView(BaseModel):
    """One line of an order."""

    model_config = _STRICT_CAMEL

    product_id: str
    product_name: str | None
    category: str | None
    brand: str | None
    quantity: Decimal
    unit_price: Decimal
    discount_amount: Decimal

    @classmethod
    def of(cls, item: OrderItem, currency: str) -> Self:
        """The view of `item`, with amounts in `currency`."""
        return cls(
            product_id=item.product_id,
            product_name=item.product_name,
            category=item.category,
            brand=item.brand,
            quantity=item.quantity,
            unit_price=from_minor(item.unit_price, currency),
            discount_amount=from_minor(item.discount_amount, currency),
        )


class OrderSummary(BaseModel):
    """An order without its items. `netAmount` is what it adds to the customer's revenue."""

    model_config = _STRICT_CAMEL

    id: str
    customer_id: str
    store_id: str | None
    status: OrderStatus
    ordered_at: datetime
    currency: str
    total_amount: Decimal
    discount_amount: Decimal
    refund_amount: Decimal
    net_amount: Decimal
    payment_method: PaymentMethod | None
    channel: str | None
    item_count: int | None
    notes: str | None
    updated_at: datetime | None
    recorded_at: datetime

    @classmethod
    def of(cls, order: Order, currency: str, disclosure: Disclosure = FULL) -> Self:
        """The view of `order`, with amounts in `currency`, as far as it may be told."""
        return cls(**_values(order, currency, disclosure))


class OrderView(OrderSummary):
    """An order with its items."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": EXAMPLE
            | {
                "currency": "IDR",
                "refundAmount": "0.00",
                "netAmount": "250000.00",
                "itemCount": 2,
                "recordedAt": "2026-02-11T09:30:02Z",
            }
        }
    )

    items: list[OrderItemView]

    @classmethod
    def of(cls, order: Order, currency: str, disclosure: Disclosure = FULL) -> Self:
        """The view of `order`, with amounts in `currency`, as far as it may be told."""
        items = [OrderItemView.of(item, currency) for item in order.items]
        return cls(**_values(order, currency, disclosure), items=items)


def _values(order: Order, currency: str, disclosure: Disclosure) -> dict[str, Any]:
    return {
        "id": disclosure.reference("order", order.id),
        "customer_id": disclosure.id(order.customer_id),
        "store_id": order.store_id,
        "status": order.status,
        "ordered_at": order.ordered_at,
        "currency": currency,
        "total_amount": from_minor(order.total_amount, currency),
        "discount_amount": from_minor(order.discount_amount, currency),
        "refund_amount": from_minor(order.refund_amount, currency),
        "net_amount": from_minor(order.net_amount, currency),
        "payment_method": order.payment_method,
        "channel": order.channel,
        "item_count": order.item_count,
        "notes": disclosure.personal(order.notes),
        "updated_at": order.source_updated_at,
        "recorded_at": order.recorded_at,
    }
