"""What tests of faults share: how much they do, where their chance begins, and what they tell at the end.

`--faults=full` is what `make faults` runs; without it each test does a little of the same. `--faults-seed`
repeats a run whose seed a failure printed.
"""

import random
from collections.abc import Callable

import pytest
from sizes import Size

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
