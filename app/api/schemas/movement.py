"""Moves between segments and between membership tiers over HTTP."""

from datetime import date, datetime
from decimal import Decimal
from typing import Self

from pydantic import Field

from app.api.schemas.figures import mean, share
from app.api.schemas.profile import View
from app.domain.money import from_minor
from app.domain.movement import Direction, direction
from app.domain.period import Period
from app.domain.tenant import Tenant
from app.repositories.movement import Moves
from app.repositories.population import Totals

_NO_TIER = "none"


class SegmentMoveView(View):
    """So many customers were in one segment on the first day and in another on the last."""

    from_segment: str | None = Field(description="Null: in none.", examples=["loyal"])
    to_segment: str | None = Field(description="Null: in none.", examples=["champion"])
    customers: int
    share: float = Field(description="Of those who were in `fromSegment`; of the new for null.")
    direction: Direction


class RfmMigrationView(View):
    """The from-to table of two days; best segments first, pairs without customers left out."""

    from_day: date
    to_day: date
    items: list[SegmentMoveView]
    upgraded: int
    downgraded: int
    same: int
    new: int = Field(description="Had no segment on the first day.")
    lost: int = Field(description="Have no segment on the last day.")
    unranked: int = Field(description="Moved from or to a segment that the profile has not.")
    computed_at: datetime

    @classmethod
    def of(cls, found: Moves, period: Period, tenant: Tenant) -> Self:
        """The table of `found`, ranked by the tenant's profile."""
        priorities = {each.code: each.priority for each in tenant.profile.segments}
        totals = dict.fromkeys(Direction, 0)
        before: dict[str | None, int] = {}
        for move in found.moves:
            before[move.before] = before.get(move.before, 0) + move.customers

        def rank(segment: str | None) -> tuple[bool, int, str]:
            unknown = len(priorities) + 1
            return segment is None, priorities.get(segment or "", unknown), segment or ""

        items = []
        for move in sorted(found.moves, key=lambda each: (rank(each.before), rank(each.after))):
            leads = direction(move.before, move.after, priorities)
            totals[leads] += move.customers
            items.append(
                SegmentMoveView(
                    from_segment=move.before,
                    to_segment=move.after,
                    customers=move.customers,
                    share=share(move.customers, before[move.before]),
                    direction=leads,
                )
            )
        return cls(
            from_day=period.first,
            to_day=period.last,
            items=items,
            upgraded=totals[Direction.UPGRADED],
            downgraded=totals[Direction.DOWNGRADED],
            same=totals[Direction.SAME],
            new=totals[Direction.NEW],
            lost=totals[Direction.LOST],
            unranked=totals[Direction.UNRANKED],
            computed_at=found.computed_at,
        )


class LoyaltyTierView(View):
    """The members of one tier."""

    tier: str | None = Field(description="Null: no tier.", examples=["gold"])
    customers: int
    share: float = Field(description="Of all customers.")
    points: int = Field(description="Sum of the members' points.")
    average_points: float | None
    revenue_365d: Decimal = Field(alias="revenue365d", description="Net, of the last 365 days.")
    revenue_share: float


class TierMoveView(View):
    """So many customers had one tier on the first day and another on the last."""

    from_tier: str | None = Field(description="Null: no tier.", examples=["silver"])
    to_tier: str | None = Field(description="Null: no tier.", examples=["gold"])
    customers: int


class TierMovementView(View):
    """Moves between two days; a customer who was first scored in between is new."""

    from_day: date
    to_day: date
    items: list[TierMoveView]
    stayed: int
    new: int
    computed_at: datetime


class LoyaltyView(View):
    """Tiers by number of members, and who moved between them."""

    items: list[LoyaltyTierView]
    customers: int
    points: int
    movement: TierMovementView
    currency: str
    as_of: datetime | None

    @classmethod
    def of(
        cls,
        found: list[Totals],
        moves: Moves,
        period: Period,
        currency: str,
        as_of: datetime | None,
    ) -> Self:
        """The tiers of `found`, and what moved within `period`."""
        customers = sum(each.customers for each in found)
        revenue = sum(each.revenue_365d for each in found)
        items = [
            LoyaltyTierView(
                tier=_tier(each.a),
                customers=each.customers,
                share=share(each.customers, customers),
                points=each.loyalty_points,
                average_points=mean(each.loyalty_points, each.customers),
                revenue_365d=from_minor(each.revenue_365d, currency),
                revenue_share=share(each.revenue_365d, revenue),
            )
            for each in sorted(found, key=lambda each: (-each.customers, each.a))
        ]
        known = [move for move in moves.moves if move.before is not None]
        movement = TierMovementView(
            from_day=period.first,
            to_day=period.last,
            items=[
                TierMoveView(
                    from_tier=_tier(move.before),
                    to_tier=_tier(move.after),
                    customers=move.customers,
                )
                for move in known
                if move.before != move.after
            ],
            stayed=sum(move.customers for move in known if move.before == move.after),
            new=sum(move.customers for move in moves.moves if move.before is None),
            computed_at=moves.computed_at,
        )
        return cls(
            items=items,
            customers=customers,
            points=sum(each.loyalty_points for each in found),
            movement=movement,
            currency=currency,
            as_of=as_of,
        )


def _tier(kept: str | None) -> str | None:
    return None if kept == _NO_TIER else kept
