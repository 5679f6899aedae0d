"""Times as text: fixed width, UTC, in the order of time."""

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from foldlog.core.clock import format_time

MOMENTS = st.datetimes(
    dt.datetime(1, 1, 3), dt.datetime(9999, 12, 29),  # noqa: DTZ001  (the zone comes from the strategy)
    timezones=st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23)).map(dt.timezone),
)  # fmt: skip


@given(MOMENTS)
def test_a_time_is_of_fixed_width_and_reads_back_equal(moment: dt.datetime) -> None:
    text = format_time(moment)
    assert len(text) == 27
    assert dt.datetime.fromisoformat(text) == moment


@given(MOMENTS, MOMENTS)
def test_the_order_of_texts_is_the_order_of_times(left: dt.datetime, right: dt.datetime) -> None:
    assert (format_time(left) < format_time(right)) == (left < right)


def test_microseconds_are_written_even_when_they_are_none() -> None:
    assert format_time(dt.datetime(2026, 11, 22, tzinfo=dt.UTC)) == "2026-11-22T00:00:00.000000Z"
