"""Associations of stopped sockets are found in the kernel's lists, and ended by the packet that a peer would send."""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Callable

import pytest

from nsbrokerd.namespaces.netns import NamespaceNotFoundError
from nsbrokerd.seal import aborting
from nsbrokerd.seal.aborting import Aborter, abort_associations, abort_packet
from nsbrokerd.seal.layout import CHOSEN, CLONED, CUT, PARENT, REVOKED, SEVERAL
from nsbrokerd.seal.maps import SealMaps
from nsbrokerd.seal.programs.associations import Association, read_associations, write_associations
from nsbrokerd.seal.programs.code import Code
from nsbrokerd.seal.programs.packets import check_incoming
from support import sctp
from support.bpf_machine import LIMITS_FD, SOCKETS_FD
from support.sealed_host import INET, INET6, STREAM, TCP, Host

SEQPACKET, RAW, SCTP = int(socket.SOCK_SEQPACKET), int(socket.SOCK_RAW), int(socket.IPPROTO_SCTP)
LISTEN = 10
ESTABLISHED, CLOSED = 3, 0
MAPS = SealMaps(-1, -1, -1, {})


def address(host: str, port: int) -> bytes:
    return (struct.pack("=H", INET) + struct.pack("!H", port) + socket.inet_aton(host)).ljust(28, b"\0")


OWN, PEER = address("10.0.0.1", 0), address("10.0.0.2", 4000)


class Kernel(Host):
    """A socket of SCTP with associations, in memory."""

    def __init__(self, kind: int = STREAM, protocol: int = SCTP, flags: int = CUT | CLONED, **fields: tuple[int, int]):
        super().__init__()
        self.sock = self.sk(kind, protocol, skc_bound_dev_if=(0, 4), **fields)
        self.give_entry(self.sock, "g", flags)
        self.endpoint = self.struct(64)
        self.put(self.sock, "sctp_sock.ep", self.endpoint)
        self.last = self.endpoint + self.fields["sctp_endpoint.asocs"]
        self.link(self.last)

    def put(self, base: int, field: str, value: int, length: int = 8) -> None:
        self.write(base + self.fields[field], value.to_bytes(length, "little"))

    def link(self, node: int) -> None:
        """Put a node at the end of the list, which is a ring."""
        head = self.endpoint + self.fields["sctp_endpoint.asocs"]
        self.write(self.last, node.to_bytes(8, "little"))
        self.write(node, head.to_bytes(8, "little"))
        self.last = node

    def associate(self, tag: int, state: int = ESTABLISHED) -> int:
        asoc, path = self.struct(400), self.struct(64)
        for field, value, length in (("my_vtag", tag, 4), ("state", state, 4), ("port", 5000, 2)):
            self.put(asoc, f"asoc.{field}", value, length)
        self.put(asoc, "asoc.primary_path", path)
        self.write(asoc + self.fields["asoc.primary_addr"], PEER)
        self.write(path + self.fields["sctp_transport.saddr"], OWN)
        self.link(asoc + self.fields["asoc.asocs"])
        return asoc

    def listed(self) -> set[Association]:
        self.written = b""
        meta = self.place(bytes(16))
        assert self.run(write_associations(self.fields), (meta, 0, self.sock, self.entries[self.sock])) == 0
        return read_associations(self.written)

    def tags(self) -> set[int]:
        return {one.tag for one in self.listed()}


def test_association_is_listed_with_all_that_a_packet_needs() -> None:
    kernel = Kernel()
    kernel.put(kernel.sock, "skc_bound_dev_if", 3, 4)
    kernel.associate(7)
    assert kernel.listed() == {Association(0, 7, ESTABLISHED, 5000, 3, PEER, OWN)}


@pytest.mark.parametrize("kind", [STREAM, SEQPACKET])
@pytest.mark.parametrize(
    ("flags", "is_listed"),
    [
        (CUT | CLONED, True),
        (REVOKED | CLONED, True),
        (REVOKED | PARENT, True),
        (CUT | CHOSEN | SEVERAL, False),
        (CLONED, False),
        (PARENT | CHOSEN, False),
    ],
)
def test_only_stopped_sockets_that_the_first_wall_does_not_see_are_listed(
    kind: int, flags: int, is_listed: bool
) -> None:
    kernel = Kernel(kind, flags=flags)
    kernel.associate(7)
    assert kernel.tags() == ({7} if is_listed else set())


