"""The second wall has only the programs that someone needs, and is built and repaired without a gap."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import pytest

from nsbrokerd.policy.kinds import KIND_OF_TRIPLE
from nsbrokerd.seal import Seal, UnsealedError, bpf, installing, wall
from nsbrokerd.seal.kernel import KernelLayout
from nsbrokerd.seal.maps import SealMaps
from nsbrokerd.seal.programs.calls import HOOKS
from nsbrokerd.seal.programs.iterator import LiveSocket
from nsbrokerd.seal.thread import SealedThread
from nsbrokerd.seal.wall import (
    WallError,
    build,
    hooks_for,
    kinds_in_use,
    needed_hooks,
    packet_hooks_for,
    standing_hooks,
)

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


def test_hooks_for_each_packet_are_needed_only_while_a_socket_that_needs_them_is_in_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All others are needed from the moment on at which the policy limits the kind."""
    packets, kinds = {"socket_sendmsg", "socket_recvmsg"}, {"tcp", "udplite", "sctp"}
    sockets = [live(2, 1, 6)]
    monkeypatch.setattr(wall, "all_live", lambda _maps: sockets)
    assert needed_hooks(MAPS, kinds) == set(HOOKS) - packets
    sockets.append(live(10, 2, 136))
    assert needed_hooks(MAPS, kinds) == set(HOOKS) - {"socket_recvmsg"}
    assert needed_hooks(MAPS, ()) >= {"socket_connect", "socket_sendmsg"}
    sockets.append(live(2, 5, 132))
    assert needed_hooks(MAPS, kinds) == set(HOOKS)


def test_hooks_for_each_packet_are_needed_if_the_kernel_can_not_list_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_maps: SealMaps) -> list[LiveSocket]:
        raise PermissionError("it can't")

    monkeypatch.setattr(wall, "all_live", refuse)
    assert needed_hooks(MAPS, ["tcp"]) == set(HOOKS)


def test_packets_of_a_new_socket_need_hooks_by_its_kind() -> None:
    """A socket of an unknown kind needs all."""
    assert packet_hooks_for([(2, 1, 6), (2, 2, 0), (2, 3, 136), (10, 2, 58)]) == set()
    assert packet_hooks_for([(2, 1, 6), (10, 2, 136)]) == {"socket_sendmsg"}
    assert packet_hooks_for([(2, 5, 132)]) == packet_hooks_for([(2, 77, 6)]) == {"socket_sendmsg", "socket_recvmsg"}


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


class Made:
    """A new socket of a kind, which no control group has sealed."""

    def __init__(self, *triple: int) -> None:
        self.family, self.type, self.proto = triple

    def fileno(self) -> int:
        return -1


def hand_out(seal: Seal, *triple: int) -> None:
    """Hand out a socket as far as the seal does not look for the first wall."""
    with pytest.raises(UnsealedError):
        seal.put_on([(cast("socket.SocketType", Made(*triple)), "limited", 1, 1)], 0)


@pytest.fixture
def seal(tmp_path: Path) -> Seal:
    return Seal(tmp_path, SealMaps(0, 0, 0, {}), cast("SealedThread", None), ExitStack())


def test_hooks_for_each_packet_stand_before_the_first_socket_that_needs_them(
    attached: list[str], seal: Seal, tmp_path: Path
) -> None:
    """They are attached once."""
    hand_out(seal, 2, 1, 6)
    assert attached == []
    hand_out(seal, 2, 2, 136)
    assert (attached, standing_hooks(tmp_path)) == (["socket_sendmsg"], {"socket_sendmsg"})
    hand_out(seal, 10, 2, 136)
    hand_out(seal, 2, 1, 132)
    assert attached == ["socket_sendmsg", "socket_recvmsg"]


def test_socket_is_refused_if_the_kernel_refuses_a_hook_for_its_packets(
    seal: Seal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the second wall can't be at all, a policy with the kind was refused, or the first wall holds alone."""

    def refuse(*_: object, **__: object) -> None:
        raise WallError("no memory")

    monkeypatch.setattr(installing, "build", refuse)
    with pytest.raises(OSError, match="can't limit the socket: no memory"):
        seal.put_on([(cast("socket.SocketType", Made(2, 5, 132)), "limited", 1, 1)], 0)
    seal.why_alone = "the kernel refuses its programs"
    hand_out(seal, 2, 2, 136)


def test_wall_that_was_never_built_is_empty(tmp_path: Path) -> None:
    assert standing_hooks(tmp_path / "none") == set()
