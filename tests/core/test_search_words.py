"""Words as FTS5's tokenizer has them, held to FTS5 itself; snippets around what was found."""

import random
import sqlite3

import pytest

from foldlog.core.match_text import Term, terms_of
from foldlog.core.search_words import WORD_CHARS_MAX, phrases_of, snippet, words_in

# ruff: noqa: RUF001
ALPHABET = "aAzZ09 _-.,'\"éÉñÅøØßΣς中文\u0301\u0308İıŁ\ue000ﬁ²½Ⅷ\n\t漢"


def fts5_words(text: str) -> list[str]:
    connection = sqlite3.connect(":memory:")
    connection.execute('CREATE VIRTUAL TABLE t USING fts5(text, tokenize="unicode61 remove_diacritics 2")')
    connection.execute("CREATE VIRTUAL TABLE v USING fts5vocab(t, instance)")
    connection.execute("INSERT INTO t VALUES (?)", (text,))
    found = [row[0] for row in connection.execute("SELECT term FROM v ORDER BY offset")]
    connection.close()
    return found


def test_texts_are_cut_where_fts5_cuts_them() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(300):
        text = "".join(chance.choice(ALPHABET) for _ in range(12))
        ours, theirs = [word for word, _, _ in words_in(text)], fts5_words(text)
        assert len(ours) == len(theirs), (text, ours, theirs)


@pytest.mark.parametrize("text", ["Café CRÈME", "snake_case, main.py", "naïve Ångström", "x1 2y", "tiếng Việt"])
def test_words_are_those_of_fts5(text: str) -> None:
    assert [word for word, _, _ in words_in(text)] == fts5_words(text)


def test_words_have_their_places_and_a_limit() -> None:
    text = "Ein Cafe\u0301, " + "y" * 1000
    words = list(words_in(text))
    assert [text[start:end] for _, start, end in words] == ["Ein", "Cafe\u0301", "y" * 1000]
    assert len(words[-1].word) == WORD_CHARS_MAX


def cut_out(text: str, query: str, words_max: int = 6) -> str:
    return snippet(text, phrases_of(terms_of(query)), words_max, ("[", "]"), "…")


def test_snippets() -> None:
    text = "one two three four five six seven eight nine ten"
    assert cut_out(text, "one") == "[one] two three four five six…"
    assert cut_out(text, "ten") == "…five six seven eight nine [ten]"
    assert cut_out(text, "six") == "…four five [six] seven eight nine…"
    assert cut_out(text, '"four five" eig*') == "…[four five] six seven [eight] nine…"
    assert cut_out("(Short) text.", "text") == "(Short) [text]."
    assert cut_out(text, "absent") == "one two three four five six…"
    assert cut_out("a a a", "a") == "[a] [a] [a]"
    assert cut_out("", "a") == ""
    assert phrases_of([Term("...", False)]) == []
