"""foldlog.testing: what the tests of an application that embeds foldlog can use.

- `check_session`, `check_store`: hold a store to what every store promises; call them where a test ends.
- `StoreContract`: the same promises as a class of tests, run against the way an application opens a store
  and records in it.
- `run_until_crash`, `crash_at`, `crash_points`: kill a process at a named moment, to test what comes after.
- `Clock`: time that passes when it is told to.
- `foldlog.testing.strategies`: Hypothesis strategies for values, payloads, ids and whole histories. A module
  to be imported by itself: it needs Hypothesis (`pip install 'foldlog[testing]'`), the rest here needs nothing.

Failures are `AssertionError`s, as test runners expect. Tests of foldlog itself are not here.
"""

from foldlog.testing.checks import check_session, check_store
from foldlog.testing.clock import Clock
from foldlog.testing.contract import StoreContract
from foldlog.testing.crashes import Crash, Say, crash_at, crash_points, run_until_crash

__all__ = [
    "check_session",
    "check_store",
    "StoreContract",
    "run_until_crash",
    "crash_at",
    "crash_points",
    "Crash",
    "Say",
    "Clock",
]
