"""What changes a whole store at once, an upgrade or a deletion: at any moment it is done or not begun.

Killed before each call that changes a file (`dying_runs.py`), and begun by several processes at once.
"""

import collections
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dying_runs
import pytest
from faulty_disk import build, quick_folder, start
from forks import Line, forked
from sizes import Size

import foldlog
from foldlog.storage import migrate
from foldlog.storage.schema import SCHEMA_NUMBER
from foldlog.storage.sqlite import probe
from old_stores import first_schema

PROCESSES = 4


def fill(path: Path) -> None:
    """Two sessions and a child; blobs that they share, and blobs of their own."""
    with foldlog.open(path, config=foldlog.Config(durability="normal")) as store:
        for name in ("kept", "demo"):
            with store.start_session(id=name) as session, session.turn() as turn:
                turn.message("user", name)
                for count in range(1, 12):
                    shared = [f"message {number} " * 60 for number in range(count)]
                    with turn.call("leaf", request_ref=session.value_ref([*shared, name * 400])) as call:
                        call.ok(usage={"input_tokens": count})
                with session.start_child(turn_id=turn.id) as child:
                    child.mark_final(name)


@pytest.fixture
def current(tmp_path: Path) -> Path:
    fill(tmp_path / "current.db")
    return tmp_path / "current.db"


@pytest.fixture
def old(tmp_path: Path, current: Path) -> Path:
    first_schema(tmp_path / "old.db", current)
    return tmp_path / "old.db"


@pytest.mark.parametrize("kind", dying_runs.KINDS)
def test_killed_at_any_call_it_is_done_or_not_begun(
    kind: str, tmp_path: Path, current: Path, old: Path, size: Size, seed: int, tell: Callable[[str], None]
) -> None:
    right = tmp_path / "right.json"
    right.write_text(json.dumps(dying_runs.answers(current)))
    count = size.rounds(quick=12, full=0)  # 0: every call there is
    with quick_folder(tmp_path) as folder:
        store = shutil.copy(old if kind == "upgrade" else current, folder / "store.db")
        process = start(build(tmp_path), folder, "dying_runs.py", kind, store, right, folder, seed, count)
        lines, errors = process.communicate(timeout=1800)
    assert process.returncode == 0, errors[-3000:]
    found: list[dict[str, Any]] = [json.loads(line) for line in lines.splitlines()]
    wrong = [run for run in found if run["problem"]]
    assert not wrong, f"{len(wrong)} of {len(found)} runs: {json.dumps(wrong[:3], indent=1)}\n{errors[-2000:]}"
    left = collections.Counter(run["left"] for run in found if run["died"])
    assert left, "nothing has died at all"
    tell(f"{kind}: {sum(left.values())} deaths, it was left {dict(left)}, 0 with a loss")


def test_several_processes_open_an_old_store_at_once(
    tmp_path: Path, current: Path, old: Path, size: Size, tell: Callable[[str], None]
) -> None:
    right = dying_runs.answers(current)

    def open_and_write(path: Path, number: int) -> Callable[[Line], None]:
        def work(line: Line) -> None:
            upgrades = []
            real = migrate.upgrade
            migrate.upgrade = lambda connection: (upgrades.append(1), real(connection))
            line.say("ready")
            line.hear()
            with foldlog.open(path) as store, store.start_session(id=f"p{number}") as session:
                for step in range(5):
                    session.emit("step", step=step)
            line.say(len(upgrades))

        return work

    rounds = size.rounds(quick=2, full=50)
    for _ in range(rounds):
        path = Path(shutil.copy(old, tmp_path / "round.db"))
        with forked(*(open_and_write(path, number) for number in range(PROCESSES))) as processes:
            for process in processes:
                assert process.hear() == "ready"
            for process in processes:
                process.say("go")
            for process in processes:
                process.check()
            assert sum(process.said[0] for process in processes) == 1, "one upgrades"
        assert probe(path) == SCHEMA_NUMBER
        found = dying_runs.answers(path)
        assert {name: found[name] for name in right} == right
        assert {name: len(found[name][0]) for name in found if name not in right} == {
            f"p{number}": 7 for number in range(PROCESSES)
        }
        for suffix in ("", "-wal", "-shm", "-marks"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        shutil.rmtree(f"{path}-leases")
    tell(f"{rounds} times {PROCESSES} processes: each wrote, one of them upgraded")
