"""Random histories are made by `tests/core/event_lists.py`."""

import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "core"))

# Where making a store and asking it takes a hundred times as long; what fails there is not made smaller either.
SERVER_EXAMPLES_MAX = 15


@pytest.fixture
def enough(engine: str) -> Callable[[], bool]:
    """Whether a property has been tried often enough on this engine; to be asked once an example."""
    examples = count()
    return lambda: engine == "postgres" and next(examples) >= SERVER_EXAMPLES_MAX
