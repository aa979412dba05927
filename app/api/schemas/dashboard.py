"""The dashboard over HTTP: one answer for one screen."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Generic, Self, TypeVar

from pydantic import Field

from app.api.schemas.analytics import RfmCellView, rfm_cells
from app.api.schemas.churn import RISKY_BANDS
from app.api.schemas.figures import mean_amount, share
from app.api.schemas.profile import View
from app.domain.money import from_minor
from app.domain.period import Period
from app.domain.tenant import Tenant
from app.repositories.population import KeptTotals, NewCustomers, Totals
from app.repositories.sales import NO_SALES, Sales, SalesOfPeriod

Number = TypeVar("Number", int, Decimal)


class ComparedView(View, Generic[Number]):
    """A figure of the period beside that of the period before."""

    value: Number | None
    previous: Number | None
    change: Number | None = Field(description="`value` less `previous`.")
    change_share: float | None = Field(description="`change` over `previous`.")

    @classmethod
    def of(cls, value: Number | None, previous: Number | None) -> Self:
        """Both, and their difference where there are both."""
        if value is None or previous is None:
            return cls(value=value, previous=previous, change=None, change_share=None)
        return cls(
            value=value,
            previous=previous,
            change=value - previous,
            change_share=float((value - previous) / previous) if previous else None,
        )


class StandingView(ComparedView[int]):
    """A number of customers at the end of the period, beside the one when it began."""

    previous_day: date | None = Field(description="The day that `previous` was kept for.")
    reason: str | None = Field(description="Why there is nothing to compare with.")


class DayView(View):
    """One day; zeros where nothing happened."""

    day: date
    orders: int
    revenue: Decimal
    new_customers: int


class StoreSalesView(View):
    """What a store had in the period; `storeId` is null for what belongs to no store."""

    store_id: str | None
    name: str | None
    orders: int
    revenue: Decimal
    new_customers: int


class RepeatView(View):
    """How many of those who ever bought came back. Now, of the whole business."""

    rate: float | None = Field(description="`repeatBuyers` over `buyers`.")
    buyers: int = Field(description="Customers with a counted order.")
    repeat_buyers: int = Field(description="Customers with two or more.")


class DashboardView(View):
    """Customers are those of the whole business; sales and new customers are of `storeId`."""

    from_day: date
    to_day: date
    previous_from_day: date
    previous_to_day: date
    store_id: str | None
    customers: StandingView
    at_risk: StandingView = Field(description="Churn bands high and critical.")
    champions: StandingView = Field(description="The first RFM segment of the profile.")
    repeat_rate: RepeatView
    revenue: ComparedView[Decimal]
    orders: ComparedView[int]
    average_order_value: ComparedView[Decimal]
    new_customers: ComparedView[int] = Field(description="By the first counted order.")
    days: list[DayView]
    stores: list[StoreSalesView] = Field(description="The greatest revenue first.")
    rfm_distribution: list[RfmCellView]
    currency: str
    as_of: datetime | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Numbers of customers on a day."""

    day: date
    customers: int
    at_risk: int
    champions: int

    @classmethod
    def of(cls, day: date, found: list[KeptTotals], tenant: Tenant) -> Self:
        """Those of what was kept for `day`."""
        best = best_segment(tenant)

        def of(figure: str, *keys: str) -> int:
            return sum(
                each.customers
                for each in found
                if each.figure == figure and (not keys or each.a in keys)
            )

        return cls(day, of("lifecycle"), of("band", *RISKY_BANDS), of("segment", best))

    @classmethod
    def now(cls, day: date, found: dict[str, list[Totals]], tenant: Tenant) -> Self:
        """Those of the present totals."""
        best = best_segment(tenant)
        return cls(
            day,
            sum(each.customers for each in found["lifecycle"]),
            sum(each.customers for each in found["band"] if each.a in RISKY_BANDS),
            sum(each.customers for each in found["segment"] if each.a == best),
        )


def best_segment(tenant: Tenant) -> str:
    """The segment where customers are best."""
    return min(tenant.profile.segments, key=lambda segment: segment.priority).code


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that was found for a dashboard. `began` and `ended` are None where not kept."""

    period: Period
    totals: dict[str, list[Totals]]
    began: Snapshot | None
    ended: Snapshot | None
    sales: SalesOfPeriod
    previous_sales: Sales
    new: NewCustomers
    previous_new: int
    stores: dict[int, tuple[str, str]]
    as_of: datetime | None


def dashboard(found: Figures, tenant: Tenant, store_id: str | None) -> DashboardView:
    """The screen of `found`."""
    period, currency = found.period, tenant.currency
    lifecycle = found.totals["lifecycle"]
    buyers = sum(each.buyers for each in lifecycle)
    repeat_buyers = sum(each.repeat_buyers for each in lifecycle)
    now, before = found.sales.total, found.previous_sales

    def standing(name: str) -> StandingView:
        value = None if found.ended is None else getattr(found.ended, name)
        previous = None if found.began is None else getattr(found.began, name)
        compared = ComparedView[int].of(value, previous)
        return StandingView(
            **compared.model_dump(),
            previous_day=None if found.began is None else found.began.day,
            reason=_reason(found),
        )

    return DashboardView(
        from_day=period.first,
        to_day=period.last,
        previous_from_day=period.previous.first,
        previous_to_day=period.previous.last,
        store_id=store_id,
        customers=standing("customers"),
        at_risk=standing("at_risk"),
        champions=standing("champions"),
        repeat_rate=RepeatView(
            rate=share(repeat_buyers, buyers) if buyers else None,
            buyers=buyers,
            repeat_buyers=repeat_buyers,
        ),
        revenue=ComparedView[Decimal].of(
            from_minor(now.revenue, currency), from_minor(before.revenue, currency)
        ),
        orders=ComparedView[int].of(now.orders, before.orders),
        average_order_value=ComparedView[Decimal].of(
            mean_amount(now.revenue, now.orders, currency),
            mean_amount(before.revenue, before.orders, currency),
        ),
        new_customers=ComparedView[int].of(sum(found.new.by_day.values()), found.previous_new),
        days=_days(found, currency),
        stores=_stores(found, currency),
        rfm_distribution=rfm_cells(found.totals["grid"], currency),
        currency=currency,
        as_of=found.as_of,
    )


def _reason(found: Figures) -> str | None:
    if found.ended is None:
        return f"No figures were kept on or before {found.period.last}."
    if found.began is None:
        return f"No figures were kept on or before {found.period.first}."
    return None


def _days(found: Figures, currency: str) -> list[DayView]:
    days = []
    for day in found.period:
        sales = found.sales.by_day.get(day, NO_SALES)
        days.append(
            DayView(
                day=day,
                orders=sales.orders,
                revenue=from_minor(sales.revenue, currency),
                new_customers=found.new.by_day.get(day, 0),
            )
        )
    return days


def _stores(found: Figures, currency: str) -> list[StoreSalesView]:
    sks = {*found.sales.by_store, *found.new.by_store}
    sales = {sk: found.sales.by_store.get(sk, NO_SALES) for sk in sks}
    views = []
    for sk in sorted(sks, key=lambda each: (-sales[each].revenue, each)):
        store_id, name = found.stores.get(sk, (None, None))
        views.append(
            StoreSalesView(
                store_id=store_id,
                name=name,
                orders=sales[sk].orders,
                revenue=from_minor(sales[sk].revenue, currency),
                new_customers=found.new.by_store.get(sk, 0),
            )
        )
    return views
