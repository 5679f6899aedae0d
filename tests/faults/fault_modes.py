"""The ways in which calls fail in `failing_runs.py`: of which kind, with which error, once or from then on."""

import errno
from dataclasses import dataclass

from faulty_disk import Kind


@dataclass(frozen=True)
class Mode:
    """How calls fail."""

    kind: Kind
    error: int
    is_sticky: bool = False
    is_short: bool = False

    def __str__(self) -> str:
        how = " after a short one" if self.is_short else " and on" if self.is_sticky else ""
        return f"{self.kind.name.lower()} {errno.errorcode[self.error]}{how}"


MODES = [
    Mode(kind, error, is_sticky)
    for kind, error in (
        (Kind.WRITE, errno.EIO),
        (Kind.WRITE, errno.ENOSPC),
        (Kind.SYNC, errno.EIO),
        (Kind.SYNC, errno.ENOSPC),
        (Kind.NAME, errno.EIO),
        (Kind.NAME, errno.ENOSPC),
        (Kind.SIZE, errno.EIO),
        (Kind.OPEN, errno.EIO),
        (Kind.OPEN, errno.EMFILE),
    )
    for is_sticky in (False, True)
] + [Mode(Kind.WRITE, errno.ENOSPC, is_short=True), Mode(Kind.WRITE, errno.ENOSPC, is_short=True, is_sticky=True)]
