"""The data of the page: tables of what is shown, small enough to be looked at, and what was left out.

Each table is `{"columns": […], "rows": [[…], …]}`. Sessions are named by their place in the table of
sessions, words (models, statuses) by their place in `words`. Times are ms after `time_zero`. A sum is
`[what is known or null, calls whose number is unknown]`. How it looks is the assets' business.
"""

from collections.abc import Iterable
from typing import Any, Final

from foldlog._version import __version__
from foldlog.core.ids import RowId
from foldlog.core.measures import TOKEN_ALIASES, Group, is_number
from foldlog.core.rows import Entry, Row
from foldlog.outlets.report import calls
from foldlog.outlets.report.run import Member, Run
from foldlog.outlets.report.texts import Text, Texts, Values, milliseconds, readable, readable_error

DATA_VERSION: Final = 1
SESSIONS_MAX: Final = 1000
ROWS_MAX: Final[dict[str, int]] = {"turn": 2000, "message": 3000, "eval": 2000}
ERRORS_MAX: Final = 300
_MODELS_MAX: Final = 30
_WORD_CHARS_MAX: Final = 200
_KINDS: Final = ("turn", "message", "eval", "call", "snapshot")

# What a call's details show, in order: the key, and the word before it.
_CALL_TEXTS: Final = {
    "error": "error", "query": "query", "input_ref": "input", "request_ref": "request", "response_ref": "response",
    "result_ref": "result", "final_ref": "final value",
}  # fmt: skip
_CALL_KNOWN: Final = frozenset({
    *_CALL_TEXTS, "id", "type", "status", "turn_id", "parent_eval_id", "started_at", "ended_at", "provider", "model",
    "batch_id", "batch_index", "usage", "cost", "child_session_id", "edge_type",
})  # fmt: skip
_EVAL_TEXTS: Final = {
    "error": "error", "stdout": "output", "stderr": "error output", "value": "value", "final_value": "final value",
    "final_ref": "final value",
}  # fmt: skip
_EVAL_KNOWN: Final = frozenset({
    *_EVAL_TEXTS, "id", "turn_id", "message_id", "call_id", "block_index", "code", "status", "started_at", "ended_at",
    "elapsed_ms",
})  # fmt: skip
_MESSAGE_KNOWN: Final = frozenset({"id", "role", "content", "turn_id", "call_id"})


