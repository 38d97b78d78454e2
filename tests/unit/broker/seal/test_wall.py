"""The second wall has only the programs that someone needs, and is built and repaired without a gap."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nsbrokerd.policy.kinds import KIND_OF_TRIPLE
from nsbrokerd.seal import bpf, wall
from nsbrokerd.seal.kernel import KernelLayout
from nsbrokerd.seal.maps import SealMaps
from nsbrokerd.seal.programs.calls import HOOKS
from nsbrokerd.seal.programs.iterator import LiveSocket
from nsbrokerd.seal.wall import build, hooks_for, kinds_in_use, standing_hooks

MAPS = SealMaps(-1, -1, -1, {})


def live(family: int, kind: int, protocol: int) -> LiveSocket:
    return LiveSocket(1, 1, 1, 1, 1, 1, 0, family, 0, kind, protocol, 0, b"\0\0", bytes(4), bytes(4), b"", b"")


def test_hooks_for_each_packet_are_only_for_kinds_that_need_them() -> None:
    """They cost time on every socket of the host."""
    assert hooks_for(()) == set()
    for kind in ("tcp", "mptcp", "udp", "icmp", "raw:udp"):
        assert not hooks_for([kind]) & {"socket_sendmsg", "socket_recvmsg"}
    assert {"socket_connect", "socket_sendmsg"} <= hooks_for(["udplite"])
    assert "socket_recvmsg" not in hooks_for(["udplite"])
    assert hooks_for(["sctp"]) == set(HOOKS)


def test_kinds_of_live_sockets_count() -> None:
    """A socket of an unknown kind counts as one of each."""
    assert kinds_in_use([live(2, 1, 6), live(10, 2, 136)]) == {"tcp", "udplite"}
    assert {"tcp", "udp", "sctp", "raw:udp"} <= kinds_in_use([live(2, 77, 6)]) <= set(KIND_OF_TRIPLE.values())


@pytest.fixture
def attached(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the kernel by a list of hooks in the order in which they were attached. A pin is a file."""
    names: list[str] = []

    def attach(name: str, _maps: SealMaps) -> int:
        names.append(name)
        return os.open("/dev/null", os.O_RDONLY)

    monkeypatch.setattr(wall, "_attach", attach)
    monkeypatch.setattr(wall, "kernel_layout", lambda: KernelLayout({}, 1, dict.fromkeys(HOOKS, 1)))
    monkeypatch.setattr(bpf, "pin", lambda _fd, path: Path(path).write_text(f"{len(names)}"))
    return names


def test_wall_is_built_once_and_repaired_where_a_pin_is_gone(attached: list[str], tmp_path: Path) -> None:
    hooks = {"socket_listen", "socket_accept"}
    build(tmp_path, MAPS, hooks, anew=True)
    assert (sorted(attached), standing_hooks(tmp_path)) == (sorted(hooks), hooks)
    build(tmp_path, MAPS, hooks, anew=False)
    assert len(attached) == 2
    (tmp_path / "hook_socket_listen").unlink()
    build(tmp_path, MAPS, hooks, anew=False)
    assert (attached[2:], standing_hooks(tmp_path)) == (["socket_listen"], hooks)


def test_next_broker_replaces_every_program_in_place(attached: list[str], tmp_path: Path) -> None:
    """A rename takes the former program away when the new one already runs."""
    build(tmp_path, MAPS, {"socket_listen"}, anew=True)
    (tmp_path / "new_hook_socket_accept").write_text("of a broker that was killed")
    build(tmp_path, MAPS, {"socket_listen"}, anew=True)
    assert attached == ["socket_listen"] * 2
    assert os.listdir(tmp_path) == ["hook_socket_listen"]
    assert (tmp_path / "hook_socket_listen").read_text() == "2"


def test_wall_that_was_never_built_is_empty(tmp_path: Path) -> None:
    assert standing_hooks(tmp_path / "none") == set()
