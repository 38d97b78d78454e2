"""The programs of the second wall decide as they should, whichever kernel this is: an interpreter runs them."""

from __future__ import annotations

import errno
import socket

import pytest

from nsbrokerd.seal.layout import BOUND, CHOSEN, CLONED, CUT, PARENT, REVOKED, SEVERAL
from nsbrokerd.seal.programs.sweep import write_sweep
from support.bpf_machine import LIMITS_FD, SOCKETS_FD
from support.sealed_host import GRANT, Host, word

EPERM = -errno.EPERM
INET, INET6, UNSPEC = int(socket.AF_INET), int(socket.AF_INET6), int(socket.AF_UNSPEC)
STREAM, DGRAM, RAW = int(socket.SOCK_STREAM), int(socket.SOCK_DGRAM), int(socket.SOCK_RAW)
SEQPACKET = int(socket.SOCK_SEQPACKET)
TCP, UDP, ICMP, ICMPV6, SCTP, UDPLITE = 6, 17, 1, 58, 132, 136
IP, SOL_SOCKET = 0, 1


def test_socket_without_an_entry_is_free() -> None:
    """And so is one that the kernel has taken apart already."""
    host = Host([], [])
    free = host.struct(64, socket__sk=(host.sk(), 8))
    gone = host.struct(64)
    for sock in (free, gone):
        assert host.ask("socket_connect", sock, host.v4("10.0.0.1", 80), 16) == 0
        assert host.ask("socket_bind", sock, host.v4("10.0.0.1", 80), 16) == 0
        assert host.ask("socket_listen", sock, 1) == host.ask("socket_accept", sock, 0) == 0
        assert host.ask("socket_setsockopt", sock, IP, 4) == 0
        assert host.ask("socket_sendmsg", sock, 0, 0) == host.ask("socket_recvmsg", sock, 0, 0, 0) == 0


@pytest.mark.parametrize("flags", [REVOKED, CUT])
def test_socket_that_was_cut_off_can_do_nothing(flags: int) -> None:
    host = Host()
    sock, sctp = host.sealed(host.sk(), flags), host.sealed(host.sk(STREAM, SCTP), flags)
    assert host.ask("socket_connect", sock, host.v4("10.0.0.1", 80), 16) == EPERM
    assert host.ask("socket_bind", sock, host.v4("10.0.0.1", 80), 16) == EPERM
    assert host.ask("socket_listen", sock, 1) == host.ask("socket_accept", sock, 0) == EPERM
    assert host.ask("socket_recvmsg", sctp, 0, 0, 0) == host.ask("socket_sendmsg", sctp, 0, 0) == EPERM


def test_socket_whose_grant_is_gone_can_do_nothing() -> None:
    host = Host()
    sock, sctp = host.sealed(host.sk(), grant="gone"), host.sealed(host.sk(STREAM, SCTP), grant="gone")
    assert host.ask("socket_connect", sock, host.v4("10.0.0.1", 80), 16) == EPERM
    assert host.ask("socket_bind", sock, host.v4("10.0.0.1", 80), 16) == EPERM
    assert host.ask("socket_listen", sock, 1) == host.ask("socket_accept", sock, 0) == EPERM
    assert host.ask("socket_recvmsg", sctp, 0, 0, 0) == host.ask("socket_sendmsg", sctp, 0, 0) == EPERM


