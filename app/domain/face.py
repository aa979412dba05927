"""Faces: what a person has agreed to, what a likeness comes to, what may be told of a crowd."""

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Generic, TypeVar

from app.domain.errors import DomainError, InvalidInput


class ConsentPurpose(StrEnum):
    """What somebody may agree to, each for itself.

    `enrol` is the keeping of the face, the others are what it may be used for.
    """

    ENROL = "enrol"
    IDENTIFY = "identify"
    VERIFY_VISIT = "verify_visit"
    ATTRIBUTES = "attributes"


class ConsentMethod(StrEnum):
    """How the consent was expressed."""

    PAPER_FORM = "paper_form"
    APP = "app"
    WEB = "web"
    KIOSK = "kiosk"
    E_SIGNATURE = "e_signature"


class Outcome(StrEnum):
    """What a search came to. A match is a hint for a person to confirm, not a proof."""

    MATCH = "match"
    AMBIGUOUS = "ambiguous"
    NO_MATCH = "no_match"


class ErasureReason(StrEnum):
    """Why the faces of a person have to go; `abandoned` is an enrolment that came to nothing."""

    WITHDRAWN = "withdrawn"
    REQUESTED = "requested"
    EXPIRED = "expired"
    RETENTION = "retention"
    PRIVACY = "privacy"
    MERGED = "merged"
    ABANDONED = "abandoned"


class ConsentRequired(DomainError):
    """There is no valid consent of the customer to `purpose`."""

    def __init__(self, purpose: ConsentPurpose) -> None:
        super().__init__(
            f"The customer has not agreed to {_WORDS[purpose]}. Ask for consent, record it, "
            "and try again."
        )
        self.purpose = purpose


class SeveralFaces(DomainError):
    """A photo to enrol shows more than one person."""

    def __init__(self, faces: int) -> None:
        super().__init__(
            f"There are {faces} faces in this photo. Take one that shows the customer alone."
        )


class EmotionsOff(DomainError):
    """The tenant has not turned emotions on."""

    def __init__(self) -> None:
        super().__init__("Emotions are turned off. PUT /api/face/settings turns them on.")


class AttributesOff(DomainError):
    """The tenant has not turned the estimates of age and gender on."""

    def __init__(self) -> None:
        super().__init__("Estimates are turned off. PUT /api/face/settings turns them on.")


_WORDS = {
    ConsentPurpose.ENROL: "having the face kept",
    ConsentPurpose.IDENTIFY: "being recognised by face",
    ConsentPurpose.VERIFY_VISIT: "having visits verified by face",
    ConsentPurpose.ATTRIBUTES: "estimates of age and gender",
}

#: A face is kept for one of these, and for nothing else.
USES_OF_A_FACE = frozenset({ConsentPurpose.IDENTIFY, ConsentPurpose.VERIFY_VISIT})


def must_be_erased(
    ended: Collection[ConsentPurpose], remaining: Collection[ConsentPurpose]
) -> bool:
    """Whether the face has to go, now that consents `ended` and `remaining` are in force.

    Without `enrol` it has. Where the last use was ended there is nothing left to keep it for; an
    enrolment whose uses are still to be agreed to may stay.
    """
    if ConsentPurpose.ENROL not in remaining:
        return True
    return bool(USES_OF_A_FACE.intersection(ended)) and not USES_OF_A_FACE.intersection(remaining)


Person = TypeVar("Person", bound=Hashable)

#: How alike somebody has to be for the runner-up to be asked for at all, in percent.
LOWEST_SIMILARITY = 80.0
#: How many of the likest are asked for.
CANDIDATES = 10


@dataclass(frozen=True, slots=True)
class Likeness(Generic[Person]):
    """How alike a person is to a photo, in percent; `told` where the person may be found by it."""

    person: Person
    similarity: float
    told: bool


@dataclass(frozen=True, slots=True)
class Decision(Generic[Person]):
    """What a search came to. `margin` is the lead over the runner-up, None where there is none.

    `person` and `similarity` are there for a match only. `close` are those who may be told of among
    the candidates that an ambiguous answer is about, the likest first.
    """

    outcome: Outcome
    person: Person | None = None
    similarity: float | None = None
    margin: float | None = None
    runner_up: float | None = None
    close: tuple[Likeness[Person], ...] = ()


