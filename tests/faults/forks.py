"""Processes for tests of faults: forked from this one, so that they begin in milliseconds, and talked to by lines.

Whoever forks must have no store open; the tests open theirs afterwards. What a process says is in the pipe
before it goes on, so it is read even when the process is killed in the next instant.
"""

import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

# A bound that proves "does not hang", generous for a busy machine.
PATIENCE_S = 60.0


class Line:
    """The child's end: says JSON, hears JSON."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        self._incoming = os.fdopen(incoming, "rb")
        self._outgoing = outgoing

    def say(self, value: Any) -> None:
        """Put a line into the pipe, in one write: threads need no lock, and nothing is torn."""
        data = json.dumps(value).encode() + b"\n"
        assert len(data) <= select.PIPE_BUF
        os.write(self._outgoing, data)

    def hear(self) -> Any:
        """Wait for a line; ends the process when the parent is gone."""
        data = self._incoming.readline()
        if not data:
            os._exit(9)
        return json.loads(data)


class Forked:
    """A process that runs `work(line)` and exits; all it said is in `said`."""

    def __init__(self, work: Callable[[Line], None]) -> None:
        to_child, from_parent = os.pipe()
        to_parent, from_child = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(from_parent)
            os.close(to_parent)
            _run(work, Line(to_child, from_child), from_child)
        os.close(to_child)
        os.close(from_child)
        self._incoming, self._outgoing = to_parent, from_parent
        self._rest = b""
        self._is_ended = False
        self.said: list[Any] = []
        self.status: int | None = None

    def say(self, value: Any) -> None:
        os.write(self._outgoing, json.dumps(value).encode() + b"\n")

    def listen(self, seconds: float) -> None:
        """Take in what is said within so many seconds, or until the process ends."""
        deadline = time.monotonic() + seconds
        while not self._is_ended:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._incoming], [], [], left)[0]:
                return
            self._take()

    def hear(self) -> Any:
        """Wait for the next line and take it out of `said`."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.said:
            assert not self._is_ended, f"the process ended with {self.join()} and said nothing"
            assert time.monotonic() < deadline, "the process hangs"
            if select.select([self._incoming], [], [], 0.5)[0]:
                self._take()
        found = self.said.pop(0)
        assert not (isinstance(found, dict) and "failed" in found), found["failed"]
        return found

    def _take(self) -> None:
        data = os.read(self._incoming, 1 << 16)
        self._is_ended = not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.said += map(json.loads, lines)

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def join(self) -> int:
        """Wait for the end; the exit status, negative for a signal. What was said until then is in `said`."""
        if self.status is None:
            self.listen(PATIENCE_S)
            if not self._is_ended:
                self.kill()
                self.listen(PATIENCE_S)
                os.waitpid(self.pid, 0)
                self.status = -999
                self._close()
                raise AssertionError("the process hangs")
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            self._close()
        return self.status

    def _close(self) -> None:
        os.close(self._incoming)
        os.close(self._outgoing)

    def failure(self) -> str | None:
        """What went wrong in it, by its own account."""
        return next((one["failed"] for one in self.said if isinstance(one, dict) and "failed" in one), None)

    def check(self) -> None:
        """Wait for the end, which must be a good one."""
        status = self.join()
        assert status == 0, f"exit status {status}: {self.failure()}"


@contextmanager
def forked(*work: Callable[[Line], None]) -> Iterator[list[Forked]]:
    """Processes that are gone when the block ends, one for each function."""
    started: list[Forked] = []
    try:
        for one in work:
            started.append(Forked(one))  # noqa: PERF401  (those started are ended when the next cannot be)
        yield started
    finally:
        for process in started:
            if process.status is None:
                process.kill(signal.SIGCONT)
                process.kill()
                process.join()


def _run(work: Callable[[Line], None], line: Line, outgoing: int) -> NoReturn:
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        work(line)
        status = 0
    except BaseException:  # noqa: BLE001
        text = traceback.format_exc()
        os.write(outgoing, json.dumps({"failed": text[-3000:]}).encode() + b"\n")
    finally:
        os._exit(status)
