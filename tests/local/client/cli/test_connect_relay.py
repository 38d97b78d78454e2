"""`nsbroker-get NS connect`: both directions, each with an end of its own."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from support.brokers.fake import FakeBroker

MUCH = hashlib.shake_256(b"much").digest(10 * 2**20)


@pytest.fixture
def connect(broker: FakeBroker) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    environment = {"PYTHONPATH": ":".join(entry for entry in sys.path if entry), "NSBROKER_SOCKET": broker.path}

    def start(*args: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "nsbroker.cli", "blue", "connect", *args]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, env=environment, stdin=pipe, stdout=stdout, stderr=pipe))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        yield server


def in_thread(function: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def take_all(sock: socket.socket) -> bytes:
    parts = []
    while part := sock.recv(2**20):
        parts.append(part)
    return b"".join(parts)


def port_of(server: socket.socket) -> list[str]:
    host, port = server.getsockname()[:2]
    return [host, str(port)]


def test_ten_megabytes_each_way_at_once(connect: Callable[..., subprocess.Popen[bytes]], server: socket.socket) -> None:
    """No byte is lost, and no direction waits for the other."""
    process = connect(*port_of(server))
    peer, _ = server.accept()
    received: list[bytes] = []

    def send() -> None:
        peer.sendall(MUCH[::-1])
        peer.shutdown(socket.SHUT_WR)

    threads = [in_thread(send), in_thread(lambda: received.append(take_all(peer)))]
    out, err = process.communicate(MUCH, timeout=60)
    for thread in threads:
        thread.join()
    peer.close()
    assert (process.returncode, err) == (0, b"")
    assert out == MUCH[::-1]
    assert received == [MUCH]


def test_end_of_input_half_closes(connect: Callable[..., subprocess.Popen[bytes]], server: socket.socket) -> None:
    """The peer sees the end, answers after it, and the whole answer arrives."""
    process = connect(*port_of(server))
    assert process.stdin is not None
    process.stdin.write(b"question")
    process.stdin.close()
    peer, _ = server.accept()
    assert take_all(peer) == b"question"
    sender = in_thread(lambda: (peer.sendall(MUCH), peer.close()))
    assert process.stdout is not None
    assert process.stdout.read() == MUCH
    sender.join()
    assert process.wait(60) == 0


def test_end_of_the_peer_ends_output_and_input_goes_on(
    connect: Callable[..., subprocess.Popen[bytes]], server: socket.socket
) -> None:
    """The reader of the output sees its end at once, and the pending input is still sent."""
    process = connect(*port_of(server))
    peer, _ = server.accept()
    peer.sendall(b"all I have to say")
    peer.shutdown(socket.SHUT_WR)
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.read() == b"all I have to say"
    received: list[bytes] = []
    thread = in_thread(lambda: received.append(take_all(peer)))
    process.stdin.write(MUCH)
    process.stdin.close()
    thread.join()
    assert received == [MUCH]
    assert process.wait(60) == 0
    peer.close()


def test_slow_reader_of_the_output_does_not_hold_up_the_input(
    connect: Callable[..., subprocess.Popen[bytes]], server: socket.socket
) -> None:
    """Unread output fills its pipe and buffers, and the other direction goes on."""
    process = connect(*port_of(server))
    peer, _ = server.accept()
    sender = in_thread(lambda: (peer.sendall(MUCH), peer.shutdown(socket.SHUT_WR)))
    assert process.stdin is not None
    assert process.stdout is not None
    writer = in_thread(lambda: (process.stdin.write(MUCH), process.stdin.close()))  # type: ignore[union-attr]
    assert take_all(peer) == MUCH
    writer.join()
    assert process.stdout.read() == MUCH
    sender.join()
    assert process.wait(60) == 0
    peer.close()


def test_reset_is_a_failure(connect: Callable[..., subprocess.Popen[bytes]], server: socket.socket) -> None:
    process = connect(*port_of(server))
    peer, _ = server.accept()
    peer.sendall(b"x")
    assert process.stdout is not None
    assert process.stdout.read(1) == b"x"
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()
    assert process.wait(60) == 1
    assert process.stderr is not None
    assert process.stderr.read() == b"nsbroker-get: the connection failed: Connection reset by peer\n"


def test_input_that_the_peer_did_not_take_is_a_failure(
    connect: Callable[..., subprocess.Popen[bytes]], server: socket.socket
) -> None:
    """The peer sends its data and leaves. Its data arrives, and the status says that ours did not."""
    process = connect(*port_of(server))
    peer, _ = server.accept()
    peer.sendall(b"go away")
    peer.shutdown(socket.SHUT_WR)
    assert process.stdout is not None
    assert process.stdout.read() == b"go away"
    # Unread data makes the kernel answer close(2) with a reset.
    assert process.stdin is not None
    process.stdin.write(b"listen")
    process.stdin.flush()
    assert peer.recv(1, socket.MSG_PEEK) == b"l"
    peer.close()
    assert process.wait(60) == 1
    assert process.stderr is not None
    assert b"before all of standard input was sent" in process.stderr.read()


def test_output_that_nobody_reads_ends_it_by_sigpipe(
    connect: Callable[..., subprocess.Popen[bytes]], server: socket.socket
) -> None:
    """As it ends every program in a pipeline."""
    reader, writer = os.pipe()
    process = connect(*port_of(server), stdout=writer)
    os.close(writer)
    os.close(reader)
    peer, _ = server.accept()
    peer.sendall(b"x")
    assert process.wait(60) == -signal.SIGPIPE
    peer.close()


def test_output_to_a_file_is_complete(
    connect: Callable[..., subprocess.Popen[bytes]], server: socket.socket, tmp_path: object
) -> None:
    with open(f"{tmp_path}/out", "w+b") as output:
        process = connect(*port_of(server), stdout=output.fileno())
        peer, _ = server.accept()
        peer.sendall(MUCH)
        peer.close()
        process.communicate(timeout=60)
        output.seek(0)
        assert output.read() == MUCH


def test_source_address_is_the_one_that_was_asked_for(
    connect: Callable[..., subprocess.Popen[bytes]], server: socket.socket
) -> None:
    process = connect("-s", "127.0.0.7", *port_of(server))
    peer, address = server.accept()
    assert address[0] == "127.0.0.7"
    peer.close()
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_silence_ends_it_when_asked(connect: Callable[..., subprocess.Popen[bytes]], server: socket.socket) -> None:
    """-w limits the time without data. As with nc, reaching it is no failure."""
    process = connect("-w", "0.05", *port_of(server))
    peer, _ = server.accept()
    assert process.wait(60) == 0
    peer.close()


def test_connecting_is_limited_as_well(connect: Callable[..., subprocess.Popen[bytes]]) -> None:
    """A listener with a full backlog does not answer."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as first:
        first.connect(full.getsockname())
        process = connect("-w", "0.2", *port_of(full))
        assert process.wait(60) == 1
        assert process.stderr is not None
        assert b"timed out" in process.stderr.read()


