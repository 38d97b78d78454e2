"""`Client.open` with a broker that answers well, and with one that answers badly."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

import pytest

from nsbroker import (
    AccessDeniedError,
    BrokerProtocolError,
    BrokerUnavailableError,
    Client,
    Error,
    NamespaceNotFoundError,
    SocketSpec,
    WrongNamespaceError,
    wire,
)
from nsbroker.link import connection
from support.brokers.fake import (
    FakeBroker,
    Script,
    Visit,
    cookie,
    descriptors,
    fake_broker,
    fds_of,
    honest,
    memfd,
    own_namespace,
)

TCP = SocketSpec("blue", socket.AF_INET, socket.SOCK_STREAM)
UDP = SocketSpec("blue", socket.AF_INET, socket.SOCK_DGRAM)


def close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def test_sockets_come_as_they_were_asked_for(broker: FakeBroker) -> None:
    """Plain sockets of the socket module, in the order of the specs, close-on-exec."""
    listener = SocketSpec("blue", socket.AF_INET6, socket.SOCK_STREAM, 0, ("::1", 0, 0, 0), 5)
    with Client(broker.path) as client:
        sockets = client.open([TCP, UDP, listener])
        assert [type(sock) for sock in sockets] == [socket.socket] * 3
        assert [sock.family for sock in sockets] == [socket.AF_INET, socket.AF_INET, socket.AF_INET6]
        assert [sock.type for sock in sockets] == [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_STREAM]
        assert sockets[2].getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        assert not any(os.get_inheritable(sock.fileno()) for sock in sockets)
        close(sockets)


def test_nothing_asked_for_is_nothing_asked(broker: FakeBroker) -> None:
    assert Client(broker.path).open([]) == []
    assert broker.seen() == []


def test_batch_is_cut_into_packets_of_253(broker: FakeBroker) -> None:
    """600 sockets take three requests, and each socket is at the place of its spec."""
    specs = [UDP if number % 7 == 0 else TCP for number in range(600)]
    with Client(broker.path) as client:
        sockets = client.open(specs)
        assert [sock.type for sock in sockets] == [spec.type for spec in specs]
        assert [line.split()[1] for line in broker.seen()] == ["253", "253", "94"]
        close(sockets)


def test_error_in_a_batch_names_the_spec_and_leaves_nothing_open(broker: FakeBroker) -> None:
    """The index is that of the whole batch, the errno the kernel's, and the sockets of earlier replies are closed."""

    def refuse_third(visit: Visit) -> None:
        if visit.number == 3:
            visit.fail(wire.OS_ERROR, errno.EADDRINUSE, 4)
        else:
            visit.grant()

    broker.kill()
    broker.script = refuse_third
    broker.start()
    client = Client(broker.path)
    before = descriptors(first=True)
    with pytest.raises(OSError, match="no") as caught:
        client.open([TCP] * 600)
    client.close()
    assert (caught.value.errno, vars(caught.value)["index"]) == (errno.EADDRINUSE, 2 * 253 + 4)
    assert descriptors() == before


def test_client_is_usable_after_a_refusal_on_the_same_connection(broker: FakeBroker) -> None:
    def refuse_first(visit: Visit) -> None:
        if visit.number == 1:
            visit.fail(wire.DENIED, index=0, message="no grant has tcp in blue")
        else:
            visit.grant()

    broker.kill()
    broker.script = refuse_first
    broker.start()
    with Client(broker.path) as client:
        with pytest.raises(AccessDeniedError, match="no grant has tcp in blue") as caught:
            client.open([TCP])
        assert (caught.value.errno, caught.value.index) == (errno.EACCES, 0)
        close(client.open([TCP]))
    assert [line.split()[0] for line in broker.seen()] == ["1", "2"]


def test_refused_batch_with_requests_in_flight_does_not_spoil_the_next_call(broker: FakeBroker) -> None:
    """The reply that is still to come is never taken for one of the next call."""

    def refuse_first(visit: Visit) -> None:
        if visit.number == 1:
            visit.fail(wire.NO_SUCH_NAMESPACE, index=0)
        else:
            visit.grant()

    broker.kill()
    broker.script = refuse_first
    broker.start()
    with Client(broker.path) as client:
        with pytest.raises(NamespaceNotFoundError):
            client.open([TCP] * 500)
        (sock,) = client.open([UDP])
        assert sock.type == socket.SOCK_DGRAM
        sock.close()


def test_overloaded_broker_is_unavailable() -> None:
    with fake_broker(lambda visit: visit.fail(wire.OVERLOADED, message="too many requests")) as broker:
        with pytest.raises(BrokerUnavailableError, match="too many requests") as caught:
            Client(broker.path).open([TCP])
        assert caught.value.errno == errno.EAGAIN


