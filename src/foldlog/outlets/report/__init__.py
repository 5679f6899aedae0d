"""One session with all below it, written for people and for other tools: one file each.

A page to look at (`html`), a trace for Perfetto or chrome://tracing (`trace`), a diagram of the sessions
(`mermaid`), a transcript (`markdown`). What they show is read once by `foldlog.outlets.report.run`. JSON
files that hold everything are `foldlog.outlets.export`'s.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from foldlog.core.errors import StoreError
from foldlog.outlets.report import markdown, mermaid, page, trace
from foldlog.outlets.report.run import Run, gather
from foldlog.storage.files import write_file

if TYPE_CHECKING:
    from foldlog.store.store import Store

FORMATS: Final[dict[str, Callable[[Run], Iterator[str]]]] = {
    "html": page.chunks,
    "markdown": markdown.chunks,
    "mermaid": mermaid.chunks,
    "trace": trace.chunks,
}


def chunks(store: "Store", session_id: str, format: str) -> Iterator[str]:
    """The text of a session in a format, in pieces; what is wrong is raised before the first."""
    if format not in FORMATS:
        raise StoreError(f"there is no report format {format!r}", hint=f"use one of {', '.join(FORMATS)}")
    return FORMATS[format](gather(store, session_id))


def write(store: "Store", session_id: str, path: Path, format: str) -> Path:
    """Write a session's file, old or new and never half; what is at `path` is replaced."""
    pieces = (piece.encode() for piece in chunks(store, session_id, format))
    write_file(path, pieces, store.database.file_mode)
    return path
