"""The verifications of the one row of truth, and what became of them.

Each looks at a number of things (`figure`) and expects that none of them offends.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

#: How many offenders are named.
EXAMPLES = 5


class Subject(StrEnum):
    """What a verification looks at, and so what its examples name."""

    CUSTOMER = "customer"
    GROUP = "group"
    ROW = "row"
    DAY = "day"
    CELL = "cell"


@dataclass(frozen=True, slots=True)
class Verification:
    """One verification: what is looked at, and what holds of every single one."""

    name: str
    subject: Subject
    expectation: str


VERIFICATIONS = (
    Verification(
        "counts",
        Subject.CUSTOMER,
        "The numbers of all orders and of those that count are those of the orders.",
    ),
    Verification(
        "first_counted_order",
        Subject.CUSTOMER,
        "The first and the last counted order are the minimum and the maximum of the orders.",
    ),
    Verification("revenue", Subject.CUSTOMER, "The revenue is the sum of the net amounts."),
    Verification(
        "averages",
        Subject.CUSTOMER,
        "The average order value is the revenue over the counted orders.",
    ),
    Verification(
        "segments_sum",
        Subject.GROUP,
        "The segments add up to the customers with RFM scores, and every total that dashboards"
        " show is what a fresh count gives.",
    ),
    Verification(
        "no_orphans",
        Subject.ROW,
        "Whatever belongs to a customer or an order has one.",
    ),
    Verification(
        "no_stale_rows",
        Subject.CUSTOMER,
        "Every row was computed under the present rules and reflects every order recorded since.",
    ),
    Verification("scores_in_range", Subject.CUSTOMER, "Every score lies in its range."),
    Verification(
        "rfm_cutoffs",
        Subject.CUSTOMER,
        "The RFM scores are those that the cutoffs give.",
    ),
    Verification(
        "sales_days",
        Subject.DAY,
        "The sales of every day and store are those of the orders.",
    ),
    Verification(
        "place_totals",
        Subject.CELL,
        "Every cell of the map counts the customers whose last known places lie in it.",
    ),
    Verification("all_scored", Subject.CUSTOMER, "Every customer has a row of figures."),
)


@dataclass(frozen=True, slots=True)
class Check:
    """What one verification found: of `figure` things, `offenders` offend, such as `examples`."""

    name: str
    figure: int
    offenders: int
    examples: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing offends."""
        return self.offenders == 0


def verification(name: str) -> Verification:
    """The verification called `name`; KeyError for another name."""
    return _BY_NAME[name]


def passed(checks: Sequence[Check]) -> bool:
    """Whether nothing offends in any of them."""
    return all(check.passed for check in checks)


_BY_NAME = {each.name: each for each in VERIFICATIONS}