def test_replies_are_matched_by_id_whatever_their_order() -> None:
    held: list[Visit] = []

    def answer_backwards(visit: Visit) -> None:
        held.append(visit)
        if len(held) == 2:
            for one in reversed(held):
                one.grant()

    with fake_broker(answer_backwards) as broker, Client(broker.path) as client:
        sockets = client.open([TCP] * 253 + [UDP] * 10)
        assert [sock.type for sock in sockets] == [TCP.type] * 253 + [UDP.type] * 10
        close(sockets)


def wrong_cookie(visit: Visit) -> None:
    sockets, (first, *rest) = visit.make()
    opened = (first._replace(cookie=first.cookie + 1), *rest)
    visit.reply(visit.describe(opened), fds_of(sockets))


def wrong_netns(visit: Visit) -> None:
    """All in one namespace, as far as the reply says: only the kernel says otherwise."""
    sockets, opened = visit.make()
    own = own_namespace()
    visit.reply(visit.describe(opened, own._replace(cookie=own.cookie + 1)), fds_of(sockets))


def swapped(visit: Visit) -> None:
    sockets, opened = visit.make()
    visit.reply(visit.describe(opened), fds_of(sockets[::-1]))


def no_sockets_at_all(visit: Visit) -> None:
    """Descriptors of files, in the place of sockets."""
    _, opened = visit.make()
    visit.reply(visit.describe(opened), [memfd(b""), memfd(b"")])


def one_descriptor_less(visit: Visit) -> None:
    sockets, opened = visit.make()
    visit.reply(visit.describe(opened), fds_of(sockets[1:]))


def one_descriptor_more(visit: Visit) -> None:
    sockets, opened = visit.make()
    visit.reply(visit.describe(opened), [*fds_of(sockets), sockets[0].fileno()])


def no_descriptor_in_the_delivery(visit: Visit) -> None:
    _, opened = visit.make()
    visit.deliver(())
    visit.send(wire.encode_reply(visit.describe(opened)), visit.channel.take_clients_end())


def no_delivery(visit: Visit) -> None:
    _, opened = visit.make()
    visit.send(wire.encode_reply(visit.describe(opened)), visit.channel.take_clients_end())


def no_channel(visit: Visit) -> None:
    _, opened = visit.make()
    visit.send(wire.encode_reply(visit.describe(opened)))


def closed_channel(visit: Visit) -> None:
    visit.channel.end.close()
    no_delivery(visit)


def file_as_the_channel(visit: Visit) -> None:
    _, opened = visit.make()
    visit.send(wire.encode_reply(visit.describe(opened)), [memfd(b"")])


def listener_as_the_channel(visit: Visit) -> None:
    _, opened = visit.make()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        visit.send(wire.encode_reply(visit.describe(opened)), [listener.fileno()])


def descriptors_beside_the_channel(visit: Visit) -> None:
    sockets, opened = visit.make()
    visit.deliver(fds_of(sockets))
    visit.send(wire.encode_reply(visit.describe(opened)), [*visit.channel.take_clients_end(), *fds_of(sockets)])


def delivery_of_another_reply(visit: Visit) -> None:
    sockets, opened = visit.make()
    visit.deliver(fds_of(sockets), visit.request.request_id + 7)
    visit.send(wire.encode_reply(visit.describe(opened)), visit.channel.take_clients_end())


def one_socket_less(visit: Visit) -> None:
    sockets, opened = visit.make()
    visit.reply(visit.describe(opened[1:]), fds_of(sockets[1:]))


def reply_to_a_request_without_groups(visit: Visit) -> None:
    sockets, opened = visit.make()
    visit.reply(visit.describe(opened)._replace(is_grouped=False), fds_of(sockets))


def other_id(visit: Visit) -> None:
    sockets, opened = visit.make()
    visit.deliver(fds_of(sockets), visit.request.request_id + 7)
    reply = visit.describe(opened)._replace(request_id=visit.request.request_id + 7)
    visit.send(wire.encode_reply(reply), visit.channel.take_clients_end())


def error_of_another_id(visit: Visit) -> None:
    visit.reply(wire.ErrorReply(visit.request.request_id + 7, wire.DENIED, "no"))


def error_with_a_descriptor(visit: Visit) -> None:
    refusal = wire.ErrorReply(visit.request.request_id, wire.DENIED, "no")
    visit.send(wire.encode_reply(refusal), visit.channel.take_clients_end())