@pytest.mark.parametrize(
    ("kind", "protocol", "family", "address", "length", "answer"),
    [
        (STREAM, TCP, INET, ("10.0.0.1", 80), 16, 0),
        (STREAM, TCP, INET, ("10.0.0.1", 81), 16, EPERM),
        (STREAM, TCP, INET, ("11.0.0.1", 80), 16, EPERM),
        (STREAM, TCP, INET, ("10.0.0.1", 80), 8, EPERM),
        (STREAM, TCP, INET6, ("::ffff:10.0.0.1", 80), 28, 0),
        (STREAM, TCP, INET6, ("::ffff:11.0.0.1", 80), 28, EPERM),
        (STREAM, TCP, INET6, ("fd00::1", 80), 28, 0),
        (STREAM, TCP, INET6, ("fd01::1", 80), 28, EPERM),
        (STREAM, TCP, INET6, ("fd00::1", 80), 20, EPERM),
        (STREAM, TCP, INET6, ("10.0.0.1", 80), 16, 0),
        (DGRAM, ICMP, INET, ("10.0.0.1", 80), 16, EPERM),
        (DGRAM, ICMP, INET, ("12.0.0.1", 80), 16, 0),
        (RAW, UDP, INET, ("10.0.0.1", 80), 16, EPERM),
        (RAW, UDP, INET, ("12.0.0.1", 0), 16, 0),
        (DGRAM, ICMPV6, INET6, ("fd00::1", 80), 28, EPERM),
        (DGRAM, UDP, INET, ("0.0.0.0", 80), 16, EPERM),
        (DGRAM, UDP, INET6, ("::", 80), 28, EPERM),
    ],
)
def test_connect_goes_by_rule(
    kind: int, protocol: int, family: int, address: tuple[str, int], length: int, answer: int
) -> None:
    host = Host(["10.0.0.0/8:80", "0.0.0.0/8:80", "[fd00::/16]:80", "[::/96]:80", "12.0.0.0/8:*"])
    sk = host.sk(kind, protocol, family)
    sock = host.sealed(sk)
    place = host.v6(*address) if ":" in address[0] else host.v4(*address)
    assert host.ask("socket_connect", sock, place, length) == answer
    assert host.flags(sk) == (0 if answer else CHOSEN)


def test_family_that_the_caller_writes_does_not_count() -> None:
    """An IPv4 socket takes every address for IPv4, and a raw IPv6 socket takes one of no family for IPv6."""
    host = Host(["10.0.0.0/8:*"])
    udp = host.sealed(host.sk(DGRAM, UDP))
    assert host.ask("socket_connect", udp, host.v4("11.0.0.1", 80, INET6), 16) == EPERM
    assert host.ask("socket_connect", udp, host.v4("10.0.0.1", 80, INET6), 16) == 0


def test_first_wall_stops_the_packets_of_all_sockets_but_those_of_sctp() -> None:
    """So the hooks for each packet of the host do not even look for the entries of others."""
    host = Host()
    for kind, protocol in ((STREAM, TCP), (DGRAM, UDP), (DGRAM, UDPLITE), (RAW, ICMP), (DGRAM, ICMPV6)):
        sock = host.sealed(host.sk(kind, protocol), REVOKED)
        assert host.ask("socket_sendmsg", sock, 0, 0) == host.ask("socket_recvmsg", sock, 0, 0, 0) == 0


def test_connection_can_always_be_undone() -> None:
    host = Host([])
    assert host.ask("socket_connect", host.sealed(host.sk()), host.v4("0.0.0.0", 0, UNSPEC), 16) == 0


def test_listener_needs_an_address_that_the_limit_still_covers() -> None:
    """If its owner bound it. An address that the kernel chose needs no rule."""
    host = Host(bind=["*:80"])
    sk = host.sk(skc_num=(80, 2), skc_rcv_saddr=word("127.0.0.1"))
    sock = host.sealed(sk)
    assert host.ask("socket_bind", sock, host.v4("127.0.0.1", 81), 16) == EPERM
    assert host.ask("socket_bind", sock, host.v4("127.0.0.1", 80), 16) == 0
    assert host.flags(sk) == BOUND
    assert host.ask("socket_listen", sock, 1) == host.ask("socket_accept", sock, 0) == 0
    host.narrow(bind=["*:81"])
    assert host.ask("socket_listen", sock, 1) == host.ask("socket_accept", sock, 0) == EPERM
    chosen = host.sealed(host.sk(skc_num=(45678, 2)))
    assert host.ask("socket_listen", chosen, 1) == host.ask("socket_accept", chosen, 0) == 0


