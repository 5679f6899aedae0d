"""Which file system a path is on, and whether it is one of a network.

SQLite's locks and the memory it shares between processes do not hold across machines, nor reliably on one
machine over a network file system: two writers could damage the file. Linux tells in
/proc/self/mountinfo; where that is missing nothing is known, and nothing refused.
"""

import re
from pathlib import Path
from typing import Final, NamedTuple

from foldlog.core.errors import StoreError

MOUNTINFO: Final = Path("/proc/self/mountinfo")
_NETWORK: Final = frozenset(
    {
        "9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4",
        "ocfs2", "orangefs", "smb3", "smbfs",
        "fuse.afp", "fuse.ceph", "fuse.cephfs", "fuse.curlftpfs", "fuse.davfs", "fuse.davfs2", "fuse.gcsfuse",
        "fuse.glusterfs", "fuse.goofys", "fuse.juicefs", "fuse.rclone", "fuse.s3fs", "fuse.smbnetfs", "fuse.sshfs",
    }
)  # fmt: skip
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


class FileSystem(NamedTuple):
    """A mounted file system: its type, where it is mounted, and its options."""

    kind: str
    mount_point: str
    options: str

    @property
    def is_network(self) -> bool:
        """Whether it is reached over a network, or shared with another machine's kernel."""
        # A sandbox that runs its processes on a kernel of its own shows its local disk as 9p.
        return self.kind in _NETWORK and not (self.kind == "9p" and "rfdno=" in self.options)


def find(mountinfo: str, path: str) -> FileSystem | None:
    """The file system that an absolute path is on, from the text of /proc/self/mountinfo; None if it does not say.

    >>> find("36 25 0:32 / /mnt/team rw - nfs4 server:/team rw", "/mnt/team/history.db").kind
    'nfs4'
    """
    found: FileSystem | None = None
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        fields, rest = before.split(), after.split()
        if not separator or len(fields) < 5 or not rest:
            continue
        mount_point = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields[4])
        is_above = path == mount_point or path.startswith(mount_point.rstrip("/") + "/")
        # Of two mounted at one place, the later one is seen.
        if is_above and (found is None or len(mount_point) >= len(found.mount_point)):
            found = FileSystem(rest[0], mount_point, " ".join(rest[1:]))
    return found


def of(path: Path, *, mountinfo: Path = MOUNTINFO) -> FileSystem | None:
    """The file system that a path is on, where the system tells."""
    try:
        return find(mountinfo.read_text(encoding="utf-8", errors="surrogateescape"), str(path))
    except OSError:
        return None


def check_local(path: Path, *, mountinfo: Path = MOUNTINFO) -> None:
    """Raise `StoreError` where a path is on a network file system."""
    found = of(path, mountinfo=mountinfo)
    if found is not None and found.is_network:
        raise StoreError(
            f"{path} is on a network file system ({found.kind} at {found.mount_point}), where locks do not hold",
            hint="keep the store on a local disk; it can be read where it is, and written by a program that says, with "
            "allow_network_file_system, that one machine alone uses it",
        )
