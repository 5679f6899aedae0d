"""What tests of faults share: how much they do, where their chance begins, and what they tell at the end.

`--faults=full` is what `make faults` runs; without it each test does a little of the same. `--faults-seed`
repeats a run whose seed a failure printed.
"""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from server_proxy import Proxy, proxied
from sizes import Size

import postgres_server
from postgres_server import PostgresServer

_figures = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def size(pytestconfig: pytest.Config) -> Size:
    return Size(pytestconfig.getoption("--faults") == "full")


@pytest.fixture
def seed(pytestconfig: pytest.Config) -> int:
    """Where a test's chance begins: `random.Random(seed)`; printed, so that a failure shows it."""
    given: int | None = pytestconfig.getoption("--faults-seed")
    found = random.SystemRandom().randrange(2**32) if given is None else given
    print(f"seed {found}: add --faults-seed={found} to repeat")
    return found


@pytest.fixture
def tell(pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Takes a line with what was measured; all are printed at the end of a full run."""
    lines = pytestconfig.stash.setdefault(_figures, [])
    return lambda line: lines.append(f"{request.node.name}: {line}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = config.stash.get(_figures, [])
    if lines and config.getoption("--faults") == "full":
        terminalreporter.section("figures of the fault runs")
        for line in lines:
            terminalreporter.write_line(line)


# Stores on a server. The one that all tests share is never restarted; who ends a server has one of its own.


@pytest.fixture
def new_url(server: PostgresServer) -> Callable[[], str]:
    """Makes URLs of stores to be, on the server that all tests share."""

    return server.new_store


@pytest.fixture
def url(new_url: Callable[[], str]) -> str:
    """The URL of a store to be, on the server that all tests share."""
    return new_url()


@pytest.fixture
def proxy(server: PostgresServer) -> Iterator[Proxy]:
    """A way to that server that can be cut."""
    with proxied(server) as found:
        yield found


@pytest.fixture
def second_path(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> Path | str:
    """As `path`, for another store on the same engine."""
    url: Path | str = tmp_path / "second.db" if engine == "sqlite" else request.getfixturevalue("url")
    return url


@pytest.fixture(scope="session")
def crashing() -> Iterator[PostgresServer]:
    """A server with its syncs on, that tests may end and start as they like; it runs when they are done."""
    missing = postgres_server.why_not()
    if missing is not None:
        pytest.skip(missing)
    with postgres_server.running(fsync=True) as found:
        yield found


@pytest.fixture
def crashing_url(crashing: PostgresServer) -> str:
    """The URL of a store to be, on the server that may be ended."""
    return crashing.new_store()
