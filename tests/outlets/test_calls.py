"""Calls as rows and what they used: as of now for one session, as the tables say for all."""

from pathlib import Path
from typing import Any

import pytest

import foldlog
from foldlog.outlets import calls

USED = {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.db"


def known(session: foldlog.Session, **fields: Any) -> None:
    session.add_call("leaf", model="m", usage=USED, cost={"usd": 0.1}, status="ok", **fields)


def test_lagging_sessions_are_read_from_their_journal(path: Path) -> None:
    with foldlog.open(path) as store, store.start_session(id="live") as session:
        known(session)
        session.checkpoint()
        known(session)
        with foldlog.open(path, read_only=True) as reader:
            assert calls.lagging(reader) == ["live"]
            assert [row["id"] for row in calls.read(reader, "live")] == [1, 2]
            assert [row["id"] for row in calls.read(reader)] == [1]
            tables = next(calls.read(reader))
            folded = next(calls.read(reader, "live"))
            assert tables == folded
            assert tuple(tables) == calls.COLUMNS
            assert [row["id"] for row in calls.read(reader, "live", {"status": ("error",)})] == []


def test_a_missing_child_makes_the_sum_partial(path: Path) -> None:
    with foldlog.open(path) as store:
        with store.start_session(id="top") as session:
            known(session)
            with session.start_child() as child:
                known(child)
        store.delete_session("top/child-0001")
        assert calls.below(store, "top") == ["top"]
        (first, missing) = calls.by_tree(store, "top")
        assert (first["total_tokens"], first["status"]) == (12, "partial")
        assert (missing["depth"], missing["call_count"], missing["status"]) == (1, None, "unknown")
        (listed,) = calls.by_tree(store)
        assert listed == first


def test_a_child_that_stands_elsewhere_is_counted_once(path: Path) -> None:
    with foldlog.open(path) as store:
        with store.start_session(id="elsewhere") as other:
            known(other)
        with store.start_session(id="top") as session:
            known(session)
            for _ in range(2):
                session.add_call("child", child_session_id="elsewhere", status="final")
        assert calls.below(store, "top") == ["top", "elsewhere"]
        document = calls.usage_documents(store, ["top"])("top")
        assert document is not None
        assert calls.measures_of(document) == calls.measures_of(store.usage("top"))
        assert calls.measures_of(document)["total_tokens"] == 24
        assert sum(row["total_tokens"] for row in calls.by_session(store, "top")) == 24
        assert calls.usage_documents(store)("nobody") is None


def test_sums_are_exact_whatever_the_order(path: Path) -> None:
    with (
        foldlog.open(path, config=foldlog.Config(durability="normal")) as store,
        store.start_session(id="s") as session,
    ):
        with session.batch():
            for usd in (1e16, 1.0, -1e16, 0.1):
                session.add_call("leaf", model="m", cost={"usd": usd}, status="ok")
        session.checkpoint()
        (by_model,) = calls.by_model(store, "s")
        assert by_model["usd"] == store.usage("s")["cost"]["leaf"]["usd"]["known"] == 1.1
        assert (by_model["total_tokens"], by_model["status"], by_model["usd_status"]) == (None, "unknown", "known")


@pytest.mark.parametrize("by", calls.BY)
def test_an_empty_store_has_nothing(path: Path, by: str) -> None:
    with foldlog.open(path) as store:
        assert list(calls.BY[by](store)) == []


def test_more_trees_than_a_statement_takes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_ROOTS_MAX", 1)
    with foldlog.open(path) as store:
        for name in ("a", "b"):
            with store.start_session(id=name) as session:
                known(session)
        documents = calls.usage_documents(store, ["a", "b"])
        for name in ("a", "b"):
            document = documents(name)
            assert document is not None
            assert calls.measures_of(document)["total_tokens"] == 12
