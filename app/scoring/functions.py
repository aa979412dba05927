"""What engines do by a function of their own, under PostgreSQL's names for it.

Ibis has no word for these, or one that costs more than the answer is worth. An engine that calls
them otherwise renames them when it compiles.
"""

import ibis
import ibis.expr.datatypes as dt


@ibis.udf.scalar.builtin  # type: ignore[untyped-decorator]
def width_bucket(value: float, bounds: dt.Array[dt.Float64]) -> int:  # type: ignore[empty-body]
    """How many of the ascending bounds the value has reached."""


@ibis.udf.scalar.builtin(name="date_mi")  # type: ignore[untyped-decorator]
def days_between(later: dt.Date, earlier: dt.Date) -> dt.Int32:
    """Whole days from the earlier date to the later one."""


@ibis.udf.scalar.builtin(name="date_pli")  # type: ignore[untyped-decorator]
def days_after(day: dt.Date, days: dt.Int32) -> dt.Date:
    """The date so many days after another one."""


@ibis.udf.scalar.builtin(signature=((dt.string, dt.Timestamp(timezone="UTC")), dt.float64))
def date_part(part, instant):  # type: ignore[no-untyped-def]
    """A part of an instant; the `epoch` of it in seconds, microseconds told apart."""


@ibis.udf.agg.builtin(name="min")  # type: ignore[untyped-decorator]
def smallest(values: dt.Array[dt.Float64]) -> dt.Array[dt.Float64]:
    """The array that comes first, compared element by element."""
