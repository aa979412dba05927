"""Taking in orders and stores: what a source states becomes the one row of truth.

Customers are taken in by `customer_records`, contacts and feedback by `engagement`.

**Why no mix of writers deadlocks.** Every transaction that writes orders, customers, contacts or
feedback takes what it may have to wait for in one order: first the tenant's locks (codes,
referrers, the clock); then new customers, by their ids; then the rows of all customers whose
orders, attributes, referrals, contacts or feedback it touches, by `sk`; then orders, contacts or
feedback, by their ids; then rows of scores, by customer. Whoever waits therefore waits for somebody
who is further along, and no circle can close. What has moved to a customer who is not locked is not
waited for: everything since a savepoint is given back, locks too, and taken again with that
customer among them. A transaction must call one function of these modules once, with all it has,
or it would start that order anew.

**Why figures are exact.** What a customer's figures are made of is written, and the figures are
computed, under the lock of the customer's row. Whoever gets the lock reads everything the one
before wrote.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

from app.database import Connection, Database
from app.domain.errors import Conflict, InvalidInput
from app.domain.money import decimals, to_minor
from app.domain.order import MAX_AHEAD, OrderStatus
from app.domain.search import terms
from app.domain.tenant import Tenant
from app.repositories import customer as customers
from app.repositories import order as orders
from app.repositories import statistics
from app.repositories import store as stores
from app.repositories.customer import NewCustomer
from app.repositories.order import IncomingItem, IncomingOrder, Upserted
from app.repositories.owner import Locked
from app.services.former_ids import Missing, explain_missing
from app.services.outcomes import (
    ATTEMPTS,
    NO_CUSTOMER,
    NO_STORE,
    ItemError,
    ItemOutcome,
    Rejected,
    distinct,
    invalid,
    is_newer,
)
from app.services.records import OrderItemRecord, OrderPatch, OrderRecord, StoreRecord
from app.services.scoring import refresh_customers
from app.services.wall_clock import WallClock

#: A booking may be made this long ahead.
MAX_BOOKED_AHEAD = timedelta(days=730)

#: From so many orders, copying them into a temporary table is quicker than sending arrays.
_WORTH_STAGING = 500


class OrderRules:
    """Turns records into orders, by the currency and the clock of a tenant."""

    def __init__(self, tenant: Tenant, now: datetime) -> None:
        self._currency = tenant.currency
        self._unit = Decimal(1).scaleb(-decimals(tenant.currency))
        self._clock = WallClock(tenant, now)

    def order(self, record: OrderRecord) -> IncomingOrder:
        """The order that the record states. Raises Rejected."""
        if record.currency is not None and record.currency != self._currency:
            raise Rejected("/currency", f"must be {self._currency}, the currency of the tenant")
        total = self._total(record)
        if total < 0 and record.status != OrderStatus.REFUNDED:
            raise Rejected("/totalAmount", "must not be negative unless the status is refunded")
        return IncomingOrder(
            record.id,
            record.customer_id,
            record.store_id,
            record.status.value,
            self._ordered_at(record),
            total,
            self._discount(record),
            self.refund(record.status, total, record.refund_amount),
            record.payment_method and record.payment_method.value,
            record.channel,
            _item_count(record),
            record.notes,
            record.updated_at and self.instant(record.updated_at),
        )

    def items(self, record: OrderRecord, order_sk: int) -> list[IncomingItem]:
        """The lines of the record's order, numbered from 1. Raises Rejected."""
        return [
            self._item(item, f"/items/{position}", order_sk, position + 1)
            for position, item in enumerate(record.items or ())
        ]

    def refund(self, status: OrderStatus, total: int, stated: Decimal | None) -> int:
        """What was refunded, in minor units: by default all of a refunded order, else nothing."""
        if stated is None:
            return max(total, 0) if status == OrderStatus.REFUNDED else 0
        refund = self._minor(stated, "/refundAmount")
        if refund > max(total, 0):
            raise Rejected("/refundAmount", "must not exceed the total of the order")
        return refund

    def instant(self, moment: datetime) -> datetime:
        """`moment` with a zone: the tenant's, where it has none."""
        return self._clock.instant(moment)

    def _total(self, record: OrderRecord) -> int:
        if record.total_amount is not None:
            return self._minor(record.total_amount, "/totalAmount")
        if record.items is None:
            raise Rejected("/totalAmount", "is required unless items give it")
        amount = sum((item.amount for item in record.items), Decimal(0))
        return self._minor(amount.quantize(self._unit, ROUND_HALF_EVEN), "/totalAmount")

    def _discount(self, record: OrderRecord) -> int:
        """The discount stated for the order, else what its lines were discounted by."""
        amount = record.discount_amount
        if "discount_amount" not in record.model_fields_set and record.items:
            amount = sum((item.discount_amount for item in record.items), Decimal(0))
        return self._minor(amount, "/discountAmount")

    def _ordered_at(self, record: OrderRecord) -> datetime:
        is_booking = record.status in (OrderStatus.PENDING, OrderStatus.ACCEPTED)
        ahead = MAX_BOOKED_AHEAD if is_booking else MAX_AHEAD
        return self._clock.past(record.ordered_at, "/orderedAt", ahead=ahead)

    def _item(
        self, item: OrderItemRecord, pointer: str, order_sk: int, line_no: int
    ) -> IncomingItem:
        return IncomingItem(
            order_sk,
            line_no,
            item.product_id,
            item.product_name,
            item.category,
            item.brand,
            item.quantity,
            self._minor(item.unit_price, f"{pointer}/unitPrice"),
            self._minor(item.discount_amount, f"{pointer}/discountAmount"),
        )

    def _minor(self, amount: Decimal, pointer: str) -> int:
        if not amount:
            return 0
        try:
            return to_minor(amount, self._currency)
        except ValueError as error:
            raise Rejected(pointer, str(error)) from error