def a_blob(visit: Visit) -> None:
    visit.reply(wire.BlobReply(visit.request.request_id, 1), [memfd(b"x")])


def garbage(visit: Visit) -> None:
    visit.send(b"\xc1garbage", visit.channel.take_clients_end())


def truncated(visit: Visit) -> None:
    sockets, opened = visit.make()
    visit.deliver(fds_of(sockets))
    visit.send(wire.encode_reply(visit.describe(opened))[:-1], visit.channel.take_clients_end())


def oversized(visit: Visit) -> None:
    visit.send(bytes(wire.MAX_PACKET_BYTES + 1), [memfd(b"")])


def unknown_key(visit: Visit) -> None:
    sockets, opened = visit.make()
    visit.deliver(fds_of(sockets))
    packet = wire.encode_reply(visit.describe(opened))
    visit.send(bytes([packet[0] + 1]) + packet[1:] + b"\xa3new\x01", visit.channel.take_clients_end())


@pytest.mark.parametrize(
    ("script", "kind", "told"),
    [
        (wrong_cookie, WrongNamespaceError, "SO_COOKIE"),
        (wrong_netns, WrongNamespaceError, "SO_NETNS_COOKIE"),
        (swapped, WrongNamespaceError, "SO_COOKIE"),
        (no_sockets_at_all, OSError, os.strerror(errno.ENOTSOCK)),
        (one_descriptor_less, BrokerProtocolError, "1 descriptors came before it in place of its 2"),
        (one_descriptor_more, BrokerProtocolError, "too many descriptors"),
        (no_descriptor_in_the_delivery, BrokerProtocolError, "0 descriptors came before it in place of its 2"),
        (no_delivery, BrokerProtocolError, "did not come before it"),
        (no_channel, BrokerProtocolError, "there is no channel"),
        (closed_channel, BrokerProtocolError, "0 descriptors came"),
        (file_as_the_channel, BrokerProtocolError, "the channel is no socket"),
        (listener_as_the_channel, BrokerProtocolError, "did not come before it"),
        (descriptors_beside_the_channel, BrokerProtocolError, "too many descriptors"),
        (delivery_of_another_reply, BrokerProtocolError, "those of another reply"),
        (one_socket_less, BrokerProtocolError, "has 1 sockets"),
        (reply_to_a_request_without_groups, BrokerProtocolError, "no cookies of groups"),
        (other_id, BrokerProtocolError, "OpenReply"),
        (error_of_another_id, BrokerProtocolError, "ErrorReply"),
        (error_with_a_descriptor, BrokerProtocolError, "a refusal brings a descriptor"),
        (a_blob, BrokerProtocolError, "BlobReply"),
        (garbage, BrokerProtocolError, "msgpack"),
        (truncated, BrokerProtocolError, "msgpack"),
        (oversized, BrokerProtocolError, "too long"),
        (unknown_key, BrokerProtocolError, "unknown key 'new'"),
    ],
)
def test_wrong_answer_is_an_error_and_leaves_nothing_open(script: Script, kind: type[OSError], told: str) -> None:
    """Every descriptor that came is closed, the connection is not used again, and the next call gets its sockets."""

    def lie_first(visit: Visit) -> None:
        if visit.number == 1:
            script(visit)
        else:
            honest(visit)

    with fake_broker(lie_first) as broker:
        before = descriptors(first=True)
        client = Client(broker.path)
        with pytest.raises(kind, match=told):
            client.open([TCP, UDP])
        assert descriptors() == before
        sockets = client.open([TCP, UDP])
        assert [sock.type for sock in sockets] == [TCP.type, UDP.type]
        close(sockets)
        client.close()
        assert descriptors() == before


def test_reply_to_another_request_is_refused() -> None:
    """Also where there is but one: what an earlier call left unread is never taken for its answer."""

    def answer_another_first(visit: Visit) -> None:
        if visit.number == 1:
            other_id(visit)
        visit.grant()

    with fake_broker(answer_another_first) as broker, Client(broker.path) as client:
        before = descriptors(first=True)
        with pytest.raises(BrokerProtocolError, match="OpenReply"):
            client.open([TCP])
        assert descriptors() == before
        close(client.open([TCP]))


