"""What a measurement says: a ratio, the target it has to meet, and how they are shown."""

import statistics
import sys
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ratio:
    """One measured ratio. Exactly one of the two bounds is its target."""

    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        if self.at_least is not None:
            return self.value >= self.at_least
        return self.at_most is not None and self.value <= self.at_most

    @property
    def target(self) -> str:
        """The target in words, such as `>= 0.4`."""
        return f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"

    def document(self) -> dict[str, object]:
        """The ratio for programs."""
        return {
            "name": self.name,
            "value": round(self.value, 4),
            "target": self.target,
            "met": self.met,
        }


def table(ratios: Sequence[Ratio]) -> str:
    """The ratios as text, one a line."""
    width = max(len(ratio.name) for ratio in ratios)
    return "\n".join(
        f"{ratio.name:{width}}  {ratio.value:8.2f}  {ratio.target:>8}  "
        f"{'pass' if ratio.met else 'MISSED'}"
        for ratio in ratios
    )


async def seconds_of(work: Awaitable[object]) -> float:
    """How long the work takes."""
    started = time.perf_counter()
    await work
    return time.perf_counter() - started


def middle(values: Sequence[float]) -> float:
    """The median: one disturbed round of three changes nothing."""
    return statistics.median(values)


def say(message: str) -> None:
    """Progress and context, for the person who waits."""
    print(message, file=sys.stderr, flush=True)  # noqa: T201