def _item_count(record: OrderRecord) -> int | None:
    if record.item_count is None and record.items:
        return round(sum(item.quantity for item in record.items))
    return record.item_count


async def record_orders(
    connection: Connection,
    tenant: Tenant,
    records: Sequence[OrderRecord],
    *,
    create_customers: bool,
    actor: str | None,
    score: bool = True,
) -> list[ItemOutcome]:
    """Write each order that can be written and say what became of each, in the order given.

    Unknown customers are created with `create_customers`, and are otherwise their orders' errors.
    With `score`, the figures of every customer touched are brought up to date before this returns.
    """
    now = datetime.now(UTC)
    rules = OrderRules(tenant, now)
    outcomes: dict[int, ItemOutcome] = {}
    stated = distinct(records, outcomes)
    incoming: dict[str, IncomingOrder] = {}
    for index, record in stated.values():
        try:
            incoming[record.id] = rules.order(record)
            rules.items(record, 0)
        except Rejected as rejected:
            incoming.pop(record.id, None)
            outcomes[index] = ItemOutcome(index, record.id, "rejected", rejected.error)
    if create_customers:
        await _create_customers_of(connection, tenant, incoming.values(), actor)
    recorded, refused = await _write(connection, tenant, incoming)
    by_items_only = await _replace_items(connection, tenant, rules, stated, recorded)
    recorded = [
        replace(order, status="updated") if order.sk in by_items_only else order
        for order in recorded
    ]
    for identity, error in refused.items():
        index = stated[identity][0]
        outcomes[index] = ItemOutcome(index, identity, "rejected", error)
    for order in recorded:
        index = stated[order.id][0]
        outcomes[index] = ItemOutcome(index, order.id, order.status)
    if score:
        await refresh_customers(connection, tenant, _touched(recorded), now=now)
    return [outcomes[index] for index in range(len(records))]


@dataclass(frozen=True, slots=True)
class StagedOutcome:
    """How many orders of a stage met which fate, and why the others were refused, by id."""

    statuses: Counter[str]
    refused: dict[str, ItemError]


async def record_staged_orders(
    database: Database,
    tenant: Tenant,
    incoming: Mapping[str, IncomingOrder],
    *,
    create_customers: bool,
    actor: str | None,
) -> StagedOutcome:
    """Write thousands of orders without items in one transaction of its own.

    Their customers are neither locked nor scored: a file touches most of them, and is followed by a
    run that scores whoever changed.
    """
    async with database.tenant_transaction(tenant.id) as connection:
        await orders.stage(connection, tenant.id, list(incoming.values()))
        await orders.redirect_staged(connection, tenant.id)
        if create_customers:
            unknown = await orders.list_staged_without_customer(connection, tenant.id)
            await _create_customers_of(
                connection, tenant, [incoming[order_id] for order_id in unknown], actor
            )
        staged = await orders.upsert_staged(connection, tenant.id)
        missing = await explain_missing(
            connection,
            tenant,
            {incoming[order_id].customer_id for order_id in staged.without_customer},
        )
    if staged.left_customers:
        # Nothing of theirs tells the run any more that they changed. Not in the transaction above,
        # which must not wait for a customer while others wait for its orders.
        async with database.tenant_transaction(tenant.id) as connection:
            await customers.touch(connection, tenant.id, staged.left_customers)
    return StagedOutcome(
        Counter(
            created=staged.created,
            updated=staged.updated,
            unchanged=staged.unchanged,
            stale=staged.stale,
        ),
        {
            **{
                order_id: _no_customer(incoming[order_id], missing)
                for order_id in staged.without_customer
            },
            **dict.fromkeys(staged.without_store, NO_STORE),
        },
    )


