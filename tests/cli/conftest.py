"""What the command line's tests share: running it as a process, bounded in time."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_stores import fill, record_demo

import foldlog
from foldlog.cli.main import main
from foldlog.testing import Clock

SOURCES = Path(foldlog.__file__).parents[1]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environment() -> dict[str, str]:
    # A warning is an error in the processes too.
    return {**os.environ, "PYTHONPATH": str(SOURCES), "PYTHONWARNINGS": "error"}


@pytest.fixture
def run(tmp_path: Path, environment: dict[str, str]) -> Run:
    """Run `foldlog` in the test's folder."""

    def run(*args: str | Path, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-P", "-m", "foldlog.cli.main", *map(str, args)],
            cwd=cwd or tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def run_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The same in this process, which is faster."""
    monkeypatch.chdir(tmp_path)

    def run_here(*args: str | Path) -> "subprocess.CompletedProcess[str]":
        monkeypatch.setattr(sys, "argv", ["foldlog", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        assert isinstance(code, int)
        return subprocess.CompletedProcess(args, code, *capsys.readouterr())

    return run_here


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small folder of code with a bit of everything."""
    folder = tmp_path / "project"
    for name, text in {
        "README.md": "# A project\n\nwords and words\n",
        "setup.py": "import setuptools\n",
        "app/__init__.py": '"""The app."""\n',
        "app/main.py": '"""Runs it."""\nimport os\nfrom app.core import engine\n\n\ndef main():\n    pass\n',
        "app/core/engine.py": "import os\n\n\nclass Engine:\n    def start(self):\n        pass\n",
        "app/core/broken.py": "def (\n",
        "docs/guide/intro.txt": "Welcome\n",
        ".git/config": "secret",
        ".env": "secret",
        "node_modules/x/index.js": "secret",
        "venv/pyvenv.cfg": "secret",
        "tool/pyvenv.cfg": "secret",
        "tool/lib/mod.py": "secret",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "app" / "image.bin").write_bytes(b"\x00\x01\x02")
    (folder / "app" / "loop").symlink_to(folder)
    (folder / "app" / "passwd.txt").symlink_to("/etc/passwd")
    return folder


PROJECT_FILES = {
    "README.md",
    "setup.py",
    "app/__init__.py",
    "app/main.py",
    "app/image.bin",
    "app/core/engine.py",
    "app/core/broken.py",
    "docs/guide/intro.txt",
}


@pytest.fixture
def project_files() -> set[str]:
    return PROJECT_FILES


@pytest.fixture(scope="session")
def made_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's store, of a small folder: `demo` with child sessions."""
    return record_demo(tmp_path_factory.mktemp("demo"))


@pytest.fixture
def history(made_store: Path, tmp_path: Path) -> Path:
    """A copy of it, `history.db` in the test's folder."""
    path = tmp_path / "history.db"
    shutil.copy(made_store, path)
    return path


@pytest.fixture
def mixed(tmp_path: Path, path: Path | str) -> Path | str:
    """A store with known, partial and unknown usage, blobs, errors, two roots and ids that begin alike."""
    path = tmp_path / "mixed.db" if isinstance(path, Path) else path
    with foldlog.open(path, config=foldlog.Config(durability="normal", clock=Clock())) as store:
        with store.start_session(id="run-a", provider="acme") as session:
            fill(session)
        with store.start_session(id="run-b") as session:
            session.add_message("user", "hi\x1b[31m\nthere")
        store.start_session(id="session-3f6c1f6e-0000-4000-8000-000000000000").close()
    return path