class PageData:
    """Makes the data of one page; `json` is what the page embeds, and `text` how many characters texts have."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._members = run.members[:SESSIONS_MAX]
        self._texts = Texts()
        self._values = Values(run.store.database)
        self._words: dict[str, int] = {}
        self._zero = 0
        self._left_out: dict[str, int] = {"session": len(run.members) - len(self._members)}

    def json(self) -> dict[str, Any]:
        """The data; a `Text` in it is yet to be cut to `text_chars`."""
        run = self._run
        self._zero = self._time_zero()
        self._call_quotas = calls.quotas([len(member.rows("call")) for member in self._members], calls.LISTED_MAX)
        self._places: dict[str, int] = {}
        for place, member in enumerate(self._members):
            if member.view is not None:
                self._places.setdefault(member.session_id, place)
        final = run.final
        found = {
            "version": DATA_VERSION,
            "foldlog": __version__,
            "made_at": milliseconds(run.made_at),
            "time_zero": self._zero,
            "store": run.store.database.short_name,
            "final": {
                "value": self._text(final.get("value_preview")) if "value_ref" in final else None,
                "error": self._error(final.get("error")),
            },
            "errors": self._errors(),
            "sessions": _table(_SESSION_COLUMNS, self._sessions()),
            "turns": _table(_TURN_COLUMNS, self._rows("turn", self._turn)),
            "messages": _table(_MESSAGE_COLUMNS, self._messages()),
            "evals": _table(_EVAL_COLUMNS, self._rows("eval", self._eval)),
            "calls": _table(_CALL_COLUMNS, self._calls()),
            "models": _table(_MODEL_COLUMNS, self._models()),
        }
        chars = self._texts.chars()
        return {**found, "words": list(self._words), "left_out": self._left_out, "text_chars": chars}

    def _time_zero(self) -> int:
        """The first time that anything in the run has."""
        times = [
            milliseconds(entry.row.get("started_at"))
            for member in self._members
            for kind in ("turn", "call", "eval")
            for _, entry in member.rows(kind)
        ]
        known = [time for time in times if time is not None]
        own = milliseconds(self._run.root.session.get("created_at"))
        return min(known, default=own if own is not None else 0)

    # Cells.

    def _text(self, value: Any) -> Text | None:
        return None if value is None else self._texts.add(readable(value))

    def _error(self, value: Any) -> Text | None:
        return None if value is None else self._texts.add(readable_error(value))

    def _time(self, value: Any) -> int | None:
        found = milliseconds(value)
        return None if found is None else found - self._zero

    def _word(self, value: Any) -> int | None:
        """A short text that occurs often, by its place in the list of words."""
        if value is None:
            return None
        text = value if isinstance(value, str) else readable(value)
        text = text if len(text) <= _WORD_CHARS_MAX else f"{text[:_WORD_CHARS_MAX]}…"
        return self._words.setdefault(text, len(self._words))

    def _others(self, row: Row, known: frozenset[str]) -> Text | None:
        """The keys of a row that have no place of their own on the page."""
        others = {key: value for key, value in row.items() if key not in known and value not in (None, {}, [])}
        return self._text(others) if others else None

    # Tables.

    def _sessions(self) -> Iterable[list[Any]]:
        below = _counts_below(self._run.members)
        for place, member in enumerate(self._members):
            session, usage = member.session, member.usage
            parent = session.get("parent")
            lineage = {"lineage": session.get("lineage"), "parent": parent if member.parent is None else None}
            yield [
                member.session_id, member.name, member.parent, _id(member.call_id), member.edge_type,
                self._word(member.status), member.view is not None, self._word(session.get("kind")),
                self._word(session.get("provider")),
                self._time(session.get("created_at")), self._time(session.get("ended_at")),
                self._text(session.get("prompt")),
                self._text({key: value for key, value in lineage.items() if value} or None),
                self._error(member.view.error) if member.view is not None else None,
                [member.view.row_count(kind) if member.view is not None else 0 for kind in _KINDS],
                below[place],
                *self._running(place, member),
                None if usage is None else [_group(usage, name) for name in ("total_tree", "root", "leaf")],
            ]  # fmt: skip

    def _running(self, place: int, member: Member) -> list[Any]:
        """The most calls of a session that ran at once; and how many ran when, where they are not all listed."""
        rows = [entry.row for _, entry in member.rows("call")]
        found = calls.running_over(rows, milliseconds(self._run.made_at) or 0)
        if found is None:
            return [0, None]
        first, last, most = found
        return [
            max(most),
            [first - self._zero, last - self._zero, most] if len(rows) > self._call_quotas[place] else None,
        ]

    def _rows(self, kind: str, cells: Any) -> Iterable[list[Any]]:
        counts = [len(member.rows(kind)) for member in self._members]
        most = calls.quotas(counts, ROWS_MAX[kind])
        self._left_out[kind] = sum(counts) - sum(most)
        for place, member in enumerate(self._members):
            for row_id, entry in calls.ends_of(member.rows(kind), most[place]):
                yield [place, _id(row_id), entry.first_event_id, entry.seq, *cells(entry.row)]

    def _turn(self, row: Row) -> list[Any]:
        lists = [len(row.get(key) or ()) for key in ("eval_ids", "call_ids")]
        final = row.get("final_preview")
        if final is None and row.get("final_ref") is not None:
            final = self._values.text(row["final_ref"])
        return [
            self._word(row.get("status")), self._time(row.get("started_at")), self._time(row.get("ended_at")),
            self._text(final), self._error(row.get("error")), *lists,
        ]  # fmt: skip

    def _messages(self) -> Iterable[list[Any]]:
        times: dict[int, dict[int, str]] = {}
        for cells in self._rows("message", self._message):
            place, event_id = cells[0], cells[2]
            if place not in times:
                times = {place: self._run.message_times(self._members[place])}
            yield [*cells, self._time(times[place].get(event_id))]

    def _message(self, row: Row) -> list[Any]:
        return [
            self._word(row.get("role")), _id(row.get("turn_id")), _id(row.get("call_id")),
            self._text(row.get("content")), self._others(row, _MESSAGE_KNOWN),
        ]  # fmt: skip

    def _eval(self, row: Row) -> list[Any]:
        elapsed = row.get("elapsed_ms")
        texts = [[label, self._text(self._shown(row, key))] for key, label in _EVAL_TEXTS.items() if row.get(key)]
        texts.append(["other keys", self._others(row, _EVAL_KNOWN)])
        return [
            _id(row.get("turn_id")), _id(row.get("message_id")), _id(row.get("call_id")),
            self._word(row.get("status")), self._time(row.get("started_at")), self._time(row.get("ended_at")),
            elapsed if is_number(elapsed) else None, self._text(row.get("code")),
            [pair for pair in texts if pair[1] is not None],
        ]  # fmt: skip

    def _shown(self, row: Row, key: str) -> Any:
        value = row.get(key)
        if key == "error":
            return readable_error(value)
        return self._values.text(value) if key.endswith("_ref") and value is not None else value

    def _calls(self) -> Iterable[list[Any]]:
        counts, most = [len(member.rows("call")) for member in self._members], self._call_quotas
        self._left_out["call"] = sum(counts) - sum(most)
        for place, member in enumerate(self._members):
            share = max(calls.BUNDLES_MAX * counts[place] // max(sum(counts), 1), 12)
            for item in calls.listed(member.rows("call"), most[place], share):
                yield self._call(place, item)

    def _call(self, place: int, item: calls.Item) -> list[Any]:
        row, zero = item.row, self._zero
        child = row.get("child_session_id")
        texts: list[list[Any]] = []
        if item.call_id is not None:
            texts = [[label, self._text(self._shown(row, key))] for key, label in _CALL_TEXTS.items() if row.get(key)]
            texts.append(["other keys", self._others(row, _CALL_KNOWN)])
        return [
            place, _id(item.call_id), item.count, item.seq, self._word(row.get("type")), self._word(row.get("status")),
            _id(row.get("turn_id")),
            None if item.start is None else item.start - zero, None if item.end is None else item.end - zero,
            self._word(row.get("provider")), self._word(row.get("model")), item.sums.call_count,
            *calls.token_sums(item.sums),
            self._places.get(child) if isinstance(child, str) else None, self._word(row.get("batch_id")),
            _id(row.get("parent_eval_id")), [pair for pair in texts if pair[1] is not None],
        ]  # fmt: skip

    def _models(self) -> Iterable[list[Any]]:
        """What each model took in each session and in all below it."""
        own: list[dict[calls.Key, Group]] = []
        for member in self._run.members:
            own.append({})
            for _, entry in member.rows("call"):
                if calls.is_summed(entry.row):
                    key = (calls.text_key(entry.row, "provider"), calls.text_key(entry.row, "model"))
                    own[-1].setdefault(key, Group()).add(entry.row)
        for place in range(len(own) - 1, 0, -1):  # those below come after those above
            above = own[self._run.members[place].parent or 0]
            for key, sums in own[place].items():
                above.setdefault(key, Group()).merge(sums)
        for place, found in enumerate(own[: len(self._members)]):
            largest = sorted(found.items(), key=lambda item: (-item[1].call_count, str(item[0])))
            self._left_out["model"] = self._left_out.get("model", 0) + max(len(largest) - _MODELS_MAX, 0)
            for (provider, model), sums in largest[:_MODELS_MAX]:
                yield [place, self._word(provider), self._word(model), sums.call_count, *calls.token_sums(sums)]

    def _errors(self) -> dict[str, Any]:
        """What the SQL view `errors` has of these sessions: how many, and the first of them."""
        rows: list[list[Any]] = []
        count = 0
        for place, member in enumerate(self._run.members):
            for kind, row_id, row in _failed(member):
                count += 1
                if len(rows) < ERRORS_MAX and place < len(self._members):
                    cells = [self._word(row.get("status")), self._time(row.get("ended_at"))]
                    rows.append([place, kind, _id(row_id), *cells, self._error(row.get("error"))])
        return {"count": count, **_table(_ERROR_COLUMNS, rows)}


_SUM_COLUMNS: Final = ("input", "output", "total", "cached", "usd")
_SESSION_COLUMNS: Final = (
    "id", "name", "parent", "call", "edge", "status", "present", "kind", "provider", "start", "end", "prompt",
    "lineage", "error", "counts", "below", "peak", "running", "usage",
)  # fmt: skip
_ROW_COLUMNS: Final = ("session", "id", "event", "seq")
_TURN_COLUMNS: Final = (*_ROW_COLUMNS, "status", "start", "end", "final", "error", "evals", "calls")
_MESSAGE_COLUMNS: Final = (*_ROW_COLUMNS, "role", "turn", "call", "text", "others", "at")
_EVAL_COLUMNS: Final = (
    *_ROW_COLUMNS, "turn", "message", "call", "status", "start", "end", "elapsed_ms", "code", "texts",
)  # fmt: skip
_CALL_COLUMNS: Final = (
    "session", "id", "count", "event", "type", "status", "turn", "start", "end", "provider", "model", "summed",
    *_SUM_COLUMNS, "child", "batch", "eval", "texts",
)  # fmt: skip
_MODEL_COLUMNS: Final = ("session", "provider", "model", "calls", *_SUM_COLUMNS)
_ERROR_COLUMNS: Final = ("session", "kind", "id", "status", "at", "text")


def _table(columns: tuple[str, ...], rows: Iterable[list[Any]]) -> dict[str, Any]:
    return {"columns": columns, "rows": list(rows)}


def _id(row_id: Any) -> str | None:
    """A row's id as text: no two ids of one kind are the same as text."""
    return None if row_id is None else str(row_id)[:_WORD_CHARS_MAX]