async def create_or_replace_order(
    connection: Connection,
    tenant: Tenant,
    record: OrderRecord,
    *,
    create_customers: bool,
    actor: str | None,
) -> bool:
    """Record one order; True where it is new. Raises InvalidInput where a value will not do."""
    [outcome] = await record_orders(
        connection, tenant, [record], create_customers=create_customers, actor=actor
    )
    if outcome.error is not None:
        raise invalid(outcome.error)
    return outcome.status == "created"


async def _create_customers_of(
    connection: Connection,
    tenant: Tenant,
    incoming: Collection[IncomingOrder],
    actor: str | None,
) -> None:
    if not incoming:
        return
    created = await customers.create_missing(
        connection, tenant.id, [(order.customer_id, order.store_id) for order in incoming], actor
    )
    await file_terms(connection, tenant, created)


async def file_terms(
    connection: Connection, tenant: Tenant, created: Sequence[NewCustomer]
) -> None:
    """Make customers findable who are known by their ids only."""
    if created:
        await customers.replace_terms(
            connection,
            tenant.id,
            {customer.sk: terms(texts=[customer.id], phone=None) for customer in created},
        )


@dataclass(frozen=True, slots=True)
class _Recorded:
    """An order that is in the table now: where it is, whose it is and was, what was done."""

    id: str
    sk: int
    customer_sk: int
    previous_customer_sk: int | None
    status: str


async def _write(
    connection: Connection,
    tenant: Tenant,
    incoming: Mapping[str, IncomingOrder],
) -> tuple[list[_Recorded], dict[str, ItemError]]:
    """Write what refers to nothing unknown, under the locks that the module names."""
    if not incoming:
        return [], {}
    staged = len(incoming) >= _WORTH_STAGING
    if staged:
        await orders.stage(connection, tenant.id, list(incoming.values()))
    # Owners seen once stay among the locked, so the set only grows and soon has all it needs.
    customer_ids = {order.customer_id for order in incoming.values()}
    for _ in range(ATTEMPTS):
        savepoint = await connection.begin_nested()
        locked = await orders.lock_touched(
            connection,
            tenant.id,
            customer_ids=list(customer_ids),
            store_ids=list({order.store_id for order in incoming.values() if order.store_id}),
            order_ids=None if staged else list(incoming),
        )
        missing = await explain_missing(connection, tenant, customer_ids - locked.customers.keys())
        if missing.merged:
            await savepoint.rollback()
            if staged:
                await orders.redirect_staged(connection, tenant.id)
            incoming = {
                order.id: order._replace(
                    customer_id=missing.merged.get(order.customer_id, order.customer_id)
                )
                for order in incoming.values()
            }
            customer_ids = {missing.merged.get(each, each) for each in customer_ids}
            continue
        refused = _refer_to_nothing(incoming.values(), locked, missing)
        known = [order for order in incoming.values() if order.id not in refused]
        if not known:
            await savepoint.commit()
            return [], refused
        locked_sks = list(locked.customers.values())
        if staged:
            upserted = await orders.upsert_staged_locked(connection, tenant.id, locked_sks)
        else:
            upserted = await orders.upsert_many(connection, tenant.id, locked_sks, known)
        recorded = _recorded(known, locked, upserted)
        if recorded is not None:
            await savepoint.commit()
            return recorded, refused
        await savepoint.rollback()
        customer_ids.update(locked.customers)
    raise Conflict("The orders keep moving between customers; send them again.")


def _no_customer(order: IncomingOrder, missing: Missing) -> ItemError:
    reason = missing.erased.get(order.customer_id)
    return NO_CUSTOMER if reason is None else ItemError(NO_CUSTOMER.pointer, reason)


