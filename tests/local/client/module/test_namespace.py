"""`Namespace` and `create_servers` with a broker that makes real sockets do the same as the socket module."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import socket
import ssl
import sys
import threading
from collections.abc import Iterator

import anyio.abc
import pytest
import trio

from nsbroker import BrokerUnavailableError, Client, Namespace, create_servers
from nsbroker.drivers.thread import run
from nsbroker.link.broker import plain_socket
from nsbroker.place.datagrams import open_udp
from nsbroker.place.listening import listen_tcp
from support.brokers.fake import FILES_WITHOUT_DNS, FakeBroker, descriptors, fake_broker
from support.users import USER


@pytest.fixture
def broker() -> Iterator[FakeBroker]:
    """No name server is asked: the machine may have one, at any of its addresses."""
    with fake_broker(lambda visit: visit.grant(FILES_WITHOUT_DNS)) as broker:
        yield broker


@pytest.fixture
def blue(broker: FakeBroker) -> Iterator[Namespace]:
    with Client(broker.path) as client:
        yield Namespace("blue", client=client)


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def port_of(sock: socket.socket) -> int:
    port: int = sock.getsockname()[1]
    return port


def test_socket_is_a_socket(blue: Namespace) -> None:
    """With the signature and the defaults of the socket module."""
    with blue.socket() as sock:
        assert isinstance(sock, socket.socket)
        assert isinstance(sock, blue.socket)
        assert (sock.family, sock.type, sock.proto) == (socket.AF_INET, socket.SOCK_STREAM, 0)
        assert sock.gettimeout() is None
    with blue.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as sock:
        assert (sock.family, sock.type) == (socket.AF_INET6, socket.SOCK_DGRAM)
        assert sock.gettimeout() == 0


def test_each_namespace_has_one_class_of_its_own(broker: FakeBroker) -> None:
    blue, red = Namespace("blue", path=broker.path), Namespace("red", path=broker.path)
    assert blue.socket is blue.socket
    assert blue.socket is not red.socket


def test_namespaces_share_the_connection(broker: FakeBroker) -> None:
    """Fifty of them do not make fifty connections."""
    for number in range(3):
        Namespace(f"ns{number}", path=broker.path).socket().close()
    assert [line.split()[0] for line in broker.seen()] == ["1", "2", "3"]


def test_failed_socket_raises_the_kernels_error(blue: Namespace) -> None:
    blue.socket().close()
    before = descriptors(first=True)
    with pytest.raises(OSError, match="not supported") as caught:
        blue.socket(socket.AF_INET, socket.SOCK_STREAM, 250)
    assert caught.value.errno == errno.EPROTONOSUPPORT
    assert descriptors() == before


def test_unreachable_broker_raises_from_the_constructor() -> None:
    with pytest.raises(BrokerUnavailableError):
        Namespace("blue", path="/nowhere/socket").socket()


def test_streams_are_plain_sockets(blue: Namespace) -> None:
    """Libraries and multiprocessing know the socket module's class only."""
    with blue.create_server(("127.0.0.1", 0)) as server, blue.create_connection(server.getsockname()) as near:
        far, address = server.accept()
        with far, near.dup() as copy:
            assert [type(sock) for sock in (server, near, far, copy)] == [socket.socket] * 4
            assert address == near.getsockname()
            copy.sendall(b"hello\n")
            assert far.makefile().readline() == "hello\n"


def test_accepted_socket_is_plain_whatever_the_class_of_its_listener(blue: Namespace) -> None:
    """As in the socket module, which does not call the constructor of a subclass."""

    class WithArgument(blue.socket):  # type: ignore[name-defined,misc]  # a class made at run time
        def __init__(self, argument: str) -> None:
            super().__init__()

    with WithArgument("x") as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with blue.create_connection(listener.getsockname()):
            far, _ = listener.accept()
            with far:
                assert type(far) is socket.socket


def test_unconnected_socket_keeps_its_class(blue: Namespace) -> None:
    """Its copies have names to look up as well."""
    with blue.socket(type=socket.SOCK_DGRAM) as sock, sock.dup() as copy:
        assert type(sock) is type(copy) is blue.socket


