"""Only the user who started the proxy gets in. All others are closed out before a byte is read, and a line says so."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from support.proxied import HOST4, Inside, Proxied, Server, connect, exactly, socks, to_the_end
from support.resident import CLONE_NEWUSER, move_into_new
from support.users import GROUP, USER, as_user
from support.waiting import LIMIT_S

OTHER = USER - 1
LISTENS = {"ipv4": "127.0.0.1:0", "another loopback address": "127.3.2.1:0", "ipv6": "[::1]:0", "unix": "{path}/proxy"}


def try_to_use(address: str, port: int) -> str:
    """Return the answer of the echo server, "closed", or the error."""
    try:
        with connect(address) as sock:
            sock.sendall(b"\x05\x01\x00")
            if not sock.recv(2, socket.MSG_PEEK):
                return "closed"
            assert exactly(sock, 2) == b"\x05\x00"
            host = HOST4.encode()
            sock.sendall(b"\x05\x01\x00\x03" + bytes((len(host),)) + host + port.to_bytes(2, "big") + b"hello")
            exactly(sock, 10)
            sock.shutdown(socket.SHUT_WR)
            return to_the_end(sock).decode()
    except ConnectionError:
        return "closed"
    except PermissionError:
        return "denied"


def use_as(uid: int, address: str, port: int) -> str:
    return str(as_user(uid, GROUP if uid == USER else uid, try_to_use, address, port))


def end(proxy: Proxied) -> str:
    proxy.running.send(signal.SIGTERM)
    done = proxy.running.finish()
    assert done.status == 0
    return done.err


@pytest.fixture(params=LISTENS.values(), ids=LISTENS)
def endpoint(request: pytest.FixtureRequest, open_directory: Path) -> str:
    open_directory.chmod(0o777)
    return str(request.param).format(path=open_directory)


def test_user_who_started_it_gets_in(place: Inside, echo_server: Server, endpoint: str) -> None:
    proxy = place.start("-l", endpoint, uid=USER)
    for _ in range(3):
        assert use_as(USER, proxy.address, echo_server.port) == "hello"
    assert end(proxy) == ""


@pytest.mark.parametrize("uid", [OTHER, 0], ids=["other", "root"])
def test_another_user_is_closed_out(place: Inside, echo_server: Server, endpoint: str, uid: int) -> None:
    """Root, too. The file of a Unix socket keeps all others out already, so it is opened to them here."""
    proxy = place.start("-l", endpoint, uid=USER)
    if proxy.address.startswith("/"):
        if uid:
            assert use_as(uid, proxy.address, echo_server.port) == "denied"
        os.chmod(proxy.address, 0o666)
    before = len(echo_server.peers)
    assert use_as(uid, proxy.address, echo_server.port) == "closed"
    assert use_as(USER, proxy.address, echo_server.port) == "hello"
    assert end(proxy) == (
        f"nsbroker-get: refused a connection of uid {uid}: only uid {USER} may use this proxy (see --any-user)\n"
    )
    assert len(echo_server.peers) == before + 1


def test_proxy_of_root_is_for_root_alone(place: Inside, echo_server: Server) -> None:
    """The kernel calls sockets without an owner root's."""
    proxy = place.start(uid=0)
    assert use_as(USER, proxy.address, echo_server.port) == "closed"
    assert use_as(0, proxy.address, echo_server.port) == "hello"


def leave_request(address: str, port: int) -> None:
    """Send a whole request and be gone, with a clean end, before the proxy can look."""
    with connect(address) as sock:
        sock.sendall(
            b"\x05\x01\x00\x05\x01\x00\x01" + socket.inet_aton("127.0.0.1") + port.to_bytes(2, "big") + b"evil"
        )


def test_request_of_a_user_who_is_gone_is_never_served(place: Inside, echo_server: Server) -> None:
    """Such a socket has no owner any more: the kernel says uid 0, which is the proxy's."""
    proxy = place.start(uid=0)
    before = len(echo_server.peers)
    proxy.running.send(signal.SIGSTOP)
    for _ in range(20):
        as_user(OTHER, OTHER, leave_request, proxy.address, echo_server.port)
    proxy.running.send(signal.SIGCONT)
    assert use_as(0, proxy.address, echo_server.port) == "hello"
    assert "refused a connection whose user can't be found" in end(proxy)
    assert len(echo_server.peers) == before + 1


