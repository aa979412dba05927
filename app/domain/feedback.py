"""What customers say about the business: kinds of feedback and the scores they come with."""

from enum import StrEnum


class FeedbackKind(StrEnum):
    """NPS and CSAT are answers to surveys; reviews and complaints come unasked."""

    NPS = "nps"
    CSAT = "csat"
    COMPLAINT = "complaint"
    REVIEW = "review"


#: Lowest and highest score of the kinds that have one.
SCORES: dict[FeedbackKind, tuple[int, int]] = {
    FeedbackKind.NPS: (0, 10),
    FeedbackKind.CSAT: (1, 10),
    FeedbackKind.REVIEW: (1, 5),
}
#: Kinds that say nothing without a score.
SCORED = frozenset({FeedbackKind.NPS, FeedbackKind.CSAT})


def net_promoter_score(promoters: int, detractors: int, answers: int) -> float | None:
    """-100 to 100; None without answers. Promoters answer 9 or 10, detractors 0 to 6.

    Source: Reichheld, HBR December 2003.
    """
    return 100.0 * (promoters - detractors) / answers if answers else None


def check_score(kind: FeedbackKind, score: int | None) -> None:
    """Raise ValueError, with the reason, where feedback of this kind cannot have this score.

    The table `feedback` holds the same ranges.
    """
    if score is None:
        if kind in SCORED:
            raise ValueError(f"is required for {kind}")
        return
    if kind not in SCORES:
        raise ValueError(f"must be left out for {kind}")
    lowest, highest = SCORES[kind]
    if not lowest <= score <= highest:
        raise ValueError(f"must lie between {lowest} and {highest} for {kind}")
