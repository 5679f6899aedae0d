"""The index of words on PostgreSQL: a table of text search vectors over `search_texts`, found by GIN.

Words are cut, and stripped of case and marks, in Python as FTS5 does it on SQLite (`foldlog.core.search_words`): the
server only stores and matches them, whatever its configurations and languages. A vector keeps 255 places of a word,
so a phrase far down in a long text that repeats its words is not found as one. What both engines share is in
`foldlog.storage.search_tables`; SQLite's index is `foldlog.storage.fts5_index`.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from foldlog.core.match_text import Term
from foldlog.core.search_words import Phrase, phrases_of, snippet, words_in
from foldlog.storage.driver import Driver

INDEX: Final = "search_index"
_TABLE: Final = (
    f"CREATE TABLE {INDEX} (text_id BIGINT PRIMARY KEY REFERENCES search_texts ON DELETE CASCADE, "
    "words TSVECTOR NOT NULL)"
)
_WORDS_INDEX: Final = f"CREATE INDEX ix_{INDEX}_words ON {INDEX} USING gin (words)"
# What a vector keeps of a text: the server's limits.
_PLACE_MAX: Final = 16_383
_PLACES_MAX: Final = 255


def statements() -> list[str]:
    """The DDL of the index."""
    return [_TABLE, _WORDS_INDEX]


def drop(connection: Driver) -> None:
    """Drop the index, if it is there."""
    connection.execute(f"DROP TABLE IF EXISTS {INDEX}")


def is_made(connection: Driver) -> bool:
    """Whether there is an index."""
    return connection.execute("SELECT to_regclass(?)", (INDEX,)).fetchone()[0] is not None


def hold(connection: Driver) -> None:
    """Keep others from writing the index until the caller's transaction ends."""
    connection.execute("LOCK TABLE search_state IN SHARE ROW EXCLUSIVE MODE")


def ensure(connection: Driver) -> None:
    """Every store is made with an index."""


def add(connection: Driver, text_id: int, text: str) -> None:
    """Add the words of a text."""
    connection.execute(f"INSERT INTO {INDEX} (text_id, words) VALUES (?, CAST(? AS tsvector))", (text_id, vector(text)))


def vector(text: str) -> str:
    """The words of a text and their places, as the server reads them.

    >>> vector("No, no space")
    "'no':1,2 'space':3"
    """
    places: dict[str, list[int]] = {}
    for place, (word, _, _) in enumerate(words_in(text), 1):
        found = places.setdefault(word, [])
        if place <= _PLACE_MAX and len(found) < _PLACES_MAX:
            found.append(place)
    return " ".join(
        f"{_quoted(word)}:{','.join(map(str, found))}" if found else _quoted(word) for word, found in places.items()
    )


def _quoted(word: str) -> str:
    # A word is letters and digits: nothing in it means anything to the server.
    return f"'{word}'"


def forget(connection: Driver, rows: Sequence[tuple[int, str]]) -> None:
    """The words of texts go with the texts."""


def wipe(connection: Driver) -> None:
    """What is removed goes when the server cleans up."""


# Adding 0 has the server look up the words first, whatever it knows of them: newest first, it would read all texts.
_MATCHES: Final = """
SELECT t.session_key, t.event_id, t.kind, t.field, t.row_id, t.turn_id, t.role, found.rank, t.text
FROM (SELECT text_id, rank FROM (
    SELECT i.text_id, -ts_rank(i.words, CAST(:match AS tsquery), 1) AS rank FROM search_index AS i {joined}
    WHERE i.words @@ CAST(:match AS tsquery) {where} ORDER BY i.text_id + 0 DESC LIMIT :ranked
  ) AS newest ORDER BY rank, text_id DESC LIMIT :hits) AS found
JOIN search_texts AS t ON t.text_id = found.text_id
ORDER BY found.rank, found.text_id DESC
"""


def find(
    connection: Driver, terms: Iterable[Term], values: dict[str, Any], where: str, span: tuple[int, int] | None
) -> list[tuple[Any, ...]]:
    """The texts that match, best first; `where`: conditions on the texts `s`; `span`: the first and last id."""
    joined = "JOIN search_texts AS s ON s.text_id = i.text_id" if where else ""
    if span is not None:
        where += " AND i.text_id BETWEEN :first AND :last"
        values |= {"first": span[0], "last": span[1]}
    phrases = phrases_of(terms)
    values["match"] = " & ".join(map(_matched, phrases))
    marks = (values["open"], values["close"])
    rows = connection.execute(_MATCHES.format(joined=joined, where=where), values)
    return [(*row, snippet(text, phrases, values["words"], marks, "…")) for *row, text in rows]


def _matched(phrase: Phrase) -> str:
    words = [_quoted(word) for word in phrase.words]
    if phrase.is_prefix:
        words[-1] += ":*"
    return f"({' <-> '.join(words)})"