def floor_of(threshold: float, margin: float) -> float:
    """The similarity to ask the provider for, so that a runner-up that matters is among them."""
    return max(0.0, min(LOWEST_SIMILARITY, threshold - margin))


def decide(
    likenesses: Sequence[Likeness[Person]], *, threshold: float, margin: float
) -> Decision[Person]:
    """A match where the likest reaches the threshold and leads the next person by the margin.

    Several likenesses of one person count as the best of them. Somebody who may not be found is
    never told of, and nobody else is taken for that person either: where the likest may not be
    told, there is no match.
    """
    best: dict[Person, Likeness[Person]] = {}
    for each in likenesses:
        known = best.get(each.person)
        told = each.told or (known is not None and known.told)
        similarity = max(each.similarity, known.similarity if known else 0.0)
        best[each.person] = Likeness(each.person, similarity, told)
    ranked = sorted(best.values(), key=lambda each: each.similarity, reverse=True)
    if not ranked or ranked[0].similarity < threshold or not ranked[0].told:
        return Decision(Outcome.NO_MATCH)
    first = ranked[0]
    runner_up = ranked[1].similarity if len(ranked) > 1 else None
    lead = None if runner_up is None else first.similarity - runner_up
    if lead is None or lead >= margin:
        return Decision(Outcome.MATCH, first.person, first.similarity, lead, runner_up)
    close = tuple(
        each for each in ranked if each.told and first.similarity - each.similarity < margin
    )
    return Decision(Outcome.AMBIGUOUS, margin=lead, runner_up=runner_up, close=close)


@dataclass(frozen=True, slots=True)
class Rules:
    """How a tenant searches. Percent, days; a limit of None is no limit."""

    threshold: float = 99.0
    margin: float = 1.0
    attributes_on: bool = False
    emotions_on: bool = False
    retention_days: int = 1095
    searches_per_day: int | None = None
    indexes_per_day: int | None = None


LONGEST_RETENTION_DAYS = 1095


def check_rules(rules: Rules) -> None:
    """Raise InvalidInput for what no tenant may set."""
    if not LOWEST_SIMILARITY <= rules.threshold <= 100:
        raise InvalidInput("threshold", f"must lie between {LOWEST_SIMILARITY:g} and 100")
    if not 0 <= rules.margin <= 20:
        raise InvalidInput("margin", "must lie between 0 and 20")
    if not 1 <= rules.retention_days <= LONGEST_RETENTION_DAYS:
        raise InvalidInput(
            "retentionDays",
            f"must lie between 1 and {LONGEST_RETENTION_DAYS}, which is three years",
        )
    if rules.emotions_on and not rules.attributes_on:
        raise InvalidInput("emotionsOn", "needs attributesOn")


#: Fewer people than this are not told of.
SMALLEST_CROWD = 5


def crowd(counts: Mapping[str, int]) -> tuple[dict[str, int], int] | None:
    """What may be told of a crowd: the groups of five and more, and how many are in the others.

    None for fewer than five people altogether. The others are five or more, or nobody: a group
    that could be found by subtraction is counted among them.
    """
    if sum(counts.values()) < SMALLEST_CROWD:
        return None
    ranked = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    told = [each for each in ranked if each[1] >= SMALLEST_CROWD]
    others = sum(count for _, count in ranked if count < SMALLEST_CROWD)
    while 0 < others < SMALLEST_CROWD and told:
        others += told.pop()[1]
    return dict(told), others


#: Accuracies beyond this make no place.
WORST_ACCURACY_METRES = 200.0
NEAR_METRES = 200.0


def is_near(distance: float | None, accuracy: float | None) -> bool | None:
    """Whether a capture was at an address, both in metres; None where that cannot be said."""
    if distance is None:
        return None
    return distance <= NEAR_METRES + min(accuracy or 0.0, WORST_ACCURACY_METRES)


#: Waits between the attempts of an erasure; the last one again and again.
BACKOFF = tuple(
    timedelta(seconds=seconds) for seconds in (30, 120, 600, 1_800, 3_600, 7_200, 21_600)
)


def next_attempt(attempts: int, now: datetime) -> datetime:
    """When to try again after so many attempts that failed."""
    return now + BACKOFF[min(max(attempts, 1), len(BACKOFF)) - 1]


def estimated_age(low: int, high: int) -> int:
    """The middle of an age range, in completed years."""
    return (low + high) // 2
