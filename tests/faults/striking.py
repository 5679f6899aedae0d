"""Ctrl-C at the n-th moment: a real SIGINT, raised where Python would let a handler run.

Python runs handlers at the start of a function and after a call of C; a profile function hears of both. So the
n-th such moment of a block is the same in each run, every moment can be tried, and none is tried that cannot be.
Only the main thread is struck, as Python does it. Loops that call nothing are not covered.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Strikes:
    """How many moments there were so far, and at which of them SIGINT is raised."""

    def __init__(self, nths: set[int]) -> None:
        self.nths = nths
        self.seen = 0

    @property
    def happened(self) -> bool:
        """Whether SIGINT was raised at least once."""
        return any(nth <= self.seen for nth in self.nths)

    def look(self, frame: Any, what: str, argument: Any) -> None:
        if what in ("call", "c_return"):
            self.seen += 1
            if self.seen in self.nths:
                signal.raise_signal(signal.SIGINT)


@contextmanager
def struck(nth: int, then: int | None = None) -> Iterator[Strikes]:
    """Raise SIGINT at the n-th moment of the block, and once more so many moments after that."""
    strikes = Strikes({nth} if then is None else {nth, nth + then})
    try:
        sys.setprofile(strikes.look)
        yield strikes
    finally:
        sys.setprofile(None)
