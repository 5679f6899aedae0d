"""The verb `demo`: a real session over a folder's files, killed half-way, opened again and finished.

This module runs the processes and prints. The session is `foldlog.cli.demo_worker`'s, first in a process
of its own that is killed, then in this one; the answers are `foldlog.cli.demo_reader`'s, the folder for
what it makes `foldlog.cli.demo_folder`'s.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

import click

import foldlog
from foldlog.cli import arguments, demo_files, demo_folder, demo_worker
from foldlog.cli.demo_files import FILES_MAX, PACKAGES_MAX, Plan
from foldlog.cli.forms import json_form, print_json
from foldlog.cli.output import Progress, heading, number, plural, shown, table
from foldlog.core.errors import FoldlogError
from foldlog.session.session import Session
from foldlog.store import store as stores
from foldlog.store.store import Store

_WORKER_S_MAX: Final = 60.0
_POLL_S: Final = 0.1
_NAMES_SHOWN: Final = 3

_QUESTIONS: Final = (
    (
        "Which packages took the most tokens?",
        """\
SELECT json_extract(edge.data, '$.package') AS package, count(*) AS calls,
  sum(used.input_tokens) AS input, sum(used.output_tokens) AS output, sum(used.usd) AS usd
FROM call_usage AS used JOIN calls AS edge ON edge.child_session_id = used.session_id
GROUP BY edge.child_session_id ORDER BY input DESC LIMIT 6""",
    ),
    (
        "Which files were the largest, and how long did each take?",
        """\
SELECT json_extract(data, '$.path') AS file, total_tokens AS tokens,
  cast((julianday(ended_at) - julianday(started_at)) * 86400000 AS INTEGER) AS ms
FROM calls WHERE type = 'leaf' AND status = 'ok'
ORDER BY total_tokens DESC LIMIT 6""",
    ),
    (
        "What did the kill interrupt?",
        """\
SELECT errors.session_id AS session, errors.kind, errors.id,
  coalesce(json_extract(calls.data, '$.path'), '') AS file
FROM errors LEFT JOIN calls
  ON errors.kind = 'call' AND calls.session_id = errors.session_id AND calls.id = errors.id
