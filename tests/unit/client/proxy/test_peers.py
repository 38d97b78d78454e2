"""The answers of sock_diag: only an open socket with exactly the addresses of the connection has an owner."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable

import pytest

from nsbroker.proxy.peers import SockDiag, make_request, owner_in

IPV4, IPV6 = int(socket.AF_INET), int(socket.AF_INET6)
CLIENT, PROXY = ("127.0.0.1", 40000), ("127.0.0.1", 1080)
ESTABLISHED, SYN_SENT, FIN_WAIT1, FIN_WAIT2, TIME_WAIT, CLOSE_WAIT, LISTEN = 1, 2, 4, 5, 6, 8, 10
UID, INODE = 1000, 4711


def answer(
    state: int = ESTABLISHED,
    local: tuple[str, int] = CLIENT,
    remote: tuple[str, int] = PROXY,
    uid: int = UID,
    inode: int = INODE,
    family: int = IPV4,
) -> bytes:
    """An nlmsghdr with an inet_diag_msg. Source: linux/inet_diag.h."""
    addresses = b"".join(socket.inet_pton(family, host).ljust(16, b"\0") for host, _ in (local, remote))
    sockid = struct.pack("!HH", local[1], remote[1]) + addresses + struct.pack("=III", 0, 1, 2)
    body = struct.pack("=BBBB", family, state, 0, 0) + sockid + struct.pack("=IIIII", 0, 0, 0, uid, inode)
    return struct.pack("=IHHII", 16 + len(body), 20, 0, 1, 0) + body


def found(data: bytes) -> int | None:
    return owner_in(data, IPV4, CLIENT, PROXY)


@pytest.mark.parametrize("state", [ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT])
def test_open_socket_has_an_owner(state: int) -> None:
    assert found(answer(state)) == UID


@pytest.mark.parametrize("state", [SYN_SENT, TIME_WAIT, LISTEN])
def test_other_states_have_none(state: int) -> None:
    """TIME_WAIT would be root's, and the listener is the proxy's own."""
    assert found(answer(state, uid=0)) is None


def test_socket_that_its_process_closed_has_no_owner() -> None:
    """The kernel reports uid 0 for it."""
    assert found(answer(FIN_WAIT2, uid=0, inode=0)) is None


@pytest.mark.parametrize(
    ("local", "remote"),
    [
        (("127.0.0.1", 40001), PROXY),
        (CLIENT, ("127.0.0.1", 1081)),
        (("127.0.0.2", 40000), PROXY),
        (CLIENT, ("127.0.0.2", 1080)),
        (PROXY, CLIENT),
    ],
)
def test_another_socket_is_not_the_peer(local: tuple[str, int], remote: tuple[str, int]) -> None:
    assert found(answer(local=local, remote=remote)) is None


def test_ipv6_socket_with_an_ipv4_connection_is_the_peer() -> None:
    mapped = [(f"::ffff:{host}", port) for host, port in (CLIENT, PROXY)]
    assert found(answer(local=mapped[0], remote=mapped[1], family=IPV6)) == UID
    assert found(answer(local=mapped[1], remote=mapped[0], family=IPV6)) is None


def test_error_of_the_kernel_is_no_owner() -> None:
    """ENOENT: no such socket. Other errors are raised."""
    head = struct.pack("=IHHII", 36, 2, 0, 1, 0)
    assert found(head + struct.pack("=i", -2) + bytes(16)) is None
    with pytest.raises(PermissionError):
        found(head + struct.pack("=i", -1) + bytes(16))


def test_short_answer_is_an_error() -> None:
    with pytest.raises(OSError, match="Protocol error"):
        found(answer()[:40])


def test_question_is_for_one_socket() -> None:
    question = make_request(IPV4, CLIENT, PROXY, 7)
    length, kind, flags, sequence, _ = struct.unpack_from("=IHHII", question)
    assert (length, kind, flags, sequence) == (len(question), 20, 1, 7)
    assert struct.unpack_from("!HH", question, 24) == (40000, 1080)


class Preempted:
    """A connection whose process loses the processor for a moment, right after it has read the other end's address."""

    def __init__(self, sock: socket.socket, meanwhile: list[Callable[[], None]]) -> None:
        self.family, self.getsockname = sock.family, sock.getsockname
        self._sock, self._meanwhile = sock, meanwhile

    def getpeername(self) -> tuple[str, int]:
        address: tuple[str, int] = self._sock.getpeername()
        if self._meanwhile:
            self._meanwhile.pop()()
        return address


def test_next_owner_of_a_port_is_not_the_peer() -> None:
    """Another user resets a connection, and this user's program gets its port. Its request is still there to read."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as own:
        other = socket.create_connection(listener.getsockname())
        address = other.getsockname()
        other.sendall(b"request")
        connection, _ = listener.accept()

        def take_over() -> None:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            other.close()
            own.bind(address)
            own.connect(listener.getsockname())

        diag = SockDiag()
        try:
            with connection, pytest.raises(OSError, match="not connected"):
                diag.owner_of_peer(Preempted(connection, [take_over]))  # type: ignore[arg-type]  # a fake
            with listener.accept()[0] as connection:
                assert connection.getpeername() == address
                assert diag.owner_of_peer(connection) == os.geteuid()
        finally:
            diag.close()
