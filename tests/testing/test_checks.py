"""The checks of stores and sessions: nothing to say of a good one, and a word for each thing that is wrong."""

from typing import Any

import pytest

import foldlog
from foldlog.testing import check_session, check_store


@pytest.fixture
def session(store: foldlog.Store) -> foldlog.Session:
    session = store.start_session(id="demo")
    with session.turn() as turn:
        turn.message("user", "a secret")
        with session.start_child(turn_id=turn.id) as child:
            child.add_call("leaf", usage={"input_tokens": 3}, cost={"usd": 0.5})
        turn.final({"answer": 42})
    session.mark_final({"answer": 42})
    return session


def test_a_good_store_has_nothing_wrong_before_and_after_a_checkpoint(session: foldlog.Session) -> None:
    check_store(session.store)
    session.checkpoint()
    check_store(session.store)
    session.mark_error(ValueError("no"))
    check_store(session.store)


def fake(store: foldlog.Store, monkeypatch: pytest.MonkeyPatch, verb: str, change: Any) -> None:
    """Make one of the store's verbs answer something else."""
    right = getattr(store, verb)
    monkeypatch.setattr(store, verb, lambda *args, **kwargs: change(right(*args, **kwargs)))


def without_last(events: Any) -> list[Any]:
    return list(events)[:-1]


def without_second(events: Any) -> list[Any]:
    return [event for event in events if event["id"] != 2]


def with_old_last(events: Any) -> list[Any]:
    found = [dict(event) for event in events]
    return [*found[:-1], {**found[-1], "at": "2000-01-01T00:00:00.000000Z"}]


def one_more(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "status": "other"}


@pytest.mark.parametrize(
    ("verb", "change", "word"),
    [
        ("events", without_last, "the view, and the fold"),
        ("events", without_second, "gaps"),
        ("events", with_old_last, "time goes back"),
        ("usage", one_more, "usage"),
        ("tree", one_more, "tree"),
        ("final", lambda document: {**document, "turn_count": 7}, "final"),
    ],
)
def test_what_is_wrong_is_named_and_not_printed(
    session: foldlog.Session, monkeypatch: pytest.MonkeyPatch, verb: str, change: Any, word: str
) -> None:
    fake(session.store, monkeypatch, verb, change)
    with pytest.raises(AssertionError, match=word) as caught:
        check_session(session.store, "demo")
    assert "secret" not in str(caught.value)


def test_what_verify_finds_is_told(session: foldlog.Session) -> None:
    session.checkpoint()
    with session.store.database.write() as connection:
        connection.execute("UPDATE messages SET role = 'other'")
    with pytest.raises(AssertionError, match="messages differs"):
        check_store(session.store)
