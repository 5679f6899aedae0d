"""A clock for tests: time passes when it is looked at, or when it is told to."""

import datetime as dt
from typing import Final

_START: Final = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


class Clock:
    """A clock for `Config(clock=…)` that moves `step` at each look, and as far as it is told.

    `now` is the time it stands at, and may be set. The same calls give the same times, so what two runs
    recorded can be compared.

    >>> clock = Clock()
    >>> with foldlog.new_state(folder / "clock.db", id="demo", config=foldlog.Config(clock=clock)) as session:
    ...     before = session.add_turn()["started_at"]
    ...     clock.advance(60)
    ...     before[:19], session.add_turn()["started_at"][:19]
    ('2026-01-01T00:00:00', '2026-01-01T00:01:00')
    """

    def __init__(self, now: dt.datetime = _START, *, step: dt.timedelta = dt.timedelta(microseconds=1)) -> None:
        self.now = now
        self.step = step

    def __call__(self) -> dt.datetime:
        """The time, a step later than at the last look."""
        self.now += self.step
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += dt.timedelta(seconds=seconds)
