"""The demo's session: maps the code of a folder, or goes on with a map that was begun.

A root session starts a child session per package, packages below packages, and makes a leaf call per
file; all of it in parallel, in one store. What was done is asked of the journal only, so that the same
code begins, and goes on after a crash without making a finished call again.

Run as `python -m foldlog.cli.demo_worker STORE FOLDER PID` it is the process that `foldlog.cli.demo` kills:
its reader answers half of the files and then, like a service that hangs, no more. What is read is decided
in `foldlog.cli.demo_files`, the answers are `foldlog.cli.demo_reader`'s.
"""

import contextlib
import datetime as dt
import io
import os
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from foldlog.cli import demo_files, demo_reader
from foldlog.cli.demo_files import Package, Plan
from foldlog.core.clock import format_time
from foldlog.session.scopes import TurnScope
from foldlog.session.session import Session
from foldlog.store import store as stores
from foldlog.store.store import Store

Row = dict[str, Any]

ROOT_ID: Final = "demo"
PLAN_CODE: Final = "plan = find(folder)"
_FILES_AT_ONCE: Final = 8

# The code each session runs over what its calls brought; recorded as an eval, with what it printed.
MERGE_CODE: Final = """\
imports = Counter(name for file in files for name in file["imports"])
for below in packages:
    imports.update(below["imports"])
found = {
    "file_count": len(files) + sum(below["file_count"] for below in packages),
    "definition_count": sum(len(file["definitions"]) for file in files)
    + sum(below["definition_count"] for below in packages),
    "word_count": sum(file["word_count"] for file in files) + sum(below["word_count"] for below in packages),
    "imports": dict(imports.most_common()),
}
print(f"{found['file_count']} files, {found['definition_count']} definitions")
"""


class Answers:
    """Gives out answers: all of them, or so many, after which every caller waits for ever.

    For ever is until the process is killed, or the process that would kill it is gone.
    """

    def __init__(self, count_max: int | None, parent_pid: int | None) -> None:
        self._left = count_max
        self._parent_pid = parent_pid
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Return when this caller may have its answer."""
        with self._lock:
            if self._left is None:
                return
            if self._left > 0:
                self._left -= 1
                return
        while os.getppid() == self._parent_pid:
            time.sleep(0.05)
        os._exit(1)  # nobody is left to kill us, and threads that wait cannot be joined


def half_of(file_count: int) -> int:
    """After how many answers the worker is killed: with one file or more, a call is always running."""
    return file_count // 2


def map_or_continue(
    store: Store,
    folder: Path,
    *,
    killed_by: int | None = None,
    on_answer: Callable[[], None] | None = None,
    on_open: Callable[[Session], None] | None = None,
) -> None:
    """Map the code of a folder into a store, or finish the map that is in it.

    `killed_by`: the process that will kill this one when half of the files are answered. `on_open` is told
    the root session once what a crash left is closed, `on_answer` of each file answered.
    """
    with warnings.catch_warnings(), contextlib.ExitStack() as stack:
        warnings.simplefilter("ignore")  # what the compiler thinks of the folder's code is not our talk
        known = any(True for _ in store.sessions(id=ROOT_ID))
        root = stack.enter_context(_reopened(store) if known else _started(store, folder))
        if on_open is not None:
            on_open(root)
        plan = plan_of(root) or _make_plan(root, folder)
        answers = Answers(None if killed_by is None else half_of(plan.top.file_count()), killed_by)
        files = stack.enter_context(_pool(_FILES_AT_ONCE))
        # A thread for each package: one that waits for those below it must not keep them from running.
        packages = stack.enter_context(_pool(plan.top.package_count() + 1))
        _Mapping(store, folder, answers, files, packages, on_answer).map(root, plan.top)


def _started(store: Store, folder: Path) -> Session:
    prompt = f"Map the code in {demo_files.recorded_name(str(folder))}"
    return store.start_session(id=ROOT_ID, provider=demo_reader.PROVIDER, prompt=prompt)


def _reopened(store: Store) -> Session:
    return store.open_session(ROOT_ID)


@contextlib.contextmanager
def _pool(thread_count: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(thread_count)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _make_plan(root: Session, folder: Path) -> Plan:
    """Decide what is read, and record it: who goes on must not find other files."""
    plan = demo_files.find(folder)
    document = {"top": plan.top.document(), "is_cut": plan.is_cut}
    root.add_eval(code=PLAN_CODE, status="ok", value=document)
    return plan


def plan_of(root: Session) -> Plan | None:
    """The plan in a session's journal, or None before there is one."""
    for row in root.view.evals.values():
        if row["code"] == PLAN_CODE:
            return load_plan(row["value"])
    return None


def load_plan(document: Row) -> Plan:
    """The plan that an eval recorded."""
    return Plan(Package.load(document["top"]), document["is_cut"])


