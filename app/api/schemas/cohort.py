"""Cohorts over HTTP."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import groupby
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator

from app.api.schemas.figures import amount, share
from app.api.schemas.profile import View
from app.domain.cohort import CohortType, months_between
from app.domain.money import from_minor, round_minor
from app.domain.privacy import Disclosure
from app.repositories.cohort import Cohort, CohortMonth, Member
from app.services.records import Identity, Label, Prose, Record

EXAMPLE: dict[str, Any] = {
    "cohortName": "Q4 2025",
    "cohortType": "acquisition",
    "acquisitionStartDate": "2025-10-01",
    "acquisitionEndDate": "2025-12-31",
}


class NewCohort(Record):
    """A cohort to be made. An acquisition cohort has a range of days, the others have criteria."""

    model_config = ConfigDict(json_schema_extra={"example": EXAMPLE})

    id: Annotated[Identity | None, Field(description="Made up, where it is left out.")] = None
    cohort_name: Label
    cohort_type: CohortType
    acquisition_start_date: date | None = None
    acquisition_end_date: date | None = None
    criteria: Annotated[
        dict[str, Any] | None,
        Field(description="In the language of segments; asked once, when the cohort is made."),
    ] = None
    description: Prose | None = None
    user_id: Identity | None = None

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        days = (self.acquisition_start_date, self.acquisition_end_date)
        if self.cohort_type is CohortType.ACQUISITION:
            if None in days:
                raise ValueError(
                    "an acquisition cohort needs acquisitionStartDate and acquisitionEndDate"
                )
            if self.criteria is not None:
                raise ValueError("an acquisition cohort has days and no criteria")
            if days[0] > days[1]:  # type: ignore[operator]  # neither is None by now
                raise ValueError("acquisitionEndDate lies before acquisitionStartDate")
            return self
        if days != (None, None):
            raise ValueError(f"a cohort of type {self.cohort_type} has criteria and no days")
        if self.criteria is None:
            raise ValueError(f"a cohort of type {self.cohort_type} needs criteria")
        return self

    @property
    def acquisition(self) -> tuple[date, date] | None:
        """First and last day, for an acquisition cohort."""
        if self.acquisition_start_date is None or self.acquisition_end_date is None:
            return None
        return self.acquisition_start_date, self.acquisition_end_date


class CohortView(View):
    """A cohort and how many customers are in it."""

    id: str
    cohort_name: str
    description: str | None
    cohort_type: CohortType
    acquisition_start_date: date | None
    acquisition_end_date: date | None
    criteria: dict[str, Any] | None
    member_count: int = Field(
        description="Of an acquisition cohort: whoever has first bought in its days by now."
    )
    is_active: bool
    created_at: datetime

    @classmethod
    def of(cls, cohort: Cohort) -> Self:
        """`cohort` in the words of the API."""
        return cls(
            id=cohort.id,
            cohort_name=cohort.name,
            description=cohort.description,
            cohort_type=cohort.cohort_type,
            acquisition_start_date=cohort.acquisition_start,
            acquisition_end_date=cohort.acquisition_end,
            criteria=cohort.criteria,
            member_count=cohort.customers,
            is_active=cohort.is_active,
            created_at=cohort.created_at,
        )


class CohortMemberView(View):
    """A customer of a cohort."""

    customer_id: str
    name: str | None
    joined_on: date = Field(description="Day of the first order, or on which the criteria held.")
    orders: int
    revenue: Decimal | None = Field(description="Net, of all time.")
    rfm_segment: str | None

    @classmethod
    def of(cls, member: Member, currency: str, disclosure: Disclosure) -> Self:
        """`member` in decimals."""
        return cls(
            customer_id=disclosure.id(member.customer_id),
            name=disclosure.personal(member.name),
            joined_on=member.joined_on,
            orders=member.counted_orders or 0,
            revenue=amount(member.revenue, currency),
            rfm_segment=member.rfm_segment,
        )


class CohortMonthView(View):
    """What a monthly cohort did in one month."""

    month: str = Field(examples=["2026-01"])
    offset: int = Field(description="Months since the first order; 0 is the month of it.")
    active_customers: int = Field(description="Customers with a counted order.")
    retention: float = Field(description="Active customers as a share of the cohort.")
    orders: int
    revenue: Decimal = Field(description="Net.")
    revenue_per_customer: Decimal = Field(description="Of the whole cohort.")


class MonthlyCohortView(View):
    """The customers whose first counted order was in one month, and their later months."""

    cohort: str = Field(examples=["2025-10"])
    customers: int
    revenue: Decimal = Field(description="Net, of all its months.")
    months: list[CohortMonthView]

    @classmethod
    def of(cls, months: Sequence[CohortMonth], currency: str) -> Self:
        """A cohort from its months, the first of which holds everybody."""
        first = months[0]
        size = first.customers
        return cls(
            cohort=_month(first.cohort_month),
            customers=size,
            revenue=from_minor(int(sum(each.revenue for each in months)), currency),
            months=[
                CohortMonthView(
                    month=_month(each.month),
                    offset=months_between(each.cohort_month, each.month),
                    active_customers=each.customers,
                    retention=share(each.customers, size),
                    orders=each.orders,
                    revenue=from_minor(int(each.revenue), currency),
                    revenue_per_customer=from_minor(round_minor(each.revenue / size), currency),
                )
                for each in months
            ],
        )


class CohortAnalysisView(View):
    """Monthly cohorts by the first counted order, oldest first, by the tenant's calendar."""

    items: list[MonthlyCohortView]
    currency: str
    computed_at: datetime | None = Field(
        description="The last time all orders were added up: after each full run of the scores."
    )

    @classmethod
    def of(cls, months: Sequence[CohortMonth], currency: str) -> Self:
        """The cohorts of `months`, which are in the order of cohorts and months."""
        return cls(
            items=[
                MonthlyCohortView.of(list(each), currency)
                for _, each in groupby(months, lambda month: month.cohort_month)
            ],
            currency=currency,
            computed_at=max((each.computed_at for each in months), default=None),
        )


def _month(day: date) -> str:
    return f"{day:%Y-%m}"