def test_sockets_of_other_protocols_have_none() -> None:
    assert Kernel(protocol=TCP).listed() == set()


def test_listener_of_an_older_broker_counts() -> None:
    """It lacks the mark."""
    for kind, state, is_listed in ((STREAM, LISTEN, True), (STREAM, 1, False), (SEQPACKET, LISTEN, False)):
        kernel = Kernel(kind, flags=CUT, skc_state=(state, 1))
        kernel.associate(7)
        assert kernel.tags() == ({7} if is_listed else set())


def test_ended_association_of_a_listener_is_left_out() -> None:
    """accept(2) can still take it. One of a one-to-many socket is about to begin."""
    for kind, tags in ((STREAM, {8}), (SEQPACKET, {7, 8})):
        kernel = Kernel(kind, flags=CUT | PARENT)
        kernel.associate(7, CLOSED)
        kernel.associate(8)
        assert kernel.tags() == tags


def test_list_has_a_limit() -> None:
    """It says that there are more. These come once the first ones are gone. Ended ones that nobody took count, too."""
    for state, tags in ((ESTABLISHED, set(range(129))), (CLOSED, {0})):
        kernel = Kernel(flags=CUT | PARENT)
        for tag in range(1, 129):
            kernel.associate(tag, state)
        assert 0 not in kernel.tags()
        kernel.associate(200)
        assert kernel.tags() == tags


def test_what_can_not_be_read_counts_as_any_association() -> None:
    kernel = Kernel()
    kernel.associate(7)
    kernel.unreadable.add(kernel.endpoint + kernel.fields["sctp_endpoint.asocs"])
    (one,) = kernel.listed()
    assert (one.tag, one.is_locked) == (0, False)


def test_lock_of_a_socket_that_can_make_others_is_told() -> None:
    """Calls may wait for it that were checked before the socket was stopped."""
    for flags, is_told in ((CUT | PARENT, True), (CUT | CLONED, False)):
        kernel = Kernel(flags=flags)
        kernel.put(kernel.sock, "sk_lock.owned", 1, 4)
        kernel.associate(7)
        assert kernel.tags() == ({0, 7} if is_told else {7})
        assert {one.tag: one.is_locked for one in kernel.listed()}[7] is False
        assert any(one.is_locked for one in kernel.listed()) == is_told


def test_packet_is_the_abort_of_the_peer() -> None:
    """As the tests write packets, too."""
    one = Association(1, 0x01020304, ESTABLISHED, 5000, 0, PEER, OWN)
    packet = abort_packet(one)
    assert packet[20:] == sctp.packet(4000, 5000, struct.pack("!BBH", sctp.ABORT, 0, 4), 0x01020304)
    assert (packet[0], packet[9]) == (0x45, SCTP)
    assert (packet[12:16], packet[16:20]) == (PEER[4:8], OWN[4:8])


def test_packet_of_version_6() -> None:
    peer, own = (
        struct.pack("=H", INET6) + struct.pack("!HI", port, 0) + socket.inet_pton(INET6, host) + bytes(4)
        for host, port in (("fd00::2", 4000), ("fd00::1", 0))
    )
    packet = abort_packet(Association(1, 9, ESTABLISHED, 5000, 0, peer, own))
    assert struct.unpack_from("!IHB", packet) == (6 << 28, 16, SCTP)
    assert (packet[8:24], packet[24:40]) == (peer[8:24], own[8:24])
    assert packet[40:] == sctp.packet(4000, 5000, struct.pack("!BBH", sctp.ABORT, 0, 4), 9)