@pytest.mark.parametrize("narrow", ["no", "compat", "x32"])
def test_options_are_refused_by_number_and_to_narrow_callers(narrow: str) -> None:
    host = Host(["10.0.0.0/8:*"])
    if narrow == "compat":
        host.task = host.struct(64, compat__word=(2, 4))
    elif narrow == "x32":
        host.registers = host.struct(256, x32__word=(0x40000000 + 54, 8))
    kinds = (DGRAM, UDP), (RAW, UDP), (DGRAM, ICMP), (DGRAM, UDPLITE), (RAW, UDPLITE)
    udp, raw, ping, lite, raw_lite = (host.sealed(host.sk(*kind)) for kind in kinds)
    sctp, raw_sctp = host.sealed(host.sk(STREAM, SCTP)), host.sealed(host.sk(RAW, SCTP))
    seen = 0 if narrow == "no" else EPERM
    for sock, level, name, answer in (
        (udp, IP, 4, EPERM), (raw, IP, 3, EPERM), (udp, 41, 57, EPERM), (sctp, SCTP, 132, EPERM), (sctp, SCTP, 36, 0),
        (sctp, SCTP, 21, EPERM), (sctp, SOL_SOCKET, 26, EPERM), (sctp, SOL_SOCKET, 50, EPERM), (sctp, IP, 15, EPERM),
        (sctp, 41, 78, EPERM), (udp, SOL_SOCKET, 26, 0), (udp, IP, 15, 0), (raw_sctp, SOL_SOCKET, 26, 0),
        (udp, IP, 35, seen), (udp, IP, 39, seen), (udp, IP, 42, seen), (udp, IP, 46, seen),
        (udp, 41, 20, seen), (udp, 41, 42, seen), (udp, 41, 46, seen), (sctp, IP, 35, EPERM),
        (raw, SOL_SOCKET, 6, seen), (raw, IP, 34, seen), (ping, SOL_SOCKET, 6, seen), (ping, IP, 34, seen),
        (lite, SOL_SOCKET, 6, seen), (lite, IP, 34, seen), (lite, 41, 19, seen), (lite, 41, 18, 0),
        (raw_lite, 41, 19, 0), (udp, 41, 19, 0), (udp, SOL_SOCKET, 6, 0), (udp, IP, 34, 0),
        (udp, SOL_SOCKET, 8, 0), (udp, TCP, 35, 0), (sctp, SCTP, 0, 0),
    ):  # fmt: skip
        assert host.ask("socket_setsockopt", sock, level, name) == answer, (level, name)
    host.narrow()
    assert host.ask("socket_setsockopt", udp, IP, 35) == host.ask("socket_setsockopt", sctp, IP, 35) == 0


def test_ring_sets_no_option_of_a_sealed_socket() -> None:
    host = Host()
    command = host.struct(64, io_uring_cmd__file=(host.struct(8), 8), io_uring_cmd__cmd_op=(3, 4))
    assert host.ask("uring_cmd", command) == 0
    host.socket_of_file = host.sealed(host.sk())
    assert host.ask("uring_cmd", command) == EPERM
    other = host.struct(64, io_uring_cmd__file=(host.struct(8), 8), io_uring_cmd__cmd_op=(2, 4))
    assert host.ask("uring_cmd", other) == 0
    host.socket_of_file = host.struct(64, socket__sk=(host.sk(), 8))
    assert host.ask("uring_cmd", command) == 0


def test_sweep_leaves_a_closed_socket() -> None:
    """The kernel leaves the address of its last peer in place, for example after a refused connection."""
    host = Host([])
    sk = host.sk(skc_daddr=word("10.0.0.1"), skc_state=(7, 1))
    entry = host.give_entry(sk, GRANT, CUT)
    host.run(write_sweep(SOCKETS_FD, LIMITS_FD, host.fields), (0, 0, sk, entry))
    assert host.flags(sk) == 0


