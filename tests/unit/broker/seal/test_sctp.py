"""The programs for SCTP see to it that the peer of each socket that SCTP makes has one address: in an interpreter."""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from functools import partial

import pytest

from nsbrokerd.seal.layout import (
    BOUND,
    CHOSEN,
    CLONED,
    CUT,
    ENTRY,
    ENTRY_FLAGS,
    PARENT,
    REVOKED,
    SEVERAL,
    STOPPED,
)
from support.sealed_host import GRANT, Host

EPERM = -errno.EPERM
STREAM, SEQPACKET = int(socket.SOCK_STREAM), int(socket.SOCK_SEQPACKET)
TCP, SCTP = int(socket.IPPROTO_TCP), int(socket.IPPROTO_SCTP)
LISTEN, CONNECTED = (10, 1), (1, 1)
COOKIE_WAIT, COOKIE_ECHOED, ESTABLISHED, SHUTDOWN_PENDING = range(1, 5)
BINDX, CONNECTX, SENDMSG, PRIMARY, ADD_IP = 100, 110, 126, 6, socket.htons(0xC001)


@pytest.mark.parametrize(
    ("option", "address", "length", "answer"),
    [
        (CONNECTX, ("10.0.0.1", 80), 16, 0),
        (CONNECTX, ("10.0.0.1", 81), 16, EPERM),
        (CONNECTX, ("10.0.0.1", 80), 32, EPERM),
        (CONNECTX, ("0.0.0.0", 80), 16, EPERM),
        (ADD_IP, ("10.0.0.1", 80), 16, 0),
        (ADD_IP, ("11.0.0.1", 80), 16, EPERM),
        (BINDX, ("127.0.0.1", 90), 16, 0),
        (BINDX, ("127.0.0.1", 80), 16, EPERM),
        (BINDX, ("127.0.0.1", 90), 32, EPERM),
        (PRIMARY, ("11.0.0.1", 80), 16, 0),
    ],
)
def test_sctp_asks_for_each_address(option: int, address: tuple[str, int], length: int, answer: int) -> None:
    host = Host(["10.0.0.0/8:80", "0.0.0.0/8:80"], ["*:90"])
    sk = host.sk(STREAM, SCTP, skc_state=CONNECTED)
    assert host.ask("sctp_bind_connect", sk, option, host.v4(*address), length) == 0
    host.give_entry(sk, GRANT)
    assert host.ask("sctp_bind_connect", sk, option, host.v4(*address), length) == answer


@pytest.mark.parametrize("connect", [["10.0.0.0/8:80"], None])
@pytest.mark.parametrize(("option", "flags"), [(CONNECTX, CHOSEN), (SENDMSG, CHOSEN), (ADD_IP, 0), (PRIMARY, 0)])
def test_socket_that_begins_an_association_has_chosen_its_peer(
    option: int, flags: int, connect: list[str] | None
) -> None:
    """So has one that is peeled off from it. A peer that adds an address to an association begins none."""
    host = Host(connect)
    sk, made = host.sk(SEQPACKET, SCTP, skc_state=CONNECTED), host.sk(SEQPACKET, SCTP)
    host.give_entry(sk, GRANT)
    host.ask("sctp_bind_connect", sk, option, host.v4("10.0.0.1", 80), 16)
    assert host.flags(sk) & CHOSEN == flags
    asoc = host.struct(512, asoc__transport_count=(1, 2), asoc__state=(ESTABLISHED, 4))
    host.write(asoc + host.fields["asoc.primary_addr"], host.read(host.v4("10.0.0.1", 80), 28))
    host.ask("sctp_sk_clone", asoc, sk, made)
    assert host.flags(made) & (CHOSEN | CLONED) == flags | CLONED


def test_socket_that_sctp_makes_has_a_copy_of_the_entry() -> None:
    """It can begin no other association."""
    host = Host(["10.0.0.0/8:80"])
    listener, made = host.sk(STREAM, SCTP), host.sk(STREAM, SCTP)
    one_path = host.struct(512, asoc__transport_count=(1, 2), asoc__state=(ESTABLISHED, 4))
    host.ask("sctp_sk_clone", one_path, listener, made)
    assert made not in host.entries
    host.give_entry(listener, GRANT, BOUND)
    host.ask("sctp_sk_clone", one_path, listener, made)
    assert host.flags(made) == BOUND | CLONED
    assert host.flags(listener) == BOUND
    sock = host.struct(64, socket__sk=(made, 8))
    assert host.ask("socket_connect", sock, host.v4("10.0.0.1", 80), 16) == EPERM
    assert host.ask("sctp_bind_connect", made, CONNECTX, host.v4("10.0.0.1", 80), 16) == EPERM
    assert host.ask("socket_sendmsg", sock, host.struct(64), 1) == host.ask("socket_recvmsg", sock, 0, 0, 0) == 0


