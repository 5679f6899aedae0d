"""What many tests share: a clock that only moves when told, and stores in a folder of their own."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import foldlog
from foldlog.testing import Clock

# A run in the background of a shell ignores Ctrl-C, and so would every process that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is not a reason to fail.
settings.register_profile("foldlog", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("foldlog")


def pytest_addoption(parser: pytest.Parser) -> None:
    # Here and not in faults/: pytest takes options from the first conftest it meets only.
    parser.addoption("--faults", choices=("quick", "full"), default="quick", help="how much the tests of faults do")
    parser.addoption("--faults-seed", type=int, help="the seed of the tests of faults, to repeat a run")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


@pytest.fixture
def config(clock: Clock) -> foldlog.Config:
    # Tests that kill processes or fail disks choose "full" themselves.
    return foldlog.Config(durability="normal", clock=clock)


@pytest.fixture
def store(path: Path, config: foldlog.Config) -> Iterator[foldlog.Store]:
    with foldlog.open(path, config=config) as opened:
        yield opened


@pytest.fixture
def reopen(path: Path, config: foldlog.Config) -> Iterator[Callable[[], foldlog.Store]]:
    """Opens the same file again, as often as asked; all are closed at the end."""
    opened: list[foldlog.Store] = []

    def again() -> foldlog.Store:
        opened.append(foldlog.open(path, config=config))
        return opened[-1]

    yield again
    for one in opened:
        one.close()
