"""I/O errors: a write, a sync, an open, a new name or size that fails, at the k-th call.

A scenario over the public API (`failing_runs.py`) runs on a disk that fails (`faulty_disk.c`), once for each
k until none fires, each with one kind of call and one error, for one call or from there on. Only FoldlogErrors
may come out; one that is certain leaves nothing behind, one that is not is settled by `reload()` for good; the
view is never ahead of the journal; nobody hangs, also where eight threads share the commit that fails; in the
end all that was acknowledged is there and `verify` is content. Not covered: reads that fail, errors that the
system never reports (a disk that lies), and faults of two kinds at once.
"""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from faulty_disk import build, quick_folder, start

_PATIENCE_S = 3600


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("library"))


def test_a_call_that_fails_is_an_error_of_ours_and_leaves_nothing_wrong(
    library: Path, tmp_path: Path, seed: int, size: Any, tell: Callable[[str], None]
) -> None:
    workers = os.cpu_count() or 1
    count = size.rounds(quick=20, full=0)  # 0: every k there is
    with quick_folder(tmp_path) as folder, ThreadPoolExecutor(workers) as pool:

        def work(worker: int) -> list[dict[str, Any]]:
            process = start(library, folder, "failing_runs.py", folder, seed, count, worker, workers)
            lines, errors = process.communicate(timeout=_PATIENCE_S)
            assert process.returncode == 0, errors[-3000:]
            return [json.loads(line) for line in lines.splitlines()]

        found = [run for runs in pool.map(work, range(workers)) for run in runs]
    wrong = [run for run in found if run["problems"]]
    where = [(run["mode"], run["k"]) for run in wrong]
    assert not wrong, f"{len(wrong)} of {len(found)} runs: {where} {json.dumps(wrong[:3], indent=1)}"
    assert any(run["errors"] for run in found), "nothing has failed at all"
    errors_count = sum(len(run["errors"]) for run in found)
    fired_count = sum(run["fired"] > 0 for run in found)
    tell(f"{fired_count:,} runs with a fault: {errors_count:,} errors, each of them ours, 0 with a loss")
