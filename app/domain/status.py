"""Whether a score can be relied on."""

from enum import StrEnum


class ScoreStatus(StrEnum):
    """`stale` is decided on reading: the score was computed under rules or a day now past."""

    OK = "ok"
    INSUFFICIENT_DATA = "insufficient_data"
    STALE = "stale"
