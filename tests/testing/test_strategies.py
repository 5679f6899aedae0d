"""The strategies: what they draw is accepted, and reads back as it was."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import foldlog
from foldlog.core.codec import decode, encode
from foldlog.core.fold import FOLDED_TYPES
from foldlog.core.ids import check_session_id
from foldlog.session.verbs import same_value
from foldlog.testing.strategies import event_types, histories, payloads, session_ids, values

quiet = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


@settings(deadline=None)
@given(values())
def test_values_read_back_equal_and_of_the_same_types(value: Any) -> None:
    assert same_value(decode(encode(value).data), value)


@quiet
@given(st.lists(st.tuples(session_ids(), st.lists(st.tuples(event_types(), payloads())))))
def test_payloads_are_recorded_under_any_type_in_any_session(drawn: list[Any]) -> None:
    config = foldlog.Config(durability="normal")
    with tempfile.TemporaryDirectory() as folder, foldlog.open(Path(folder) / "history.db", config=config) as store:
        for session_id, events in {name.lower(): found for name, found in drawn}.items():
            with store.start_session(id=session_id) as session:
                for event_type, payload in events:
                    event = session.emit(event_type, **payload)
                    assert {key: event[key] for key in payload} == payload
                    assert event["type"] == event_type
        assert store.verify().problems == []


@settings(deadline=None)
@given(histories())
def test_histories_fold_and_begin_a_session(events: list[dict[str, Any]]) -> None:
    assert events[0]["type"] == "session.started"
    assert foldlog.fold(events).counters["event"] == len(events)


@given(histories(max_size=3, session_id="other"))
def test_a_history_is_of_the_session_asked_for(events: list[dict[str, Any]]) -> None:
    assert foldlog.fold(events).session["id"] == "other"


def test_every_type_there_is_occurs_in_histories() -> None:
    found: set[str] = set()

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(histories(min_size=20))
    def gather(events: list[dict[str, Any]]) -> None:
        found.update(event["type"] for event in events)

    gather()
    assert found >= FOLDED_TYPES - {"session.recovered"}


@given(session_ids(depth_max=3))
def test_addresses_are_ids_of_so_many_levels(session_id: str) -> None:
    assert check_session_id(session_id) == session_id
    assert session_id.count("/") <= 2


@given(event_types())
def test_types_are_annotations(event_type: str) -> None:
    assert re.fullmatch("[A-Za-z0-9._-]{1,128}", event_type)
    assert event_type not in FOLDED_TYPES


def test_the_rest_of_the_package_needs_no_hypothesis() -> None:
    code = "import sys; sys.modules['hypothesis'] = sys.modules['pytest'] = None; import foldlog.testing"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_foldlog_itself_does_not_import_the_package() -> None:
    code = "import sys, foldlog, foldlog.aio, foldlog.cli.main; sys.exit('foldlog.testing' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
