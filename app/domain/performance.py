"""What a day came to: who counts as active, at risk or lost, and the rates made of counts.

Source of the engagement score: the share of days on which somebody comes back ("stickiness"), with
once a week as the most that a shop can hope for.
"""

from app.domain.lifecycle import LifecycleSegment

#: Whoever ordered or did anything in so many days, the day itself included, is active.
ACTIVE_DAYS = 30

AT_RISK = (LifecycleSegment.AT_RISK, LifecycleSegment.DORMANT)
CHURNED = LifecycleSegment.LOST

#: Who came on so many of the active days is fully engaged: once a week.
ENGAGED_DAYS = 4

#: A segment is as engaged as its members are on average, of 100.
FULL_ENGAGEMENT = 100.0


def rate(part: int, whole: int) -> float | None:
    """`part` of `whole`; None where there is nothing to have a part of."""
    return part / whole if whole else None


def churn_rate(stayed: int | None, lost: int | None) -> float | None:
    """Of the members who were not lost thirty days ago, the share that is by now.

    None where no standing is known of then.
    """
    if stayed is None or lost is None:
        return None
    return rate(lost, stayed + lost)


def engagement(active_days: int) -> float:
    """How engaged one customer is who came on so many of the last thirty days; 0 to 100."""
    return FULL_ENGAGEMENT * min(active_days / ENGAGED_DAYS, 1.0)
