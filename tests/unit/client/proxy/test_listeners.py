"""The endpoints of the proxy: only loopback addresses and paths, unless every user may use it."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from pathlib import Path

import pytest

from nsbroker.cli.messages import FailureError
from nsbroker.cli.proxy import _endpoint
from nsbroker.proxy import listeners, peers
from nsbroker.proxy.listeners import Door, ListenError

IPV4, IPV6, UNIX = int(socket.AF_INET), int(socket.AF_INET6), int(socket.AF_UNIX)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:1080", (IPV4, ("127.0.0.1", 1080))),
        ("[::1]:0", (IPV6, ("::1", 0))),
        ("/run/proxy", (UNIX, "/run/proxy")),
        ("./proxy", (UNIX, "./proxy")),
    ],
)
def test_endpoint_is_an_address_or_a_path(text: str, expected: object) -> None:
    assert _endpoint(text) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1080", "write the address, too, for example 127.0.0.1:1080"),
        (":1080", "write the address, too, for example 127.0.0.1:1080"),
        ("*:1080", "write the address, too, for example 127.0.0.1:1080"),
        ("localhost:1080", "'localhost' is no address; use 127.0.0.1, "),
        ("@name", "an abstract socket has no owner"),
        ("127.0.0.1:x", "'x' is no port number"),
        ("127.0.0.1", "is no port number"),
    ],
)
def test_other_endpoints_are_refused(text: str, says: str) -> None:
    with pytest.raises(FailureError) as caught:
        _endpoint(text)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("family", "host"),
    [
        (IPV4, "0.0.0.0"),
        (IPV4, "10.0.0.1"),
        (IPV4, "127.1"),
        (IPV6, "::"),
        (IPV6, "7f00::1"),
        (IPV6, "::ffff:127.0.0.1"),
    ],
)
def test_address_that_others_can_reach_is_refused(family: int, host: str) -> None:
    """One that no user could be looked up for, either."""
    with pytest.raises(ListenError, match="is no loopback address, so others could use the proxy"):
        Door(any_user=False).listen(family, (host, 0))


def test_any_user_may_listen_anywhere() -> None:
    listener = Door(any_user=True).listen(IPV4, ("0.0.0.0", 0))
    assert listener.name == f"0.0.0.0:{listener.sock.getsockname()[1]}"
    listener.close()


def test_file_of_a_unix_socket_is_for_its_owner_alone(tmp_path: Path) -> None:
    """From its first moment on, whatever the umask. It is gone after the end."""
    path = tmp_path / "proxy"
    for any_user, mode in ((False, 0o600), (True, 0o666)):
        before = os.umask(0o027)
        try:
            listener = Door(any_user=any_user).listen(UNIX, str(path))
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == mode
        listener.close()
        assert not path.exists()


def test_path_that_another_program_has_is_not_taken(tmp_path: Path) -> None:
    """A socket that was left behind is replaced."""
    path = tmp_path / "proxy"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(ListenError, match="another program listens on"):
            Door(any_user=False).listen(UNIX, str(path))
    Door(any_user=False).listen(UNIX, str(path)).close()
    path.write_text("precious")
    with pytest.raises(ListenError, match="is no socket: remove it"):
        Door(any_user=False).listen(UNIX, str(path))
    assert path.read_text() == "precious"


@pytest.mark.parametrize("moment", ["before it removes the other one", "before it listens"])
def test_two_that_start_at_once_never_remove_each_others_socket(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, moment: str
) -> None:
    """One of them listens, and nothing else is left."""
    path = tmp_path / "proxy"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    errors: list[str] = []
    unlink, identify = os.unlink, listeners._identify

    def start_another(at: str) -> None:
        if at == moment and not errors:
            errors.append("")
            try:
                Door(any_user=False).listen(UNIX, str(path))
            except ListenError as error:
                errors.append(str(error))

    def unlink_later(name: str) -> None:
        if name == str(path):
            start_another("before it removes the other one")
        unlink(name)

    def identify_first(name: str) -> tuple[int, int]:
        found = identify(name)
        if name == str(path):
            start_another("before it listens")
        return found

    monkeypatch.setattr(os, "unlink", unlink_later)
    monkeypatch.setattr(listeners, "_identify", identify_first)
    listener = Door(any_user=False).listen(UNIX, str(path))
    monkeypatch.undo()
    assert errors[1:] == [f"another program starts to listen on {path}: stop it, or use another path"]
    assert list(tmp_path.iterdir()) == [path]
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        listener.sock.accept()[0].close()
    listener.close()


def test_lock_that_was_left_behind_is_no_obstacle(tmp_path: Path) -> None:
    """Its proxy was killed."""
    path = tmp_path / "proxy"
    Path(f"{path}{listeners._LOCK}").touch()
    Door(any_user=False).listen(UNIX, str(path)).close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("is_there", [True, False])
def test_lock_of_another_user_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, is_there: bool) -> None:
    """For example in /tmp, where only its owner and root can remove it."""
    path, lock = tmp_path / "proxy", tmp_path / f"proxy{listeners._LOCK}"
    if is_there:
        lock.touch()

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    told = f"can't open {lock}, which another user has left: remove it, or use another path"
    with pytest.raises(ListenError, match=told if is_there else f"can't listen on {path}: Permission denied"):
        Door(any_user=False).listen(UNIX, str(path))


def test_lock_of_another_program_stays(tmp_path: Path) -> None:
    path, lock = tmp_path / "yarn", tmp_path / "yarn.lock"
    lock.write_text("precious")
    Door(any_user=False).listen(UNIX, str(path)).close()
    assert list(tmp_path.iterdir()) == [lock]


def test_lock_that_was_removed_when_it_was_got_does_not_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another proxy could have another one."""
    path, lock = tmp_path / "proxy", tmp_path / f"proxy{listeners._LOCK}"
    flock, bind, found = fcntl.flock, listeners._bind, []

    def remove_first(fd: int, operation: int) -> None:
        if not found:
            lock.unlink()
        found.append(lock.exists())
        flock(fd, operation)

    def look(sock: socket.socket, name: str) -> None:
        found.append(lock.exists())
        bind(sock, name)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    monkeypatch.setattr(listeners, "_bind", look)
    Door(any_user=False).listen(UNIX, str(path)).close()
    assert found == [False, True, True]


