"""The examples in the docstrings of the package run, and say what comes out."""

import asyncio
import doctest
import importlib
from pathlib import Path

import pytest

import foldlog

PACKAGE = Path(foldlog.__file__).parent


def module_names() -> list[str]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        # Migrations are Alembic's to import; `__main__` modules run when they are imported.
        if parts[0] != "migrations" and parts[-1] != "__main__":
            found.append(".".join(["foldlog", *(part for part in parts if part != "__init__")]))
    return found


@pytest.mark.parametrize("name", module_names())
def test_examples(name: str, tmp_path: Path) -> None:
    module = importlib.import_module(name)
    said: list[str] = []
    for number, test in enumerate(doctest.DocTestFinder(exclude_empty=True).find(module, name)):
        folder = tmp_path / str(number)
        folder.mkdir()
        test.globs = vars(module) | {"asyncio": asyncio, "foldlog": foldlog, "folder": folder}
        doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert not said, "".join(said)
