"""`nsbroker-get NS connect` passes every byte both ways, ends each direction by itself, and never spins."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator

import pytest

from support import namespaces
from support.brokers.process import BrokerProcess
from support.inside import call_inside, enter, path_of
from support.process_state import stopped
from support.sockets_inside import open_inside
from support.tool.piped import ONE_SOCKET, PIPES, SOCKETS, Piped, piped_tool
from support.tool.running import program, run_tool
from support.users import start_as_user
from support.waiting import LIMIT_S, wait_until

PORT = 7
ALL_ENDS = (PIPES, SOCKETS, ONE_SOCKET)
BLOCK = hashlib.shake_256(b"block").digest(1048573)
"""Its length is a prime: no part of the data is where a buffer's size would put it again."""
ALMOST_FULL = 4000
LINGER_NOT = b"\1\0\0\0\0\0\0\0"


@pytest.fixture(scope="module")
def name(shared_broker: BrokerProcess) -> Iterator[str]:
    name = f"{namespaces.PREFIX}relay"
    namespaces.make(name)
    yield name
    namespaces.delete(name)


@pytest.fixture
def connect(shared_broker: BrokerProcess, name: str) -> Iterator[Callable[..., Piped]]:
    with run_tool(shared_broker) as run, piped_tool(run) as start:
        yield lambda *args, **how: start(name, "connect", "127.0.0.1", str(PORT), *args, **how)


@pytest.fixture
def server(name: str) -> Iterator[socket.socket]:
    with open_inside(name, socket.SOCK_STREAM, PORT) as server:
        server.settimeout(LIMIT_S)
        yield server