def test_path_is_free_before_the_socket_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Otherwise a proxy that starts just then would replace it, and lose its own one."""
    path = tmp_path / "proxy"
    listener = Door(any_user=False).listen(UNIX, str(path))
    unlink = os.unlink

    def start_another(name: str) -> None:
        monkeypatch.undo()
        with pytest.raises(ListenError, match="another program listens on"):
            Door(any_user=False).listen(UNIX, str(path))
        unlink(name)

    monkeypatch.setattr(os, "unlink", start_another)
    listener.close()
    assert not list(tmp_path.iterdir())


def test_socket_of_the_next_proxy_stays_though_its_file_has_the_same_inode(tmp_path: Path) -> None:
    """A proxy that ends lets its connections go on for a moment, and closes its listeners again after that."""
    path, same = tmp_path / "proxy", tmp_path / "same"
    listener = Door(any_user=False).listen(UNIX, str(path))
    os.link(path, same)
    listener.close()
    os.rename(same, path)
    listener.close()
    assert path.exists()


def test_socket_that_its_proxy_has_removed_meanwhile_is_no_obstacle(tmp_path: Path) -> None:
    listeners._remove_stale(str(tmp_path / "proxy"))


def test_file_that_took_the_place_stays(tmp_path: Path) -> None:
    path = tmp_path / "proxy"
    listener = Door(any_user=False).listen(UNIX, str(path))
    path.unlink()
    path.write_text("another one")
    listener.close()
    assert path.exists()


def test_user_is_not_looked_up_where_several_have_one_number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a user namespace, every user without a number has the overflow uid."""
    (tmp_path / "uid").write_text(f"{os.geteuid()}\n")
    (tmp_path / "map").write_text("         0       1000          1\n")
    monkeypatch.setattr(peers, "_OVERFLOW_UID", str(tmp_path / "uid"))
    monkeypatch.setattr(peers, "_UID_MAP", str(tmp_path / "map"))
    with pytest.raises(ListenError, match="stands for several users"):
        Door(any_user=False)
    Door(any_user=True)
    (tmp_path / "map").write_text("         0          0 4294967295\n")
    Door(any_user=False)


def test_without_sock_diag_the_proxy_does_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without it finds no socket."""
    monkeypatch.setattr(peers, "owner_in", lambda *_: None)
    door = Door(any_user=False)
    with pytest.raises(ListenError, match="can't look up the users of connections: the kernel finds none; listen on "):
        door.listen(IPV4, ("127.0.0.1", 0))
    door.close()
