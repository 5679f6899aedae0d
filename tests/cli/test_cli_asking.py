"""sql: what may be asked, in which form, and what is refused in a sentence."""

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_stores import parsed

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.sqlite("the SQL is SQLite's")
def test_forms(run_here: Run, mixed: Path) -> None:
    sql = "SELECT 1 AS a, NULL AS b, x'00ff' AS c, 'x' AS a, 9e999 AS d"
    assert run_here("sql", mixed, sql).stdout.splitlines()[2].split() == ["1", "NULL", "<2", "bytes>", "x", "inf"]
    assert run_here("sql", mixed, sql, "--csv").stdout == "a,b,c,a_2,d\n1,,00ff,x,inf\n"
    (row,) = parsed(run_here("sql", mixed, sql, "--json").stdout, "sql")
    assert row == {"row": {"a": 1, "b": None, "c": "00ff", "a_2": "x", "d": "inf"}}
    none = run_here("sql", mixed, "SELECT 1 WHERE false")
    assert (none.returncode, none.stdout, none.stderr) == (0, "", "no rows\n")


@pytest.mark.sqlite("the SQL is SQLite's")
def test_from_stdin_with_parameters(run_here: Run, mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT :n + 1 AS n, typeof(:t) AS t, :f AS f"))
    done = run_here("sql", mixed, "-", "-p", "n", "41", "-p", ":t", "x1", "--param", "f", "-1500.0", "--json")
    assert json.loads(done.stdout)["row"] == {"n": 42, "t": "text", "f": -1500.0}


REFUSED = {
    "DELETE FROM events": "refused",
    "UPDATE sessions SET status = 'x'": "refused",
    "INSERT INTO streams VALUES (9, 'x')": "refused",
    "CREATE TABLE mine (x)": "refused",
    "ATTACH 'made' AS other": "refused",
    "VACUUM INTO 'made'": "refused",
    "PRAGMA user_version = 9": "refused",
    "SELECT load_extension('x')": "refused",
    "SELECT nowhere FROM calls": "no such column: nowhere",
    "SELECT * FROM nowhere": "no such table: nowhere",
    "SELECT 1; SELECT 2": "one statement",
    "SELEC": "syntax error",
    "": "no rows",
    "SELECT cast(x'ff' AS TEXT)": "not of the form",
}


@pytest.mark.sqlite("the SQL is SQLite's")
@pytest.mark.parametrize("sql", REFUSED)
def test_refused_in_a_sentence_with_a_hint(run_here: Run, mixed: Path, tmp_path: Path, sql: str) -> None:
    before = mixed.read_bytes()
    for form in ("--table", "--json", "--csv"):
        done = run_here("sql", mixed, sql, form)
        assert (done.returncode, done.stdout) == (1, "")
        error, hint = done.stderr.splitlines()
        assert error.startswith("error: ")
        assert hint.startswith("hint: ")
        assert REFUSED[sql] in done.stderr
    assert mixed.read_bytes() == before
    assert not (tmp_path / "made").exists()


def test_what_would_run_for_ever_ends(run_here: Run, mixed: Path) -> None:
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    done = run_here("sql", mixed, endless, "--timeout", "0.1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "longer than 0.1 s" in done.stderr


@pytest.mark.parametrize("timeout", ["0", "-1", "soon", "inf", "nan", "-nan"])
def test_bad_timeouts(run_here: Run, mixed: Path, timeout: str) -> None:
    assert run_here("sql", mixed, "SELECT 1", "--timeout", timeout).returncode == 2
    assert run_here("events", mixed, "--follow", "--idle-timeout", timeout).returncode == 2


@pytest.mark.sqlite("a server gives a value the type of its place")
@pytest.mark.parametrize(
    ("text", "value"),
    [("7", 7), ("-0.5", -0.5), ("9223372036854775807", 2**63 - 1), *((text, text) for text in (
        "007", "+7", "1e3", "0.50", "nan", "inf", "-0", "1_000", " 7", "", "\u0667", str(2**63), "9" * 5000))],
)  # fmt: skip
def test_what_is_not_just_how_a_number_is_written_stays_text(
    run_here: Run, mixed: Path, text: str, value: object
) -> None:
    done = run_here("sql", mixed, "SELECT :v AS v", "-p", "v", text, "--json")
    assert json.loads(done.stdout)["row"] == {"v": value}


@pytest.mark.parametrize(
    ("sql", "given", "said"),
    [
        ("SELECT :missing", [], "the SQL has :missing, which has no value: give it with -p missing VALUE"),
        ("SELECT 1 -- :n", ["n"], "the SQL has no :n, for which -p gives a value"),
        ("SELECT ':n', \"a:n\" /* :n */", ["n"], "the SQL has no :n"),
        ("SELECT :n", ["n", ":n"], "-p n is given twice"),
        ("SELECT ?, ?2", ["n"], "a ? in the SQL takes no value here: write :NAME"),
    ],
)
def test_values_belong_to_parameters(run_here: Run, mixed: Path, sql: str, given: list[str], said: str) -> None:
    done = run_here("sql", mixed, sql, *(word for name in given for word in ("-p", name, "1")))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"Error: {said}" in done.stderr


@pytest.mark.sqlite("what a server has in brackets is no name")
def test_a_name_in_brackets_is_no_parameter(run_here: Run, mixed: Path) -> None:
    assert run_here("sql", mixed, "SELECT 1 AS [:n]", "-p", "n", "1").returncode == 2
    assert run_here("sql", mixed, "SELECT 1 AS [:n]").returncode == 0


@pytest.mark.sqlite("the words are SQLite's")
def test_the_nearest_names_are_told(run_here: Run, mixed: Path) -> None:
    for sql, hint in {
        "SELECT * FROM cals": "nearest: calls",
        "SELECT statu FROM calls": "nearest: status (calls)",
        "SELECT c.Stat FROM calls AS c": "nearest: status (calls)",
        "SELECT sesion_id FROM calls JOIN turns USING (session_id)": "nearest: session_id (calls, turns)",
        "SELECT nowhere FROM search_state": "search_state has ",
        "SELECT * FROM qqqq": "there are blob_stats, blobs, call_usage, calls, ",
    }.items():
        done = run_here("sql", mixed, sql)
        assert done.returncode == 1
        assert done.stderr.splitlines()[1].startswith(f"hint: {hint}"), sql
