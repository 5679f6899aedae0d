"""Random damage to the bytes of a store: every answer is right, or an error, or verify says what is wrong.

Each round damages a copy and asks it everything, in a process of its own, so that a crash or a hang is a
failure of that round and not of the tests.
"""

import hashlib
import os
import random
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from answers import Answers, answers, fill, text_of
from forks import Line, forked
from sizes import Size

import foldlog
from damaged_stores import DAMAGES, PAGE_BYTES


def ask(path: Path, session_ids: list[str], right: Answers, line: Line) -> None:
    """One round: ask everything read-only, verify, then try to write; say what was found."""
    try:
        with foldlog.open(path, read_only=True) as store:
            found = answers(store, session_ids, path.parent / "files")
            report = store.verify()
            quick = store.verify(deep=False)
        line.say({
            "wrong": [name for name, answer in found.items() if answer is not None and answer != right[name]][:12],
            "refused": [name for name, answer in found.items() if answer is None][:12],
            "problems": [[one.position, one.session, one.what[:100]] for one in report.problems[:12]],
            "quick": len(quick.problems),
        })  # fmt: skip
    except foldlog.FoldlogError as error:
        line.say({"unopened": type(error).__name__})
    try:
        with foldlog.open(path) as store:
            for session_id in session_ids[:2]:
                store.open_session(session_id).add_message("user", "go on")
    except foldlog.FoldlogError as error:
        assert error.hint  # noqa: PT017  (either is right: what matters is that it ends so)


def play(work: Callable[[Line], None]) -> dict[str, Any]:
    """What one round said; how it failed, if it crashed, hung or raised what is no FoldlogError."""
    with forked(work) as [process]:
        try:
            process.check()
        except AssertionError as error:
            return {"failed": str(error)}
        found: dict[str, Any] = process.said[0]
        return found


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: what is tried here is bytes, and each round writes many files."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as found:
        yield Path(found)


@pytest.fixture
def whole(folder: Path) -> tuple[Path, list[str], Answers]:
    """A store that is well, the ids of its sessions, and its answers."""
    path = folder / "whole" / "history.db"
    path.parent.mkdir()
    with foldlog.open(path, config=foldlog.Config(durability="normal")) as store:
        fill(store)
        session_ids = [row["id"] for row in store.sessions()]
    with foldlog.open(path, read_only=True) as store:
        right = answers(store, session_ids, folder / "files")
        assert None not in right.values()
        assert store.verify().problems == []
    return path, session_ids, right


def test_no_damage_to_the_database_goes_unsaid(
    folder: Path, whole: tuple[Path, list[str], Answers], size: Size, seed: int, tell: Callable[[str], None]
) -> None:
    source, session_ids, right = whole
    original = source.read_bytes()
    counts = {"unopened": 0, "reported": 0, "no harm": 0}
    failures: list[str] = []
    for number in range(size.rounds(quick=30, full=2000)):
        chance = random.Random(f"{seed} {number}")
        damage = chance.choice(DAMAGES)
        data = bytearray(original)
        damage(data, chance)
        path = folder / "round" / "history.db"
        path.parent.mkdir()
        path.write_bytes(data)
        found = play(lambda line, path=path: ask(path, session_ids, right, line))
        shutil.rmtree(path.parent)
        if "unopened" in found:
            counts["unopened"] += 1
        elif "failed" in found or is_silent(found) or has_no_position(found):
            failures.append(f"round {number}, {damage.__name__}: {found}")
        else:
            counts["reported" if found["problems"] else "no harm"] += 1
    tell(f"{number + 1} rounds: {counts}, failures {len(failures)}")
    assert not failures, "\n".join(failures)


def is_silent(found: dict[str, Any]) -> bool:
    """Whether something was not right and verify had nothing to say."""
    return not found["problems"] and bool(found["wrong"] or found["refused"])


def has_no_position(found: dict[str, Any]) -> bool:
    """Whether events were not right, SQLite found the file in order, and no problem names the event's position."""
    told = any(position is not None or what.startswith("SQLite") for position, _, what in found["problems"])
    return not told and any(name.startswith(("events", "feed")) for name in (*found["wrong"], *found["refused"]))


def test_damage_to_the_log_leaves_a_clean_prefix(
    folder: Path, size: Size, seed: int, tell: Callable[[str], None]
) -> None:
    path = folder / "killed" / "history.db"
    path.parent.mkdir()

    def write(line: Line) -> None:
        store = foldlog.open(path)
        fill(store)
        store.start_session(id="last").add_message("user", "hello")
        line.say("written")
        line.hear()

    with forked(write) as [writer]:
        assert writer.hear() == "written"
        writer.kill()
        assert writer.join() == -signal.SIGKILL
    database, log = path.read_bytes(), Path(f"{path}-wal").read_bytes()
    assert len(log) > 50 * PAGE_BYTES
    with foldlog.open(place(folder / "right", database, log)) as store:
        feed = list(store.events())
    counts = {"whole": 0, "prefix": 0, "reported": 0, "unopened": 0}
    failures: list[str] = []
    for number in range(size.rounds(quick=20, full=1000)):
        chance = random.Random(f"{seed} {number}")
        damage = chance.choice(DAMAGES)
        data = bytearray(log)
        damage(data, chance)
        damaged = place(folder / "round", database, bytes(data))
        found = play(lambda line, damaged=damaged: ask_for_events(damaged, line))
        shutil.rmtree(damaged.parent)
        if "failed" in found:
            failures.append(f"round {number}, {damage.__name__}: {found}")
        elif "unopened" in found or found["problems"]:
            counts["unopened" if "unopened" in found else "reported"] += 1
        else:
            kept = feed[: found["count"]]
            counts["whole" if len(kept) == len(feed) else "prefix"] += 1
            if found["feed"] != digest_of(kept):
                failures.append(f"round {number}, {damage.__name__}: no prefix of what was written")
    tell(f"{number + 1} rounds: {counts}, failures {len(failures)}")
    assert not failures, "\n".join(failures)


def place(folder: Path, database: bytes, log: bytes) -> Path:
    """A store whose writer died: its database and its write-ahead log, in a folder of their own."""
    folder.mkdir()
    path = folder / "history.db"
    path.write_bytes(database)
    Path(f"{path}-wal").write_bytes(log)
    return path


def ask_for_events(path: Path, line: Line) -> None:
    """One round: read, verify, and go on with every session."""
    try:
        with foldlog.open(path) as store:
            feed = list(store.events())
            report = store.verify()
            line.say({
                "count": len(feed), "feed": digest_of(feed), "problems": [one.what[:100] for one in report.problems[:9]]
            })  # fmt: skip
            for row in list(store.sessions()):
                assert store.view(row["id"]) == foldlog.fold(store.events(row["id"]))
                if "/" not in row["id"]:
                    store.open_session(row["id"]).add_message("user", "go on")
            assert report.problems or store.verify().problems == []
    except foldlog.FoldlogError as error:
        line.say({"unopened": type(error).__name__})


def digest_of(feed: list[Any]) -> str:
    return hashlib.sha256(text_of([dict(event) for event in feed]).encode()).hexdigest()
