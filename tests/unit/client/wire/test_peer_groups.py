"""A mount's peer groups are read from the lines that the kernel writes."""

from __future__ import annotations

import pytest

from nsbroker.wire import read_groups, read_mount_id

LINES = [
    b"21 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n",
    b"42 21 254:0 /run/netns /run/netns rw,relatime shared:7 - tmpfs shared:8 rw\n",
    b"4 42 0:4 net:[4026532281] /run/netns/blue rw shared:9 - nsfs nsfs rw\n",
    b"43 21 254:0 /a /b rw master:5 propagate_from:2 - tmpfs - rw\n",
    b"44 21 254:0 /a /c rw shared:3 master:5 - tmpfs tmpfs rw\n",
    b"45 21 254:0 /a /d rw unbindable - tmpfs tmpfs rw\n",
]


@pytest.mark.parametrize(
    ("mount_id", "groups"),
    [(21, (0, 0)), (42, (7, 0)), (4, (9, 0)), (43, (0, 5)), (44, (3, 5)), (45, (0, 0)), (2, (0, 0))],
)
def test_groups_are_those_of_the_mount(mount_id: int, groups: tuple[int, int]) -> None:
    """Of none, if there is no such mount. A source that looks like a group is none."""
    assert read_groups(LINES, mount_id) == groups


def test_lines_after_the_mount_are_not_read() -> None:
    """A host with thousands of namespaces has a line for each, and their directory comes before them."""
    lines = iter(LINES)
    read_groups(lines, 42)
    assert next(lines) == LINES[2]


def test_mount_of_a_descriptor_is_found() -> None:
    assert read_mount_id([b"pos:\t0\n", b"flags:\t012100000\n", b"mnt_id:\t42\n", b"ino:\t2\n"]) == 42


def test_missing_mount_of_a_descriptor_is_an_error() -> None:
    with pytest.raises(ValueError, match="no mnt_id"):
        read_mount_id([b"pos:\t0\n"])
