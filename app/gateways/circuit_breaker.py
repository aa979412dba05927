"""Sparing a service that fails: after some failures in a row it is left alone for a while."""

from app.gateways.token_bucket import Clock


class CircuitBreaker:
    """Closed: all calls go through, and failures in a row are counted. Open, after `failures` of
    them: none goes through for `open_seconds`. Half open, after that: one goes through, and what
    becomes of it closes or opens the circuit again.
    """

    def __init__(self, failures: int, open_seconds: float, clock: Clock) -> None:
        self._most_failures = failures
        self._open_seconds = open_seconds
        self._clock = clock
        self._failures = 0
        self._open_until: float | None = None
        self._trying = False

    @property
    def state(self) -> str:
        """`closed`, `open` or `half-open`."""
        if self._open_until is None:
            return "closed"
        return "open" if self._clock() < self._open_until else "half-open"

    def refuses(self) -> float:
        """Seconds until a call may go through; 0 where one may now."""
        if self._open_until is None:
            return 0.0
        left = self._open_until - self._clock()
        if left > 0:
            return left
        return 1.0 if self._trying else 0.0

    def begin(self) -> float:
        """As `refuses`; where a call may go through it has begun, and its outcome has to be told
        by one of the following methods.
        """
        left = self.refuses()
        if left == 0 and self._open_until is not None:
            self._trying = True
        return left

    def succeeded(self) -> None:
        """The service answered, be it with a refusal."""
        if self.state == "open":
            return  # a call that began before; what comes after the pause decides
        self._failures = 0
        self._open_until = None
        self._trying = False

    def failed(self) -> None:
        """The service failed, was overloaded or did not answer."""
        if self.state == "open":
            return
        self._failures += 1
        self._trying = False
        if self._open_until is not None or self._failures >= self._most_failures:
            self._open_until = self._clock() + self._open_seconds
            self._failures = 0

    def gave_up(self) -> None:
        """The call ended without saying anything about the service."""
        self._trying = False
