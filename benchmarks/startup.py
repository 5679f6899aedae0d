"""Starting: what `import foldlog` adds to Python and SQLAlchemy, and opening a store that is current."""

from collections.abc import Iterator

import foldlog
from benchmarks import processes
from benchmarks.bench import Bench, say
from benchmarks.results import Measurement, quartiles

_GROUP = "Start, in fresh processes"
_IMPORT = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"
# foldlog's public names are loaded when the first is asked for.
_STATEMENTS = {"sqlalchemy": "import sqlalchemy", "foldlog": "from foldlog import open"}
_OPEN = """
import sys, time, foldlog
start = time.perf_counter()
store = foldlog.open(sys.argv[1])
print(time.perf_counter() - start)
store.close()
"""


def startup(bench: Bench) -> Iterator[Measurement]:
    """Imports in turns, each in a process of its own; then opening, the first time in a process."""
    say("import and open")
    programs = [_IMPORT.format(statement) for statement in _STATEMENTS.values()]
    for program in programs:
        processes.run("-c", program)  # writes the .pyc files
    pairs = [[processes.run("-c", program) * 1000 for program in programs] for _ in range(bench.scale.repeats)]
    for number, (module, statement) in enumerate(_STATEMENTS.items()):
        low, median, high = quartiles([pair[number] for pair in pairs])
        yield Measurement(f"startup.import.{module}", _GROUP, statement, median, "ms", low, high)
    low, median, high = quartiles([ours - theirs for theirs, ours in pairs])
    yield Measurement("startup.over", _GROUP, "that of foldlog over that of sqlalchemy", median, "ms", low, high)
    with bench.workspace() as folder:
        path = folder / "current.db"
        foldlog.new_state(path, id="s").close()
        times = [processes.run("-c", _OPEN, str(path)) * 1000 for _ in range(bench.scale.repeats)]
    low, median, high = quartiles(times)
    yield Measurement("startup.open", _GROUP, "open a current store", median, "ms", low, high)