WHERE errors.status = 'interrupted' ORDER BY errors.kind, session, errors.id LIMIT 12""",
    ),
)


@click.command()
@click.argument("folder", required=False, default=".", type=arguments.FILE)
@click.option(
    "--output",
    "-o",
    metavar="DIRECTORY",
    type=arguments.FILE,
    default=demo_folder.DEFAULT_NAME,
    show_default=True,
    help="Where the database and the files go: a new or empty folder, or an earlier demo's, which is replaced.",
)
@json_form
def demo(folder: Path, output: Path, *, as_json: bool) -> None:
    """Record a session, kill it half-way, go on.

    The session maps the code of FOLDER, by default the current one. An offline reader answers: nothing
    leaves this machine. Hidden files, symlinks and installed packages are not read.

    \b
    Example:   foldlog demo
               foldlog demo ~/projects/app --output app-demo
    """
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        verified = _demonstrate(folder, output)
    if as_json:
        files = output / demo_folder.FILES_NAME / demo_worker.ROOT_ID
        paths = {"database": str(output / demo_folder.DATABASE_NAME), "files": str(files)}
        print_json("demo", {**paths, "session_id": demo_worker.ROOT_ID, "ok": verified})
    if not verified:
        sys.exit(1)


def _demonstrate(folder: Path, output: Path) -> bool:
    """All of it; whether the store is whole in the end."""
    started = time.monotonic()
    plan = _plan(folder, output)
    with demo_folder.prepared(output):
        database = output / demo_folder.DATABASE_NAME
        click.echo(f"Mapping the code in {shown(str(folder.resolve()))}: {_extent(plan)}.")
        _run_and_kill(database, folder.resolve(), plan.top.file_count())
        with stores.open(database) as store:
            _finish(store, folder.resolve(), plan.top.file_count())
        with stores.open(database, read_only=True) as store:
            _report(store)
            store.export(output / demo_folder.FILES_NAME)
            verified = store.verify()
        stores.open(database).close()  # the last to close is one that may take SQLite's own files away
        heading("Is it all there?")
        click.echo(f"  foldlog verify: {verified}")
        _farewell(output, time.monotonic() - started)
    return bool(verified)


def _plan(folder: Path, output: Path) -> Plan:
    """What will be read; refuses what cannot be shown before anything is made."""
    if not folder.is_dir():
        raise FoldlogError(f"{folder} is no folder", hint="give a folder with code: foldlog demo path/to/project")
    if folder.resolve().is_relative_to(output.resolve()):
        raise FoldlogError(
            f"{folder} is inside the demo's own folder {output}",
            hint="give a folder with code, or another place with --output",
        )
    demo_folder.check(output)
    plan = demo_files.find(folder.resolve())
    if not plan.top.file_count():
        raise FoldlogError(
            f"there are no files to read in {folder}", hint="give a folder with code: foldlog demo path/to/project"
        )
    return plan


def _extent(plan: Plan) -> str:
    found = f"{plural(plan.top.file_count(), 'file')} in {plural(plan.top.package_count(), 'package')}"
    limit = f" (a demo reads the first {FILES_MAX} files or {PACKAGES_MAX} packages; there are more)"
    return found + (limit if plan.is_cut else "")


# The first run, in a process that is killed.


def _run_and_kill(database: Path, folder: Path, file_count: int) -> None:
    heading("A worker process begins")
    stores.open(database).close()  # so that there is something to watch
    with _worker(database, folder) as worker, stores.open(database, read_only=True) as store:
        _watch(store, worker, file_count)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        # Counted once it is dead: it went on until it was.
        events = list(store.events())
        answered = sum(map(_is_leaf_ended, events))
        running = sum(map(_is_leaf_started, events)) - answered
    click.echo(
        f"  killed process {worker.pid} (SIGKILL): {answered} of {plural(file_count, 'file')} answered, "
        f"{plural(running, 'leaf call')} running"
    )


@contextlib.contextmanager
def _worker(database: Path, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The worker process; gone when the block ends, however it ends."""
    # -P: modules in the current directory must not stand in for Python's own.
    module = [sys.executable, "-P", "-m", "foldlog.cli.demo_worker"]
    worker = subprocess.Popen(  # noqa: S603  (our own module)
        [*module, str(database), str(folder), str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=_environment(),
    )
    with worker:
        try:
            yield worker
        finally:
            worker.kill()


def _environment() -> dict[str, str]:
    """This process's environment; a library run from a checkout is found from there."""
    home = Path(foldlog.__file__).parents[1]
    paths = [os.environ.get("PYTHONPATH", ""), *([] if home.name.endswith("-packages") else [str(home)])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _watch(store: Store, worker: "subprocess.Popen[bytes]", file_count: int) -> None:
    """Follow the worker's journal until half of the files are answered and some more are asked."""
    deadline = time.monotonic() + _WORKER_S_MAX
    position = answered = asked = 0
    with Progress("  reading", file_count) as progress:
        progress.show(0)
        while time.monotonic() < deadline:
            is_over = worker.poll() is not None
            for event in store.follow(after=position, idle_timeout=_POLL_S):
                position = event.position
                asked += _is_leaf_started(event)
                answered += _is_leaf_ended(event)
                progress.show(answered)
                if answered >= demo_worker.half_of(file_count) and asked > answered:
                    return
            if is_over:
                raise _ended_early(worker.stderr, worker.returncode)
    raise FoldlogError(
        f"the worker answered {answered} of {file_count} files in {_WORKER_S_MAX:g} s",
        hint="try a smaller folder, or a faster disk with --output",
    )


def _is_leaf_started(event: dict[str, Any]) -> bool:
    return bool(event["type"] == "call.started" and event["call"]["type"] == "leaf")


def _is_leaf_ended(event: dict[str, Any]) -> bool:
    # Of all calls only those to child sessions end as "final", and they are not ended by a worker half-way.
    return event["type"] == "call.updated" and event["changes"].get("status") in ("ok", "error")


def _ended_early(stderr: IO[bytes] | None, code: int) -> FoldlogError:
    said = (stderr.read() if stderr is not None else b"").decode("utf-8", "replace").strip().splitlines()
    return FoldlogError(
        f"the worker ended by itself (exit {code}): {said[-1] if said else 'it said nothing'}",
        hint="a folder whose files change meanwhile may do that: try again",
    )


# The second run, in this process.


def _finish(store: Store, folder: Path, file_count: int) -> None:
    heading("The store is opened again")
    with Progress("  reading", file_count) as progress:
        counts = [0, 0]

        def on_open(root: Session) -> None:
            _print_recovered(store, root)
            counts[0] = counts[1] = _answered_count(store)

        def on_answer() -> None:
            counts[1] += 1
            progress.show(counts[1])

        demo_worker.map_or_continue(store, folder, on_open=on_open, on_answer=on_answer)
    before, after = counts
    click.echo(
        f"  {plural(before, 'answer')} taken from the journal, {plural(after - before, 'file')} read now; "
        f"{_repeated(store)}"
    )


def _print_recovered(store: Store, root: Session) -> None:
    """What recovery closed: its events say so, in every session that was cut off."""
    rows = []
    events = store.events(types=["session.recovered"])
    for event in sorted(events, key=lambda event: event.session_id):
        calls = store.view(event.session_id).calls
        names = [_name_of(calls[call_id]) for call_id in event["interrupted"]["calls"]]
        more = len(names) - _NAMES_SHOWN
        rows.append({
            "session": event.session_id,
            "turns": len(event["interrupted"]["turns"]),
            "calls": len(names),
            "interrupted calls": ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else ""),
        })  # fmt: skip
    click.echo(f"  recovery closed what was running in {plural(len(rows), 'session')} of {root.id}:\n")
    table(rows)
    click.echo()


def _name_of(call: dict[str, Any]) -> str:
    return Path(call["path"]).name if "path" in call else f"[{call['package']}]"


def _answered_count(store: Store) -> int:
    return int(next(store.query("SELECT count(*) AS n FROM calls WHERE type = 'leaf' AND status = 'ok'"))["n"])


def _repeated(store: Store) -> str:
    sql = """
SELECT count(*) AS n FROM (
  SELECT 1 FROM calls WHERE type = 'leaf' AND status = 'ok'
  GROUP BY session_id, json_extract(data, '$.path') HAVING count(*) > 1
)"""
    count = next(store.query(sql))["n"]
    return f"{count or 'no'} finished call{'s were' if count > 1 else ' was'} made again"


# What there is now.


def _report(store: Store) -> None:
    heading("The tree, with usage")
    tree, usage = store.tree(demo_worker.ROOT_ID), store.usage(demo_worker.ROOT_ID)
    root = {**tree, "name": tree["session_id"], "usage": usage}
    packages = {
        call["child_session_id"]: call["package"]
        for row in store.sessions()
        for call in store.view(row["id"]).calls.values()
        if call.get("child_session_id")
    }
    table(_tree_rows(root, packages, 0))
    click.echo("\n  Tokens are words, and include the sessions below. An interrupted call's are not known,")
    click.echo("  nor is what any call cost: that is said, not counted as 0.")
    _print_map(store)
    for at, (question, sql) in enumerate(_QUESTIONS, 1):
        heading(f"Question {at} in SQL: {question}")
        click.echo("\n".join(f"    {line}" for line in sql.splitlines()) + "\n")
        table(store.query(sql))


def _tree_rows(entry: dict[str, Any], packages: dict[str, str], depth: int) -> Iterator[dict[str, Any]]:
    """A session and those below it, each with what it took together with them."""
    total, cost = entry["usage"]["total_tree"], entry["usage"]["cost"]["total_tree"]
    tokens = total["total_tokens"]
    yield {
        "session": f"{'  ' * depth}{entry['name']}",
        "package": packages.get(entry["session_id"], "(all)"),
        "status": entry["status"],
        "calls": total["call_count"],
        "input": total["input_tokens"].get("known"),
        "output": total["output_tokens"].get("known"),
        "not known": plural(tokens["unknown_calls"], "call") if tokens.get("unknown_calls") else "",
        "cost": number(cost["usd"].get("known")),
    }
    for child in entry["children"]:
        yield from _tree_rows(child, packages, depth + 1)


def _print_map(store: Store) -> None:
    value = store.final(demo_worker.ROOT_ID)["value_preview"]
    imports = sorted(value["imports"].items(), key=lambda one: (-one[1], one[0]))[:6]
    heading("The final value")
    click.echo(
        f"  {plural(value['file_count'], 'file')}, {plural(value['definition_count'], 'definition')}, "
        f"{plural(value['word_count'], 'word')}"
    )
    if imports:
        click.echo(f"  imported most: {shown(', '.join(f'{name} ({count})' for name, count in imports))}")


def _farewell(output: Path, elapsed_s: float) -> None:
    database, files = output / demo_folder.DATABASE_NAME, output / demo_folder.FILES_NAME
    heading("Look around")
    click.echo(f"  the database   {shown(str(database))}")
    click.echo(f"  the files      {shown(str(files / demo_worker.ROOT_ID))}")
    click.echo(f"  next           {_program()} ls {shown(str(database))}")
    click.echo(f"\nDone in {elapsed_s:.1f} s.")


def _program() -> str:
    """How to call foldlog from here: by its name where the shell finds it."""
    if shutil.which("foldlog") is not None or not sys.argv[0].endswith("foldlog"):
        return "foldlog"
    return shown(os.path.relpath(sys.argv[0]))


COMMANDS: Final = (demo,)
