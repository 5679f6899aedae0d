"""The words of a text as FTS5's tokenizer has them (`unicode61 remove_diacritics 2`), and snippets around some of them.

For an index that has no such tokenizer. Which texts there are is in `foldlog.core.searchable`, what people type is
read by `foldlog.core.match_text`.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from foldlog.core.match_text import Term

# Letters, digits, private characters; marks on letters belong to them.
_WORD: Final = re.compile("(?:[^\\W_]|[\u0300-\u036f\ue000-\uf8ff\U000f0000-\U0010fffd])+")
_DIACRITICS: Final = re.compile("[\u0300-\u036f]+")
# Of a word, so much tells it from others: an index has a limit on words.
WORD_CHARS_MAX: Final = 255
# A snippet is looked for around the first of so many places.
_PLACES_MAX: Final = 200


class Word(NamedTuple):
    """A word without case and marks, and where it stands in the text."""

    word: str
    start: int
    end: int


def words_in(text: str) -> Iterator[Word]:
    """The words of a text in order.

    >>> [word for word, _, _ in words_in("Un Café, snake_case")]
    ['un', 'cafe', 'snake', 'case']
    """
    for found in _WORD.finditer(text):
        word = folded(found[0])
        if word:
            yield Word(word, found.start(), found.end())


@lru_cache(maxsize=10_000)
def folded(word: str) -> str:
    """A word without case and marks."""
    if word.isascii():
        return word.lower()[:WORD_CHARS_MAX]
    bare = _DIACRITICS.sub("", unicodedata.normalize("NFD", word.casefold()))
    return unicodedata.normalize("NFC", bare)[:WORD_CHARS_MAX]


class Phrase(NamedTuple):
    """Words that follow each other; of the last one only the begin, where `is_prefix`."""

    words: tuple[str, ...]
    is_prefix: bool


def phrases_of(terms: Iterable[Term]) -> list[Phrase]:
    """What is searched for, in words; nothing of a term that has none."""
    found = (Phrase(tuple(word for word, _, _ in words_in(term.phrase)), term.is_prefix) for term in terms)
    return [phrase for phrase in found if phrase.words]


def snippet(text: str, phrases: Sequence[Phrase], words_max: int, marks: tuple[str, str], cut: str) -> str:
    """The surroundings of what was found, at most so many words: marks around it, `cut` where text is left out."""
    words = list(words_in(text))
    places = sorted(_places(words, phrases))
    first = _best(places, words_max)
    # What was found first stands in the middle, as far as there is text on both sides.
    inside = [(start, end) for start, end, _ in places if start >= first and end <= first + words_max]
    if inside:
        spare = words_max - (inside[-1][1] - first)
        first = max(0, min(first - spare // 2, len(words) - words_max))
        inside = [(start, end) for start, end, _ in places if start >= first and end <= first + words_max]
    last = min(first + words_max, len(words))
    at = words[first].start if first else 0
    found = [cut] if first else []
    for start, end in _joined(inside):
        found += [text[at : words[start].start], marks[0], text[words[start].start : words[end - 1].end], marks[1]]
        at = words[end - 1].end
    if last < len(words):
        return "".join([*found, text[at : words[last - 1].end], cut])
    return "".join([*found, text[at:]])


def _places(words: Sequence[Word], phrases: Sequence[Phrase]) -> Iterator[tuple[int, int, int]]:
    """From which word to before which one phrases stand, and which phrase."""
    at: dict[str, list[int]] = {}
    for number, (word, _, _) in enumerate(words):
        at.setdefault(word, []).append(number)
    for which, phrase in enumerate(phrases):
        size, first = len(phrase.words), phrase.words[0]
        if size == 1 and phrase.is_prefix:
            starts = sorted(number for word, numbers in at.items() if word.startswith(first) for number in numbers)
        else:
            starts = at.get(first, [])
        count = 0
        for start in starts:
            if count < _PLACES_MAX and _stands(words, start, phrase):
                count += 1
                yield start, start + size, which


def _stands(words: Sequence[Word], start: int, phrase: Phrase) -> bool:
    *whole, last = phrase.words
    end = start + len(whole)
    if end >= len(words) or any(words[start + at].word != word for at, word in enumerate(whole)):
        return False
    return words[end].word.startswith(last) if phrase.is_prefix else words[end].word == last


def _best(places: Sequence[tuple[int, int, int]], words_max: int) -> int:
    """The place from which most phrases are within reach."""
    best, count_max = 0, 0
    for at, (start, _, _) in enumerate(places):
        count = len({which for _, end, which in places[at : at + words_max] if end <= start + words_max})
        if count > count_max:
            best, count_max = start, count
    return best


def _joined(places: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Places without those that reach into one before."""
    found: list[tuple[int, int]] = []
    for start, end in places:
        if found and start < found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found
