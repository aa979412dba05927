"""What customers say, and which scores it may have. The table `feedback` holds the same ranges."""

from collections.abc import Mapping
from enum import StrEnum


class FeedbackKind(StrEnum):
    """What a customer was asked, or said unasked."""

    NPS = "nps"
    CSAT = "csat"
    REVIEW = "review"
    COMPLAINT = "complaint"


#: The lowest and the highest score of each kind that has one.
SCORES: Mapping[FeedbackKind, tuple[int, int]] = {
    FeedbackKind.NPS: (0, 10),
    FeedbackKind.CSAT: (1, 10),
    FeedbackKind.REVIEW: (1, 5),
}
#: Kinds that say nothing without a score.
SCORED = frozenset({FeedbackKind.NPS, FeedbackKind.CSAT})


def check_score(kind: FeedbackKind, score: int | None) -> None:
    """Raise ValueError, with the reason, where feedback of this kind cannot have this score."""
    if score is None:
        if kind in SCORED:
            raise ValueError(f"is required for {kind}")
        return
    if kind not in SCORES:
        raise ValueError(f"must be left out for {kind}")
    lowest, highest = SCORES[kind]
    if not lowest <= score <= highest:
        raise ValueError(f"must lie between {lowest} and {highest} for {kind}")
