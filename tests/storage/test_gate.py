"""The gate: one writer at a time, for as long as it lives, and nobody waits for ever."""

import errno
import fcntl
import gc
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from foldlog.core.errors import StoreBusyError, StoreError
from foldlog.storage import event_feed, journal, migrate
from foldlog.storage.gate import Gate
from foldlog.storage.sqlite import SqliteDatabase as Database
from foldlog.storage.sqlite import create

pytestmark = pytest.mark.sqlite("the gate of its commits")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "history.db-leases"


@pytest.fixture
def new_gate(folder: Path) -> Iterator[Callable[..., Gate]]:
    opened: list[Gate] = []

    def make(wait_s: float = 30.0) -> Gate:
        opened.append(Gate(folder, threading.RLock(), wait_s))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def is_free(path: Path) -> bool:
    """Whether a stranger would get the lock on a file."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


# Holding.


def test_it_is_held_until_the_outermost_block_ends(new_gate: Callable[..., Gate]) -> None:
    gate = new_gate()
    with gate.held():
        with gate.held():
            assert not is_free(gate.path)
        assert not is_free(gate.path)
    assert is_free(gate.path)


@pytest.mark.parametrize("error", [StoreError("no", hint="no"), KeyboardInterrupt()])
def test_an_error_lets_go_of_it(new_gate: Callable[..., Gate], error: BaseException) -> None:
    gate = new_gate()
    with pytest.raises(type(error)), gate.held():
        raise error
    assert is_free(gate.path)
    with gate.held():
        assert not is_free(gate.path)


def test_two_handles_of_one_process_exclude_each_other(new_gate: Callable[..., Gate]) -> None:
    first, second = new_gate(), new_gate()
    waiting, order = threading.Event(), list[str]()

    def wait() -> None:
        waiting.set()
        with second.held():
            order.append("second")

    other = threading.Thread(target=wait)
    with first.held():
        other.start()
        waiting.wait()
        order.append("first")
    other.join(60)
    assert order == ["first", "second"]


def test_who_waits_is_told_who_holds_it_and_what_to_do(new_gate: Callable[..., Gate]) -> None:
    holder, gate = new_gate(), new_gate(wait_s=0.02)
    with holder.held():
        with pytest.raises(StoreBusyError, match="writing for longer than") as caught, gate.held():
            raise AssertionError
        if Path("/proc/locks").exists():
            assert f"process {os.getpid()} " in caught.value.message
        assert "kill -CONT" in caught.value.hint
    assert is_free(gate.path.with_name("line"))
    with gate.held():
        pass


def test_who_comes_later_waits_behind_whoever_stands_in_line(new_gate: Callable[..., Gate]) -> None:
    gate = new_gate(wait_s=0.02)
    first = os.open(gate.path.with_name("line"), os.O_RDWR)
    fcntl.flock(first, fcntl.LOCK_EX)
    assert is_free(gate.path)
    with pytest.raises(StoreBusyError), gate.held():
        raise AssertionError
    os.close(first)
    with gate.held():
        pass


# Its files.


def test_nobody_else_may_look_at_its_files(new_gate: Callable[..., Gate], folder: Path) -> None:
    mask = os.umask(0)
    try:
        gate = new_gate()
    finally:
        os.umask(mask)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {one.name: one.stat().st_mode & 0o777 for one in folder.iterdir()} == {"gate": 0o600, "line": 0o600}
    assert not os.get_inheritable(gate.descriptor)


@pytest.mark.parametrize("name", ["gate", "line"])
def test_a_symlink_in_the_way_is_refused_and_not_followed(folder: Path, tmp_path: Path, name: str) -> None:
    folder.mkdir()
    target = tmp_path / "target"
    target.write_text("precious")
    target.chmod(0o644)
    (folder / name).symlink_to(target)
    with pytest.raises(StoreError, match="gate") as caught:
        Gate(folder, threading.RLock(), 1.0)
    assert "read-only" in caught.value.hint
    assert target.read_text() == "precious"
    assert target.stat().st_mode & 0o777 == 0o644


def test_a_folder_that_cannot_be_made_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="gate"):
        Gate(tmp_path / "file" / "leases", threading.RLock(), 1.0)


def test_a_lock_that_fails_is_our_error(new_gate: Callable[..., Gate], monkeypatch: pytest.MonkeyPatch) -> None:
    gate = new_gate()

    def fail(descriptor: int, operation: int) -> None:
        if operation != fcntl.LOCK_UN:
            raise OSError(errno.ENOLCK, "No locks available")

    with monkeypatch.context() as patched:
        patched.setattr("foldlog.storage.gate.flock", fail)
        with pytest.raises(StoreError, match="cannot be locked"), gate.held():
            raise AssertionError
    with gate.held():
        assert not is_free(gate.path)


def test_a_reader_makes_and_locks_nothing(new_database: Callable[..., Database], path: Path, line: Any) -> None:
    writer = new_database()
    journal.append(writer, [line.next()])
    writer.close()
    beside = path.with_name(f"{path.name}-leases")
    for one in (*beside.iterdir(), path.with_name(f"{path.name}-marks")):
        one.unlink()
    beside.rmdir()
    reader = new_database(read_only=True)
    assert len(list(event_feed.read_feed(reader))) == 1
    reader.close()
    assert not beside.exists()
    assert not path.with_name(f"{path.name}-marks").exists()


def test_a_reader_does_not_wait_for_who_holds_it(
    new_database: Callable[..., Database], new_gate: Callable[..., Gate], line: Any
) -> None:
    journal.append(new_database(), [line.next()])
    with new_gate().held():
        assert len(list(event_feed.read_feed(new_database(read_only=True)))) == 1


def test_a_handle_that_is_not_let_in_closes_all_the_same(
    new_database: Callable[..., Database], new_gate: Callable[..., Gate], line: Any
) -> None:
    database, other = new_database(), new_database()
    journal.append(database, [line.next()])
    database._gate.wait_s = 0.02
    with new_gate().held():
        database.close()
    assert database.is_closed
    journal.append(other, [line.next()])


def test_a_store_that_nobody_closed_leaves_no_descriptor(path: Path, new_gate: Callable[..., Gate]) -> None:
    gate = new_gate()
    descriptor = gate.descriptor
    abandoned = Gate(gate.path.parent, threading.RLock(), 1.0)
    numbers = (abandoned.descriptor, abandoned._line)
    del abandoned
    for number in numbers:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)
    os.fstat(descriptor)


# Processes.


def test_it_opens_when_its_holder_dies(new_gate: Callable[..., Gate], folder: Path) -> None:
    code = """
