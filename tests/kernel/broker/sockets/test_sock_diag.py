"""Ending connections from outside, and finding the namespaces that they are in."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Callable

import pytest

from nsbrokerd.namespaces import finding as reachable
from nsbrokerd.namespaces.finding import find_namespaces
from nsbrokerd.namespaces.netns import HOST, Gate
from nsbrokerd.sockets.sock_diag import end_each, open_diag
from support.inside import call_inside, cookie_here, cookie_inside, socket_cookie
from support.namespaces import why_not
from support.resident import CLONE_NEWNET, move_into_new
from support.users import USER, start_as_user
from support.waiting import Counters, wait_until

Connection = tuple[socket.socket, socket.socket]


def connect(listener: socket.socket) -> Connection:
    client = socket.socket(listener.family, socket.SOCK_STREAM)
    client.connect(listener.getsockname())
    return client, listener.accept()[0]


def end_tcp(diag: socket.socket, cookies: set[int]) -> int:
    """Return the number of sockets that were ended."""
    return len(list(end_each(diag, cookies)))


def error_of(sock: socket.socket) -> str | None:
    """Return the result of a read from the socket, or None if it has no data."""
    try:
        sock.recv(1, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "end"


def _end_one_of_two(host: str) -> list[str | None]:
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        ended, kept = connect(listener), connect(listener)
        with open_diag() as diag:
            assert end_tcp(diag, {socket_cookie(ended[0]), 2**64 - 1}) == 1
            assert end_tcp(diag, {socket_cookie(ended[0])}) == 0
        return [error_of(sock) for sock in (*ended, *kept)]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_connection_is_ended_by_its_cookie_and_no_other_is(make_namespace: Callable[..., str], host: str) -> None:
    """The peer gets a reset."""
    assert call_inside(make_namespace(), _end_one_of_two, host) == ["ECONNABORTED", "ECONNRESET", None, None]


def _end_listener() -> tuple[bool, int]:
    with socket.create_server(("127.0.0.1", 0)) as listener, open_diag() as diag:
        address = listener.getsockname()
        ended = end_tcp(diag, {socket_cookie(listener)})
        with socket.socket() as client:
            return ended == 1, client.connect_ex(address)


def test_listener_is_ended_by_its_cookie(make_namespace: Callable[..., str]) -> None:
    assert call_inside(make_namespace(), _end_listener) == (True, errno.ECONNREFUSED)


def _end_many() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0), backlog=400) as listener, open_diag() as diag:
        connections = [connect(listener) for _ in range(300)]
        ended = end_tcp(diag, {socket_cookie(client) for client, _ in connections})
        return ended, sum(error_of(server) == "ECONNRESET" for _, server in connections)


def test_list_that_does_not_fit_one_packet_is_read_whole(make_namespace: Callable[..., str]) -> None:
    assert call_inside(make_namespace(), _end_many) == (300, 300)


def _end_without_rights() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        os.setresuid(USER, USER, USER)
        with open_diag() as diag:
            end_tcp(diag, {socket_cookie(listener)})


def test_kernel_refusal_is_an_error(make_namespace: Callable[..., str]) -> None:
    with pytest.raises(PermissionError):
        call_inside(make_namespace(), _end_without_rights)


def _found(cookies: set[int]) -> dict[int, str | None]:
    return {cookie: name for cookie, name, _ in find_namespaces(Gate(), cookies)}


def test_namespaces_are_found_by_cookie_with_their_names(make_namespace: Callable[..., str]) -> None:
    name = make_namespace()
    cookie, here = cookie_inside(name), cookie_here()
    assert _found({cookie, here, 2**64 - 1}) == {cookie: name, here: HOST}
    assert _found(set()) == {}


def test_entry_that_is_not_mounted_is_passed_over(make_namespace: Callable[..., str]) -> None:
    name = make_namespace()
    trap = f"/run/netns/{name}-trap"
    with open(trap, "w"):
        pass
    try:
        assert _found({cookie_inside(name), 2**64 - 1}) == {cookie_inside(name): name}
    finally:
        os.unlink(trap)


def _live_apart(cookie: Counters) -> None:
    move_into_new(CLONE_NEWNET)
    cookie[0] = cookie_here()
    signal.pause()


@pytest.mark.parametrize("has_ids", [True, False])
def test_namespace_without_a_name_is_found_by_its_process(monkeypatch: pytest.MonkeyPatch, has_ids: bool) -> None:
    """This works too if the kernel can't return a namespace's number, and a socket in it must be asked."""
    if not has_ids:
        monkeypatch.setattr(reachable, "namespace_id", lambda _fd: None)
    if why_not():
        pytest.skip(str(why_not()))
    cookie = Counters(1)
    child = start_as_user(0, 0, _live_apart, cookie)
    try:
        wait_until(lambda: cookie[0] != 0)
        assert _found({cookie[0]}) == {cookie[0]: None}
    finally:
        child.kill()
    assert _found({cookie[0]}) == {}
