"""What the tests of plugins share: foldlog's entry points, whether or not this checkout is installed."""

import os
import tomllib
from pathlib import Path

import pytest

import foldlog

ROOT = Path(__file__).parents[2]
SOURCES = Path(foldlog.__file__).parents[1]
PROGRAMS = ("sqlite_utils", "datasette")


@pytest.fixture(scope="session")
def entry_points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that tells a Python which plugins foldlog has, as an installed foldlog would."""
    folder = tmp_path_factory.mktemp("installed")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = []
    for program in PROGRAMS:
        lines += [f"[{program}]", *(f"{name} = {module}" for name, module in project["entry-points"][program].items())]
    found = folder / "foldlog-0.dist-info"
    found.mkdir()
    (found / "entry_points.txt").write_text("\n".join(lines) + "\n")
    (found / "METADATA").write_text("Metadata-Version: 2.1\nName: foldlog\nVersion: 0\n")
    return folder


@pytest.fixture(scope="session")
def environment(entry_points: Path) -> dict[str, str]:
    """The environment of a program that finds foldlog and its plugins."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(entry_points), str(SOURCES)])}
