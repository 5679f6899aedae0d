"""What people type into a search: words, "phrases", and prefix*; and that as a match of SQLite's FTS5. Never an error.

Everything else that FTS5 knows (AND, OR, NOT, NEAR, columns, parentheses) is taken for words. Who wants that language
writes MATCH in SQL.
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import Final, NamedTuple

from foldlog.core.errors import QueryError
from foldlog.core.limits import SEARCH_QUERY_CHARS_MAX, SEARCH_QUERY_WORDS_MAX

_TERM: Final = re.compile(r'"([^"]*)"?(\*?)|(\S+)')


class Term(NamedTuple):
    """A word or a phrase that is searched for; its last word is the begin of one where `is_prefix`."""

    phrase: str
    is_prefix: bool


def match_of(text: str) -> str:
    """The match of FTS5 that finds what holds all of these words.

    >>> match_of('disk "no space" err* AND (x')
    '"disk" "no space" "err" * "AND" "(x"'

    Raises `QueryError` where there is no word in it, or too much.
    """
    return fts5_match(terms_of(text))


def fts5_match(terms: Iterable[Term]) -> str:
    """Terms as a match of FTS5."""
    return " ".join(f'"{term.phrase}"{" *" if term.is_prefix else ""}' for term in terms)


def terms_of(text: str) -> list[Term]:
    """What is searched for; raises `QueryError` where there is no word in it, or too much."""
    if not isinstance(text, str):
        raise QueryError("what is searched for is a text", hint="pass words as one str")
    if len(text) > SEARCH_QUERY_CHARS_MAX:
        raise QueryError(
            f"the text to search for has {len(text):,} characters; the limit is {SEARCH_QUERY_CHARS_MAX:,}",
            hint="a few words find it",
        )
    terms = [term for found in _TERM.finditer(text.replace("\0", " ")) for term in _terms(found)]
    if not terms:
        raise QueryError("there is no word in the text to search for", hint="give a letter or a digit at least")
    if len(terms) > SEARCH_QUERY_WORDS_MAX:
        raise QueryError(
            f"{len(terms)} words are searched for; the limit is {SEARCH_QUERY_WORDS_MAX}",
            hint="a few words find it; words of a sentence stand inside quotation marks",
        )
    return terms


def _terms(found: "re.Match[str]") -> list[Term]:
    phrase, star, word = found.groups()
    if phrase is None:
        star = "*" if len(word) > 1 and word.endswith("*") else ""
        # A quotation mark inside a word begins nothing.
        phrase = word.replace('"', " ")
    phrase = phrase.encode("utf-8", "replace").decode()
    if not any(_is_of_word(char) for char in phrase):
        return []
    if star and not _is_of_word(phrase.rstrip("*")[-1:] or " "):
        star = ""
    return [Term(phrase.rstrip("*") if star else phrase, bool(star))]


def _is_of_word(char: str) -> bool:
    """Whether the tokenizer makes a word of it."""
    return unicodedata.category(char)[0] in "LN" or unicodedata.category(char) == "Co"
