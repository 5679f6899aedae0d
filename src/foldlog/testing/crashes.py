"""Crash points: a process that is killed at a named moment, so that a test can look at what is left.

The kill is SIGKILL, from inside, at a boundary that matters: around a commit, a checkpoint, an exported
file. Nothing of this is in the library's own code; inside `crash_at` the functions at these boundaries are
replaced by ones that count and kill. Power loss, which takes unsynced bytes too, is not tried here.
"""

import os
import select
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, TypeAlias

from foldlog.core.codec import decode, encode
from foldlog.core.errors import FoldlogError
from foldlog.outlets import export
from foldlog.session import checkpoint
from foldlog.storage import journal
from foldlog.testing.checks import expect

Say: TypeAlias = Callable[[Any], None]

_POINTS: Final = {
    "before_commit": "events are about to be written",
    "in_commit": "events are written and not committed",
    "after_commit": "events are committed; no view shows them, and no caller has heard",
    "in_checkpoint": "the tables of a checkpoint, or of a new session, are written and not committed",
    "after_checkpoint": "a checkpoint's tables are committed; its files are not written",
    "in_export": "a file of an export is written under its temporary name",
    "after_export": "a file of an export has its name",
}


def crash_points() -> dict[str, str]:
    """The moments at which `crash_at` and `run_until_crash` can kill a process, and what each is.

    >>> list(crash_points())[:3]
    ['before_commit', 'in_commit', 'after_commit']
    """
    return dict(_POINTS)


class _Countdown:
    """Kills the process when a point is reached for the n-th time."""

    def __init__(self, point: str, nth: int) -> None:
        self._point = point
        self._left = nth
        self._lock = threading.Lock()

    def reach(self, point: str) -> None:
        if point == self._point:
            with self._lock:
                self._left -= 1
                if self._left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def crash_at(point: str, *, nth: int = 1) -> Iterator[None]:
    """Kill this process with SIGKILL when it reaches a point for the n-th time inside the block.

    For processes that a test starts itself; `run_until_crash` starts one for you. One block at a time in a
    process. Raises `FoldlogError` for a point that `crash_points` does not have.
    """
    if point not in _POINTS or nth < 1:
        raise FoldlogError(
            f"{point!r} the {nth}. time is no crash point", hint=f"use one of {', '.join(_POINTS)}, and nth from 1"
        )
    countdown = _Countdown(point, nth)
    places = [(journal, "append"), (checkpoint, "write"), (checkpoint, "save"), (export, "write_file")]
    originals = [getattr(module, name) for module, name in places]
    counting = _counting(countdown, point, *originals)
    for (module, name), function in zip(places, counting, strict=True):
        setattr(module, name, function)
    try:
        yield
    finally:
        for (module, name), function in zip(places, originals, strict=True):
            setattr(module, name, function)


def _counting(
    countdown: _Countdown,
    point: str,
    append: Callable[..., None],
    write: Callable[..., None],
    save: Callable[..., None],
    write_file: Callable[..., bool],
) -> tuple[Callable[..., Any], ...]:
    """The functions at the boundaries, each as one that counts."""

    def counting_append(database: Any, stamped: Any, also: Callable[[Any], None] | None = None) -> None:
        def inside(connection: Any) -> None:
            if also is not None:
                also(connection)
            countdown.reach("in_commit")

        countdown.reach("before_commit")
        # A statement that is its own transaction has no inside: only who asks for one gets it.
        append(database, stamped, inside if point == "in_commit" else also)
        countdown.reach("after_commit")

    def counting_write(*arguments: Any) -> None:
        write(*arguments)
        countdown.reach("in_checkpoint")

    def counting_save(*arguments: Any) -> None:
        save(*arguments)
        countdown.reach("after_checkpoint")

    def counting_write_file(path: Any, chunks: Iterable[bytes], mode: int) -> bool:
        def written() -> Iterator[bytes]:
            yield from chunks
            countdown.reach("in_export")

        found = write_file(path, written(), mode)
        countdown.reach("after_export")
        return found

    return counting_append, counting_write, counting_save, counting_write_file


@dataclass(frozen=True, slots=True)
class Crash:
    """What became of a process: whether it was killed at the point, and what it had said until then."""

    happened: bool
    said: list[Any] = field(default_factory=list)

    def __bool__(self) -> bool:
        return self.happened


def run_until_crash(function: Callable[[Say], object], point: str, *, nth: int = 1, timeout_s: float = 60.0) -> Crash:
    """Run a function in a forked process that is killed when it reaches a point for the n-th time.

    The function opens the store itself: handles of this process do not work there. It is given `say`: what it
    says (anything an event can carry) is in the `Crash` even when it is killed in the next instant, so that
    a test can hold the store to it. False, with all that was said, when the function ended without reaching
    the point; so a loop over `nth` until then tries every moment.

    Raises `AssertionError` with the traceback where the function raised, or where it was not over after
    `timeout_s` seconds; `FoldlogError` for an unknown point.

    >>> def record(say):
    ...     with foldlog.open(folder / "crash.db") as store:
    ...         session = store.start_session(id="demo")
    ...         say(session.add_event("first"))
    ...         say(session.add_event("second"))
    >>> crash = run_until_crash(record, "before_commit", nth=3)
    >>> crash.happened, crash.said
    (True, [2])
    >>> with foldlog.open(folder / "crash.db") as store:
    ...     [event["type"] for event in store.events("demo")]
    ['session.started', 'first']
    """
    with crash_at(point, nth=nth):
        pass  # an unknown point is refused here, not in the child
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _run_in_child(function, point, nth, writing)
    os.close(writing)
    try:
        data, is_over = _read_all(reading, time.monotonic() + timeout_s)
        if not is_over:
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(reading)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    # What a kill tore off is no line yet.
    *lines, _ = data.split(b"\n")
    said = [decode(line) for line in lines if not line.startswith(b"!")]
    expect(is_over, f"the function was not over after {timeout_s:g} s")
    raised = b"\n".join(line[1:] for line in lines if line.startswith(b"!")).decode()
    expect(not raised, f"the function raised in the forked process:\n{raised}")
    expect(status in (0, -signal.SIGKILL), f"the forked process ended with status {status}")
    return Crash(status == -signal.SIGKILL, said)


def _read_all(descriptor: int, deadline: float) -> tuple[bytes, bool]:
    """All that comes until everybody who could write has gone (True), or until the deadline (False)."""
    data = b""
    while select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
        more = os.read(descriptor, 1 << 16)
        if not more:
            return data, True
        data += more
    return data, False


def _run_in_child(function: Callable[[Say], object], point: str, nth: int, writing: int) -> NoReturn:
    lock = threading.Lock()

    def say(value: Any) -> None:
        with lock:
            _write(writing, encode(value).data)

    status = 1
    try:
        with crash_at(point, nth=nth):
            function(say)
        status = 0
    except BaseException:  # noqa: BLE001  (told to the parent, who raises)
        _write(writing, b"!" + traceback.format_exc().replace("\n", "\n!").encode())
    finally:
        os._exit(status)


def _write(descriptor: int, line: bytes) -> None:
    left = line + b"\n"
    while left:
        left = left[os.write(descriptor, left) :]