ABORT = struct.pack("!BBH", sctp.ABORT, 0, 4)
PACKETS = {
    "abort": (STREAM, SCTP, ABORT, True),
    "abort to one of many": (SEQPACKET, SCTP, ABORT, True),
    "abort with a cause": (STREAM, SCTP, struct.pack("!BBHHHI", sctp.ABORT, 0, 12, 12, 8, 1), False),
    "abort and more": (STREAM, SCTP, ABORT * 2, False),
    "another chunk": (STREAM, SCTP, struct.pack("!BBH", sctp.COOKIE_ACK, 0, 4), False),
    "nothing": (STREAM, SCTP, b"", False),
    "raw socket": (RAW, SCTP, ABORT, False),
    "another protocol": (STREAM, TCP, ABORT, False),
}


@pytest.mark.parametrize("flags", [0, CUT, REVOKED])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("which", PACKETS)
def test_stopped_socket_hears_only_an_abort_that_says_nothing(which: str, version: int, flags: int) -> None:
    """Only that of SCTP: a raw socket would receive the packet itself."""
    kind, protocol, chunk, is_heard = PACKETS[which]
    host = Host([])
    sock = host.place(struct.pack("=IIII", 0, INET, kind, protocol))
    host.give_entry(sock, "g", flags)
    payload = sctp.packet(1, 2, chunk, 3)
    header = bytes([0x45, *bytes(8), SCTP, *bytes(10)]) if version == 4 else bytes([0x60, *bytes(5), SCTP, *bytes(33)])
    data = host.place(header + payload)
    words = bytearray(176)
    struct.pack_into("=I", words, 0, len(header + payload))
    struct.pack_into("=I", words, 16, socket.htons(0x0800 if version == 4 else 0x86DD))
    struct.pack_into("=II", words, 76, data, data + len(header + payload))
    struct.pack_into("=Q", words, 168, sock)
    code = Code(SOCKETS_FD, LIMITS_FD)
    check_incoming(code)
    assert host.run(code.assemble(), struct.unpack("=22Q", words)) == int(is_heard or not flags)


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> list[set[Association]]:
    """The lists of associations that follow each other. The last one stays."""
    lists: list[set[Association]] = []
    monkeypatch.setattr(aborting, "list_associations", lambda _maps: lists.pop(0) if lists[1:] else set(*lists))
    monkeypatch.setattr(aborting, "find_namespaces", lambda *_: [])
    monkeypatch.setattr(aborting, "stopped_parents", lambda _maps: {1, 2})
    monkeypatch.setattr(aborting, "_PAUSE_S", 0)
    return lists


def some(*tags: int) -> set[Association]:
    return {Association(1, tag, ESTABLISHED, 5000, 0, PEER, OWN) for tag in tags}


LOCKED = Association(1, 0, 255, 0, 0, bytes(28), bytes(28))


@pytest.mark.parametrize(
    ("lists", "is_over"),
    [
        ([], True),
        ([some(1, 2), some(2), set()], True),
        ([some(1), some(1), set()], True),
        ([{LOCKED}, some(1) | {LOCKED}, set()], True),
        ([some(1)], False),
        ([some(1), some(2)], False),
        ([{LOCKED}], False),
    ],
)
def test_associations_are_aborted_until_nothing_changes_for_a_while(
    rounds: list[set[Association]], lists: list[set[Association]], is_over: bool
) -> None:
    """A listener can have more than one list has room for, and a packet can wait for a lock."""
    rounds += lists
    assert abort_associations(MAPS) == is_over
    rounds[:] = lists
    aborter = Aborter(MAPS)
    aborter.start()
    aborter.wait()
    assert aborter.ended_before(time.monotonic()) == (frozenset({1, 2}) if is_over else frozenset())
    assert aborter.ended_before(time.monotonic() - 60) == frozenset()


def test_packet_that_waits_is_waited_for_only_a_few_times(rounds: list[set[Association]]) -> None:
    rounds += [some(1)] * 50
    assert not abort_associations(MAPS)
    assert 40 < len(rounds) < 50


