"""The words under which a customer is found, and the words of a query: one normalisation for both.

A query finds a customer when each of its words is the beginning of one of the customer's terms.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator

#: Longer terms are cut: nobody types more, and an index entry has a limit.
MAX_TERM = 64

_PARTS = re.compile(r"[^\W_]+")
_EDGES = re.compile(r"^[\W_]+|[\W_]+$")
_PHONE = re.compile(r"\+?[\d\s().\-/]+")
_FEWEST_PHONE_DIGITS = 5

#: Written with it or with a 0 in its place, it is the same number.
_COUNTRY_CODE = "62"
_FEWEST_DIGITS_WITH_COUNTRY_CODE = 10


def terms(*, texts: Iterable[str | None], phone: str | None) -> set[str]:
    """Every term of a customer: `texts` are names, e-mail, code and id, `phone` the number."""
    found = {term for text in texts if text for term in _terms_of(text)}
    if phone and (digits := _digits(phone)):
        found.add(_national(digits)[:MAX_TERM])
    return found


def words(query: str) -> list[frozenset[str]]:
    """The words of `query`, each as the spellings of which any may begin a term.

    A query that looks like a telephone number is one word, however it is spaced.
    """
    chunks = [query] if _looks_like_phone(query) else _fold(query).split()
    spellings = (frozenset(_spellings(chunk)) for chunk in chunks)
    return [each for each in spellings if each]


def _terms_of(text: str) -> Iterator[str]:
    for chunk in _fold(text).split():
        # An e-mail address is found by its domain, too.
        for piece in (chunk, *chunk.split("@")):
            trimmed = _EDGES.sub("", piece)
            if trimmed:
                yield trimmed[:MAX_TERM]
        for part in _PARTS.findall(chunk):
            yield part[:MAX_TERM]


def _spellings(chunk: str) -> Iterator[str]:
    joined = _EDGES.sub("", "".join(_fold(chunk).split()))
    if joined:
        yield joined[:MAX_TERM]
    if _looks_like_number(chunk):
        digits = _digits(chunk)
        # Too few digits to tell whether they begin with the country code: both are tried.
        for national in (_national(digits), digits.removeprefix(_COUNTRY_CODE)):
            if national:
                yield national[:MAX_TERM]


def _fold(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(each for each in decomposed if not unicodedata.combining(each)).casefold()


def _looks_like_number(text: str) -> bool:
    return _PHONE.fullmatch(text.strip()) is not None


def _looks_like_phone(text: str) -> bool:
    return _looks_like_number(text) and len(_digits(text)) >= _FEWEST_PHONE_DIGITS


def _digits(text: str) -> str:
    return "".join(each for each in text if "0" <= each <= "9")


def _national(digits: str) -> str:
    if digits.startswith("0"):
        return digits.removeprefix("0")
    if len(digits) >= _FEWEST_DIGITS_WITH_COUNTRY_CODE:
        return digits.removeprefix(_COUNTRY_CODE)
    return digits
