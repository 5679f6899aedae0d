"""The demo's reader: what it says of a file is what is in it."""

import pytest

from foldlog.cli import demo_reader
from foldlog.cli.demo_reader import Source


def source(path: str, data: bytes, byte_count: int | None = None) -> Source:
    return Source(path, len(data) if byte_count is None else byte_count, data)


def test_python_is_parsed() -> None:
    data = b'''
"""First line.

More.
"""
import os, sys.path
from collections.abc import Mapping
from . import sibling


class Thing:
    def one(self): ...
    async def two(self): ...


async def run():
    import json
'''
    answer = demo_reader.read(source("a.py", data))
    assert (answer.kind, answer.summary) == ("python", "First line.")
    assert answer.imports == ["collections", "json", "os", "sys"]
    assert answer.definitions == [
        {"name": "Thing", "kind": "class", "line": 11, "methods": ["one", "two"]},
        {"name": "run", "kind": "function", "line": 16},
    ]
    assert answer.line_count == 17
    assert answer.note is None


def test_text_gives_its_first_line_that_says_something() -> None:
    answer = demo_reader.read(source("a.md", b"\n\n  # Title  \nmore words here\n"))
    assert (answer.kind, answer.summary, answer.word_count) == ("text", "# Title", 5)


@pytest.mark.parametrize(
    "data",
    [b"def (\n", b"(" * 5000, b"x = " + b"-" * 100_000 + b"1\n", b"\xff\xfe\xfd", b"# coding: nonsense\n"],
    ids=["syntax", "brackets", "nested", "bytes", "coding"],
)
def test_python_that_does_not_parse_is_text(data: bytes) -> None:
    answer = demo_reader.read(source("a.py", data))
    assert answer.kind == "text"
    assert (answer.note or "").startswith("not parsed (")
    assert answer.definitions == []


def test_a_coding_line_is_known() -> None:
    data = "# -*- coding: latin-1 -*-\n'''\u00e9t\u00e9'''\n".encode("latin-1")
    assert demo_reader.read(source("a.py", data)).summary == "\u00e9t\u00e9"


def test_a_docstring_with_a_lone_surrogate_is_a_text_that_json_carries() -> None:
    answer = demo_reader.read(source("a.py", b"'''a \\udc80 b'''\n"))
    assert answer.kind == "python"
    assert answer.summary == "a ? b"


def test_binary_and_empty_files() -> None:
    binary = source("a.dat", b"ab\0cd")
    assert demo_reader.read(binary).kind == "binary"
    assert demo_reader.prompt_for(binary)[1]["content"] == "a.dat (5 bytes)\n\n(binary, 5 bytes)"
    empty = demo_reader.read(source("a.py", b""))
    assert (empty.kind, empty.summary, empty.line_count) == ("python", "", 0)


def test_a_part_of_a_large_file_is_said_to_be_one() -> None:
    answer = demo_reader.read(source("a.py", b"import os\n", byte_count=5000))
    assert (answer.kind, answer.imports) == ("text", [])
    assert answer.note == "the first 10 of 5,000 bytes"


def test_tokens_are_the_words_of_the_prompt_and_the_answer() -> None:
    given = source("a.py", b'"""Two words."""\nimport os\n')
    prompt, answer = demo_reader.prompt_for(given), demo_reader.read(given)
    usage = demo_reader.usage_of(prompt, answer)
    assert usage["input_tokens"] == sum(len(message["content"].split()) for message in prompt)
    assert usage["output_tokens"] == 4  # python Two words. os
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