def test_socket_that_sctp_makes_of_a_revoked_one_is_revoked() -> None:
    host = Host()
    listener, made = host.sk(STREAM, SCTP), host.sk(STREAM, SCTP)
    host.give_entry(listener, GRANT, REVOKED)
    host.ask(
        "sctp_sk_clone", host.struct(512, asoc__transport_count=(1, 2), asoc__state=(ESTABLISHED, 4)), listener, made
    )
    assert host.flags(made) == REVOKED | CLONED


@pytest.mark.parametrize(
    ("kind", "paths", "state", "ends"),
    [
        (STREAM, 1, ESTABLISHED, False),
        (STREAM, 1, SHUTDOWN_PENDING, False),
        (STREAM, 1, 0, False),
        (STREAM, 1, COOKIE_WAIT, True),
        (STREAM, 2, ESTABLISHED, True),
        (SEQPACKET, 1, ESTABLISHED, False),
        (SEQPACKET, 1, COOKIE_WAIT, True),
        (SEQPACKET, 1, COOKIE_ECHOED, True),
        (SEQPACKET, 1, 0, True),
        (SEQPACKET, 2, ESTABLISHED, True),
    ],
)
@pytest.mark.parametrize("connect", [["*:80"], None])
def test_new_socket_is_revoked_if_its_peer_has_or_can_get_addresses_that_nothing_checks(
    connect: list[str] | None, kind: int, paths: int, state: int, ends: bool
) -> None:
    """If connecting is limited. An association that its peer ended before `accept` gets no address any more."""
    host = Host(connect)
    listener, made = host.sk(kind, SCTP), host.sk(kind, SCTP)
    host.give_entry(listener, GRANT, SEVERAL | PARENT)
    asoc = host.struct(512, asoc__transport_count=(paths, 2), asoc__state=(state, 4))
    host.ask("sctp_sk_clone", asoc, listener, made)
    is_revoked = ends and connect is not None
    assert host.flags(made) == CLONED | (SEVERAL if paths > 1 else 0) | (REVOKED if is_revoked else 0)
    assert host.signals == []


@pytest.mark.parametrize(
    ("kind", "flags", "peer", "connect", "ends"),
    [
        (SEQPACKET, CHOSEN, "10.0.0.1", ["10.0.0.0/8:80"], False),
        (SEQPACKET, CHOSEN, "10.0.0.1", ["10.0.0.0/8:81"], True),
        (SEQPACKET, CHOSEN, "11.0.0.1", ["10.0.0.0/8:80"], True),
        (SEQPACKET, CHOSEN, "11.0.0.1", None, False),
        (SEQPACKET, 0, "11.0.0.1", ["10.0.0.0/8:80"], False),
        (STREAM, CHOSEN, "11.0.0.1", ["10.0.0.0/8:80"], True),
        (STREAM, CHOSEN, "10.0.0.1", ["10.0.0.0/8:80"], False),
        (STREAM, 0, "11.0.0.1", ["10.0.0.0/8:80"], False),
    ],
)
def test_new_socket_is_revoked_if_the_limit_does_not_cover_the_peer_any_more_that_its_owner_chose(
    kind: int, flags: int, peer: str, connect: list[str] | None, ends: bool
) -> None:
    """The sweep was over before this socket was made."""
    host = Host(connect)
    parent, made = host.sk(kind, SCTP), host.sk(kind, SCTP)
    host.give_entry(parent, GRANT, flags)
    asoc = host.struct(512, asoc__transport_count=(1, 2), asoc__state=(ESTABLISHED, 4))
    host.write(asoc + host.fields["asoc.primary_addr"], host.read(host.v4(peer, 80), 28))
    host.ask("sctp_sk_clone", asoc, parent, made)
    assert host.signals == []
    assert host.flags(made) == flags | CLONED | (REVOKED if ends else 0)


