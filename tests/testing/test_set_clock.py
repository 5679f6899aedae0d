"""The clock for tests."""

import datetime as dt

from foldlog.testing import Clock


def test_time_passes_at_each_look_and_when_told_to() -> None:
    clock = Clock(dt.datetime(2026, 5, 1, tzinfo=dt.UTC), step=dt.timedelta(seconds=1))
    first = clock()
    assert first == dt.datetime(2026, 5, 1, 0, 0, 1, tzinfo=dt.UTC)
    clock.advance(59.5)
    assert clock() - first == dt.timedelta(seconds=60.5)
    clock.now = first
    assert clock.now == first


def test_two_clocks_tell_the_same_times() -> None:
    one, other = Clock(), Clock()
    assert [one() for _ in range(3)] == [other() for _ in range(3)]