def test_trio_and_anyio_take_streams(blue: Namespace) -> None:
    async def exchange() -> tuple[bytes, bytes]:
        with trio.socket.from_stdlib_socket(blue.create_server(("127.0.0.1", 0))) as listener:
            near = trio.socket.from_stdlib_socket(blue.create_connection(listener.getsockname()))
            far, _ = await listener.accept()
            with near, far:
                await near.send(b"trio")
                first = await far.recv(9)
        listeners = await anyio.abc.SocketListener.from_socket(blue.create_server(("127.0.0.1", 0)))
        async with listeners:
            address = listeners.extra(anyio.abc.SocketAttribute.local_address)
            near = await anyio.abc.SocketStream.from_socket(blue.create_connection(address))
            far = await listeners.accept()
            async with near, far:
                await near.send(b"anyio")
                return first, await far.receive()

    assert trio.run(exchange) == (b"trio", b"anyio")


def test_streams_go_to_a_process_of_multiprocessing(blue: Namespace) -> None:
    with blue.create_server(("127.0.0.1", 0)) as server, blue.create_connection(server.getsockname()) as near:
        far, _ = server.accept()
        context = multiprocessing.get_context("spawn")
        for sock in (server, near, far):
            child = context.Process(target=socket.socket.getsockname, args=(sock,))
            child.start()
            child.join()
            assert child.exitcode == 0
        far.close()


def test_accepted_socket_blocks_when_its_listener_has_a_timeout(blue: Namespace) -> None:
    with blue.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        with blue.create_connection(server.getsockname()):
            far, _ = server.accept()
            with far:
                assert far.gettimeout() is None


def test_descriptor_is_taken_over_as_it_is(blue: Namespace, broker: FakeBroker) -> None:
    """`fileno=` does not ask the broker."""
    near, far = socket.socketpair()
    with far, blue.socket(fileno=near.detach()) as sock:
        assert (sock.family, sock.type) == (socket.AF_UNIX, socket.SOCK_STREAM)
    assert broker.seen() == []


def test_fromfd_copies_the_descriptor(blue: Namespace, server: socket.socket) -> None:
    with blue.fromfd(server.fileno(), socket.AF_INET, socket.SOCK_STREAM) as copy:
        assert isinstance(copy, blue.socket)
        assert copy.fileno() != server.fileno()
        assert copy.getsockname() == server.getsockname()


def test_pickling_is_refused_as_for_any_socket(blue: Namespace) -> None:
    with blue.socket() as sock, pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(sock)


@pytest.mark.parametrize("host", ["web.example", b"web.example", "WEB.example"])
def test_every_call_finds_a_name_as_it_is_looked_up_in_the_namespace(blue: Namespace, host: str | bytes) -> None:
    """The socket module itself sees only numeric addresses, so that it has nothing to look up."""
    seen: list[object] = []
    recording = True
    # An audit hook can't be removed, so it goes quiet instead.
    sys.addaudithook(lambda event, args: seen.append((event, args[1:])) if recording and event in WATCHED else None)
    with blue.create_server(("web.example", 0)) as server, blue.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
        port = server.getsockname()[1]
        for connect in (blue.socket.connect, blue.socket.connect_ex):
            with blue.socket() as tcp:
                tcp.bind((host, 0))
                assert not connect(tcp, (host, port))
                assert tcp.getpeername() == ("127.0.0.1", port)
        udp.bind((host, 0))
        far = udp.getsockname()[1]
        assert udp.sendto(b"x", (host, far)) == udp.sendto(b"x", 0, (host, far, 0, 0)) == 1
        assert udp.sendmsg([b"x"], [], 0, (host, far)) == 1
        with blue.create_connection((host, port)) as sock:
            assert sock.getpeername()[1] == port
    recording = False
    assert len(seen) >= 9
    assert {event for event, _ in seen} <= WATCHED - {"socket.getaddrinfo", "socket.gethostbyname"}
    # A string is the broker's own path.
    assert {address[0] for _, (address,) in seen if not isinstance(address, str)} <= {"127.0.0.1", "::1"}