import sys, threading
from pathlib import Path
from foldlog.storage.gate import Gate
with Gate(Path(sys.argv[1]), threading.RLock(), 30.0).held():
    print("held", flush=True)
    sys.stdin.read()
"""
    gate = new_gate()
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert not is_free(gate.path)
        holder.send_signal(signal.SIGKILL)
        with gate.held():
            pass


def test_a_forked_child_neither_holds_nor_opens_its_parents_gate(new_gate: Callable[..., Gate]) -> None:
    gate = new_gate()
    blocked, kept = os.pipe()
    with gate.held():
        child = fork()
        if child == 0:
            with_gate_closed = gate.descriptor == -1 and not gate.is_taken
            gate.close()
            os.close(kept)
            os.read(blocked, 1)
            os._exit(7 if with_gate_closed else 1)
        assert not is_free(gate.path)
    assert is_free(gate.path), "the child, who lives, does not hold it"
    os.close(kept)
    _, status = os.waitpid(child, 0)
    os.close(blocked)
    assert os.waitstatus_to_exitcode(status) == 7


def test_a_child_that_leaves_the_block_it_was_forked_in_opens_nothing(new_gate: Callable[..., Gate]) -> None:
    gate = new_gate()
    with gate.held(), gate.held():
        child = fork()
        if child != 0:
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 7
            assert not is_free(gate.path)
    if child == 0:
        os._exit(7)
    assert is_free(gate.path)


INTERRUPTED = """
import fcntl, os, random, signal, sqlite3, sys, threading, time
from pathlib import Path
from foldlog.storage import lease, migrate, sqlite
from foldlog.storage.sqlite import SqliteDatabase as Database

class Interrupted(BaseException):
    pass

def interrupt(*_):
    raise Interrupted

path = Path(sys.argv[1])
sqlite.create(path, migrate.make_schema)
database = Database(path, durability="normal")
other = Database(path, durability="normal")
stranger = os.open(lease.folder_of(path) / "gate", os.O_RDWR)
signal.signal(signal.SIGALRM, interrupt)
chance = random.Random(int(sys.argv[2]))
insert = "INSERT INTO streams (id) VALUES (?)"
ended = threading.Event()

def contend():
    while not ended.is_set():
        with other.write():
            time.sleep(0.0002)
        time.sleep(0.0003)

def work(connection, number):
    connection.execute(insert, (str(number),))

contender = threading.Thread(target=contend, daemon=True)
contender.start()
number, interrupts = 0, 0
deadline = time.monotonic() + 120
while interrupts < 400 and time.monotonic() < deadline:
    try:
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.00002, 0.002))
        while True:
            number += 1
            database.run(work, number)
    except Interrupted:
        interrupts += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    # Ours does not hold it: whoever does is the contender, and he lets go.
    assert not database._gate.is_taken
    for _ in range(20_000):
        try:
            fcntl.flock(stranger, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.0001)
            continue
        fcntl.flock(stranger, fcntl.LOCK_UN)
        break
    else:
        raise AssertionError("the gate was left shut")
    assert database.lock.acquire(blocking=False)
    database.lock.release()
ended.set()
contender.join(30)
assert interrupts == 400, interrupts
database.close()
other.close()
"""


def test_a_handle_that_is_dropped_copies_nothing_back_while_another_is_open(path: Path, line: Any) -> None:
    create(path, migrate.make_schema)
    kept, dropped = Database(path), Database(path)
    journal.append(dropped, [line.next()])
    before = Path(f"{path}-wal").read_bytes()
    del dropped
    gc.collect()
    assert Path(f"{path}-wal").read_bytes() == before
    journal.append(kept, [line.next()])
    kept.close()


def test_a_signal_anywhere_does_not_leave_it_shut(path: Path) -> None:
    seed = int.from_bytes(os.urandom(4))
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(path), str(seed)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, f"seed {seed}: {done.stderr[-3000:]}"