def test_caller_ends_if_there_is_no_memory_for_the_copy() -> None:
    """Otherwise its socket would have no limit."""
    host = Host()
    listener, made = host.sk(STREAM, SCTP), host.sk(STREAM, SCTP)
    host.give_entry(listener, GRANT)
    host.has_memory = False
    host.ask(
        "sctp_sk_clone", host.struct(512, asoc__transport_count=(1, 2), asoc__state=(ESTABLISHED, 4)), listener, made
    )
    assert host.signals == [9]


V4, V6, COOKIE_LIFE, HOST_NAME, SUPPORTED = 5, 6, 9, 11, 12


def parameter(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, 4 + len(value)) + value + bytes(-len(value) % 4)


def address(text: str) -> bytes:
    one = ipaddress.ip_address(text)
    return parameter(V4 if one.version == 4 else V6, one.packed)


def request(host: Host, sk: int, chunk: bytes, source: str = "10.0.0.1", *, vtags: tuple[int, int] = (7, 0)) -> int:
    """Ask about a packet with this chunk, whose association is new."""
    one = ipaddress.ip_address(source)
    packed = struct.pack("=H6x" if one.version == 6 else "=H2x", 10 if one.version == 6 else 2) + one.packed
    asoc = host.struct(512, asoc__sk=(sk, 8), asoc__my_vtag=(vtags[0], 4), asoc__my_ttag=(vtags[1], 4))
    host.write(asoc + host.fields["asoc.peer_addr"], packed)
    head = host.place(bytes(100) + bytes(12) + chunk + bytes(320))
    skb = host.struct(64, sk_buff__head=(head, 8), sk_buff__transport_header=(100, 2))
    return host.ask("sctp_assoc_request", asoc, skb)


def init(*parameters: bytes) -> bytes:
    value = bytes(16) + b"".join(parameters)
    return struct.pack("!BBH", 1, 0, 4 + len(value)) + value


INITS = {
    "without parameters": (init(), "10.0.0.1", True),
    "with others": (init(parameter(SUPPORTED, b"\0\5\0\6"), parameter(COOKIE_LIFE, b"xxxxxx")), "10.0.0.1", True),
    "with its own address": (init(parameter(SUPPORTED, b"\0\5"), address("10.0.0.1")), "10.0.0.1", True),
    "with its own address of IPv6": (init(address("fd00::1")), "fd00::1", True),
    "with another address": (init(address("10.0.0.1"), address("10.0.0.2")), "10.0.0.1", False),
    "with another address of IPv6": (init(address("fd00::2")), "fd00::1", False),
    "with a last word that differs": (init(address("fd00::1:1")), "fd00::1", False),
    "with an address of the other family": (init(address("fd00::1")), "10.0.0.1", False),
    "with an IPv4 address, from IPv6": (init(address("10.0.0.1")), "fd00::1", False),
    "with a name": (init(parameter(HOST_NAME, b"example.org\0")), "10.0.0.1", False),
    "with a parameter that is too short": (init(struct.pack("!HH", SUPPORTED, 3)), "10.0.0.1", False),
    "with an odd length before": (init(parameter(SUPPORTED, b"\0\5\0"), address("10.0.0.2")), "10.0.0.1", False),
    "with many parameters": (init(*[parameter(SUPPORTED, b"\0\5")] * 32), "10.0.0.1", True),
    "with too many parameters": (init(*[parameter(SUPPORTED, b"\0\5")] * 33), "10.0.0.1", False),
}


@pytest.mark.parametrize("kind", [STREAM, SEQPACKET])
@pytest.mark.parametrize("which", INITS)
def test_peer_of_several_addresses_is_refused_when_it_asks(which: str, kind: int) -> None:
    """If connecting is limited. Otherwise the listener has a note, for the time when it is."""
    chunk, source, is_taken = INITS[which]
    host = Host(["10.0.0.0/8:*"])
    sk = host.sk(kind, SCTP, skc_state=LISTEN)
    assert request(host, sk, chunk, source) == 0
    host.give_entry(sk, GRANT)
    assert request(host, sk, chunk, source) == (0 if is_taken else EPERM)
    assert host.flags(sk) == 0
    host.narrow()
    assert request(host, sk, chunk, source) == 0
    assert host.flags(sk) == (0 if is_taken else SEVERAL)


