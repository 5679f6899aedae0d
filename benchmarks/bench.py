"""What every case is given: a folder, how much to do, and the journals that several cases read."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import journals
from benchmarks.results import Measurement


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything. `sizes`: events of the journals that are read, by the name of the size."""

    name: str
    slice_s: float
    rounds: int
    sizes: Mapping[str, int]
    steps: int
    short_events: int
    long_events: int
    many_sessions: int
    repeats: int


FULL = Scale(
    "full", 0.4, 7, {"1k": 1_000, "10k": 10_000, "100k": 100_000, "1M": 1_000_000}, 1_000, 1_000, 100_000, 100, 15
)
QUICK = Scale("quick", 0.1, 3, {"1k": 1_000, "10k": 10_000, "100k": 100_000}, 300, 1_000, 10_000, 100, 5)
TINY = Scale("tiny", 0.02, 1, {"1k": 100, "100k": 300}, 10, 50, 200, 5, 1)


@dataclass(slots=True)
class Bench:
    """A run: where it works, how much it does, with whom."""

    folder: Path
    scale: Scale
    seed: int = 3
    peers: bool = True
    _journals: dict[str, Path] = field(default_factory=dict)

    def journal(self, size: str) -> Path:
        """The store with a session of this size, made when it is first asked for."""
        if size not in self._journals:
            path = self.folder / f"journal-{size}.db"
            say(f"writing a journal of {self.scale.sizes[size]:,} events")
            journals.write(path, self.scale.sizes[size], self.seed)
            self._journals[size] = path
        return self._journals[size]

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        """A folder of a case's own, gone when it ends."""
        with TemporaryDirectory(dir=self.folder) as folder:
            yield Path(folder)


Case = Callable[[Bench], Iterable[Measurement]]


def say(text: str) -> None:
    """Progress, beside the results."""
    print(text, file=sys.stderr, flush=True)
