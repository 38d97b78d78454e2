"""A broker finds a writable control group as containers have it: in a namespace of its own, read-only, or not shown."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nsbrokerd.seal.own_group import own_cgroup
from support import namespaces
from support.brokers.limited import can_send, grant, open_limited
from support.brokers.process import BrokerProcess

LIMITED = grant(connect=["127.0.0.0/8:5000"])
COVERED = "umount --recursive --lazy /sys/fs/cgroup; mount -t tmpfs none /sys/fs/cgroup"
READ_ONLY = "mount -o remount,bind,ro /sys/fs/cgroup"
SHOWN = {
    "read-only, as its root": f"{COVERED}; mount -t cgroup2 none /sys/fs/cgroup; {READ_ONLY}",
    "by a mount of the host's alone": "",
    "not at all": COVERED,
}


class Contained(BrokerProcess):
    """A broker with mounts and a namespace of control groups of its own, whose root is a group of this test."""

    mounts = ""
    namespaces = "--mount --cgroup"

    def __init__(self, grants: str) -> None:
        super().__init__(grants)
        self.group = own_cgroup() / self.directory.name

    def command(self) -> list[str]:
        broker = shlex.join(super().command())
        inner = f"mount --make-rslave / ; {self.mounts or ':'} ; exec {broker}"
        move = f"mkdir -p {self.group} && echo 0 >{self.group}/cgroup.procs"
        # --propagation: the default of unshare would keep later names away.
        return ["sh", "-c", f"{move} && exec unshare {self.namespaces} --propagation=slave sh -c {shlex.quote(inner)}"]

    def close(self) -> None:
        try:
            super().close()
        finally:
            for group in (self.group / self.seal_path.name / "sealed", self.group / self.seal_path.name, self.group):
                if group.exists():
                    group.rmdir()


@pytest.fixture
def contained() -> Iterator[Contained]:
    if reason := namespaces.why_not():
        pytest.skip(reason)
    try:
        broker = Contained(LIMITED)
    except OSError as error:
        pytest.skip(str(error))
    yield broker
    broker.close()


@pytest.mark.parametrize("mounts", SHOWN.values(), ids=SHOWN)
def test_limits_hold_however_the_group_is_shown(
    contained: Contained, make_namespace: Callable[..., str], mounts: str
) -> None:
    contained.mounts = mounts
    contained.start()
    with open_limited(contained, make_namespace()) as sock:
        assert [can_send(sock, 5000), can_send(sock, 5001)] == [True, False]


def test_group_that_is_read_only_on_the_host_is_writable_for_the_broker_alone(
    contained: Contained, make_namespace: Callable[..., str]
) -> None:
    contained.namespaces = "--mount"
    contained.mounts = "mount -o remount,bind,ro $(findmnt -no TARGET -t cgroup2 | tail -n 1)"
    contained.start()
    with open_limited(contained, make_namespace()) as sock:
        assert [can_send(sock, 5000), can_send(sock, 5001)] == [True, False]
    group = Path(f"/proc/{contained.pid}/root") / own_cgroup().relative_to("/") / "nsbroker-try"
    with pytest.raises(OSError, match="Read-only file system"):
        group.mkdir()


def test_broker_ends_its_groups_with_itself(contained: Contained) -> None:
    contained.mounts = COVERED
    contained.start()
    assert (contained.group / contained.seal_path.name / "sealed").exists()
    contained.stop()
    assert [one for one in contained.group.iterdir() if one.is_dir()] == []
