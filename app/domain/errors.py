"""What can go wrong, in the words of the business. No error here knows HTTP.

DomainError
├── NotFound            the thing named does not exist for this tenant
├── AlreadyExists       something with this identity is already there
├── InvalidInput        a value breaks a rule; says which and why
├── CannotEvaluate      criteria ask what no answer can be computed for
├── UnreadableFile      a file is not what it should be
├── Conflict            the request contradicts the present state
│   └── RunInProgress   another scoring run of the tenant holds the lock
├── TookTooLong         an answer that is given up after a while was not there by then
├── Unauthenticated     no credentials, or credentials that do not hold
└── Forbidden           the credentials do not cover the request
"""


class DomainError(Exception):
    """Base of everything this service refuses for a reason it can name."""


class NotFound(DomainError):
    """`noun` with identity `key` does not exist for the tenant."""

    def __init__(self, noun: str, key: str) -> None:
        super().__init__(f"There is no {noun} with the id {key!r}.")
        self.noun = noun
        self.key = key


class AlreadyExists(DomainError):
    """`noun` with identity `key` exists already."""

    def __init__(self, noun: str, key: str) -> None:
        super().__init__(f"A {noun} with the id {key!r} exists already.")
        self.noun = noun
        self.key = key


class InvalidInput(DomainError):
    """A value breaks a rule. `field` is the camelCase path of the value, `reason` a sentence."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class CannotEvaluate(DomainError):
    """The database refuses to compute what criteria ask; the message says why."""


class UnreadableFile(DomainError):
    """A file is not what it should be; the message says what is wrong, and at which row."""


class Conflict(DomainError):
    """The request contradicts the present state."""


class RunInProgress(Conflict):
    """Another scoring run of the same tenant has not finished."""

    def __init__(self, tenant: str) -> None:
        super().__init__(f"Another scoring run of tenant {tenant!r} is in progress.")


class TookTooLong(DomainError):
    """What is answered at once or not at all was not there in time."""


class Unauthenticated(DomainError):
    """No credentials, or credentials that do not hold."""


class Forbidden(DomainError):
    """The credentials do not cover the request."""