@pytest.mark.parametrize(
    ("kind", "own_cookie", "flags", "peer", "connect", "is_cut"),
    [
        (STREAM, 7, 0, "10.0.0.1", ["10.0.0.0/8:80"], False),
        (STREAM, 7, CUT, "10.0.0.1", ["10.0.0.0/8:80"], False),
        (STREAM, 7, 0, "11.0.0.1", ["10.0.0.0/8:80"], True),
        (STREAM, 7, 0, "11.0.0.1", None, False),
        (STREAM, 8, 0, "11.0.0.1", ["10.0.0.0/8:80"], False),
        (STREAM, 8, CHOSEN, "11.0.0.1", ["10.0.0.0/8:80"], True),
        (STREAM, 7, CLONED, "11.0.0.1", ["10.0.0.0/8:80"], False),
        (SEQPACKET, 8, CLONED, "11.0.0.1", ["10.0.0.0/8:80"], False),
        (SEQPACKET, 8, CLONED | CHOSEN, "11.0.0.1", ["10.0.0.0/8:80"], True),
        (SEQPACKET, 8, CLONED | CHOSEN, "10.0.0.1", ["10.0.0.0/8:80"], False),
        (SEQPACKET, 8, CLONED | CHOSEN | SEVERAL, "10.0.0.1", ["10.0.0.0/8:80"], True),
        (SEQPACKET, 8, CLONED | CHOSEN | SEVERAL, "10.0.0.1", None, False),
        (SEQPACKET, 7, CHOSEN | SEVERAL, "10.0.0.1", ["10.0.0.0/8:80"], False),
        (DGRAM, 7, 0, "11.0.0.1", [], True),
        (STREAM, 7, 0, "0.0.0.0", [], False),
    ],
)
def test_sweep_cuts_off_sockets_whose_peer_is_not_covered(
    kind: int, own_cookie: int, flags: int, peer: str, connect: list[str] | None, is_cut: bool
) -> None:
    """If they chose it. A connection that a listener accepted, and a socket without a peer, stay.

    Nothing sees the packets of a socket that SCTP made, so all addresses of its peer would have to be covered.
    """
    host = Host(connect)
    sk = host.sk(kind, UDP, skc_daddr=word(peer), skc_dport=(socket.htons(80), 2))
    entry = host.give_entry(sk, GRANT, flags | REVOKED, cookie=7)
    host.cookies[sk] = own_cookie
    sweep = write_sweep(SOCKETS_FD, LIMITS_FD, host.fields)
    assert host.run(sweep, (0, 0, sk, entry)) == 0
    assert host.flags(sk) == flags & ~CUT | REVOKED | (CUT if is_cut else 0)
    host.limits.clear()
    host.run(sweep, (0, 0, sk, entry))
    assert host.flags(sk) & CUT


@pytest.mark.parametrize("flags", [CHOSEN, SEVERAL, CHOSEN | SEVERAL])
@pytest.mark.parametrize(
    ("kind", "protocol", "state", "more", "is_cut"),
    [
        (SEQPACKET, SCTP, 7, PARENT, True),
        (STREAM, SCTP, 10, PARENT, True),
        (STREAM, SCTP, 10, 0, True),  # of an older broker
        (SEQPACKET, SCTP, 10, 0, False),
        (STREAM, SCTP, 7, 0, False),
        (STREAM, TCP, 10, 0, False),
    ],
)
def test_sweep_cuts_off_a_socket_of_which_sctp_could_make_one_that_nothing_checked(
    kind: int, protocol: int, state: int, more: int, is_cut: bool, flags: int
) -> None:
    """If connecting is limited now, and was not before."""
    for connect in (["*:*"], None):
        host = Host(connect)
        sk = host.sk(kind, protocol, skc_state=(state, 1))
        entry = host.give_entry(sk, GRANT, flags | more)
        host.cookies[sk] = 0
        host.run(write_sweep(SOCKETS_FD, LIMITS_FD, host.fields), (0, 0, sk, entry))
        assert host.flags(sk) == flags | more | (CUT if is_cut and connect is not None else 0)
    calm = Host([])
    sk = calm.sk(kind, protocol, skc_state=(7, 1))
    entry = calm.give_entry(sk, GRANT, PARENT)
    calm.run(write_sweep(SOCKETS_FD, LIMITS_FD, calm.fields), (0, 0, sk, entry))
    assert calm.flags(sk) == PARENT
