"""Recorded runs of the engine foldlog's artifact layer comes from: ours must be equal, however it is read."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import foldlog
from foldlog.core.documents import final_document, node_of
from view_checks import assert_views_agree

HERE = Path(__file__).parent
RECORDED = HERE.parents[2] / "shared" / "golden"
OWN = HERE / "runs"
KINDS = ("messages", "turns", "evals", "calls", "snapshots")


def runs() -> Iterator[Any]:
    for path in sorted(OWN.glob("*.json")):
        yield pytest.param(path, id=f"own-{path.stem}")
    if not RECORDED.is_dir():
        absent = pytest.mark.skip(reason="the engine's recorded runs are not beside this checkout")
        yield pytest.param(None, id="recorded", marks=absent)
    for path in sorted(RECORDED.glob("*.json")):
        yield pytest.param(path, id=path.stem)


@pytest.fixture(params=runs())
def run(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(request.param.read_text())
    return found


def assert_equal(ours: Any, theirs: Any, path: str = "$") -> None:
    """Equal, of equal types; floats to within rounding, because the engine adds them left to right."""
    assert type(ours) is type(theirs) or {type(ours), type(theirs)} <= {dict, foldlog.core.refs.Ref}, path
    if isinstance(theirs, dict):
        assert set(ours) == set(theirs), path
        for key in theirs:
            assert_equal(ours[key], theirs[key], f"{path}.{key}")
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs), path
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_equal(one, other, f"{path}[{index}]")
    elif isinstance(theirs, float):
        assert math.isclose(ours, theirs, rel_tol=1e-15, abs_tol=0), path
    else:
        assert ours == theirs, path


def assert_view(view: foldlog.View, theirs: dict[str, Any]) -> None:
    for kind in KINDS:
        assert_equal(list(getattr(view, kind).values()), theirs[kind], kind)
    assert_equal(view.final_ref, theirs["final_ref"], "final_ref")
    assert_equal(view.error, theirs["error"], "error")
    assert_equal(view.counters, theirs["counters"], "counters")
    session = view.session | {"ended": view.session["ended_at"] is not None}
    assert_equal({key: session.get(key) for key in theirs["session"]}, theirs["session"], "session")


def replay(store: foldlog.Store, run: dict[str, Any]) -> None:
    for recorded in run["sessions"]:
        parent = {"session_id": recorded["parent"]} if recorded["parent"] is not None else None
        session = store.start_session(id=recorded["id"], parent=parent, **recorded["start"])
        for event in recorded["events"][1:]:
            payload = {key: value for key, value in event.items() if key not in ("id", "type", "at")}
            emitted = session.emit(event["type"], **payload)
            assert emitted["id"] == event["id"]
        session.checkpoint()


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
