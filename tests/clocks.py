"""A clock for tests: the clock is a parameter, and time passes when it is looked at, or when it is told to."""

import datetime as dt


class Clock:
    """A clock that moves one microsecond a look, and as far as it is told."""

    def __init__(self) -> None:
        self.now = dt.datetime(2026, 11, 22, 6, 40, tzinfo=dt.UTC)

    def __call__(self) -> dt.datetime:
        self.now += dt.timedelta(microseconds=1)
        return self.now
