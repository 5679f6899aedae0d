"""Whatever people type is words, phrases and prefixes to FTS5, and never an error of its syntax."""

import random
import sqlite3

import pytest

from foldlog.core import limits
from foldlog.core.errors import QueryError
from foldlog.core.match_text import match_of


@pytest.fixture
def index() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE found USING fts5(text)")
    connection.execute("INSERT INTO found VALUES ('no space left AND on the device (disk) x-y snake_case Ünï')")
    return connection


def matches(index: sqlite3.Connection, text: str) -> bool:
    return bool(index.execute("SELECT 1 FROM found WHERE found MATCH ?", (match_of(text),)).fetchall())


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("space", True),
        ("SPACE left", True),
        ("left space", True),
        ('"left space"', False),
        ('"space left"', True),
        ('"space left', True),
        ("spa*", True),
        ('"no spa"*', True),
        ("spa", False),
        ("AND", True),
        ("OR", False),
        ("NOT space", False),
        ("device AND disk", True),
        ("(disk)", True),
        ("x-y", True),
        ("-y", True),
        ("snake_case", True),
        ("case_snake", False),
        ("text:space", False),
        ("^no", True),
        ("a\0b", False),
        ("un\u0308i", True),
        ('spa"ce', False),
        ("\ud800 space", True),
        ("space *", True),
    ],
)
def test_words_are_searched_for_as_they_are(index: sqlite3.Connection, text: str, is_found: bool) -> None:
    assert matches(index, text) is is_found


@pytest.mark.parametrize("text", ["", " ", "***", '""', "-", "()", '"*"*', "\0"])
def test_no_word_is_refused(text: str) -> None:
    with pytest.raises(QueryError, match="no word"):
        match_of(text)


def test_what_is_no_text_or_too_much_is_refused() -> None:
    for text in (None, 5, b"x", "x" * (limits.SEARCH_QUERY_CHARS_MAX + 1), "x " * (limits.SEARCH_QUERY_WORDS_MAX + 1)):
        with pytest.raises(QueryError):
            match_of(text)  # type: ignore[arg-type]


def test_nothing_that_can_be_typed_is_an_error_of_syntax(index: sqlite3.Connection) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    alphabet = [*"ab \"'*()-^:+{}[],.\\/#é漢\0\u0301\ue000", " AND ", " OR ", " NOT ", "NEAR(", '""', "* "]
    for _ in range(2000):
        text = "".join(chance.choices(alphabet, k=chance.randrange(1, 14)))
        try:
            match = match_of(text)
        except QueryError:
            continue
        index.execute("SELECT 1 FROM found WHERE found MATCH ?", (match,)).fetchall()
