"""Random histories are made by `tests/core/event_lists.py`."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "core"))
