"""Satisfaction over time over HTTP."""

from datetime import date
from typing import Self

from pydantic import Field

from app.api.schemas.figures import mean
from app.api.schemas.profile import View
from app.domain.feedback import net_promoter_score
from app.repositories.satisfaction import Breakdown, SatisfactionMonth


class SatisfactionMonthView(View):
    """One month, or one store's or segment's part of it."""

    month: date = Field(description="First day of the month.")
    store_id: str | None = Field(default=None, description="By store; null: of no store.")
    segment: str | None = Field(default=None, description="By segment, at the time of answering.")
    nps: float | None = Field(description="-100 to 100: promoters less detractors, in percent.")
    nps_answers: int
    promoters: int = Field(description="Answers of 9 and 10.")
    detractors: int = Field(description="Answers of 0 to 6.")
    csat: float | None = Field(description="Mean of the scores from 1 to 10.")
    csat_answers: int
    review_average: float | None = Field(description="Mean of the stars from 1 to 5.")
    reviews: int
    complaints: int

    @classmethod
    def of(cls, found: SatisfactionMonth, by: Breakdown) -> Self:
        """`found` with its rates."""
        return cls(
            month=found.month,
            store_id=found.key if by is Breakdown.STORE else None,
            segment=found.key if by is Breakdown.SEGMENT else None,
            nps=net_promoter_score(found.promoters, found.detractors, found.nps_answers),
            nps_answers=found.nps_answers,
            promoters=found.promoters,
            detractors=found.detractors,
            csat=mean(found.csat_sum, found.csat_answers),
            csat_answers=found.csat_answers,
            review_average=mean(found.review_sum, found.reviews),
            reviews=found.reviews,
            complaints=found.complaints,
        )


class SatisfactionView(View):
    """Oldest month first; months without an answer or a complaint are left out."""

    from_month: date
    to_month: date
    by: Breakdown
    items: list[SatisfactionMonthView]
