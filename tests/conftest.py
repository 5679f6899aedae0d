"""What many tests share: a clock that only moves when told, and stores in a folder of their own."""

import itertools
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import foldlog
import postgres_server
from foldlog.testing import Clock
from postgres_server import PostgresServer

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


ENGINES = ("sqlite", "postgres")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test that asks for a store runs on both engines, unless it is marked as one of files."""
    if "engine" in metafunc.fixturenames:
        only_files = metafunc.definition.get_closest_marker("sqlite")
        metafunc.parametrize("engine", ENGINES[:1] if only_files else ENGINES, scope="session")


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the whole run."""
    missing = postgres_server.why_not()
    if missing is not None:
        pytest.skip(missing)
    with postgres_server.running() as found:
        yield found


@pytest.fixture
def new_path(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[], Path | str]:
    """Gives places where a store can be made: paths, or URLs of schemas on the server."""
    if engine == "sqlite":
        names = itertools.chain(["history.db"], (f"history-{number}.db" for number in itertools.count(2)))
        return lambda: tmp_path / next(names)
    server: PostgresServer = request.getfixturevalue("server")
    return server.new_store


@pytest.fixture
def path(new_path: Callable[[], Path | str]) -> Path | str:
    """Where a store can be made: a path, or the URL of a schema on the server."""
    return new_path()


@pytest.fixture
def config(clock: Clock) -> foldlog.Config:
    # Tests that kill processes or fail disks choose "full" themselves.
    return foldlog.Config(durability="normal", clock=clock)


@pytest.fixture
def store(path: Path | str, config: foldlog.Config) -> Iterator[foldlog.Store]:
    with foldlog.open(path, config=config) as opened:
        yield opened


@pytest.fixture
def reopen(path: Path | str, config: foldlog.Config) -> Iterator[Callable[[], foldlog.Store]]:
    """Opens the same store again, as often as asked; all are closed at the end."""
    opened: list[foldlog.Store] = []

    def again() -> foldlog.Store:
        opened.append(foldlog.open(path, config=config))
        return opened[-1]

    yield again
    for one in opened:
        one.close()
