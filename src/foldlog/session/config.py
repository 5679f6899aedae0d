"""How an application tunes a store. Everything has a default that is safe."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from foldlog.core.errors import StoreError
from foldlog.core.limits import INLINE_BYTES_MAX, Limits
from foldlog.core.secret_text import Scrub


def utc_now() -> dt.datetime:
    """The system clock, aware."""
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True, slots=True)
class Config:
    """A store's settings.

    `durability`: "full" survives power loss (one disk sync a commit), "normal" survives the death of the
    process. `inline_bytes_max`: values up to so many JSON bytes travel inside their event. `export_dir`:
    a folder where every checkpoint also writes the session's files. `clock`: gives aware datetimes.
    `allow_network_file_system`: write a store there too; only where a single machine ever uses it. `scrub`:
    given the type and the payload of each event before it is stored, returns the payload without secrets; None
    as the type for a value that becomes a blob. `foldlog.scrub_secrets()` makes one.

    >>> Config(durability="normal").inline_bytes_max
    4096
    """

    durability: Literal["full", "normal"] = "full"
    inline_bytes_max: int = INLINE_BYTES_MAX
    export_dir: Path | str | None = None
    limits: Limits = field(default_factory=Limits)
    clock: Callable[[], dt.datetime] = utc_now
    allow_network_file_system: bool = False
    scrub: Scrub | None = None

    def __post_init__(self) -> None:
        if self.durability not in ("full", "normal"):
            raise StoreError(f"durability {self.durability!r} is not known", hint='choose "full" or "normal"')
        if type(self.inline_bytes_max) is not int or self.inline_bytes_max < 0:
            raise StoreError(
                f"inline_bytes_max {self.inline_bytes_max!r} is not a number of bytes",
                hint="use an int from 0",
            )
        if self.scrub is not None and not callable(self.scrub):
            raise StoreError(
                "scrub is no function", hint="pass foldlog.scrub_secrets(), or a function of type and payload"
            )
