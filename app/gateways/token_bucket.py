"""How often something may be done: tokens that come back at a steady rate."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

Clock = Callable[[], float]


class TokenBucket:
    """At most `burst` at once, and `rate` a second in the long run.

    A token may be taken before it is there, for whoever is ready to wait; `clock` gives seconds.
    """

    def __init__(self, rate: float, burst: float, clock: Clock) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = burst
        self._filled_at = clock()

    def wait(self) -> float:
        """Seconds until the next token is there; 0 where one is."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        return max(0.0, (1 - self._tokens) / self._rate)

    def take(self) -> None:
        """Use the next token, whether it is there yet or not."""
        self.wait()
        self._tokens -= 1


@dataclass(frozen=True, slots=True)
class Exhausted:
    """Nothing is left within the time one may wait; there will be in `seconds`."""

    seconds: float
    #: whether it is the holder's own share that is used up
    own: bool


class SharedBudget:
    """One bucket for all, and one of `share` of it for each holder.

    `most_wait` is how many seconds a holder may be kept waiting.
    """

    def __init__(self, rate: float, share: float, most_wait: float, clock: Clock) -> None:
        self._rate = rate
        self._share = share
        self._most_wait = most_wait
        self._clock = clock
        self._all = self._bucket(rate)
        self._own: dict[Hashable, TokenBucket] = {}

    def reserve(self, holder: Hashable) -> float | Exhausted:
        """Take one of both, and say how many seconds to wait before using it; or take none."""
        own = self._own.get(holder)
        if own is None:
            own = self._own[holder] = self._bucket(self._rate * self._share)
        own_wait, common_wait = own.wait(), self._all.wait()
        if own_wait > self._most_wait:
            return Exhausted(own_wait, own=True)
        if common_wait > self._most_wait:
            return Exhausted(common_wait, own=False)
        own.take()
        self._all.take()
        return max(own_wait, common_wait)

    def _bucket(self, rate: float) -> TokenBucket:
        """What comes back in a second may be used at once, and one at least."""
        return TokenBucket(rate, max(1.0, rate), self._clock)
