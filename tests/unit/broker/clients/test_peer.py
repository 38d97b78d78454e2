"""The kernel's word on who connected, and whom the broker can't know."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from nsbrokerd.clients.peer import UnknownPeerError, read_peer, untrusted_uid

OVERFLOW_UID = 65534


def proc(tmp_path: Path, uid_map: str) -> Path:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/uid_map").write_text(uid_map)
    (tmp_path / "sys/kernel").mkdir(parents=True)
    (tmp_path / "sys/kernel/overflowuid").write_text(f"{OVERFLOW_UID}\n")
    return tmp_path


def test_uid_that_stands_for_many_users_is_nobodys() -> None:
    """A peer that has the overflow uid is refused; the same uid is a user like any other where it stands for itself."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near, far:
        with pytest.raises(UnknownPeerError, match=f"uid {os.geteuid()} stands for every user outside"):
            read_peer(near, os.geteuid())
        for other in (None, os.geteuid() + 1):
            peer = read_peer(near, other)
            assert (peer.subject.uid, peer.gid, peer.pid) == (os.geteuid(), os.getegid(), os.getpid())


@pytest.mark.parametrize(
    ("uid_map", "untrusted"),
    [
        ("         0          0 4294967295\n", None),
        ("         0     100000      65536\n", OVERFLOW_UID),
        ("         0          0      65536\n", OVERFLOW_UID),
        ("         0       1000          1\n         1     100000      65536\n", OVERFLOW_UID),
        ("         0          0      65534\n     65534      65534 4294901761\n", OVERFLOW_UID),
    ],
    ids=["host", "container", "a part of the host's users", "two ranges", "all in two ranges"],
)
def test_overflow_uid_stands_for_itself_only_where_every_user_has_an_id(
    tmp_path: Path, uid_map: str, untrusted: int | None
) -> None:
    assert untrusted_uid(proc(tmp_path, uid_map)) == untrusted