def use_in_user_namespace(address: str, port: int) -> str:
    move_into_new(CLONE_NEWUSER)
    return try_to_use(address, port)


def test_user_namespace_does_not_change_who_somebody_is(place: Inside, echo_server: Server) -> None:
    """A process without a number there is still its user outside, and root there is not root here."""
    proxy = place.start(uid=USER)
    own = as_user(USER, GROUP, use_in_user_namespace, proxy.address, echo_server.port)
    other = as_user(OTHER, OTHER, use_in_user_namespace, proxy.address, echo_server.port)
    assert (own, other) == ("hello", "closed")


@pytest.mark.parametrize("endpoint", LISTENS.values(), ids=LISTENS)
def test_any_user_gets_in_if_the_proxy_is_told_so(
    place: Inside, echo_server: Server, endpoint: str, open_directory: Path
) -> None:
    proxy = place.start("--any-user", "-l", endpoint.format(path=open_directory), uid=0)
    assert use_as(OTHER, proxy.address, echo_server.port) == "hello"
    assert use_as(USER, proxy.address, echo_server.port) == "hello"
    assert end(proxy) == ""


@pytest.mark.parametrize("endpoint", ["0.0.0.0:0", "[::]:0", "10.1.2.3:0", "[::ffff:127.0.0.1]:0"])
def test_address_that_others_reach_needs_to_be_allowed(place: Inside, endpoint: str) -> None:
    done = place.run(place.name, "proxy", "-l", endpoint)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"nsbroker-get: {endpoint} is no loopback address, so others could use the proxy: ")
    assert done.err.count("\n") == 1


def test_ipv6_program_with_an_ipv4_address_gets_in(place: Inside, echo_server: Server) -> None:
    """Its socket shows the address in another form."""
    proxy = place.start(uid=0)
    port = int(proxy.address.rpartition(":")[2])
    with socket.socket(socket.AF_INET6) as sock:
        sock.settimeout(LIMIT_S)
        sock.connect(("::ffff:127.0.0.1", port))
        assert socks(sock, HOST4, echo_server.port) == 0


def test_program_bound_to_the_loopback_interface_gets_in(place: Inside, echo_server: Server) -> None:
    proxy = place.start(uid=0)
    host, _, port = proxy.address.rpartition(":")
    with socket.socket() as sock:
        sock.settimeout(LIMIT_S)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        sock.connect((host, int(port)))
        assert socks(sock, HOST4, echo_server.port) == 0


def without_sock_diag() -> None:
    """Fail each socket of netlink, as a system call filter may."""
    made = socket.socket.__init__

    def refuse(self: socket.socket, family: int = -1, *args: int, **kwargs: object) -> None:
        if family == socket.AF_NETLINK:
            raise PermissionError(1, "Operation not permitted")
        made(self, family, *args, **kwargs)  # type: ignore[arg-type]

    socket.socket.__init__ = refuse  # type: ignore[assignment, method-assign]


def test_without_a_look_up_it_does_not_start(place: Inside, open_directory: Path) -> None:
    """Only a Unix socket needs none."""
    running = place.run.start(place.name, "proxy", "-l", "127.0.0.1:0", uid=0, before=without_sock_diag)
    done = running.finish()
    assert (done.status, done.out) == (1, "")
    assert done.err == (
        "nsbroker-get: can't look up the users of connections: Operation not permitted; listen on the path of a Unix "
        "socket, or let every user in by --any-user\n"
    )
    place.start("-l", f"{open_directory}/proxy", before=without_sock_diag)


def test_look_up_that_fails_later_lets_nobody_in(place: Inside) -> None:
    proxy = place.start(uid=0, before=break_look_up_after(1))
    with proxy.connect() as sock:
        assert to_the_end(sock) == b""
    assert "refused a connection whose user can't be looked up: Input/output error" in end(proxy)


def break_look_up_after(count: int) -> Callable[[], None]:
    """The first look-ups, at the start, succeed."""

    def prepare() -> None:
        from nsbroker.proxy import peers

        look_up, left = peers.owner_in, [count]

        def fail(*args: object) -> int | None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(5, "Input/output error")
            return look_up(*args)  # type: ignore[arg-type]

        peers.owner_in = fail

    return prepare
