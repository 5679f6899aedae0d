"""The layers: what a module may import, and how long modules and functions may be."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "foldlog"
# Lowest first; a module imports its own layer and those below.
LAYERS = ("core", "storage", "session", "store", "outlets", "aio", "testing", "adapters", "cli", "__init__")
# A store's ways out are asked for through it and imported when they are: the only edges upward.
UPWARD = {("store/outlets.py", "outlets"), ("store/store.py", "outlets")}
PURE = {"os", "io", "time", "threading", "sqlite3", "socket", "subprocess", "sqlalchemy", "random", "asyncio"}


def modules() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if path.name != "_version.py")


def layer_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).parts
    return parts[0] if len(parts) > 1 else "__init__"


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            if node.module and node.module.startswith("foldlog"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_imports_its_own_layer_and_those_below(path: Path) -> None:
    own = LAYERS.index(layer_of(path))
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "foldlog" or len(parts) == 1 or parts[1] not in LAYERS:
            continue
        if (str(path.relative_to(SOURCE)), parts[1]) not in UPWARD:
            assert LAYERS.index(parts[1]) <= own, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", sorted((SOURCE / "core").glob("*.py")), ids=lambda path: path.name)
def test_the_core_is_pure(path: Path) -> None:
    found = {name.split(".")[0] for name in imports(path)} & PURE
    # The view's lock keeps readers and the fold apart; it waits for nothing else.
    assert found <= ({"threading"} if path.name == "view.py" else set())


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_modules_and_functions_stay_readable(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), f"{path.name} does not say what it is"
    assert len(text.splitlines()) <= 400, f"{path.name} is too long"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 70, f"{path.name}: {node.name} has {length} lines"