def test_tls_socket_finds_a_name_as_it_is_looked_up_in_the_namespace(blue: Namespace) -> None:
    """The ssl module has calls of its own. Outside, no such name exists."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    assert blue.secure(context) is context
    with blue.create_server(("web.example", 0)) as server:
        port = server.getsockname()[1]
        for name in ("connect", "connect_ex"):
            with context.wrap_socket(blue.socket(), do_handshake_on_connect=False) as sock:
                sock.bind(("web.example", 0))
                assert not getattr(sock, name)(("web.example", port))
                assert sock.getpeername() == ("127.0.0.1", port)


WATCHED = {"socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg"} | {
    "socket.getaddrinfo",
    "socket.gethostbyname",
}


@pytest.mark.parametrize("host", ["example.com", "no.such.host.invalid", "1.2.3.4.5", "::1%nosuch0"])
def test_name_that_is_not_found_is_the_error_of_a_look_up(blue: Namespace, host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with blue.socket(family) as sock, pytest.raises(OSError, match=r"[Nn]ame|No such device"):
        sock.connect((host, 80))
    with pytest.raises(OSError, match=r"[Nn]ame|No such device"):
        blue.create_server((host, 80), family=family)
    with pytest.raises(socket.gaierror):
        blue.create_connection((host, 80))


def test_create_servers_looks_names_up_in_the_namespace(broker: FakeBroker) -> None:
    with create_servers([("blue", ("localhost", 0))], client=Client(broker.path))[0] as server:
        assert server.getsockname()[0] == "127.0.0.1"
    with pytest.raises(socket.gaierror, match="Name or service not known") as caught:
        create_servers([("blue", ("", 0)), ("blue", ("example.com", 80))], client=Client(broker.path))
    assert caught.value.index == 1  # type: ignore[attr-defined]  # as `Error.index`


@pytest.mark.parametrize("host", ["127.0.0.1", b"127.0.0.1", bytearray(b"127.0.0.1"), "localhost", "127.1", ""])
def test_numeric_addresses_connect(blue: Namespace, server: socket.socket, host: str | bytes | bytearray) -> None:
    with blue.socket() as sock:
        sock.connect((host, port_of(server)))
        assert sock.getpeername() == server.getsockname()
    with blue.socket() as sock:
        assert sock.connect_ex((host, port_of(server))) == 0


def test_scope_is_looked_up_in_the_sockets_namespace(blue: Namespace) -> None:
    """The socket itself answers, here for our own namespace, in which lo is number 1."""
    with blue.socket(socket.AF_INET6) as sock:
        sock.bind(("::1%lo", 0))
        assert sock.getsockname()[0] == "::1"
    for scope in ("nosuch0", "x" * 16, "lo\0x", "4294967297"):
        with blue.socket(socket.AF_INET6) as sock, pytest.raises(OSError, match="No such device") as caught:
            sock.connect((f"fe80::1%{scope}", 80))
        assert caught.value.errno == errno.ENODEV


@pytest.mark.parametrize("address", ["text", ("127.0.0.1",), (3, 80), ["127.0.0.1", 80], ("127.0.0.1", "80")])
def test_what_is_no_address_is_refused_as_by_the_socket_module(blue: Namespace, address: object) -> None:
    with blue.socket() as ours, socket.socket() as theirs:
        with pytest.raises(Exception) as expected:  # noqa: PT011  # whatever it is, it shall be the same
            theirs.connect(address)  # type: ignore[arg-type]
        with pytest.raises(expected.type):
            ours.connect(address)  # type: ignore[arg-type]


def test_datagrams_go_to_numeric_addresses(blue: Namespace) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far, blue.socket(type=socket.SOCK_DGRAM) as near:
        far.bind(("127.0.0.1", 0))
        assert near.sendto(b"one", far.getsockname()) == 3
        assert near.sendto(b"two", 0, far.getsockname()) == 3
        assert near.sendmsg([b"th", b"ree"], [], 0, far.getsockname()) == 5
        near.connect(far.getsockname())
        assert near.sendmsg([b"four"]) == 4
        assert [far.recv(9) for _ in range(4)] == [b"one", b"two", b"three", b"four"]
        with pytest.raises(TypeError):
            near.sendto(b"x")


def test_other_families_pass_their_addresses(blue: Namespace, tmp_path: object) -> None:
    with blue.socket(socket.AF_UNIX) as listener, blue.socket(socket.AF_UNIX) as sock:
        listener.bind(f"{tmp_path}/socket")
        listener.listen()
        sock.connect(f"{tmp_path}/socket")
        assert sock.getpeername() == f"{tmp_path}/socket"


def test_create_server_is_the_socket_modules(blue: Namespace) -> None:
    """The visible options are the same."""
    servers = [module.create_server(("127.0.0.1", 0), backlog=7, reuse_port=True) for module in (blue, socket)]
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT, socket.SO_ACCEPTCONN):
        assert [server.getsockopt(socket.SOL_SOCKET, option) for server in servers] == [1, 1]
    for server in servers:
        server.close()


@pytest.mark.parametrize("dualstack", [False, True])
def test_create_server_is_dual_stack_when_asked(blue: Namespace, dualstack: bool) -> None:
    with blue.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=dualstack) as server:
        assert server.getsockname()[0] == "::"
        assert server.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == (not dualstack)
    for family in (socket.AF_INET, socket.AF_UNIX):
        with pytest.raises(ValueError, match="AF_INET6"):
            blue.create_server(("", 0), family=family, dualstack_ipv6=True)


def test_address_in_use_is_the_kernels_errno(blue: Namespace, server: socket.socket) -> None:
    with pytest.raises(OSError, match="in use") as caught:
        blue.create_server(server.getsockname())
    assert caught.value.errno == errno.EADDRINUSE


def test_create_connection_takes_what_the_socket_modules_takes(blue: Namespace, server: socket.socket) -> None:
    """Timeout, source address, a port as text, and no host for loopback."""
    with blue.create_connection(("127.0.0.1", str(port_of(server))), 3.5, ("127.0.0.2", 0)) as sock:
        assert sock.gettimeout() == 3.5
        assert sock.getsockname()[0] == "127.0.0.2"
    with blue.create_connection((None, port_of(server))) as sock:
        assert sock.getpeername() == server.getsockname()
    with blue.create_connection(("localhost", port_of(server)), timeout=None) as sock:
        assert sock.gettimeout() is None


def test_create_connection_without_blocking_fails_as_in_the_socket_module(
    blue: Namespace, server: socket.socket
) -> None:
    """It does not wait for the connection, since the timeout is 0."""
    for module in (socket, blue):
        with pytest.raises(BlockingIOError):
            module.create_connection(server.getsockname(), timeout=0)


def test_create_connection_honours_the_default_timeout(blue: Namespace, server: socket.socket) -> None:
    socket.setdefaulttimeout(4.5)
    try:
        with blue.create_connection(server.getsockname()) as sock:
            assert sock.gettimeout() == 4.5
    finally:
        socket.setdefaulttimeout(None)


def test_create_connection_reports_failures_as_the_socket_module_does(blue: Namespace) -> None:
    """It raises the last error or all errors, and leaves no socket open."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = port_of(unused)
        with blue.socket():
            before = descriptors(first=True)
            with pytest.raises(ConnectionRefusedError):
                blue.create_connection(("127.0.0.1", port))
            with pytest.raises(ExceptionGroup) as caught:
                blue.create_connection(("localhost", port), all_errors=True)
            assert len(caught.value.exceptions) == 2
            assert descriptors() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may bind any port")
