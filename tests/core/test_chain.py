"""The chain: exactly the documented bytes, and every part of an event in it."""

import hashlib

import pytest

from foldlog.core.chain import digest_of, first_chain, next_chain

AT = "2026-11-22T06:41:10.344131Z"


def test_the_chain_begins_with_the_sessions_id() -> None:
    assert first_chain("demo/child-0001") == hashlib.sha256(b"demo/child-0001").digest()


def test_a_digest_is_the_sha256_of_the_stored_json() -> None:
    assert digest_of(b'{"a":1}') == hashlib.sha256(b'{"a":1}').digest()


def test_a_link_is_made_of_the_documented_bytes() -> None:
    previous, digest = first_chain("demo"), digest_of(b"{}")
    link = previous + (258).to_bytes(8, "big") + (4).to_bytes(4, "big") + b"note" + AT.encode() + digest
    assert next_chain(previous, 258, "note", AT, digest) == hashlib.sha256(link).digest()


@pytest.mark.parametrize(
    "changed",
    [
        (first_chain("other"), 1, "note", AT, digest_of(b"{}")),
        (first_chain("demo"), 2, "note", AT, digest_of(b"{}")),
        (first_chain("demo"), 1, "nota", AT, digest_of(b"{}")),
        (first_chain("demo"), 1, "note", AT.replace("1Z", "2Z"), digest_of(b"{}")),
        (first_chain("demo"), 1, "note", AT, digest_of(b"[]")),
        (first_chain("demo"), 1, f"note{AT[:1]}", AT[1:], digest_of(b"{}")),
    ],
)
def test_each_part_of_an_event_is_in_its_link(changed: tuple[bytes, int, str, str, bytes]) -> None:
    assert next_chain(*changed) != next_chain(first_chain("demo"), 1, "note", AT, digest_of(b"{}"))
