"""The configuration and the plugin in a real Datasette, of each line, while another process writes the store.

`make datasette` installs both lines beside the checkout; where they are not, these tests are skipped.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import foldlog
from foldlog.adapters import datasette_config
from plugin_stores import fill

ROOT = Path(__file__).parents[2]
LINES = ("0.65", "1.0")
WAIT_S = 60

# Writes until its standard input ends, then says how often and how long the slowest took.
WRITER = """
import select, sys, time, foldlog
count, worst_s = 0, 0.0
with foldlog.open(sys.argv[1]) as store, store.start_session(id="writer") as session:
    print("writing", flush=True)
    while not select.select([sys.stdin], [], [], 0.002)[0]:
        start = time.monotonic()
        with session.turn() as turn, turn.call("leaf", provider="acme", model="m-9") as call:
            call.ok(usage={"input_tokens": 1, "output_tokens": 1, "total_tokens": 2})
        session.checkpoint()
        worst_s = max(worst_s, time.monotonic() - start)
        count += 1
print(count, worst_s)
"""


class Server(NamedTuple):
    """A running Datasette."""

    line: str
    url: str
    token: str
    path: Path

    def get(self, page: str, **params: str) -> tuple[int, str]:
        """A page's status and text."""
        query = f"?{urllib.parse.urlencode(params)}" if params else ""
        try:
            with urllib.request.urlopen(f"{self.url}{page}{query}", timeout=WAIT_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def rows(self, page: str, **params: str) -> list[dict[str, Any]]:
        """The rows of a table, view, or query."""
        status, text = self.get(f"{page}.json", _shape="array", **params)
        assert status == 200, text
        found: list[dict[str, Any]] = json.loads(text)
        return found

    def sql(self, sql: str) -> list[dict[str, Any]]:
        """The rows of any SELECT."""
        return self.rows("/history" if self.line == "0.65" else "/history/-/query", sql=sql)


@pytest.fixture(params=LINES)
def line(request: pytest.FixtureRequest) -> str:
    if not (ROOT / ".venv-datasette" / request.param / "datasette").is_dir():
        pytest.skip(f"Datasette {request.param} is not installed: make datasette")
    return str(request.param)


@pytest.fixture
def server(line: str, tmp_path: Path, environment: dict[str, str]) -> Iterator[Server]:
    path, config = tmp_path / "history.db", tmp_path / "datasette.json"
    fill(path)
    with foldlog.open(path, read_only=True) as store:
        config.write_text(json.dumps(datasette_config.configuration(store)))
    command = shlex.split(datasette_config.commands(path, config)[line])
    installed = str(ROOT / ".venv-datasette" / line)
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", *command, "--root", "--port", "0"],
            env={**environment, "PYTHONPATH": os.pathsep.join([installed, environment["PYTHONPATH"]])},
            stdout=log, stderr=log, cwd=tmp_path,
        )  # fmt: skip
    try:
        text = told(tmp_path / "server.log", process, r"Uvicorn running on (http://127\.0\.0\.1:\d+)")
        token = re.search(r"token=(\w+)", text[0])
        yield Server(line, text[1], token[1] if token else "", path)
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=20)


def told(log: Path, process: "subprocess.Popen[bytes]", pattern: str) -> tuple[str, str]:
    """All that a process has said, and what the pattern found in it, as soon as it is there."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        text = log.read_text(errors="replace")
        if found := re.search(pattern, text):
            return text, found[1]
        assert process.poll() is None, text
        time.sleep(0.02)
    raise AssertionError(f"no {pattern} within {WAIT_S} s: {log.read_text(errors='replace')}")


@pytest.fixture
def writer(server: Server, environment: dict[str, str]) -> Iterator[Callable[[], tuple[int, float]]]:
    """A process that writes the store; calling this ends it, and says how often it wrote and the longest wait."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", WRITER, str(server.path)],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip

    def end() -> tuple[int, float]:
        said, errors = process.communicate(input="\n", timeout=WAIT_S)
        assert process.returncode == 0, errors
        count, worst_s = said.split()
        return int(count), float(worst_s)

    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        yield end
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


PARAMS = {"session": "demo", "after": "0", "since": ""}


