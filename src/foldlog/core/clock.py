"""Time as text: UTC, microseconds, fixed width, so that text order is time order.

Reading the clock is the session's; here is only its form.
"""

import datetime as dt

import orjson


def format_time(moment: dt.datetime) -> str:
    """`2026-11-22T06:41:10.344131Z` for an aware datetime.

    >>> format_time(dt.datetime(2026, 11, 22, 6, 41, 10, 344131, tzinfo=dt.timezone.utc))
    '2026-11-22T06:41:10.344131Z'
    """
    if moment.tzinfo is dt.UTC and moment.microsecond and moment.year > 999:
        # The same text, in a fifth of the time; orjson leaves microseconds out where there are none.
        return orjson.dumps(moment, option=orjson.OPT_UTC_Z)[1:-1].decode()
    if moment.tzinfo is not dt.UTC:
        moment = moment.astimezone(dt.UTC)
    return f"{moment.isoformat(timespec='microseconds')[:26]}Z"
