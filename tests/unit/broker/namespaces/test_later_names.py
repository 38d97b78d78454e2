"""A container sees names that are added later only if the mount of /run/netns gets mounts from the host."""

from __future__ import annotations

import pytest

from nsbrokerd.namespaces.later_names import gets_mounts

LINE = b"29 23 0:25 /netns /run/netns rw,nosuid %s- tmpfs tmpfs rw\n"
BESIDE = b"30 23 0:26 / /x\xffy rw shared:7 - fuse user rw\n"


@pytest.mark.parametrize(
    ("propagation", "does"),
    [
        (b"", False),
        (b"unbindable ", False),
        (b"shared:9 ", True),
        (b"master:9 ", True),
        (b"shared:1 master:9 ", True),
        (b"propagate_from:2 ", False),
    ],
)
def test_mount_gets_others_if_it_is_shared_or_a_slave(propagation: bytes, does: bool) -> None:
    assert gets_mounts(BESIDE + LINE % propagation, 29) is does


def test_other_mounts_do_not_count() -> None:
    assert not gets_mounts(BESIDE + LINE % b"", 29)
    assert not gets_mounts(BESIDE, 29)