def test_two_namespaces_for_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if each socket is the one that the reply names: a batch never straddles a re-created namespace."""
    import nsbroker.link.proof

    def two_netns(visit: Visit) -> None:
        sockets, opened = visit.make()
        own = own_namespace()
        opened[1] = opened[1]._replace(namespace=1)
        visit.reply(visit.describe(opened, own, own._replace(cookie=own.cookie + 1)), fds_of(sockets))

    monkeypatch.setattr(nsbroker.link.proof, "prove_socket", lambda *_: None)
    with fake_broker(two_netns) as broker, Client(broker.path) as client:
        with pytest.raises(WrongNamespaceError, match="two namespaces"):
            client.open([TCP, TCP])
        close(client.open([TCP, TCP._replace(namespace="red")]))


def test_request_that_can_not_be_followed_is_answered_without_id() -> None:
    """Such an error ends the call at once: it is ours, though it carries no id."""

    def refuse(visit: Visit) -> None:
        visit.reply(wire.ErrorReply(None, wire.UNSUPPORTED_VERSION, "speak 2"))
        visit.connection.shutdown(socket.SHUT_RDWR)

    with fake_broker(refuse) as broker, pytest.raises(BrokerProtocolError, match="speak 2"):
        Client(broker.path).open([TCP])


def test_no_room_for_descriptors_is_said_as_the_kernel_does(broker: FakeBroker) -> None:
    """EMFILE, not a complaint about the broker."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Client(broker.path) as client:
        close(client.open([TCP]))
        before = descriptors(first=True)
        resource.setrlimit(resource.RLIMIT_NOFILE, (before + 20, hard))
        try:
            with pytest.raises(OSError, match="RLIMIT_NOFILE") as caught:
                client.open([TCP] * 40)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert caught.value.errno == errno.EMFILE
        assert descriptors() <= before


class Confined(socket.SocketType):
    """A socket of a program that a security module lets have only so many descriptors.

    The kernel acts the same for one that it may not install, and for one that has no room in the buffer.
    """

    let_in = 0

    def recvmsg(self, size: int, room: int = 0, flags: int = 0) -> Any:
        """Receive with room for fewer descriptors."""
        return super().recvmsg(size, min(room, socket.CMSG_LEN(4 * self.let_in) if self.let_in else 0), flags)


class LateConfined(Confined):
    """The same, for all descriptors but one."""

    let_in = 1


CONFINED = "Permission denied: the kernel kept back {} descriptors: a security module (SELinux, AppArmor) confines the "


