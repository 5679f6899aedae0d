"""Every page holds: its Python and its SQL run, its links lead somewhere, and nothing public goes unsaid."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import foldlog
import foldlog.aio
import foldlog.testing.strategies
from foldlog.core.fold import _PLANNERS
from foldlog.storage.sql_views import SQL_VIEWS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "ARCHITECTURE.md", *sorted(DOCS.rglob("*.md"))]


class Block(NamedTuple):
    language: str
    line: int
    text: str


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path) -> Iterator[Block]:
    """The fenced blocks of a page, with the line their text starts at."""
    language, start, gathered = None, 0, list[str]()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.startswith("```"):
            gathered.append(line)
        elif language is None:
            language, start, gathered = line.removeprefix("```").strip(), number + 1, []
        else:
            yield Block(language, start, "\n".join(gathered) + "\n")
            language = None
    assert language is None, f"{name_of(path)}: a block that starts at line {start - 1} does not end"


def with_blocks(language: str) -> list[Any]:
    return [pytest.param(page, id=name_of(page)) for page in PAGES if any(b.language == language for b in blocks(page))]


@pytest.mark.parametrize("page", with_blocks("python"))
def test_python_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """The blocks of one page share a namespace and run top to bottom in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    if any("HISTORY_URL" in block.text for block in blocks(page)):
        monkeypatch.setenv("HISTORY_URL", request.getfixturevalue("server").new_store())
    # Examples that start a process find the package where this one did.
    source = str(Path(foldlog.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")])))
    namespace: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page):
        if block.language == "python":
            # Blank lines in front, so that a traceback names the line of the page.
            exec(compile("\n" * (block.line - 1) + block.text, name_of(page), "exec"), namespace)


@pytest.mark.parametrize("page", with_blocks("sql"))
def test_sql_runs(page: Path, demo: foldlog.Store) -> None:
    for block in blocks(page):
        if block.language == "sql":
            assert list(demo.query(block.text)), f"{name_of(page)}:{block.line} returns no rows"


@pytest.mark.parametrize("page", [pytest.param(page, id=name_of(page)) for page in PAGES])
def test_links_resolve(page: Path) -> None:
    for target in links(page):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        assert found.exists(), f"{name_of(page)} leads to {target}, which is not there"
        if anchor:
            assert anchor in anchors(found), f"{name_of(page)} leads to {target}: no such heading"


def links(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"\]\(([^)\s]+)\)", text)


def anchors(page: Path) -> set[str]:
    found = set()
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            words = re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower())
            found.add(words.replace(" ", "-"))
    return found


def test_every_page_is_on_the_index() -> None:
    index = DOCS / "index.md"
    named = {(DOCS / target.partition("#")[0]).resolve() for target in links(index)}
    missing = [name_of(page) for page in sorted(DOCS.rglob("*.md")) if page != index and page.resolve() not in named]
    assert missing == []


def test_reference_is_fresh() -> None:
    source = str(Path(foldlog.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, str(DOCS / "make_reference.py"), "--check"],
        env=os.environ | {"PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_nothing_public_goes_unsaid() -> None:
    said = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    assert [name for name in foldlog.__all__ if name not in said and name != "__version__"] == []
    said = (DOCS / "reference" / "aio.md").read_text(encoding="utf-8")
    assert [name for name in foldlog.aio.__all__ if name not in said] == []
    said = (DOCS / "reference" / "testing.md").read_text(encoding="utf-8")
    names = [*foldlog.testing.__all__, *foldlog.testing.strategies.__all__]
    assert [name for name in names if name not in said] == []
    schema = (DOCS / "reference" / "schema.md").read_text(encoding="utf-8")
    assert [name for name in SQL_VIEWS if f"### {name}\n" not in schema] == []


def test_every_event_type_is_told() -> None:
    page = (DOCS / "reference" / "events.md").read_text(encoding="utf-8")
    assert [name for name in [*_PLANNERS, "session.recovered"] if f"### {name}\n" not in page] == []


def test_every_error_is_told() -> None:
    page = (DOCS / "guides" / "errors.md").read_text(encoding="utf-8")
    errors = [name for name in foldlog.__all__ if name.endswith("Error")]
    assert [name for name in errors if f"`{name}`" not in page] == []


def test_every_crash_point_is_told() -> None:
    page = (DOCS / "guides" / "testing.md").read_text(encoding="utf-8")
    assert [name for name, what in foldlog.testing.crash_points().items() if f"| `{name}` | {what} |" not in page] == []


def test_architecture_names_the_modules_there_are() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:core|storage|session|store|outlets|aio|testing|adapters)/\w+\.py)`", page))
    package = ROOT / "src" / "foldlog"
    present = {
        path.relative_to(package).as_posix()
        for layer in ("core", "storage", "session", "store", "outlets", "aio", "testing", "adapters")
        for path in (package / layer).glob("*.py")
        if path.name != "__init__.py"
    }
    assert named == present
