"""The watch over a query, where a signal strikes."""

import dis
import sys
from types import FrameType
from typing import Any

import pytest

from foldlog.outlets.query_bounds import Watch


# Where Python runs a signal's handler in a generator that goes round a loop.
@pytest.mark.parametrize("where", ["CALL", "JUMP_BACKWARD"])
def test_what_a_signal_raises_between_steps_is_kept_and_ends_the_query(where: str) -> None:
    watch = Watch(60.0)
    looks = watch.looks()
    assert next(looks) == 0

    def strike(frame: FrameType, what: str, argument: object) -> Any:
        if frame.f_code is not Watch.looks.__code__:
            return None
        frame.f_trace_opcodes = True
        if what == "opcode" and dis.opname[frame.f_code.co_code[frame.f_lasti]] == where:
            raise KeyboardInterrupt
        return strike

    before = sys.gettrace()
    sys.settrace(strike)
    try:
        answer = next(looks)
    finally:
        sys.settrace(before)
    assert answer == 1
    assert isinstance(watch.struck, KeyboardInterrupt)
