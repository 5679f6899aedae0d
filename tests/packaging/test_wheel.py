"""Packaging: what is built is what is needed, and works away from the checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPENDENCIES = {"sqlalchemy", "alembic", "orjson", "sqlite-utils"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # The wheel is built from the sdist, so this tries both.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    [found] = folder.glob("*.whl")
    return found


def test_the_wheel_holds_the_package_and_its_migrations(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {f"foldlog/{path.relative_to(ROOT / 'src/foldlog')}" for path in (ROOT / "src/foldlog").rglob("*.py")}
    migrations = {f"foldlog/migrations/{path.name}" for path in (ROOT / "migrations").glob("*.py")}
    versions = {f"foldlog/migrations/versions/{path.name}" for path in (ROOT / "migrations/versions").glob("*.py")}
    assets = {
        f"foldlog/{path.relative_to(ROOT / 'src/foldlog')}"
        for path in (ROOT / "src/foldlog/outlets/report/assets").iterdir()
    }
    assert len(assets) > 10
    assert modules | migrations | versions | assets | {"foldlog/py.typed"} <= names
    assert not [name for name in names if name.startswith(("tests", "docs", "examples"))]


def test_the_runtime_dependencies_are_four(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("METADATA")]
        lines = archive.read(name).decode().splitlines()
    required = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist:")]
    assert {line.split(">")[0].strip() for line in required if "extra ==" not in line} == DEPENDENCIES


def test_the_wheel_upgrades_an_old_store_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    code = """
import sqlite3, sys
from pathlib import Path
import foldlog
from foldlog.storage import migrate
assert Path(foldlog.__file__).is_relative_to(sys.argv[1]), foldlog.__file__
assert migrate.migrations_folder().is_relative_to(sys.argv[1])
foldlog.new_state("old.db", id="demo").close()
connection = sqlite3.connect("old.db")
connection.executescript(
    "DROP INDEX ix_events_idempotency_key; DROP TRIGGER events_refuse_update; DROP TRIGGER events_refuse_delete;"
    "ALTER TABLE events DROP COLUMN idempotency_key; UPDATE alembic_version SET version_num = '0001';"
    "DROP TABLE parts; DROP TABLE lists; DROP TABLE quarantine; PRAGMA user_version = 1;"
    "CREATE TRIGGER events_refuse_update BEFORE UPDATE ON events "
    "BEGIN SELECT RAISE(ABORT, 'events is append-only'); END;"
    "CREATE TRIGGER events_refuse_delete BEFORE DELETE ON events "
    "BEGIN SELECT RAISE(ABORT, 'events is append-only'); END;"
)
connection.close()
with foldlog.open("old.db") as store:
    assert store.open_session("demo").emit("note", idempotency_key="k")["id"] == 2
    assert store.verify().ok, str(store.verify())
"""
    command = [sys.executable, "-c", code, str(installed)]
    subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(installed)}, check=True, timeout=120)