def _counts_below(members: list[Member]) -> list[list[int]]:
    """For each session: how many sessions are below it, and how many calls they and it have."""
    found = [[0, member.view.row_count("call") if member.view is not None else 0] for member in members]
    for place in range(len(members) - 1, 0, -1):
        above = found[members[place].parent or 0]
        above[0] += found[place][0] + 1
        above[1] += found[place][1]
    return found


def _group(usage: dict[str, Any], name: str) -> list[Any]:
    """One group of a usage document: calls, status, and its sums as the tables have them."""
    group, cost = usage[name], usage["cost"][name]
    measures = [*(group[tokens] for tokens in TOKEN_ALIASES), cost["usd"]]
    return [group["call_count"], group["status"], *map(_measure, measures)]


def _measure(found: dict[str, Any]) -> list[Any]:
    if found["status"] == "unknown":
        return [None, found["call_count"]]
    return [calls.safe(found["known"]), found.get("unknown_calls", 0)]


def _failed(member: Member) -> Iterable[tuple[str, RowId | None, Row]]:
    """The session, turns, calls and evals that went wrong, as the SQL view `errors` tells them."""
    if member.view is not None and member.status == "error":
        yield "session", None, {**member.session, "error": member.view.error}
    for kind, statuses in _WRONG.items():
        found: list[tuple[RowId, Entry]] = member.rows(kind)
        for row_id, entry in found:
            if entry.row.get("status") in statuses:
                yield kind, row_id, entry.row


_WRONG: Final = {
    "turn": ("error", "interrupted"),
    "call": ("error", "interrupted"),
    "eval": ("error",),
}