def _refer_to_nothing(
    incoming: Iterable[IncomingOrder], locked: Locked, missing: Missing
) -> dict[str, ItemError]:
    refused: dict[str, ItemError] = {}
    for order in incoming:
        if order.customer_id not in locked.customers:
            refused[order.id] = _no_customer(order, missing)
        elif order.store_id is not None and order.store_id not in locked.stores:
            refused[order.id] = NO_STORE
    return refused


def _recorded(
    known: Iterable[IncomingOrder], locked: Locked, upserted: Upserted
) -> list[_Recorded] | None:
    """What became of each order; None where one belongs to a customer who is not locked."""
    locked_sks = frozenset(locked.customers.values())
    recorded: list[_Recorded] = []
    for order in known:
        customer_sk = locked.customers[order.customer_id]
        written = upserted.written.get(order.id)
        previous = upserted.previous.get(order.id)
        if previous is None:
            if written is None:
                return None
            recorded.append(_Recorded(order.id, written, customer_sk, None, "created"))
            continue
        if previous.customer_sk not in locked_sks:
            return None
        if written is not None:
            status = "updated"
        elif is_newer(previous.source_updated_at, order.source_updated_at):
            status = "stale"
        else:
            status = "unchanged"
        recorded.append(_Recorded(order.id, previous.sk, customer_sk, previous.customer_sk, status))
    return recorded


async def _replace_items(
    connection: Connection,
    tenant: Tenant,
    rules: OrderRules,
    stated: Mapping[str, tuple[int, OrderRecord]],
    recorded: Sequence[_Recorded],
) -> frozenset[int]:
    """Write the stated items of orders that are not stale.

    Returns the orders that were unchanged but for their items.
    """
    replaced = [
        order
        for order in recorded
        if order.status != "stale" and stated[order.id][1].items is not None
    ]
    if not replaced:
        return frozenset()
    items = [item for order in replaced for item in rules.items(stated[order.id][1], order.sk)]
    changed = await orders.replace_items(
        connection, tenant.id, [order.sk for order in replaced], items
    )
    unchanged = frozenset(order.sk for order in replaced if order.status == "unchanged")
    by_items_only = unchanged & changed
    if by_items_only:
        await orders.mark_recorded(connection, tenant.id, by_items_only)
    return by_items_only


def _touched(recorded: Iterable[_Recorded]) -> set[int]:
    """The customers whose figures may be others now: the owners, and the former ones."""
    touched: set[int] = set()
    for order in recorded:
        if order.status in ("created", "updated"):
            touched.add(order.customer_sk)
            if order.previous_customer_sk is not None:
                touched.add(order.previous_customer_sk)
    return touched


async def change_order(
    connection: Connection, tenant: Tenant, order_id: str, patch: OrderPatch
) -> None:
    """Change an order's status, refund or notes. Raises NotFound and InvalidInput."""
    now = datetime.now(UTC)
    await orders.lock_touched(
        connection, tenant.id, customer_ids=[], order_ids=[order_id], store_ids=[]
    )
    order = await orders.get(connection, tenant.id, order_id)
    status = patch.status or order.status
    if order.total_amount < 0 and status != OrderStatus.REFUNDED:
        raise InvalidInput("status", "must stay refunded, because the total is negative")
    refund = order.refund_amount
    if "refund_amount" in patch.model_fields_set or patch.status == OrderStatus.REFUNDED:
        try:
            refund = OrderRules(tenant, now).refund(status, order.total_amount, patch.refund_amount)
        except Rejected as rejected:
            raise InvalidInput("refundAmount", rejected.error.reason) from rejected
    notes = patch.notes if "notes" in patch.model_fields_set else order.notes
    if (status, refund, notes) == (order.status, order.refund_amount, order.notes):
        return
    customer_sk = await orders.change(
        connection, tenant.id, order.sk, status=status, refund_amount=refund, notes=notes
    )
    await refresh_customers(connection, tenant, {customer_sk}, now=now)


async def learn_sizes(database: Database) -> None:
    """Between the transactions of a bulk load: let the planner know what has grown."""
    async with database.transaction() as connection:
        await statistics.learn_sizes(connection)


async def record_store(connection: Connection, tenant: Tenant, record: StoreRecord) -> bool:
    """Write the store; True where it is new."""
    return await stores.upsert(
        connection,
        tenant.id,
        store_id=record.id,
        name=record.name,
        kind=record.kind,
        address=record.address,
        city=record.city,
        longitude=record.longitude,
        latitude=record.latitude,
    )