def test_datagrams_keep_their_boundaries(connect: Callable[..., subprocess.Popen[bytes]]) -> None:
    """Each read is one datagram, and so is each answer. Neither an empty datagram nor the end of input ends it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(60)
        process = connect("-u", *port_of(server))
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"one")
        process.stdin.flush()
        data, peer = server.recvfrom(99)
        assert data == b"one"
        server.sendto(b"", peer)
        server.sendto(b"two", peer)
        assert process.stdout.read(3) == b"two"
        process.stdin.close()
        server.sendto(b"three", peer)
        assert process.stdout.read(5) == b"three"
        assert process.poll() is None


def test_ipv6_is_seen_by_its_colon(connect: Callable[..., subprocess.Popen[bytes]]) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        process = connect(*port_of(server))
        peer, _ = server.accept()
        peer.sendall(b"six")
        peer.close()
        assert process.communicate(timeout=60) == (b"six", b"")


def test_address_loads_nothing_that_names_need(broker: FakeBroker, server: socket.socket) -> None:
    """It loads no heavy module, which would take longer than all the rest."""
    environment = {"PYTHONPATH": ":".join(entry for entry in sys.path if entry), "NSBROKER_SOCKET": broker.path}
    code = f"from nsbroker.cli import main; main({['blue', 'connect', *port_of(server)]})"
    command = [sys.executable, "-S", "-X", "importtime", "-c", code]
    null = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdin=null, stdout=null, stderr=subprocess.PIPE) as process:
        server.accept()[0].close()
        assert process.stderr is not None
        lines = process.stderr.read().decode().splitlines()
    assert process.returncode == 0
    loaded = {line.rpartition("|")[2].strip() for line in lines}
    assert "nsbroker.cli.relay" in loaded
    assert {name for name in loaded if name.startswith(("nsbroker.names.", "dns"))} == {"nsbroker.names.numeric"}
    assert not loaded & {"typing", "dataclasses", "argparse", "inspect", "threading", "contextlib"}
