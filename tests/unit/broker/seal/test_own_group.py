"""Where the hierarchy of control groups is mounted, as proc_pid_mountinfo(5) tells it."""

from __future__ import annotations

import pytest

from nsbrokerd.seal.own_group import cgroup_mounts

CGROUP2 = b"29 23 0:25 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"


@pytest.mark.parametrize("path", [b"a\x0bb", b"a\rb", b"a\x1cb", "a\x85b".encode(), "a\u2028b".encode(), b"a\xffb"])
def test_users_mount_may_have_any_path(path: bytes) -> None:
    """Each of these ends a line for str.splitlines(), or is no UTF-8."""
    mount = b"50 23 0:40 / /home/user/" + path + b" rw,nosuid - fuse user rw\n"
    assert cgroup_mounts(mount + CGROUP2) == [("/", "/sys/fs/cgroup")]


@pytest.mark.parametrize("end", ["\x0b", "\r", "\u2028"])
def test_users_mount_can_not_pass_for_the_hierarchy(end: str) -> None:
    """No other white space stands for the space that the kernel escapes."""
    forged = f"x{end}1 2 0:3 / /home/user/evil rw - cgroup2 cgroup2".replace(" ", "\u2003")
    mount = f"50 23 0:40 / /home/user/{forged} rw,nosuid - fuse user rw\n".encode()
    assert cgroup_mounts(mount + CGROUP2) == [("/", "/sys/fs/cgroup")]
