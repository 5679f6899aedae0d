"""Fresh processes: each starts Python with this checkout's packages and answers with one line of JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import foldlog

ROOT = Path(__file__).parents[1]
_TIMEOUT_S = 900


def environment(**more: str) -> dict[str, str]:
    """This process's environment, with the packages found where this process found them."""
    paths = [str(ROOT), str(Path(foldlog.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **more}


def run(*arguments: str, **more: str) -> Any:
    """Run Python with these arguments; the JSON of the last line it prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment(**more),
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"a child process ended with {done.returncode}: {last}")
    return json.loads(done.stdout.splitlines()[-1])