def waiting_bytes(fd: int) -> int:
    """How much can be read."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)


def accept(server: socket.socket) -> socket.socket:
    peer, _ = server.accept()
    peer.settimeout(LIMIT_S)
    return peer


def take_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(2**20), b""))


@pytest.mark.parametrize("ends", ALL_ENDS)
def test_much_through_an_echo_of_socat(connect: Callable[..., Piped], name: str, long: bool, ends: str) -> None:
    """Both ways at once: the same bytes come back, and then the end, since each end is passed on by itself."""
    blocks = 1024 if long else 24
    options = ["-t", str(LIMIT_S), f"TCP-LISTEN:{PORT},reuseaddr", "EXEC:cat"]
    socat = subprocess.Popen(["ip", "netns", "exec", name, program("socat"), *options])
    try:
        wait_until(lambda: call_inside(name, listens))
        process = connect(ends=ends)
        writer = process.in_background(lambda: ([process.write(BLOCK) for _ in range(blocks)], process.close_input()))
        for _ in range(blocks):
            assert process.read(len(BLOCK)) == BLOCK
        assert process.read() == b""
        writer.join()
        assert (process.wait(), process.said()) == (0, "")
        assert socat.wait(LIMIT_S) == 0
    finally:
        socat.kill()
        socat.wait()


def listens() -> bool:
    with open("/proc/thread-self/net/tcp") as table:
        return any(line.split()[1:4:2] == [f"00000000:{PORT:04X}", "0A"] for line in table)


@pytest.mark.parametrize("ends", ALL_ENDS)
def test_end_of_input_reaches_the_peer_which_then_answers(
    connect: Callable[..., Piped], server: socket.socket, ends: str
) -> None:
    process = connect(ends=ends)
    with accept(server) as peer:
        process.write(b"question")
        process.close_input()
        assert take_all(peer) == b"question"
        process.sleeps()
        sender = process.in_background(lambda: (peer.sendall(BLOCK), peer.close()))
        assert process.read() == BLOCK
        sender.join()
    assert (process.wait(), process.said()) == (0, "")


@pytest.mark.parametrize("ends", ALL_ENDS)
def test_end_of_the_peer_reaches_the_output_and_the_input_is_still_sent(
    connect: Callable[..., Piped], server: socket.socket, ends: str
) -> None:
    process = connect(ends=ends)
    with accept(server) as peer:
        peer.sendall(b"all I have to say")
        peer.shutdown(socket.SHUT_WR)
        assert process.read() == b"all I have to say"
        process.sleeps()
        writer = process.in_background(lambda: (process.write(BLOCK), process.close_input()))
        assert take_all(peer) == BLOCK
        writer.join()
    assert (process.wait(), process.said()) == (0, "")


@pytest.mark.parametrize("ends", ALL_ENDS)
def test_full_output_holds_up_neither_the_input_nor_the_processor(
    connect: Callable[..., Piped], server: socket.socket, ends: str
) -> None:
    """The output is unread, and the peer has ended already: no byte is lost, and the tool does not spin."""
    process = connect(ends=ends)
    with accept(server) as peer:
        sender = process.in_background(lambda: (peer.sendall(BLOCK * 4), peer.shutdown(socket.SHUT_WR)))
        wait_until(lambda: waiting_bytes(process.stdout) >= ALMOST_FULL)
        process.sleeps()
        process.write(b"in between")
        assert peer.recv(10, socket.MSG_WAITALL) == b"in between"
        process.sleeps()
        assert process.read() == BLOCK * 4
        sender.join()
        process.close_input()
        assert take_all(peer) == b""
    assert (process.wait(), process.said()) == (0, "")


@pytest.mark.parametrize("ends", ALL_ENDS)
def test_peer_that_takes_nothing_is_waited_for_asleep(
    connect: Callable[..., Piped], server: socket.socket, ends: str
) -> None:
    process = connect(ends=ends)
    with accept(server) as peer:
        writer = process.in_background(lambda: (process.write(BLOCK * 16), process.close_input()))
        assert peer.recv(1, socket.MSG_PEEK) == BLOCK[:1]
        process.sleeps()
        assert take_all(peer) == BLOCK * 16
        writer.join()
    assert (process.wait(), process.said()) == (0, "")


def wait_unread(name: str, ready: int) -> None:
    enter(path_of(name))
    with socket.create_server(("127.0.0.1", PORT)) as server:
        os.write(ready, b"x")
        peer, _ = server.accept()
        peer.recv(1)
        os.write(ready, b"x")
        signal.pause()


@pytest.mark.parametrize("ends", ALL_ENDS)
def test_killed_peer_ends_it_with_a_failure(connect: Callable[..., Piped], name: str, ends: str) -> None:
    """The peer ends in the middle of the data, and standard input stays open."""
    reader, writer = os.pipe()
    child = start_as_user(0, 0, wait_unread, name, writer)
    try:
        os.read(reader, 1)
        process = connect(ends=ends)
        process.write(b"far more than it takes")
        os.read(reader, 1)
        child.kill()
        assert process.wait() == 1
        assert process.said() in (
            "nsbroker-get: the connection failed: Connection reset by peer\n",
            "nsbroker-get: the other end closed the connection before all of standard input was sent\n",
        )
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("ends", ALL_ENDS)
def test_killed_neighbour_ends_it(connect: Callable[..., Piped], server: socket.socket, ends: str) -> None:
    """The process at both of its ends is gone. It sends the written data, and does not wait for a silent peer."""
    process = connect(ends=ends)
    with accept(server) as peer:
        process.write(b"last words")
        process.close_input()
        process.close_output()
        assert process.wait() == -signal.SIGPIPE
        assert take_all(peer) == b"last words"


def test_reader_that_is_gone_is_not_asked_about_again_and_again(
    connect: Callable[..., Piped], server: socket.socket
) -> None:
    """Standard input is still passed on, and the next word of the peer ends it."""
    process = connect()
    with accept(server) as peer:
        process.close_output()
        process.sleeps()
        process.write(b"still here")
        assert peer.recv(10, socket.MSG_WAITALL) == b"still here"
        peer.sendall(b"x")
        assert process.wait() == -signal.SIGPIPE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_itself_it_leaves_both_sides_with_an_end(
    connect: Callable[..., Piped], server: socket.socket, number: int
) -> None:
    process = connect()
    with accept(server) as peer:
        process.write(b"x")
        assert peer.recv(1) == b"x"
        os.kill(process.pid, number)
        assert process.wait() == -number
        assert take_all(peer) == process.read() == b""


@pytest.mark.parametrize("ends", ALL_ENDS)
@pytest.mark.parametrize("late", [b"", b"too late"])
def test_input_that_a_reset_cut_off_is_a_failure(
    connect: Callable[..., Piped], server: socket.socket, late: bytes, ends: str
) -> None:
    """There is no SIGPIPE, and the peer's last words arrive, with or without input at that moment."""
    process = connect(ends=ends)
    with accept(server) as peer:
        peer.sendall(b"go away")
        peer.shutdown(socket.SHUT_WR)
        assert process.read() == b"go away"
        with stopped(process.pid):
            process.write(late)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
            peer.close()
    assert process.wait() == 1
    assert "before all of standard input was sent" in process.said()


def test_terminal_and_file_are_read_and_written(
    connect: Callable[..., Piped], server: socket.socket, tmp_path: os.PathLike[str]
) -> None:
    """splice(2) does not work with them, least of all with a file in append mode."""
    ours, theirs = pty.openpty()
    attributes = termios.tcgetattr(theirs)
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(theirs, termios.TCSANOW, attributes)
    out = os.open(os.path.join(tmp_path, "out"), os.O_RDWR | os.O_CREAT | os.O_APPEND)
    os.write(out, b"before ")
    process = connect(standard=(theirs, out))
    with accept(server) as peer:
        os.write(ours, b"typed\n\4")  # Ctrl-D: the end
        assert take_all(peer) == b"typed\n"
        peer.sendall(BLOCK)
    assert (process.wait(), process.said()) == (0, "")
    assert os.pread(out, 2 * len(BLOCK), 0) == b"before " + BLOCK
    again = connect(standard=(theirs, theirs))
    with accept(server) as peer:
        peer.sendall(b"shown\n")
        assert os.read(ours, 100) == b"shown\r\n"
        os.write(ours, b"\4")
        assert take_all(peer) == b""
    assert again.wait() == 0
    for fd in (ours, theirs, out):
        os.close(fd)