def queries(server: Server) -> dict[str, tuple[str, dict[str, str]]]:
    """The canned queries: their SQL, and values for what they ask."""
    with foldlog.open(server.path, read_only=True) as store:
        (database,) = datasette_config.configuration(store)["databases"].values()
    return {
        name: (query["sql"], {key: PARAMS[key] for key in re.findall(r":(\w+)", query["sql"])})
        for name, query in database["queries"].items()
    }


def event_count(server: Server) -> int:
    with foldlog.open(server.path, read_only=True) as store:
        (row,) = store.query("SELECT count(*) AS n FROM events")
    return int(row["n"])


def test_a_store_is_shown_while_it_is_written(server: Server, writer: Callable[[], tuple[int, float]]) -> None:
    before = event_count(server)
    with foldlog.open(server.path, read_only=True) as store:
        (database,) = datasette_config.configuration(store)["databases"].values()
    tables = [name for name, table in database["tables"].items() if not table.get("hidden")]
    status, page = server.get("/history")
    assert status == 200
    assert [name for name in tables if f'href="/history/{name}"' not in page] == []
    for name in tables:
        status, page = server.get(f"/history/{name}")
        assert status == 200, name
        assert database["tables"][name]["description"].split("`")[0].split("'")[0] in page
        for facet in database["tables"][name].get("facets", []):
            assert f'data-column="{facet}"' in page, (name, facet)
    for name, (_, params) in queries(server).items():
        assert server.rows(f"/history/{name}", **params), name
    assert server.get("/history/sessions", _facet="status", status="stopped")[0] == 200
    # Committed by the other process since, and seen here.
    seen = server.sql("SELECT count(*) AS n FROM events")[0]["n"]
    count, worst_s = writer()
    assert seen > before
    assert count > 0
    # A writer that Datasette could block would wait for SQLite's 30 s.
    assert worst_s < 20

    with foldlog.open(server.path, read_only=True) as store:
        for name, (sql, params) in queries(server).items():
            assert server.rows(f"/history/{name}", **params) == list(store.query(sql, params))[:1000], name
        assert store.verify().ok


def test_its_functions_read_references(server: Server) -> None:
    with foldlog.open(server.path, read_only=True) as store:
        (row,) = store.query("SELECT json_extract(data, '$.request_ref.hash') AS hash FROM calls WHERE type = 'root'")
    (found,) = server.sql(f"SELECT foldlog_value('{row['hash']}') AS value, foldlog_text(NULL) AS text")
    assert json.loads(found["value"]) == {"prompt": "word " * 2000}
    assert found["text"] is None


def test_nothing_can_be_written_or_downloaded(server: Server) -> None:
    """Not even by the root user, for whom Datasette 1.0 would open the store for writing."""
    before = event_count(server)
    assert server.get("/history.db")[0] == 403
    assert server.get("/history.json", sql="DELETE FROM sessions", _shape="array")[0] != 200
    if server.line == "1.0":
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        opener.open(f"{server.url}/-/auth-token?token={server.token}", timeout=WAIT_S).close()
        with opener.open(f"{server.url}/-/actor.json", timeout=WAIT_S) as answer:
            assert json.load(answer)["actor"] == {"id": "root"}
        row = {"session_id": "x", "call_id": 1, "seq": 1}
        for page, body in (
            ("/history/tree/-/insert", {"row": row}), ("/history/tree/-/drop", {"confirm": True}),
            ("/history/-/create", {"table": "mine", "rows": [{"a": 1}]}),
            ("/history/sessions/demo/-/delete", {}), ("/history/sessions/demo/-/update", {"update": {"name": "x"}}),
            ("/history/-/execute-write", {"sql": "DELETE FROM sessions"}),
        ):  # fmt: skip
            request = urllib.request.Request(
                f"{server.url}{page}", json.dumps(body).encode(), {"Content-Type": "application/json"}
            )
            with pytest.raises(urllib.error.HTTPError) as refused:
                opener.open(request, timeout=WAIT_S)
            with refused.value:
                assert refused.value.code == 403, page
    with foldlog.open(server.path, read_only=True) as store:
        assert store.verify().ok
    assert event_count(server) == before
