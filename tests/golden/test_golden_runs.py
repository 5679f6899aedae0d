"""Recorded runs of the engine foldlog's artifact layer comes from: ours must be equal, however it is read."""

import json
from pathlib import Path
from typing import Any

import pytest

import foldlog
from foldlog.core.documents import final_document, node_of
from golden_runs import assert_equal, read, replay, runs
from view_checks import assert_views_agree

KINDS = ("messages", "turns", "evals", "calls", "snapshots")


@pytest.fixture(params=runs())
def run(request: pytest.FixtureRequest) -> dict[str, Any]:
    return read(request.param)


def assert_view(view: foldlog.View, theirs: dict[str, Any]) -> None:
    for kind in KINDS:
        assert_equal(list(getattr(view, kind).values()), theirs[kind], kind)
    assert_equal(view.final_ref, theirs["final_ref"], "final_ref")
    assert_equal(view.error, theirs["error"], "error")
    assert_equal(view.counters, theirs["counters"], "counters")
    session = view.session | {"ended": view.session["ended_at"] is not None}
    assert_equal({key: session.get(key) for key in theirs["session"]}, theirs["session"], "session")


def assert_documents(store: foldlog.Store, run: dict[str, Any]) -> None:
    for recorded in run["sessions"]:
        for name in ("usage", "final", "tree"):
            assert_equal(getattr(store, name)(recorded["id"]), recorded[name], f"{recorded['id']} {name}")


def test_live(store: foldlog.Store, run: dict[str, Any]) -> None:
    replay(store, run)
    for recorded in run["sessions"]:
        assert_view(store.view(recorded["id"]), recorded["view"])
    assert_documents(store, run)
    assert store.verify().problems == []


def test_tables_after_reopening(path: Path, config: foldlog.Config, run: dict[str, Any]) -> None:
    with foldlog.open(path, config=config) as store:
        replay(store, run)
    with foldlog.open(path, read_only=True) as store:
        for recorded in run["sessions"]:
            assert_view(store.view(recorded["id"]), recorded["view"])
        assert_documents(store, run)


def test_the_sql_views_say_the_same(store: foldlog.Store, run: dict[str, Any]) -> None:
    replay(store, run)
    # A recorded child's row names its parent; the calls that lead to it are what the views go by.
    assert_views_agree(store)


def test_opened_for_writing_again(path: Path, config: foldlog.Config, run: dict[str, Any]) -> None:
    with foldlog.open(path, config=config) as store:
        replay(store, run)
    with foldlog.open(path, config=config) as store:
        for recorded in run["sessions"]:
            session = store.open_session(recorded["id"])
            assert_view(session.view, recorded["view"])
            assert_equal(session.usage(), recorded["usage"])
            assert session.add_event("still.going") == recorded["view"]["counters"]["event"] + 1


def test_without_a_checkpoint(path: Path, config: foldlog.Config, run: dict[str, Any]) -> None:
    """The tables stand at event 1 and everything comes from the events after them."""
    with foldlog.open(path, config=config) as store:
        sessions = []
        for recorded in run["sessions"]:
            parent = {"session_id": recorded["parent"]} if recorded["parent"] is not None else None
            session = store.start_session(id=recorded["id"], parent=parent, **recorded["start"])
            for event in recorded["events"][1:]:
                session.emit(event["type"], **{k: v for k, v in event.items() if k not in ("id", "type", "at")})
            sessions.append(session)
        with foldlog.open(path, read_only=True) as other:
            for recorded in run["sessions"]:
                assert_view(other.view(recorded["id"]), recorded["view"])
            assert_documents(other, run)


def test_files(tmp_path: Path, store: foldlog.Store, run: dict[str, Any]) -> None:
    replay(store, run)
    store.export(tmp_path / "files")
    for recorded in run["sessions"]:
        root, *below = recorded["id"].split("/")
        folder = tmp_path / "files" / root
        for name in below:
            folder = folder / "children" / name
        for kind in KINDS:
            rows = [json.loads(line) for line in (folder / f"{kind}.jsonl").read_text().splitlines()]
            assert_equal(rows, recorded["view"][kind], kind)
        for name in ("usage", "final", "tree"):
            assert_equal(json.loads((folder / f"{name}.json").read_text()), recorded[name], name)


def test_files_written_by_checkpoints(tmp_path: Path, path: Path, run: dict[str, Any]) -> None:
    """Parents checkpoint before their children have even started, and are right all the same."""
    folder = tmp_path / "files"
    with foldlog.open(path, config=foldlog.Config(durability="normal", export_dir=folder)) as store:
        replay(store, run)
        for recorded in run["sessions"]:
            if recorded["parent"] is None:
                for name in ("usage", "final", "tree"):
                    found = json.loads((folder / recorded["id"] / f"{name}.json").read_text())
                    assert_equal(found, recorded[name], name)


def test_plain_fold(store: foldlog.Store, run: dict[str, Any]) -> None:
    replay(store, run)
    views = {recorded["id"]: foldlog.fold(store.events(recorded["id"])) for recorded in run["sessions"]}
    for recorded in run["sessions"]:
        view = views[recorded["id"]]
        assert_view(view, recorded["view"])
        usage = foldlog.derive_usage(view, views)
        assert_equal(usage, recorded["usage"])
        assert_equal(foldlog.derive_tree(view, views), recorded["tree"])
        assert_equal(final_document(node_of(view), usage), recorded["final"])


def test_documents_from_documents(run: dict[str, Any]) -> None:
    """Children given as their recorded documents give the recorded documents of the parent."""
    children = {recorded["id"]: recorded for recorded in run["sessions"]}
    for recorded in run["sessions"]:
        started, *others = recorded["events"]
        started = started | {"session": started["session"] | {"id": recorded["id"]}}
        view = foldlog.fold([started, *others])
        given = {key: {name: found[name] for name in ("usage", "final", "tree")} for key, found in children.items()}
        assert_equal(foldlog.derive_usage(view, given), recorded["usage"])


def test_every_prefix_folds(run: dict[str, Any]) -> None:
    for recorded in run["sessions"]:
        view = foldlog.View()
        for event in recorded["events"]:
            view = foldlog.apply(view, event)
            assert view.counters["event"] == event["id"]
