"""Every word of a query that a person would try finds the customer."""

import pytest

from app.domain import search

TERMS = search.terms(
    texts=["Siti Nurhalizá O'Brien", "siti.n@example.com", "CUS-0001", "a/b-77"],
    phone="+62 (812) 3456-7890",
)


def _finds(query: str) -> bool:
    words = search.words(query)
    return bool(words) and all(
        any(term.startswith(spelling) for term in TERMS for spelling in word) for word in words
    )


@pytest.mark.parametrize(
    "query",
    [
        "siti",
        "SITI",
        "nurhaliza",
        "Nurhalizá",
        "o'brien",
        "brien si",
        "siti.n@example.com",
        "example.com",
        "cus-0001",
        "0001",
        "a/b-77",
        "0812",
        "+62812",
        "62812",
        "812 3456 7890",
        "0812-3456-7890",
        "+62 (812) 3456-7890",
    ],
)
def test_found(query: str) -> None:
    assert _finds(query)


@pytest.mark.parametrize("query", ["iti", "siti budi", "0813", "+1 812 3456 7890", "%", "", "  "])
def test_not_found(query: str) -> None:
    assert not _finds(query)


def test_the_ways_to_write_a_number_are_one_number() -> None:
    spellings = ["+6281234567890", "6281234567890", "081234567890", "0812-3456-7890"]
    assert len({frozenset(search.terms(texts=[], phone=each)) for each in spellings}) == 1


def test_a_term_never_outgrows_its_index() -> None:
    assert max(map(len, search.terms(texts=["x" * 5000], phone="9" * 500))) <= search.MAX_TERM