def test_request_to_a_socket_that_was_cut_off_is_refused() -> None:
    host = Host()
    sk = host.sk(STREAM, SCTP)
    host.give_entry(sk, GRANT, CUT)
    assert request(host, sk, init()) == EPERM


COOKIE_ECHO = struct.pack("!BBH", 10, 0, 200) + bytes(196)


def test_cookie_is_no_list_of_addresses() -> None:
    """Its INIT was checked."""
    host = Host([])
    sk = host.sk(STREAM, SCTP)
    host.give_entry(sk, GRANT)
    assert request(host, sk, COOKIE_ECHO) == 0
    assert host.flags(sk) == 0


@pytest.mark.parametrize(
    ("flags", "connect", "answer", "noted"),
    [(CLONED, ["*:*"], EPERM, 0), (CLONED, None, 0, SEVERAL), (0, ["*:*"], 0, 0)],
)
def test_cookie_establishes_no_association_of_a_socket_that_was_peeled_off_before(
    flags: int, connect: list[str] | None, answer: int, noted: int
) -> None:
    """If connecting is limited. The kernel does not ask again about the addresses that the peer has named before."""
    host = Host(connect)
    sk = host.sk(SEQPACKET, SCTP)
    host.give_entry(sk, GRANT, flags)
    assert request(host, sk, COOKIE_ECHO, vtags=(7, 8)) == 0  # of a peer that restarts
    assert request(host, sk, init()) == 0
    assert host.flags(sk) == flags
    assert request(host, sk, COOKIE_ECHO, vtags=(7, 7)) == answer
    assert host.flags(sk) == flags | noted
    for state, expected in ((COOKIE_WAIT, answer), (COOKIE_ECHOED, answer), (ESTABLISHED, 0)):
        skb = host.struct(64, sk_buff__head=(host.place(bytes(12) + COOKIE_ECHO), 8))
        owners = host.struct(512, asoc__sk=(sk, 8), asoc__my_vtag=(7, 4), asoc__state=(state, 4))
        assert host.ask("sctp_assoc_request", owners, skb) == expected


PEELOFF, PEELOFF_FLAGS, STATUS = 102, 122, 14


BEGINNINGS = {
    "connect": lambda host, sk, sock: host.ask("socket_connect", sock, host.v4("10.0.0.1", 80), 16),
    "connectx": lambda host, sk, sock: host.ask("sctp_bind_connect", sk, CONNECTX, host.v4("10.0.0.1", 80), 16),
    "send": lambda host, sk, sock: host.ask("sctp_bind_connect", sk, SENDMSG, host.v4("10.0.0.1", 80), 16),
}
MAKINGS = {
    "peeloff": (SEQPACKET, lambda host, sock: host.ask("socket_getsockopt", sock, SCTP, PEELOFF)),
    "peeloff with flags": (SEQPACKET, lambda host, sock: host.ask("socket_getsockopt", sock, SCTP, PEELOFF_FLAGS)),
    "listen": (STREAM, lambda host, sock: host.ask("socket_listen", sock, 1)),
}


@pytest.mark.parametrize("first", ["begins", "makes"])
@pytest.mark.parametrize("begin", BEGINNINGS)
@pytest.mark.parametrize("make", MAKINGS)
def test_socket_either_begins_associations_or_makes_other_sockets(begin: str, make: str, first: str) -> None:
    """If connecting is limited. The first way counts, and a call that is refused changes nothing."""
    kind, makes = MAKINGS[make]
    host = Host(["10.0.0.0/8:80"])
    sk = host.sk(kind, SCTP)
    sock = host.struct(64, socket__sk=(sk, 8))
    calls = [partial(BEGINNINGS[begin], host, sk, sock), partial(makes, host, sock)]
    flag = CHOSEN
    if first == "makes":
        calls.reverse()
        flag = PARENT
    assert [call() for call in calls] == [0, 0]  # it has no entry
    host.give_entry(sk, GRANT)
    for _ in range(2):
        assert [call() for call in calls] == [0, EPERM]
        assert host.flags(sk) == flag
    host.narrow()
    assert [call() for call in calls] == [0, 0]
    assert host.flags(sk) == CHOSEN | PARENT
    host.narrow(["10.0.0.0/8:80"])
    assert [call() for call in calls] == [EPERM, EPERM]
    assert host.flags(sk) == CHOSEN | PARENT
    host.limits.clear()
    assert [call() for call in calls] == [EPERM, EPERM]


