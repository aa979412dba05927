"""Who the customers are, and how they answer, over HTTP."""

import itertools
from datetime import datetime
from decimal import Decimal
from typing import Self

from pydantic import Field

from app.api.schemas.figures import mean, mean_amount, nobody, share
from app.api.schemas.profile import View
from app.domain.engagement import QUADRANTS, ResponseLevel, SpendingLevel
from app.domain.money import from_minor
from app.repositories.population import Totals

UNKNOWN = "unknown"
_NEVER_CONTACTED = "none"


class DemographicView(View):
    """The customers of one age group and gender."""

    age_group: str = Field(examples=["26-35"])
    gender: str = Field(examples=["female"])
    customers: int
    share: float = Field(description="Of all customers.")
    revenue_365d: Decimal = Field(alias="revenue365d", description="Net, of the last 365 days.")
    average_revenue: Decimal | None = Field(description="Per customer, of the last 365 days.")
    average_order_value: Decimal | None = Field(description="Mean of the buyers' own means.")


class DemographicsView(View):
    """Every pair of an age group and a gender that there are customers of; `unknown` last."""

    items: list[DemographicView]
    customers: int
    currency: str
    as_of: datetime | None

    @classmethod
    def of(cls, found: list[Totals], currency: str, as_of: datetime | None) -> Self:
        """The matrix of `found`, the cells of nobody too."""
        totals = {(each.a, each.b): each for each in found}
        customers = sum(each.customers for each in found)
        ages = sorted({each.a for each in found}, key=_age_order)
        genders = sorted({each.b for each in found}, key=lambda name: (name == UNKNOWN, name))
        items = []
        for key in itertools.product(ages, genders):
            t = totals.get(key, nobody(*key))
            items.append(
                DemographicView(
                    age_group=t.a,
                    gender=t.b,
                    customers=t.customers,
                    share=share(t.customers, customers),
                    revenue_365d=from_minor(t.revenue_365d, currency),
                    average_revenue=mean_amount(t.revenue_365d, t.customers, currency),
                    average_order_value=mean_amount(t.order_values, t.buyers, currency),
                )
            )
        return cls(items=items, customers=customers, currency=currency, as_of=as_of)


def _age_order(group: str) -> tuple[bool, bool, str]:
    return group == UNKNOWN, not group.startswith("under"), group


class EngagementCellView(View):
    """The customers of one level of response and one of spending."""

    response_level: str | None = Field(
        description="low, medium or high; null for who was never contacted."
    )
    spending_level: str = Field(examples=["high"])
    quadrant: str | None = Field(
        description="What the pair is called; null for a medium response or none.",
        examples=["engaged_champion"],
    )
    customers: int
    share: float = Field(description="Of the customers with a level of spending.")
    contacts: int
    responses: int
    response_rate: float | None = Field(description="Responses over contacts, of all together.")
    revenue_365d: Decimal = Field(alias="revenue365d", description="Net, of the last 365 days.")
    average_revenue: Decimal | None


class EngagementView(View):
    """Response by spending: all eight cells, high spending and high response first."""

    items: list[EngagementCellView]
    customers: int
    currency: str
    as_of: datetime | None

    @classmethod
    def of(cls, found: list[Totals], currency: str, as_of: datetime | None) -> Self:
        """The matrix of `found`, the cells of nobody too."""
        totals = {(each.a, each.b): each for each in found}
        customers = sum(each.customers for each in found)
        levels: list[ResponseLevel | None] = [*reversed(ResponseLevel), None]
        items = []
        for spending, response in itertools.product(reversed(SpendingLevel), levels):
            key = (response or _NEVER_CONTACTED, spending.value)
            t = totals.get(key, nobody(*key))
            items.append(
                EngagementCellView(
                    response_level=response,
                    spending_level=spending,
                    quadrant=None if response is None else QUADRANTS.get((spending, response)),
                    customers=t.customers,
                    share=share(t.customers, customers),
                    contacts=t.contacts,
                    responses=t.responses,
                    response_rate=mean(t.responses, t.contacts),
                    revenue_365d=from_minor(t.revenue_365d, currency),
                    average_revenue=mean_amount(t.revenue_365d, t.customers, currency),
                )
            )
        return cls(items=items, customers=customers, currency=currency, as_of=as_of)