class _Mapping:
    """One run of the map: what its sessions share."""

    def __init__(
        self,
        store: Store,
        folder: Path,
        answers: Answers,
        files: ThreadPoolExecutor,
        packages: ThreadPoolExecutor,
        on_answer: Callable[[], None] | None,
    ) -> None:
        self._store = store
        self._folder = folder
        self._answers = answers
        self._files = files
        self._packages = packages
        self._on_answer = on_answer

    def map(self, session: Session, package: Package) -> Any:
        """Map one package in its session; returns the session's final value."""
        done, edges = self._done(session), self._edges(session)
        missing = [path for path in package.files if path not in done]
        with session.turn() as turn:
            asked = turn.message("user", _request(package, len(package.files) - len(missing)))
            turn.update(user_message_id=asked["id"])
            below: list[Future[Any]] = [
                self._packages.submit(self._map_below, session, turn, one, edges.get(one.name))
                for one in package.packages
            ]
            read = {path: self._files.submit(self._read_file, turn, path) for path in missing}
            packages = [future.result() for future in below]
            answers = [done[path] if path in done else read[path].result() for path in package.files]
            value = {"package": package.name, "files": answers, "packages": packages}
            value |= self._merge(turn, asked["id"], answers, packages)
            turn.final(value)
        return value

    # Files.

    def _done(self, session: Session) -> dict[str, Row]:
        """The answers that are in the journal, by file."""
        return {
            call["path"]: session.read_ref(call["response_ref"])
            for call in session.view.calls.values()
            if call["type"] == "leaf" and call["status"] == "ok"
        }

    def _read_file(self, turn: TurnScope, path: str) -> Row:
        """One leaf call: what was sent, what came back, what it took. What it cost is not known, so not said."""
        try:
            source = demo_files.load(self._folder, path)
        except OSError as error:
            return self._unreadable(turn, path, error)
        prompt = demo_reader.prompt_for(source)
        fields = {"path": path, "model": demo_reader.MODEL, "provider": demo_reader.PROVIDER}
        with turn.call("leaf", request_ref=turn.session.value_ref(prompt), **fields) as call:
            answer = demo_reader.read(source)
            self._answers.wait()
            document = answer.document()
            call.ok(
                response_ref=turn.session.value_ref(document),
                usage=demo_reader.usage_of(prompt, answer),
            )
        self._tell()
        return document

    def _unreadable(self, turn: TurnScope, path: str, error: OSError) -> Row:
        reason = error.strerror or type(error).__name__
        with turn.call("leaf", path=path, model=demo_reader.MODEL, provider=demo_reader.PROVIDER) as call:
            self._answers.wait()
            call.error({"type": type(error).__name__, "message": reason})
        self._tell()
        return demo_reader.Answer(path, "unreadable", reason).document()

    def _tell(self) -> None:
        if self._on_answer is not None:
            self._on_answer()

    # Packages below.

    def _edges(self, session: Session) -> dict[str, Row]:
        """The calls that lead to child sessions, by package."""
        return {call["package"]: call for call in session.view.calls.values() if call.get("child_session_id")}

    def _map_below(self, session: Session, turn: TurnScope, package: Package, edge: Row | None) -> Any:
        """Map a package in a child session: a new one, or the one that was begun."""
        if edge is None:
            query = f"Map the package {package.name}"
            with session.start_child(turn_id=turn.id, package=package.name, query=query) as child:
                return self.map(child, package)
        child_id = edge["child_session_id"]
        if edge["status"] != "final":
            # The same call goes on, so that the child is in the tree, and its usage in the sums, once.
            session.update_call(edge["id"], status="running", ended_at=None)
            with self._store.open_session(child_id) as child:
                if child.view.final_ref is None:
                    self.map(child, package)
                final_ref = child.view.final_ref
            session.update_call(edge["id"], status="final", ended_at=_now(), final_ref=final_ref)
        return session.read_ref(self._store.view(child_id).final_ref)

    # Code.

    def _merge(self, turn: TurnScope, message_id: Any, files: list[Row], packages: list[Any]) -> Row:
        """Run the code that merges what files and packages brought, and record it as an eval."""
        printed = io.StringIO()
        names: Row = {
            "files": files,
            "packages": packages,
            "Counter": Counter,
            # Not redirect_stdout: that is one for all threads.
            "print": lambda *values: print(*values, file=printed),
        }
        started_at, started = _now(), time.perf_counter()
        exec(MERGE_CODE, names)  # noqa: S102  (the constant above)
        elapsed_ms = round((time.perf_counter() - started) * 1000, 3)
        found: Row = names["found"]
        turn.eval(
            message_id=message_id,
            code=MERGE_CODE,
            status="ok",
            value={key: value for key, value in found.items() if key != "imports"},
            stdout=printed.getvalue(),
            stderr="",
            started_at=started_at,
            ended_at=_now(),
            elapsed_ms=elapsed_ms,
        )
        return found


def _request(package: Package, answered_count: int) -> str:
    name = f"the package {package.name}" if package.name else "the folder"
    what = f"Map {name}: {len(package.files)} files, {len(package.packages)} packages below."
    return what if not answered_count else f"{what} {answered_count} files are answered already; go on."


def _now() -> str:
    return format_time(dt.datetime.now(dt.UTC))


def main() -> None:
    """Be the process that is killed: `STORE FOLDER PID`, the last being whose kill to wait for."""
    store_path, folder, killed_by = sys.argv[1:]
    with stores.open(store_path) as store:
        map_or_continue(store, Path(folder), killed_by=int(killed_by))


if __name__ == "__main__":
    main()