@pytest.mark.parametrize("make", MAKINGS)
def test_socket_that_had_a_peer_of_several_addresses_makes_no_others_once_connecting_is_limited(make: str) -> None:
    kind, makes = MAKINGS[make]
    host = Host()
    sk = host.sk(kind, SCTP)
    sock = host.sealed(sk, SEVERAL)
    assert makes(host, sock) == 0
    host.narrow([])
    assert makes(host, sock) == EPERM


@pytest.mark.parametrize("make", MAKINGS)
@pytest.mark.parametrize("flags", [REVOKED, CUT])
def test_stopped_socket_makes_no_others(make: str, flags: int) -> None:
    """And gets no mark, because the hooks for each packet would stand for it in vain."""
    kind, makes = MAKINGS[make]
    host = Host()
    sk = host.sk(kind, SCTP)
    assert makes(host, host.sealed(sk, flags)) == EPERM
    assert host.flags(sk) == flags


MEANWHILE = {"begins": CHOSEN, "makes": PARENT, "peer asks": SEVERAL, "revoked": REVOKED, "cut off": CUT}


@pytest.mark.parametrize("meanwhile", MEANWHILE)
@pytest.mark.parametrize("call", [*BEGINNINGS, *MAKINGS])
def test_call_sees_what_happens_while_it_decides(call: str, meanwhile: str) -> None:
    """Another processor sets a flag after this one has read the flags, each time that it reads them."""
    host = Host(["10.0.0.0/8:80"])
    kind = MAKINGS[call][0] if call in MAKINGS else SEQPACKET
    sk = host.sk(kind, SCTP)
    sock = host.sealed(sk)
    reads = 0
    for at in range(1, 6):
        host.write(host.entries[sk] + ENTRY_FLAGS, bytes(4))
        reads = 0

        def set_flag(address: int, at: int = at) -> None:
            nonlocal reads
            reads += address == host.entries[sk] + ENTRY_FLAGS
            if reads == at:
                host.write(host.entries[sk] + ENTRY_FLAGS, struct.pack("=I", host.flags(sk) | MEANWHILE[meanwhile]))

        host.after_load = set_flag
        begins = call in BEGINNINGS
        answer = BEGINNINGS[call](host, sk, sock) if begins else MAKINGS[call][1](host, sock)
        host.after_load = lambda _address: None
        own, other = (CHOSEN, PARENT) if begins else (PARENT, CHOSEN)
        if reads < at:
            assert answer == 0  # it was over before
            continue
        if MEANWHILE[meanwhile] == other:
            assert answer == EPERM
            assert host.flags(sk) == other
        elif MEANWHILE[meanwhile] == own:
            assert answer == 0
            assert host.flags(sk) == own
        elif begins:
            assert host.flags(sk) & ~STOPPED in (MEANWHILE[meanwhile] & ~STOPPED, own | MEANWHILE[meanwhile] & ~STOPPED)
        else:
            assert answer == EPERM
            assert host.flags(sk) == MEANWHILE[meanwhile]


@pytest.mark.parametrize("flag", [REVOKED, CUT])
def test_socket_that_sctp_makes_of_one_that_is_stopped_meanwhile_is_stopped(flag: int) -> None:
    """The entry was copied just before, and whoever stopped the socket does not see the new one."""
    host = Host()
    listener, made = host.sk(STREAM, SCTP), host.sk(STREAM, SCTP)
    entry = host.give_entry(listener, GRANT)
    asoc = host.struct(512, asoc__transport_count=(1, 2), asoc__state=(ESTABLISHED, 4))
    give = host.place

    def place(data: bytes) -> int:
        if len(data) == ENTRY.size:
            host.write(entry + ENTRY_FLAGS, struct.pack("=I", flag))
        return give(data)

    host.place = place  # type: ignore[method-assign]
    host.ask("sctp_sk_clone", asoc, listener, made)
    assert host.flags(made) == CLONED | flag


