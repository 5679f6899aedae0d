"""What starting the command line loads: a person, or a shell, waits for it."""

import subprocess
import sys

import pytest

HEAVY = {"sqlalchemy", "alembic", "orjson", "sqlite_utils", "asyncio", "foldlog.store.store", "foldlog.core.view"}


@pytest.mark.parametrize(
    ("words", "variables"),
    [
        (["--help"], {}),
        (["--version"], {}),
        (["ls", "--help"], {}),
        (["show", "--help"], {}),
        (["calls", "--help"], {}),
        (["events", "--help"], {}),
        (["sql", "--help"], {}),
        (["messages", "--help"], {}),
        (["usage", "--help"], {}),
        (["nonsense"], {}),
        (["completion", "bash"], {}),
        ([], {"_FOLDLOG_COMPLETE": "bash_complete", "COMP_WORDS": "foldlog s", "COMP_CWORD": "1"}),
        ([], {"_FOLDLOG_COMPLETE": "bash_complete", "COMP_WORDS": "foldlog show x.db d", "COMP_CWORD": "3"}),
    ],
)
def test_nothing_heavy_is_loaded(environment: dict[str, str], words: list[str], variables: dict[str, str]) -> None:
    code = (
        "import sys; sys.argv = ['foldlog', *sys.argv[1:]]\n"
        "from foldlog.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"loaded = sorted({HEAVY!r} & set(sys.modules))\n"
        "sys.stderr.write('loaded: ' + ' '.join(loaded))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**environment, **variables}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stderr.splitlines()[-1] == "loaded: "


def test_only_the_verb_that_is_called_is_imported(environment: dict[str, str]) -> None:
    code = (
        "import sys; sys.argv = ['foldlog', 'calls', '--help']\n"
        "from foldlog.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "sys.exit(any(f'foldlog.cli.{name}' in sys.modules for name in ('demo', 'events', 'stores', 'showing')))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0
