"""Which texts an event brings, and what of a value is text."""

import datetime as dt
from typing import Any

import pytest

from foldlog.core import limits
from foldlog.core.refs import Ref
from foldlog.core.searchable import TYPES, flatten, texts_of

REF = Ref({"kind": "blob", "hash": "sha256:" + "0" * 64, "bytes": 9000})


def said(event_type: str, event: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(text.field, text.kind, text.row_id, text.turn_id, text.role) for text in texts_of(event_type, event)]


@pytest.mark.parametrize(
    ("event_type", "event", "expected"),
    [
        (
            "message.added",
            {"message": {"id": 1, "role": "user", "content": "x", "turn_id": 2}},
            [("message.content", "message", 1, 2, "user")],
        ),
        (
            "eval.added",
            {"eval": {"id": 3, "turn_id": 1, "code": "x", "stdout": "a", "stderr": "b", "error": {"message": "c"}}},
            [
                ("eval.code", "code", 3, 1, None),
                ("eval.stdout", "output", 3, 1, None),
                ("eval.stderr", "output", 3, 1, None),
                ("eval.error", "error", 3, 1, None),
            ],
        ),
        (
            "call.started",
            {"call": {"id": 4, "query": "x", "request_ref": "y", "turn_id": 1}},
            [("call.query", "query", 4, 1, None)],
        ),
        (
            "call.updated",
            {"call_id": 4, "changes": {"result_ref": "x", "final_ref": "x", "status": "ok"}},
            [("call.result_ref", "result", 4, None, None), ("call.final_ref", "result", 4, None, None)],
        ),
        ("turn.updated", {"turn_id": 4, "changes": {"error": "x"}}, [("turn.error", "error", 4, 4, None)]),
        ("session.final", {"value_ref": "x"}, [("session.final", "final", None, None, None)]),
        ("session.error", {"error": "x"}, [("session.error", "error", None, None, None)]),
        (
            "session.restored",
            {"messages": [{"id": 1, "role": "user", "content": "x"}, "odd"]},
            [("message.content", "message", 1, None, "user")],
        ),
        ("note", {"text": "x"}, []),
        ("message.added", {"message": "odd"}, []),
        ("message.added", {}, []),
        ("call.updated", {"call_id": 1, "changes": None}, []),
        ("message.added", {"message": {"id": [1], "role": {}, "content": "x"}}, [
            ("message.content", "message", None, None, None),
        ]),
    ],
)  # fmt: skip
def test_texts_of_an_event(event_type: str, event: dict[str, Any], expected: list[Any]) -> None:
    assert said(event_type, event) == expected
    assert not expected or event_type in TYPES


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        (None, ""),
        (
            [{"type": "text", "text": "a"}, {"type": "tool_use", "name": "grep", "input": {"pattern": "b"}}],
            "a\ngrep\nb",
        ),
        ({"type": "ValueError", "message": "no"}, "ValueError\nno"),
        ({"kind": "inline", "value": ["x", 5, True, 1.5]}, "x\n5"),
        ({"type": "base64", "media_type": "image/png", "data": "QUJD"}, "image/png"),
        ("data:image/png;base64,QUJD", ""),
        ("a\x02b\x03\r\n\tc", "a b  \n\tc"),
        (dt.date(2026, 11, 22), "2026-11-22"),
        ({"b", "a"}, "a\nb"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("x\ud800", "x?"),
        ({"ref": REF}, "behind"),
    ],
)
def test_text_of_a_value(value: Any, text: str) -> None:
    assert flatten(value, lambda _: {"kind": "inline", "value": "behind"}) == text


def test_text_is_cut_and_huge_values_are_not_read() -> None:
    most = limits.SEARCH_TEXT_CHARS_MAX
    assert flatten(["a" * (most - 2), "bcd"], lambda _: None) == "a" * (most - 2) + "\nb"
    assert len(flatten("a" * most * 2, lambda _: None)) == most
    read: list[Ref] = []
    assert flatten(Ref({**REF, "bytes": limits.SEARCH_BLOB_BYTES_MAX + 1}), read.append) == ""
    assert read == []


def test_references_that_lead_into_each_other_end() -> None:
    assert flatten(REF, lambda ref: ["x", ref]) == "x\nx\nx"