def test_other_calls_make_no_sockets() -> None:
    host = Host([])
    for kind, level, option in ((SEQPACKET, SCTP, STATUS), (SEQPACKET, TCP, PEELOFF), (STREAM, SCTP, PEELOFF)):
        sk = host.sk(kind, SCTP)
        assert host.ask("socket_getsockopt", host.sealed(sk, CHOSEN | REVOKED), level, option) == 0
        assert host.flags(sk) == CHOSEN | REVOKED
    peeled = host.sk(SEQPACKET, SCTP)
    assert host.ask("socket_getsockopt", host.sealed(peeled, CHOSEN | CLONED), SCTP, PEELOFF) == 0
    assert host.flags(peeled) == CHOSEN | CLONED
    for kind, protocol in ((SEQPACKET, SCTP), (STREAM, TCP)):
        sk = host.sk(kind, protocol)
        assert host.ask("socket_listen", host.sealed(sk, CHOSEN), 1) == 0
        assert host.flags(sk) == CHOSEN
    refused = Host([], ["*:80"])
    sk = refused.sk(STREAM, SCTP, skc_num=(81, 2))
    assert refused.ask("socket_listen", refused.sealed(sk, BOUND), 1) == EPERM
    assert refused.flags(sk) == BOUND


def test_one_to_one_socket_may_have_a_peer_of_several_addresses() -> None:
    """The first wall sees all of its packets."""
    host = Host(["*:*"])
    sk = host.sk(STREAM, SCTP)
    asoc = host.struct(512, asoc__sk=(sk, 8), asoc__transport_count=(2, 2))
    assert host.ask("sctp_assoc_established", asoc, 0) == 0
    host.give_entry(sk, GRANT)
    assert host.ask("sctp_assoc_established", asoc, 0) == 0
    assert host.flags(sk) == 0


@pytest.mark.parametrize(("connect", "answer"), [(["*:*"], EPERM), (None, 0)])
def test_association_that_was_peeled_off_early_is_not_established_with_several_addresses(
    connect: list[str] | None, answer: int
) -> None:
    host = Host(connect)
    sk = host.sk(SEQPACKET, SCTP)
    host.give_entry(sk, GRANT, CLONED)
    asoc = host.struct(512, asoc__sk=(sk, 8), asoc__transport_count=(2, 2))
    assert host.ask("sctp_assoc_established", asoc, 0) == answer
    assert host.flags(sk) == CLONED | (0 if answer else SEVERAL)


@pytest.mark.parametrize(("kind", "state"), [(STREAM, LISTEN), (STREAM, (7, 1)), (SEQPACKET, CONNECTED)])
def test_peer_adds_no_address_to_an_association_that_can_get_a_socket_of_its_own(
    kind: int, state: tuple[int, int]
) -> None:
    """If connecting is limited, also none that is covered."""
    host = Host(["10.0.0.0/8:80"])
    sk = host.sk(kind, SCTP, skc_state=state)
    host.give_entry(sk, GRANT)
    assert host.ask("sctp_bind_connect", sk, ADD_IP, host.v4("10.0.0.1", 80), 16) == EPERM
    assert host.flags(sk) == 0
    host.narrow()
    assert host.ask("sctp_bind_connect", sk, ADD_IP, host.v4("10.0.0.1", 80), 16) == 0
    assert host.flags(sk) == SEVERAL


def test_nothing_is_accepted_if_a_peer_of_several_addresses_asked_before_connecting_was_limited() -> None:
    """The new socket would reach all of them. The listener can be closed, and made anew."""
    host = Host(bind=["*:80"])
    sk = host.sk(STREAM, SCTP, skc_num=(80, 2), skc_state=LISTEN)
    sock = host.sealed(sk, SEVERAL | BOUND)
    assert host.ask("socket_accept", sock, 0) == 0
    host.narrow(["*:*"], ["*:80"])
    assert host.ask("socket_accept", sock, 0) == EPERM
    host.narrow(bind=["*:81"])
    assert host.ask("socket_accept", sock, 0) == EPERM


@pytest.mark.parametrize(
    ("protocol", "connect", "answer"), [(SCTP, ["*:*"], EPERM), (SCTP, None, 0), (TCP, ["*:*"], 0)]
)
def test_nothing_is_accepted_from_a_socket_that_began_an_association(
    protocol: int, connect: list[str] | None, answer: int
) -> None:
    """If connecting is limited. It would accept this association, whose peer may not be covered any more."""
    host = Host(connect, ["*:80"])
    sock = host.sealed(host.sk(STREAM, protocol, skc_num=(80, 2)), CHOSEN | BOUND)
    assert host.ask("socket_accept", sock, 0) == answer
    host.narrow(connect, ["*:81"])
    assert host.ask("socket_accept", sock, 0) == EPERM
