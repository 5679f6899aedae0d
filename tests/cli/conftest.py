"""What the command line's tests share: running it as a process, bounded in time."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import foldlog
from foldlog.cli.main import main

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
