"""How much a test of faults does; see `conftest.py` beside this."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """How much is done: `rounds(quick=10, full=1000)`."""

    is_full: bool

    def rounds(self, *, quick: int, full: int) -> int:
        return full if self.is_full else quick
