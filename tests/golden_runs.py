"""Runs recorded from another engine, with what it derived of them: found, replayed, compared."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import foldlog

HERE = Path(__file__).parent / "golden"
RECORDED = HERE.parents[2] / "shared" / "golden"
OWN = HERE / "runs"


def runs() -> Iterator[Any]:
    for path in sorted(OWN.glob("*.json")):
        yield pytest.param(path, id=f"own-{path.stem}")
    if not RECORDED.is_dir():
        absent = pytest.mark.skip(reason="the engine's recorded runs are not beside this checkout")
        yield pytest.param(None, id="recorded", marks=absent)
    for path in sorted(RECORDED.glob("*.json")):
        yield pytest.param(path, id=path.stem)


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def replay(store: foldlog.Store, run: dict[str, Any]) -> None:
    for recorded in run["sessions"]:
        parent = {"session_id": recorded["parent"]} if recorded["parent"] is not None else None
        session = store.start_session(id=recorded["id"], parent=parent, **recorded["start"])
        for event in recorded["events"][1:]:
            payload = {key: value for key, value in event.items() if key not in ("id", "type", "at")}
            emitted = session.emit(event["type"], **payload)
            assert emitted["id"] == event["id"]
        session.checkpoint()


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