def test_descriptors_that_a_security_module_keeps_back_are_named_so(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EACCES, not a complaint about the broker. No descriptor is left open."""
    before = descriptors(first=True)
    # The first descriptor is the channel.
    monkeypatch.setattr(connection.socket, "SocketType", Confined)
    with Client(broker.path) as client, pytest.raises(PermissionError) as caught:
        client.open([TCP])
    assert CONFINED.format("1 of 1") in str(caught.value)
    monkeypatch.setattr(connection.socket, "SocketType", LateConfined)
    with Client(broker.path) as client:
        close(client.open([TCP]))
        with pytest.raises(PermissionError) as caught:
            client.open([TCP] * 3)
    assert CONFINED.format("2 of 3") in str(caught.value)
    assert (descriptors(), isinstance(caught.value, Error)) == (before, False)


class Unusable(socket.socket):
    """A socket that a security module let the program have, and does not let it use, as AppArmor does."""

    def getsockopt(self, *_: Any) -> Any:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def test_socket_that_a_security_module_does_not_let_the_program_use_is_named_so(broker: FakeBroker) -> None:
    before = descriptors(first=True)
    with Client(broker.path) as client, pytest.raises(PermissionError, match="does not let it have or use sockets"):
        client.open_as(lambda spec, fd: Unusable(spec.family, spec.type, spec.proto, fd), [TCP, TCP])
    assert descriptors() == before


def test_timeout_state_matches_the_flag_and_the_default(broker: FakeBroker) -> None:
    """SOCK_NONBLOCK makes a socket of timeout 0. Otherwise the program's default timeout holds."""
    with Client(broker.path) as client:
        quick, plain = client.open([TCP._replace(type=TCP.type | socket.SOCK_NONBLOCK), TCP])
        assert (quick.gettimeout(), os.get_blocking(quick.fileno())) == (0.0, False)
        assert (plain.gettimeout(), os.get_blocking(plain.fileno())) == (None, True)
        assert quick.type == socket.SOCK_STREAM
        socket.setdefaulttimeout(3.0)
        try:
            (timed,) = client.open([TCP])
        finally:
            socket.setdefaulttimeout(None)
        assert (timed.gettimeout(), os.get_blocking(timed.fileno())) == (3.0, False)
        close([quick, plain, timed])


def test_default_timeout_does_not_change_how_the_broker_is_waited_for(broker: FakeBroker) -> None:
    socket.setdefaulttimeout(1e-9)
    try:
        with Client(broker.path) as client:
            close(client.open([TCP]))
    finally:
        socket.setdefaulttimeout(None)


def test_descriptor_of_a_namespace_is_lent_and_kept(broker: FakeBroker) -> None:
    """There is one copy for each namespace, however many sockets. The caller's own stays open."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    other = os.dup(own)
    with Client(broker.path) as client:
        specs = [TCP._replace(namespace=own), UDP._replace(namespace=other), TCP._replace(namespace=own), TCP]
        close(client.open(specs))
    assert broker.seen() == ["1 4 2"]
    os.close(own)
    os.close(other)


def test_more_descriptors_than_a_request_takes_are_spread(broker: FakeBroker) -> None:
    own = [os.open("/proc/self/ns/net", os.O_RDONLY) for _ in range(20)]
    with Client(broker.path) as client:
        close(client.open([TCP._replace(namespace=fd) for fd in own]))
    assert broker.seen() == ["1 16 16", "2 4 4"]
    for fd in own:
        os.close(fd)


def test_path_is_opened_by_the_client_and_closed_again(broker: FakeBroker) -> None:
    with Client(broker.path) as client:
        close(client.open([TCP]))
        before = descriptors(first=True)
        close(client.open([TCP._replace(namespace=f"/proc/{os.getpid()}/ns/net")] * 2))
        assert descriptors() == before
    assert broker.seen()[1] == "2 2 1"


def test_path_that_is_not_there_is_no_namespace(broker: FakeBroker) -> None:
    """The client finds it out, does not ask the broker, and closes the earlier sockets."""
    before = descriptors(first=True)
    with pytest.raises(NamespaceNotFoundError, match="/nowhere/net") as caught:
        Client(broker.path).open([TCP._replace(namespace="/proc/self/ns/net"), TCP._replace(namespace="/nowhere/net")])
    assert (caught.value.errno, caught.value.index) == (errno.ENOENT, 1)
    assert descriptors() == before
    assert broker.seen() == []


def test_closed_descriptor_as_namespace_is_the_callers_error(broker: FakeBroker) -> None:
    """EBADF from the kernel, not a retry."""
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        Client(broker.path).open([TCP._replace(namespace=10**6)])
    assert caught.value.errno == errno.EBADF
    assert not isinstance(caught.value, Error)


@pytest.mark.parametrize("wait", [-1, 61, float("nan")])
def test_wait_is_bounded(wait: float) -> None:
    with pytest.raises(ValueError, match="wait"):
        Client("/nowhere").open([TCP], wait)


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_timeout_is_not_optional(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        Client("/nowhere", timeout)


def test_namespaces_are_read_from_the_blob(broker: FakeBroker) -> None:
    before = descriptors(first=True)
    with Client(broker.path) as client:
        answer = client.namespaces()
    assert answer.namespaces == (("blue", (0, 1)), ("@host", (0,)))
    assert answer.grants[0] == wire.GrantSummary("web", ("tcp", "udp"), ("*:80",))
    assert [grant.limit.connect for grant in answer.grants] == [None, ("10.0.0.0/8:53", "[fd00::/8]:53")]
    assert [grant.limit.bind for grant in answer.grants] == [None, ()]
    assert descriptors() == before


BLOB = wire.encode_namespaces(wire.NamespaceList((), ()))


@pytest.mark.parametrize(
    ("size", "make"),
    [
        (len(BLOB), lambda: memfd(BLOB, sealed=False)),
        (len(BLOB) + 1, lambda: memfd(BLOB)),
        (len(BLOB) - 1, lambda: memfd(BLOB)),
        (len(BLOB), lambda: os.open("/etc/hostname", os.O_RDONLY)),
        (3, lambda: memfd(b"\xc1\xc1\xc1")),
    ],
    ids=["not sealed", "shorter", "longer", "no memfd", "garbage"],
)
def test_blob_that_is_not_what_it_says_is_refused(size: int, make: object) -> None:
    def answer(visit: Visit) -> None:
        assert callable(make)
        visit.reply(wire.BlobReply(visit.request.request_id, size), [make()])

    with fake_broker(answer) as broker:
        before = descriptors(first=True)
        client = Client(broker.path)
        with pytest.raises(BrokerProtocolError):
            client.namespaces()
        client.close()
        assert descriptors() == before


def test_sockets_in_the_place_of_a_blob_are_closed() -> None:
    def answer(visit: Visit) -> None:
        with socket.socket() as sock:
            visit.reply(visit.describe([wire.OpenedSocket(cookie(sock))]), [sock.fileno()])

    with fake_broker(answer) as broker:
        before = descriptors(first=True)
        with pytest.raises(BrokerProtocolError):
            Client(broker.path).namespaces()
        assert descriptors() == before