def test_low_port_says_who_can_bind_it(blue: Namespace) -> None:
    """The errno is the kernel's, and the message names the way that works."""
    with blue.socket() as sock, pytest.raises(PermissionError, match="use create_server") as caught:
        sock.bind(("127.0.0.1", 1))
    assert caught.value.errno == errno.EACCES


def test_low_port_says_who_can_bind_it_to_an_unprivileged_user(blue: Namespace) -> None:
    """As above, in a child that gave up its rights."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be somebody else")
    sock = blue.socket()
    answers: list[str] = []

    def in_thread() -> None:
        # A thread has its own capabilities, so the process keeps them.
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.syscall(setresuid, -1, USER, -1) == 0
        try:
            sock.bind(("127.0.0.1", 1))
        except PermissionError as error:
            answers.append(str(error))

    setresuid = {"x86_64": 117, "aarch64": 147}.get(os.uname().machine)
    if setresuid is None:
        pytest.skip("unknown machine")
    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    sock.close()
    assert len(answers) == 1
    assert "[Errno 13]" in answers[0]
    assert "use create_server" in answers[0]


def test_create_servers_is_one_round_trip(broker: FakeBroker) -> None:
    """Plain sockets, each bound and listening, of the family that its address looks like."""
    with Client(broker.path) as client:
        listeners = [("@host", ("127.0.0.1", 0)), ("blue", ("::1", 0)), ("red", ("", 0)), ("red", ("::", 0, 0, 0))]
        servers = create_servers(listeners, backlog=3, reuse_port=True, client=client)
    assert [type(server) for server in servers] == [socket.socket] * 4
    assert [server.getsockname()[0] for server in servers] == ["127.0.0.1", "::1", "0.0.0.0", "::"]
    for server in servers:
        assert server.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        assert server.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1
        server.close()
    assert broker.seen() == ["1 4 0"]


def test_create_servers_uses_the_shared_client(broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NSBROKER_SOCKET", broker.path)
    (server,) = create_servers([("blue", ("127.0.0.1", 0))])
    server.close()
    Namespace("blue").socket().close()
    assert broker.seen() == ["1 1 0", "2 1 0"]


def test_descriptor_names_a_namespace(broker: FakeBroker) -> None:
    fd = os.open("/proc/self/ns/net", os.O_RDONLY)
    Namespace(fd, path=broker.path).socket().close()
    Namespace("/proc/self/ns/net", path=broker.path).socket().close()
    os.close(fd)
    assert [line.split()[2] for line in broker.seen()] == ["1", "1"]


def test_options_of_a_namespace_come_from_the_broker(broker: FakeBroker) -> None:
    """The broker, which is root here, sets them, also on the sockets that look up names."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to set a mark")
    blue = Namespace("blue", path=broker.path, mark=16, freebind=True)
    with run(blue._place.open_one(socket.AF_INET, socket.SOCK_DGRAM)) as question:
        assert question.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) == 16
    options = ((socket.SOL_SOCKET, socket.SO_REUSEPORT, 1),)
    with run(open_udp(blue._place, plain_socket, local_addr=("127.0.0.1", 0), options=options)) as udp:
        assert [udp.getsockopt(socket.SOL_SOCKET, name) for name in (socket.SO_MARK, socket.SO_REUSEPORT)] == [16, 1]
    with blue.create_server(("127.0.0.1", 0), reuse_port=True) as server:
        assert [server.getsockopt(socket.SOL_SOCKET, name) for name in (socket.SO_MARK, socket.SO_REUSEPORT)] == [16, 1]
    for listener in run(listen_tcp(blue._place, ["127.0.0.1", "::1"], 0)):
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) == 16
        listener.close()


def test_unix_server_is_bound_by_the_program(blue: Namespace, tmp_path: object) -> None:
    """The broker could not open the path, and peers must not see root."""
    with blue.create_server(f"{tmp_path}/socket", family=socket.AF_UNIX, backlog=3) as server:
        assert (type(server), server.getsockname()) == (socket.socket, f"{tmp_path}/socket")
        with blue.socket(socket.AF_UNIX) as near:
            near.connect(f"{tmp_path}/socket")
            server.accept()[0].close()
    before = descriptors(first=True)
    with pytest.raises(OSError, match="in use"):
        blue.create_server(f"{tmp_path}/socket", family=socket.AF_UNIX)
    assert descriptors() == before


def test_name_to_bind_a_connection_to_is_looked_up_in_the_namespace(blue: Namespace, server: socket.socket) -> None:
    with blue.create_connection(server.getsockname(), source_address=("web.example", 0)) as sock:
        assert sock.getsockname()[0] == "127.0.0.1"
