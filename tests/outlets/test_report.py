"""The report's data: the store's own numbers, texts that stay text, and bounds."""

import base64
import csv
import hashlib
import io
import json
import re
import stat
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import foldlog
from foldlog.outlets import csv_rows, report
from foldlog.outlets.report import calls, data, page, texts
from report_runs import HOSTILE, fill_at_once, fill_deep, fill_family, fill_hostile, fill_many

FILE_BYTES_MAX = 6_000_000


class Elements(HTMLParser):
    """The elements of a page, and the text inside each script and style."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.texts.append("")

        self.inside = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.texts[-1] += data


def made(store: foldlog.Store, session_id: str, form: str = "html") -> str:
    return "".join(report.chunks(store, session_id, form))


def parsed(text: str) -> Elements:
    elements = Elements()
    elements.feed(text)
    elements.close()
    return elements


def data_of(text: str) -> dict[str, Any]:
    [found] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(found)


def rows_of(table: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]


def as_measures(usage: dict[str, Any], group: str) -> list[Any]:
    found = [
        *(usage[group][f"{name}_tokens"] for name in ("input", "output", "total", "cached")),
        usage["cost"][group]["usd"],
    ]
    return [
        [one.get("known"), one.get("unknown_calls", 0 if one["status"] == "known" else one["call_count"])]
        for one in found
    ]


# The numbers.


def test_sums_are_those_of_the_store(store: foldlog.Store) -> None:
    fill_family(store)
    found = data_of(made(store, "family"))
    sessions = rows_of(found["sessions"])
    assert [one["id"] for one in sessions] == ["family", "family/child-0001", "family/child-0002"]
    for one in sessions:
        usage = store.usage(one["id"])
        for at, group in enumerate(("total_tree", "root", "leaf")):
            expected = [usage[group]["call_count"], usage[group]["status"], *as_measures(usage, group)]
            assert one["usage"][at] == expected
    assert sessions[0]["usage"][0][6] == [0.1 + 0.2 + 0.2, 2]


def test_models_are_those_of_sql(store: foldlog.Store) -> None:
    fill_family(store)
    store.checkpoint()
    found = data_of(made(store, "family"))
    words = found["words"]
    models = {
        (words[one["provider"]], words[one["model"]] if one["model"] is not None else None): one
        for one in rows_of(found["models"])
        if one["session"] == 0
    }
    for row in store.query("SELECT * FROM model_usage"):
        one = models.pop((row["provider"], row["model"]))
        assert one["calls"] == row["call_count"]
        for name in ("input", "output", "total", "cached"):
            assert one[name][0] == row[f"{name}_tokens"]
        assert one["usd"][0] == row["usd"]
    assert models == {}


def test_the_tree_and_the_counts_are_those_of_the_store(store: foldlog.Store) -> None:
    fill_family(store)
    store.checkpoint()
    found = data_of(made(store, "family"))
    sessions = rows_of(found["sessions"])
    tree = store.tree("family")
    assert [(one["name"], one["call"], one["parent"]) for one in sessions[1:]] == [
        (child["name"], str(child["call_id"]), 0) for child in tree["children"]
    ]
    assert sessions[0]["below"] == [2, tree["call_count"] + sum(child["call_count"] for child in tree["children"])]
    for one in sessions:
        view = store.view(one["id"])
        kinds = (view.turns, view.messages, view.evals, view.calls, view.snapshots)
        assert one["counts"] == [len(rows) for rows in kinds]


def test_errors_are_those_of_sql(store: foldlog.Store) -> None:
    fill_family(store)
    store.start_session(id="other").mark_error("not of this run")
    store.checkpoint()
    found = data_of(made(store, "family"))
    sessions = rows_of(found["sessions"])
    errors = {(sessions[one["session"]]["id"], one["kind"], one["id"]) for one in rows_of(found["errors"])}
    sql = "SELECT session_id, kind, id FROM errors WHERE session_id = 'family' OR session_id LIKE 'family/%'"
    assert errors == {(row["session_id"], row["kind"], str(row["id"])) for row in store.query(sql)}
    assert found["errors"]["count"] == len(errors) == 2


def test_calls_and_messages_name_each_other(store: foldlog.Store) -> None:
    fill_family(store)
    found = data_of(made(store, "family"))
    own = [one for one in rows_of(found["calls"]) if one["session"] == 0]
    assert [(one["id"], one["child"]) for one in own] == [("1", None), ("2", 1), ("3", 2), ("4", None)]
    assert [one["call"] for one in rows_of(found["messages"]) if one["session"] == 0] == [None, None, "1", None]
    assert found["words"][own[3]["status"]] == "running"
    assert own[3]["end"] is None


def test_children_that_are_missing_or_met_twice_are_named_once_and_counted_once(store: foldlog.Store) -> None:
    with store.start_session(id="top") as top:
        with top.start_child() as child, child.call("leaf") as call:
            call.ok(usage={"input_tokens": 5, "output_tokens": 1, "total_tokens": 6})
        top.add_call("child", child_session_id="top/child-0001", status="ok")
        top.add_call("child", child_session_id="top/child-0099", status="ok")
        top.add_call("child", child_session_id=None, status="ok")
    found = data_of(made(store, "top"))
    sessions = rows_of(found["sessions"])
    assert [one["present"] for one in sessions] == [True, True, False, False, False]
    assert [one["usage"] is None for one in sessions] == [False, False, True, True, True]
    assert sessions[0]["usage"][0][:3] == [1, "partial", [5, 0]]
    for form in ("markdown", "mermaid", "trace"):
        assert made(store, "top", form)


def test_a_session_that_is_open_is_shown_as_it_is(store: foldlog.Store) -> None:
    session = store.start_session(id="live")
    session.add_call("leaf", usage={"input_tokens": 3})
    [one] = rows_of(data_of(made(store, "live"))["sessions"])
    assert one["counts"][3] == 1
    assert one["usage"][0][2] == [3, 0]


def test_an_empty_session(store: foldlog.Store) -> None:
    store.start_session(id="empty").close()
    found = data_of(made(store, "empty"))
    [one] = rows_of(found["sessions"])
    assert one["usage"][0] == [0, "unknown", *[[None, 0]] * 5]
    assert found["left_out"] == {"session": 0, "turn": 0, "message": 0, "eval": 0, "call": 0, "model": 0}


def test_times_that_are_none_are_unknown(store: foldlog.Store) -> None:
    with store.start_session(id="times") as session:
        for value in ("yesterday", "2026-11-22T10:00:00", 7, None, {"a": 1}, "9999-99-99"):
            session.add_call("leaf", started_at=value, status="ok")
        session.add_call("leaf", started_at="2026-11-22T12:00:00+02:00", ended_at="2026-11-22T10:00:01Z")
    calls_found = rows_of(data_of(made(store, "times"))["calls"])
    assert [one["start"] for one in calls_found] == [*[None] * 6, 0]
    assert calls_found[-1]["end"] == 1000


def test_integers_that_javascript_would_round_are_text(store: foldlog.Store) -> None:
    with store.start_session(id="large") as session:
        session.add_call("leaf", status="ok", usage={"input_tokens": 2**60 + 1})
    [one] = rows_of(data_of(made(store, "large"))["sessions"])
    assert one["usage"][0][2] == [str(2**60 + 1), 0]


# Bounds.


@pytest.mark.parametrize(
    ("counts", "most", "expected"),
    [([], 5, []), ([3, 2], 5, [3, 2]), ([3, 2], 4, [2, 2]), ([100, 1, 100], 11, [5, 1, 5]), ([4, 0, 9], 0, [0, 0, 0])],
)
def test_quotas_are_fair(counts: list[int], most: int, expected: list[int]) -> None:
    assert calls.quotas(counts, most) == expected


def test_bundles_count_what_they_hold(store: foldlog.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "LISTED_MAX", 100)
    monkeypatch.setattr(calls, "BUNDLES_MAX", 40)
    fill_many(store, 3000)
    found = data_of(made(store, "many"))
    rows = rows_of(found["calls"])
    usage = store.usage("many")["total_tree"]
    assert sum(one["count"] for one in rows) == usage["call_count"] == 3000
    assert sum(one["input"][0] or 0 for one in rows) == usage["input_tokens"]["known"]
    assert sum(one["input"][1] for one in rows) == usage["input_tokens"]["unknown_calls"]
    assert sum(one["usd"][0] for one in rows) == pytest.approx(300)
    singles = [one for one in rows if one["id"] is not None]
    assert len(singles) == 100
    assert len(rows) - len(singles) <= 40
    assert {"1000", "2000", "3000"} <= {one["id"] for one in singles}
    assert found["left_out"]["call"] == 2900


def test_bundles_stay_few_whatever_the_calls_are(store: foldlog.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "LISTED_MAX", 10)
    monkeypatch.setattr(calls, "BUNDLES_MAX", 20)
    with store.start_session(id="odd") as session, session.batch():
        for number in range(500):
            session.add_call(
                "leaf" if number % 2 else "mine", status=f"s{number}", model=f"m{number}", provider=f"p{number}"
            )
    rows = rows_of(data_of(made(store, "odd"))["calls"])
    assert len(rows) <= 30
    assert sum(one["count"] for one in rows) == 500
    assert sum(one["summed"] for one in rows) == 250


def test_ten_thousand_calls_with_hostile_texts_stay_below_the_bound(store: foldlog.Store) -> None:
    fill_many(store, 10_000, HOSTILE * 3)
    text = made(store, "many")
    assert len(text.encode()) < FILE_BYTES_MAX
    found = data_of(text)
    assert sum(one["count"] for one in rows_of(found["calls"])) == 10_000
    assert found["left_out"]["call"] == 6_000
    assert found["text_chars"] < texts.TEXT_CHARS[0]


def test_long_texts_say_what_was_left_out(store: foldlog.Store) -> None:
    with store.start_session(id="long") as session:
        session.add_message("user", "x" * 1_000_000)
        session.add_message("user", "y" * 6000)
    first, second = rows_of(data_of(made(store, "long"))["messages"])
    assert first["text"] == {"cut": "x" * 6000, "left": 994_000}
    assert second["text"] == "y" * 6000


def test_texts_together_stay_in_bounds(store: foldlog.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "TEXTS_BYTES_MAX", 20_000)
    with store.start_session(id="long") as session, session.batch():
        for _ in range(100):
            session.add_message("user", "<" * 1000)
    found = data_of(made(store, "long"))
    rows = rows_of(found["messages"])
    assert found["text_chars"] == 0
    assert all(one["text"] == {"cut": "", "left": 1000} for one in rows)


def test_rows_beyond_the_bound_are_counted(store: foldlog.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(data.ROWS_MAX, "message", 10)
    monkeypatch.setattr(data, "SESSIONS_MAX", 2)
    with store.start_session(id="top") as session:
        for number in range(30):
            session.add_message("user", str(number))
        for _ in range(3):
            session.start_child().close()
    found = data_of(made(store, "top"))
    assert [one["text"] for one in rows_of(found["messages"])] == [
        "0",
        "1",
        "2",
        "3",
        "4",
        "25",
        "26",
        "27",
        "28",
        "29",
    ]
    assert (found["left_out"]["message"], found["left_out"]["session"]) == (20, 2)


def test_sessions_beyond_the_bound_are_in_every_number(store: foldlog.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_family(store)
    whole = data_of(made(store, "family"))
    monkeypatch.setattr(data, "SESSIONS_MAX", 2)
    cut = data_of(made(store, "family"))
    assert cut["left_out"]["session"] == 1
    first, top = rows_of(whole["sessions"])[0], rows_of(cut["sessions"])[0]
    assert [top[key] for key in ("below", "usage")] == [first[key] for key in ("below", "usage")]
    named = [
        [
            [one["calls"], one["usd"], found["words"][one["provider"]]]
            for one in rows_of(found["models"])
            if one["session"] == 0
        ]
        for found in (whole, cut)
    ]
    assert named[0] == named[1]
    assert cut["errors"]["count"] == whole["errors"]["count"]


# Texts.


def test_hostile_text_is_data_and_nothing_else(store: foldlog.Store) -> None:
    fill_hostile(store)
    text = made(store, "hostile")
    elements = parsed(text)
    assert [tag for tag, _ in elements.found].count("script") == 2
    assert [tag for tag, _ in elements.found if tag in ("img", "svg", "b", "iframe", "object", "base")] == []
    found = data_of(text)
    assert rows_of(found["messages"])[0]["text"] == HOSTILE
    embedded = elements.texts[1]
    assert json.loads(embedded) == found
    assert not re.search("[<>&\u2028\u2029]", embedded)


def test_the_policy_allows_this_style_and_this_script_only(store: foldlog.Store) -> None:
    fill_family(store)
    elements = parsed(made(store, "family"))
    [policy] = [
        attrs["content"] for tag, attrs in elements.found if attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert allowed["default-src"] == "'none'"
    style, _, script = elements.texts
    for name, text in (("style-src", style), ("script-src", script)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert allowed[name] == f"'sha256-{digest}'"
    assert not [tag for tag, attrs in elements.found if "src" in attrs or "style" in attrs]
    assert {attrs["href"] for _, attrs in elements.found if "href" in attrs} == {"data:,"}


def test_the_assets_are_readable_and_take_no_markup() -> None:
    folder = Path(page.__file__).parent / "assets"
    assert {path.name for path in folder.iterdir()} == {"page.html", "page.css", *page.SCRIPTS}
    for name in page.SCRIPTS:
        text = (folder / name).read_text()
        assert text.startswith("// "), f"{name} does not say what it is"
        assert len(text.splitlines()) <= 400
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|fetch\(|import\(", text
        )
        assert re.findall(r"https?://[^\"]*", text) in ([], ["http://www.w3.org/2000/svg"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is", "as it is"),
        ([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}], "one\n\ntwo"),
        (
            [{"role": "user", "content": "hi"}, {"role": "assistant", "content": None, "x": 1}],
            '[user]\nhi\n\n[assistant]\n\n{\n  "x": 1\n}',
        ),
        ([], "[]"),
        ({"a": [1, None]}, '{\n  "a": [\n    1,\n    null\n  ]\n}'),
        ([{"type": "text", "text": 5}], '[\n  {\n    "text": 5,\n    "type": "text"\n  }\n]'),
    ],
)
def test_values_are_read_as_people_do(value: Any, text: str) -> None:
    assert texts.readable(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"type": "KeyError", "message": "x"}, "KeyError: x"),
        ({"type": "KeyError"}, '{\n  "type": "KeyError"\n}'),
        ("no", "no"),
    ],
)
def test_errors_are_read_as_people_write_them(value: Any, text: str) -> None:
    assert texts.readable_error(value) == text


def test_blobs_are_read_while_they_are_small(store: foldlog.Store) -> None:
    with store.start_session(id="blobs") as session:
        small, large = session.value_ref("s" * 5000), session.value_ref("l" * 500_000)
        session.add_call(
            "leaf", status="ok", response_ref=small, request_ref=large, result_ref={"kind": "inline", "value": [1]}
        )
    [one] = rows_of(data_of(made(store, "blobs"))["calls"])
    shown = dict(one["texts"])
    assert shown["response"] == "s" * 5000
    assert shown["request"] == f"[a value of 500,002 bytes, {large['hash']}: an export has it]"
    assert shown["result"] == "[\n  1\n]"


# The file.


@pytest.mark.sqlite("it is of the file's mode")
def test_a_file_is_written_whole_with_the_modes_of_the_store(store: foldlog.Store, tmp_path: Path) -> None:
    fill_family(store)
    path = tmp_path / "report.html"
    path.write_text("an older one")
    assert store.report("family", path) == path
    assert path.read_text().startswith("<!doctype html>")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


def test_bad_input_writes_nothing(store: foldlog.Store, tmp_path: Path) -> None:
    store.start_session(id="demo").close()
    path = tmp_path / "x.html"
    with pytest.raises(foldlog.UnknownSessionError):
        store.report("nobody", path)
    with pytest.raises(foldlog.InvalidIdError):
        store.report("../etc", path)
    with pytest.raises(foldlog.StoreError, match="no report format 'pdf'"):
        store.report("demo", path, format="pdf")
    assert not path.exists()
    (tmp_path / "link").symlink_to(path)
    for target in (tmp_path / "link", tmp_path / "no" / "folder", tmp_path):
        with pytest.raises(foldlog.StoreError):
            store.report("demo", target)
    assert not path.exists()


# The other formats.


@pytest.mark.parametrize("fill", [fill_family, fill_hostile, fill_deep, lambda store: fill_at_once(store, 300)])
def test_a_trace_keeps_to_the_format(store: foldlog.Store, fill: Any) -> None:
    """The Trace Event Format: what each kind of event must have, and what slices of one track may do."""
    fill(store)
    root = next(row["id"] for row in store.sessions() if "/" not in row["id"])
    trace = json.loads(made(store, root, "trace"))
    assert set(trace) == {"displayTimeUnit", "otherData", "traceEvents"}
    has = {
        "M": {"name", "ph", "pid", "tid", "args"},
        "X": {"name", "cat", "ph", "ts", "dur", "pid", "tid", "args"},
        "B": {"name", "cat", "ph", "ts", "pid", "tid", "args"},
        "s": {"name", "cat", "ph", "id", "ts", "pid", "tid"},
        "f": {"name", "cat", "ph", "bp", "id", "ts", "pid", "tid"},
    }
    busy: dict[tuple[int, int], float] = {}
    slices: dict[tuple[int, int], list[tuple[int, float]]] = {}
    flows: dict[int, list[dict[str, Any]]] = {}
    told: dict[tuple[int, int], set[str]] = {}
    for event in trace["traceEvents"]:
        assert event.keys() == has[event["ph"]]
        assert all(type(event[key]) is int and event[key] > 0 for key in ("pid", "tid"))
        track = (event["pid"], event["tid"])
        if event["ph"] == "M":
            told.setdefault(track, set()).add(event["name"])
            continue
        assert type(event["ts"]) is int
        if event["ph"] in "sf":
            flows.setdefault(event["id"], []).append(event)
            continue
        assert "thread_name" in told[track]
        assert event.get("dur", 0) >= 0
        assert event["ts"] >= busy.get(track, 0), "slices of a track overlap"
        busy[track] = event["ts"] + event.get("dur", float("inf"))
        slices.setdefault(track, []).append((event["ts"], busy[track]))
    for start, end in flows.values():  # each arrow has one beginning and one end, in this order, at slices
        assert (start["ph"], end["ph"]) == ("s", "f")
        assert start["ts"] <= end["ts"]
        for event in (start, end):
            assert any(a <= event["ts"] <= b for a, b in slices[event["pid"], event["tid"]])
    below = [row for row in store.sessions() if "/" in row["id"]]
    assert len(flows) == len(below)


def test_a_trace_has_times_to_the_microsecond(store: foldlog.Store) -> None:
    with store.start_session(id="top") as session:
        times = {"started_at": "2026-11-22T10:00:00.000001Z", "ended_at": "2026-11-22T10:00:00.000003Z"}
        session.add_call("leaf", status="ok", **times)
        session.add_call("leaf", status="ok", started_at="2026-11-22T10:00:00.000002Z")
        session.add_call("leaf", status="running", started_at="2026-11-22T10:00:00.000003Z")
    events = json.loads(made(store, "top", "trace"))["traceEvents"]
    found = [(one["ph"], one["ts"] % 1000, one.get("dur"), one["tid"]) for one in events if one["ph"] in "XB"]
    assert found == [("X", 1, 2, 2_000_000), ("X", 2, 0, 2_000_001), ("B", 3, None, 2_000_000)]


def test_a_trace_has_one_arrow_to_a_session_that_two_calls_lead_to(store: foldlog.Store) -> None:
    with store.start_session(id="top") as session, session.turn() as turn:
        with session.start_child(turn_id=turn.id) as child, child.turn():
            pass
        session.add_call("child", child_session_id=child.id, started_at="2026-11-22T00:00:00Z", status="ok")
    events = json.loads(made(store, "top", "trace"))["traceEvents"]
    assert [one["ph"] for one in events if one["ph"] in "sf"] == ["s", "f"]


def test_a_trace_has_a_track_for_all_that_runs_at_once(store: foldlog.Store) -> None:
    fill_family(store)
    trace = json.loads(made(store, "family", "trace"))
    assert trace["otherData"]["session"] == "family"
    events = trace["traceEvents"]
    names = [event["args"]["name"] for event in events if event["name"] == "process_name"]
    assert names == ["family", "family/child-0001", "family/child-0002"]
    slices = [event for event in events if event["ph"] in "XB"]
    assert sum(event["cat"] == "call" for event in slices) == 7
    assert [event["args"]["status"] for event in slices if event["ph"] == "B"] == ["running", "running"]
    busy: dict[tuple[int, int], float] = {}
    for event in slices:
        track = (event["pid"], event["tid"])
        assert event["ts"] >= busy.get(track, 0)
        busy[track] = event["ts"] + event.get("dur", float("inf"))
    root = next(event for event in slices if event["cat"] == "call")
    assert root["args"] | {"input_tokens": 40, "usd": 0.1} == root["args"]
    starts = {event["id"] for event in events if event["ph"] == "s"}
    assert starts == {event["id"] for event in events if event["ph"] == "f"} == {2, 3}


def test_a_diagram_has_an_arrow_for_each_call_to_a_session(store: foldlog.Store) -> None:
    fill_family(store)
    text = made(store, "family", "mermaid")
    assert text.startswith("flowchart TD\n")
    assert re.findall(r"(s\d) --> ?\|\"(.*?)\"\| (s\d)", text) == [("s0", "call 2", "s1"), ("s0", "call 3", "s2")]
    assert "family<br/>stopped · 4 calls of its own<br/>47 tokens with all below,<br/>unknown for 4 model calls" in text


def test_a_diagram_holds_no_markup(store: foldlog.Store) -> None:
    with store.start_session(id="top") as session:
        session.add_call("child", child_session_id='x"]; click s0 "javascript:alert(1)"', id="a-b")
    for line in made(store, "top", "mermaid").splitlines():
        assert re.fullmatch(
            r'flowchart TD|  classDef .*|  s\d+(\["[^"<>]*(<br/>[^"<>]*)*"\](:::\w+)?| (-->|-\.->)\|"[^"]*"\| s\d+)',
            line,
        ), line


def test_a_diagram_makes_no_icon_formula_or_line_end_of_a_name(store: foldlog.Store) -> None:
    """Numbered characters are read before these are looked for, so the numbers alone do not help."""
    with store.start_session(id="top") as session:
        for name in ("fa:fa-car", "$$x$$", "a\\nb"):
            session.add_call("child", child_session_id=name)
    text = made(store, "top", "mermaid")
    assert '["fa#58;#8203;fa-car<br/>' in text
    assert '["#36;#8203;#36;#8203;x#36;#8203;#36;#8203;<br/>' in text
    assert '["a#92;#8203;nb<br/>' in text


def test_a_diagram_stays_below_what_mermaid_refuses(store: foldlog.Store) -> None:
    with store.start_session(id="top") as session, session.batch():
        for number in range(350):
            session.add_call("child", child_session_id="↳" * 70 + str(number))
    text = made(store, "top", "mermaid")
    nodes = len(re.findall(r"^  s\d+\[", text, re.MULTILINE))
    assert 100 < nodes < 300
    assert len(re.findall("-->", text)) == nodes - 1
    assert f'more["{351 - nodes} more sessions not drawn"]' in text
    assert len(text) < 50_000


def test_a_transcript_is_whole_and_stays_text(store: foldlog.Store) -> None:
    fill_hostile(store)
    text = made(store, "hostile", "markdown")
    assert text.count("x" * 1_000_000) == 1
    outside = re.sub(r"^(`{3,})\w+\n.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert "<" not in outside
    assert "javascript:document" in outside  # the model's name: words, and no link
    assert "](" not in outside


def test_a_transcript_is_in_order(store: foldlog.Store) -> None:
    fill_family(store)
    text = made(store, "family", "markdown")
    parts = (
        "Answer briefly.", "## Turn 1", "How many words?", "call 1", "Asking two others.", "call 2", "print(1 / 0)",
        "## Turn 2", "call 4", "## Final value",
    )  # fmt: skip
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert "\n- children: " in text
    assert re.search(r"tokens, sessions below included: [0-9]+, not counting [0-9]+ calls? that did not tell\n", text)


def test_csv_is_the_rows_of_a_view(store: foldlog.Store, request: pytest.FixtureRequest) -> None:
    fill_family(store)
    fill_hostile(store)
    store.start_session(id="lines").add_message("user", 'a\rb\nc\r\n,"')
    store.checkpoint()
    limit = csv.field_size_limit(2_000_000)
    request.addfinalizer(lambda: csv.field_size_limit(limit))
    for name in ("call_usage", "transcript", "messages", "model_usage"):
        read = list(csv.DictReader(io.StringIO("".join(csv_rows.chunks(store, name)), newline="")))
        expected = [
            {key: "" if value is None else str(value) for key, value in row.items()}
            for row in store.query(f"SELECT * FROM {name}")
        ]
        assert read == expected
    below = list(
        csv.DictReader(io.StringIO("".join(csv_rows.chunks(store, "call_usage", "family/child-0002")), newline=""))
    )
    assert [row["session_id"] for row in below] == ["family/child-0002"] * 2
    assert "".join(csv_rows.chunks(store, "events")).count("\n") > 20


def test_csv_refuses_what_is_not_there(store: foldlog.Store) -> None:
    store.start_session(id="demo").close()
    with pytest.raises(foldlog.QueryError, match="no table or view 'x; DROP TABLE events'"):
        csv_rows.chunks(store, "x; DROP TABLE events")
    with pytest.raises(foldlog.QueryError, match="no rows of single sessions"):
        csv_rows.chunks(store, "model_usage", "demo")
    with pytest.raises(foldlog.UnknownSessionError):
        csv_rows.chunks(store, "calls", "nobody")


@pytest.mark.sqlite("a server's store is no file")
def test_a_report_does_not_replace_a_store(store: foldlog.Store, path: Path) -> None:
    store.start_session(id="demo").close()
    with pytest.raises(foldlog.StoreError, match="is a database"):
        store.report("demo", path)
    assert store.verify().ok
