"""`faulty_disk.c` from Python: compiling it, running a script with it in front, and what such a script asks of it.

What fails is decided in `failing_runs.py`, what is made of a log in `disk_images.py`.
"""

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

SOURCE = Path(__file__).with_suffix(".c")
_TMPFS = Path("/dev/shm")
DIED = 9
_EVERY = 2**62  # more calls than there will be


class Kind(IntEnum):
    """Calls that can be told to fail, as in `faulty_disk.c`."""

    OPEN = 1
    WRITE = 2
    SYNC = 4
    NAME = 8
    SIZE = 16


class Disk:
    """The library that this process was started with."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(os.environ["LD_PRELOAD"])
        self._library.disk_seen.restype = self._library.disk_fired.restype = ctypes.c_ulong
        self._library.disk_fail.argtypes = [
            ctypes.c_int,
            ctypes.c_ulong,
            ctypes.c_ulong,
            ctypes.c_int,
            ctypes.c_int,
        ]

    def fail(self, kind: Kind, k: int, error: int, *, is_sticky: bool = False, is_short: bool = False) -> None:
        """Let the k-th call of a kind from now on fail, with those behind it if that is sticky.

        Short: a write does half of its work, and the next one fails.
        """
        self._library.disk_fail(kind, k, _EVERY if is_sticky else k, error, is_short)

    def kill(self, kinds: int, k: int) -> None:
        """Let the process die, with status `DIED`, before the k-th call of some kinds from now on."""
        self._library.disk_fail(kinds, k, k, -1, 0)

    def heal(self) -> None:
        """Let nothing fail any more."""
        self._library.disk_fail(0, 0, 0, 0, 0)

    def count(self, kind: Kind) -> None:
        """Count the calls of a kind from now on."""
        self._library.disk_fail(kind, _EVERY, _EVERY, 0, 0)

    @property
    def seen(self) -> int:
        return int(self._library.disk_seen())

    @property
    def fired(self) -> int:
        return int(self._library.disk_fired())

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let nothing fail, nor count, inside the block."""
        self._library.disk_pause(1)
        try:
            yield
        finally:
            self._library.disk_pause(0)

    @contextmanager
    def recorded(self, log: Path) -> Iterator[None]:
        """Log what is written inside the block."""
        assert self._library.disk_record(os.fsencode(log)) == 0
        try:
            yield
        finally:
            assert self._library.disk_record(None) == 0

    def mark(self, text: str) -> None:
        """Put a line into the log: it stands behind all that was written before."""
        self._library.disk_mark(text.encode())


def build(folder: Path) -> Path:
    """Compile the library; skips where that cannot be."""
    if sys.platform != "linux":
        pytest.skip(f"LD_PRELOAD is Linux's; this is {sys.platform}")
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler `cc`")
    library = folder / "faulty_disk.so"
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run(["cc", *flags, "-o", str(library), str(SOURCE), "-ldl", "-pthread"], check=True)
    return library


@contextmanager
def quick_folder(otherwise: Path) -> Iterator[Path]:
    """An empty folder in memory where there is such a thing: what is kept is decided here and not by a disk."""
    where = _TMPFS if os.access(_TMPFS, os.W_OK) else otherwise
    with TemporaryDirectory(dir=where) as folder:
        yield Path(folder)


def start(library: Path | None, folder: Path, script: str, *arguments: object) -> "subprocess.Popen[str]":
    """Run a script beside this one, with the library in front; what it changes below `folder` is concerned."""
    before = {"LD_PRELOAD": str(library), "FAULTY_DISK": str(folder)} if library is not None else {}
    return subprocess.Popen(
        [sys.executable, str(SOURCE.with_name(script)), *map(str, arguments)],
        env={**os.environ, **before},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
