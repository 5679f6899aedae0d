"""Which file system a path is on, from what the kernel says."""

from pathlib import Path

import pytest

from foldlog.core.errors import StoreError
from foldlog.storage import file_system

pytestmark = pytest.mark.sqlite("files")

MOUNTINFO = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:30 / /home rw shared:5 master:2 - nfs4 server:/home rw,addr=10.0.0.1
31 30 8:2 / /home/local rw - xfs /dev/sdb1 rw
32 22 0:31 / /mnt/with\040space rw - fuse.sshfs me@there: rw
33 22 0:32 / /mnt/c rw - 9p drvfs rw,aname=drvfs;path=C:\134,trans=fd,rfd=8,wfd=8
34 22 0:33 / /sandbox rw - 9p none rw,trans=fd,rfdno=4,wfdno=4
35 22 8:3 / /data rw - ext4 /dev/sdc1 rw
36 35 0:34 / /data rw - cifs //server/data rw
nonsense
"""


@pytest.mark.parametrize(
    ("path", "kind", "is_network"),
    [
        ("/var/history.db", "ext4", False),
        ("/home/me/history.db", "nfs4", True),
        ("/homely/history.db", "ext4", False),
        ("/home/local/history.db", "xfs", False),
        ("/mnt/with space/history.db", "fuse.sshfs", True),
        ("/mnt/c/history.db", "9p", True),
        ("/sandbox/history.db", "9p", False),
        ("/data/history.db", "cifs", True),
        ("/data", "cifs", True),
    ],
)
def test_the_deepest_and_last_mount_counts(path: str, kind: str, is_network: bool) -> None:
    found = file_system.find(MOUNTINFO, path)
    assert found is not None
    assert (found.kind, found.is_network) == (kind, is_network)


def test_where_nothing_is_told_nothing_is_refused(tmp_path: Path) -> None:
    assert file_system.find("", "/history.db") is None
    assert file_system.of(tmp_path, mountinfo=tmp_path / "missing") is None
    file_system.check_local(tmp_path, mountinfo=tmp_path / "missing")


def test_the_refusal_names_it(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text(f"1 1 0:1 / {tmp_path} rw - nfs server:/x rw\n")
    with pytest.raises(StoreError, match="nfs at"):
        file_system.check_local(tmp_path / "history.db", mountinfo=tmp_path / "mountinfo")
