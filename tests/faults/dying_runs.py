"""An upgrade and a deletion that die at each of their calls; a script, run with `faulty_disk.c` in front.

Each run is a forked process on a copy of a prepared store: it dies before its k-th call that changes a file (a
write, a sync, a size, a name), as by SIGKILL. Then the store is opened as whoever comes next opens it, and held
to what it had. A run in which nothing was left to die at is the last. Prints a line of JSON for each run.
"""

import json
import os
import random
import shutil
import sqlite3
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from faulty_disk import DIED, Disk, Kind

import foldlog

# What a store would import at its first use is here before the runs are forked.
from foldlog.outlets import deletion, verify  # noqa: F401
from foldlog.storage.schema import SCHEMA_NUMBER

_ALL = Kind.WRITE | Kind.SYNC | Kind.NAME | Kind.SIZE
Answer = dict[str, Any]


def upgrade(path: Path) -> None:
    foldlog.open(path).close()


def delete(path: Path) -> None:
    with foldlog.open(path) as store:
        store.delete_session("demo", reason="dies")


def answer(store: foldlog.Store, session_id: str) -> Any:
    """What is asked of a session before and after, as it is in JSON."""
    view = store.view(session_id)
    refs = [call["request_ref"] for call in view.calls.values() if "request_ref" in call]
    found = [
        [dict(event) for event in store.events(session_id)],
        view.document(),
        store.tree(session_id),
        store.usage(session_id),
        [_value(store, ref) for ref in refs],
    ]
    return json.loads(json.dumps(found))


def _value(store: foldlog.Store, ref: dict[str, Any]) -> Any:
    from foldlog.storage import blobs  # noqa: PLC0415

    return ref["value"] if "value" in ref else (blobs.read(store.database, ref["hash"]) or b"").decode()


def answers(path: Path) -> Answer:
    with foldlog.open(path, read_only=True) as store:
        assert store.verify().problems == []
        return {row["id"]: answer(store, row["id"]) for row in store.sessions()}


def after_upgrade(path: Path, right: Answer) -> str:
    """Hold a store to what it had; which schema it was left at."""
    connection = sqlite3.connect(path)
    number = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.close()
    assert number in (1, SCHEMA_NUMBER), number
    foldlog.open(path).close()
    assert answers(path) == right
    with foldlog.open(path) as store:
        store.open_session("demo").add_message("user", "go on")
    return "old" if number == 1 else "new"


def after_deletion(path: Path, right: Answer) -> str:
    """Hold a store to what it had, whole or without what was deleted; which of the two."""
    found = answers(path)
    kept = {name: one for name, one in right.items() if name.split("/")[0] != "demo"}
    assert found in (right, kept), sorted(found)
    with foldlog.open(path) as store:
        deletions = list(store.query("SELECT reason FROM deletions"))
        assert deletions == ([] if found == right else [{"reason": "dies"}])
        if found == right:
            store.delete_session("demo")
        store.start_session(id="demo").close()
    assert {name: one for name, one in answers(path).items() if name != "demo"} == kept
    return "whole" if found == right else "deleted"


KINDS: dict[str, tuple[Callable[[Path], None], Callable[[Path, Answer], str]]] = {
    "upgrade": (upgrade, after_upgrade),
    "delete": (delete, after_deletion),
}


def play(disk: Disk, kind: str, store: Path, place: Path, k: int, right: Answer) -> dict[str, Any]:
    """One run: die, then look."""
    place.mkdir()
    path = Path(shutil.copy(store, place / "history.db"))
    work, look = KINDS[kind]
    child = os.fork()
    if child == 0:
        status = 1
        try:
            disk.kill(int(_ALL), k)
            work(path)
            status = 0
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    found = {"kind": kind, "k": k, "died": status == DIED, "left": "", "problem": ""}
    try:
        assert status in (0, DIED), status
        found["left"] = look(path, right)
    except BaseException:  # noqa: BLE001  (whatever it is, it is to be told)
        found["problem"] = traceback.format_exc()[-2500:]
    shutil.rmtree(place)
    return found


def chosen(seed: int, count: int) -> Iterable[int]:
    """A few of the first calls, in any order, or all that there may be."""
    if not count:
        return range(1, 1_000_000)
    return random.Random(seed).sample(range(1, 200), count)


def main(kind: str, store: str, right: str, folder: str, seed: str, count: str) -> None:
    disk, wanted = Disk(), json.loads(Path(right).read_text())
    for k in chosen(int(seed), int(count)):
        found = play(disk, kind, Path(store), Path(folder) / "run", k, wanted)
        print(json.dumps(found), flush=True)
        if not (found["died"] or int(count)):
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