def test_work_has_an_end_and_can_be_stopped(rounds: list[set[Association]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if there are always others."""
    now_s = iter(range(100))
    monkeypatch.setattr(aborting.time, "monotonic", lambda: float(next(now_s)))
    rounds += [some(tag) for tag in range(1, 300)]
    assert not abort_associations(MAPS)
    assert len(rounds) == 299 - 6
    asked = []
    monkeypatch.setattr(aborting, "find_namespaces", lambda *_: asked.append(1) or [])
    assert not abort_associations(MAPS, lambda: bool(asked))
    assert len(asked) == 1


def test_each_association_is_aborted_in_its_own_namespace(
    rounds: list[set[Association]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent to one that could not be read. A namespace that is gone does not matter."""
    aborted: list[object] = []

    class EveryGate:
        home_fd = property(lambda _self: os.open("/dev/null", os.O_RDONLY))

        def call_inside(self, fd: int, make: Callable[[], None]) -> None:
            aborted.append(fd)
            if fd == -5:
                raise NamespaceNotFoundError("gone")
            make()

    def abort(one: Association) -> None:
        aborted.append(one.tag)
        raise OSError(errno.ENETUNREACH, "unreachable")

    monkeypatch.setattr(aborting, "Gate", EveryGate)
    monkeypatch.setattr(aborting, "find_namespaces", lambda _gate, cookies: [(one, None, -one) for one in cookies])
    monkeypatch.setattr(aborting, "_abort", abort)
    first, second, third, unknown = (one for tag in (1, 2, 3, 0) for one in some(tag))
    others = second._replace(netns=3), third._replace(netns=5), unknown._replace(netns=4)
    rounds += [{first, *others}, set()]
    assert abort_associations(MAPS)
    assert sorted(map(str, aborted)) == ["-1", "-3", "-5", "1", "2"]


def test_parent_counts_from_the_first_time_at_which_it_had_no_association(
    rounds: list[set[Association]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And anew if it was not stopped meanwhile."""
    aborter = Aborter(MAPS)

    def run(now_s: float) -> None:
        monkeypatch.setattr(aborting.time, "monotonic", lambda: now_s)
        aborter.start()
        aborter.wait()

    run(10)
    monkeypatch.setattr(aborting, "stopped_parents", lambda _maps: {2, 3})
    run(20)
    assert (aborter.ended_before(10), aborter.ended_before(20)) == ({2}, {2, 3})
    aborter.forget_others({3})
    run(30)
    assert (aborter.ended_before(20), aborter.ended_before(30)) == ({3}, {2, 3})
    rounds += [some(1)]
    run(40)
    assert aborter.ended_before(40) == set()


def test_parents_that_the_thread_finds_while_limits_change_do_not_count(
    rounds: list[set[Association]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rounds == []
    aborter = Aborter(MAPS)

    def stopped(_maps: SealMaps) -> set[int]:
        aborter.forget_others(set())
        return {1}

    monkeypatch.setattr(aborting, "stopped_parents", stopped)
    aborter.start()
    aborter.wait()
    assert aborter.ended_before(time.monotonic()) == set()


def test_only_one_thread_is_at_work(rounds: list[set[Association]], monkeypatch: pytest.MonkeyPatch) -> None:
    """And without room for a thread, the broker goes on."""
    started, go_on = [], threading.Event()

    def run(_maps: SealMaps, _stops: object) -> bool:
        started.append(rounds)
        return go_on.wait(60)

    monkeypatch.setattr(aborting, "abort_associations", run)
    aborter = Aborter(MAPS)
    for _ in range(3):
        aborter.start()
    go_on.set()
    aborter.wait()
    assert len(started) == 1
    monkeypatch.setattr(threading.Thread, "start", _refuse)
    aborter.start()
    aborter.close()


def _refuse(_self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_failure_leaves_the_sockets_for_the_next_time(
    rounds: list[set[Association]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_maps: SealMaps) -> set[int]:
        raise PermissionError("it can't")

    assert rounds == []
    aborter = Aborter(MAPS)
    aborter.start()
    aborter.wait()
    monkeypatch.setattr(aborting, "stopped_parents", refuse)
    aborter.start()
    aborter.wait()
    assert aborter.ended_before(time.monotonic()) == frozenset()


def test_end_of_the_broker_ends_the_thread(rounds: list[set[Association]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while an association can't be aborted."""
    woken = []
    monkeypatch.setattr(aborting.time, "sleep", lambda _s: woken.append(aborter._stops.wait(5)))
    rounds += [some(1)]
    aborter = Aborter(MAPS)
    aborter.start()
    aborter.close()
    assert all(woken)
