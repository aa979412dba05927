"""How many rows a page has, said in the statement's own text.

Plans are made once and kept. One that is to do for any number of rows is made for a tenth of the
table, and reads and sorts that; one for fifty follows the index.
"""

from functools import cache

from sqlalchemy import ColumnElement, TextClause, literal_column, text


def page_size(limit: int) -> ColumnElement[int]:
    """For `.limit(…)` of a statement."""
    return literal_column(f"{limit:d}")


@cache
def limited(statement: str, limit: int) -> TextClause:
    """`statement` with its `:limit` replaced."""
    return text(statement.replace(":limit", f"{limit:d}"))
