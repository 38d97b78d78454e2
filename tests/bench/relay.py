"""How fast `nsbroker-get NS connect` passes on data both ways at once, against socat inside the namespace.

    PYTHONPATH=tests:tests/bench python tests/bench/relay.py [MIB]   (as root; needs ip and socat)

By turns each gets as many MiB (1,024) on its standard input as the server in the namespace sends, and every byte is
compared at both ends. The tool's user is unprivileged and outside of the namespace. socat is root, inside.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from installed import spawn, start, tool
from support import namespaces
from support.brokers.process import BrokerProcess
from support.inside import enter, path_of
from support.users import USER

ROUNDS = 7
PORT = 9
BLOCK_BYTES = 1048573
"""A prime: no part of the data is where a buffer's size would put it again."""
ENDS = ("pipes", "sockets", "files")


def block(seed: bytes) -> bytes:
    """The bytes that one side repeats."""
    return hashlib.shake_256(seed).digest(BLOCK_BYTES)


OURS, THEIRS = block(b"ours"), block(b"theirs")


def write_all(write: Callable[[bytes], int], data: bytes, count: int) -> None:
    """Send `count` bytes."""
    while count:
        part = memoryview(data)[: min(count, len(data))]
        count -= len(part)
        while part:
            part = part[write(part) :]


def check_all(read: Callable[[], bytes], data: bytes, count: int) -> None:
    """Receive `count` bytes, then the end. Each byte must be right."""
    twice, offset, got = data + data, 0, 0
    while part := read():
        while part:
            expected = twice[offset : offset + min(len(part), len(data))]
            assert part[: len(expected)] == expected
            got += len(expected)
            offset = (offset + len(expected)) % len(data)
            part = part[len(expected) :]
    assert got == count, (got, count)


def serve(name: str, count: int, ready: int) -> None:
    """Serve connections in the namespace, one by one: send and receive `count` bytes at once."""
    enter(path_of(name))
    with socket.create_server(("127.0.0.1", PORT)) as server:
        os.write(ready, b"x")
        while True:
            sock, _ = server.accept()
            with sock:
                converse(sock, count)


def converse(sock: socket.socket, count: int) -> None:
    """Send and receive at once, in two children."""
    children = [
        start(lambda: give(sock, count)),
        start(lambda: check_all(lambda: sock.recv(2**18), OURS, count)),
    ]
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0


def give(sock: socket.socket, count: int) -> None:
    """Send all, and half-close."""
    write_all(sock.send, THEIRS, count)
    sock.shutdown(socket.SHUT_WR)


class Round:
    """One run of one program. The files are kept for the next."""

    def __init__(self, ends: str, count: int, directory: Path) -> None:
        self._children: list[int] = []
        self.output: Callable[[], object] = lambda: None
        if ends == "files":
            self.stdin = os.open(directory / "in", os.O_RDONLY)
            self.stdout = os.open(directory / "out", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            far_in = far_out = -1
            self.output = lambda: check_all(lambda: os.read(self.stdout, 2**18), THEIRS, count)
        elif ends == "pipes":
            self.stdin, far_in = os.pipe()
            far_out, self.stdout = os.pipe()
        else:
            pairs = socket.socketpair(), socket.socketpair()
            self.stdin, far_in, self.stdout, far_out = (sock.detach() for pair in pairs for sock in pair)
        self._far = [fd for fd in (far_in, far_out) if fd >= 0]
        if ends != "files":
            self._start(lambda: write_all(lambda part: os.write(far_in, part), OURS, count), far_in)
            self._start(lambda: check_all(lambda: os.read(far_out, 2**18), THEIRS, count), far_out)

    def _start(self, function: Callable[[], object], mine: int) -> None:
        def run() -> None:
            for fd in {self.stdin, self.stdout, *self._far} - {mine}:
                os.close(fd)
            function()

        self._children.append(start(run))

    def run(self, command: list[str], environment: dict[str, str], uid: int) -> tuple[float, float]:
        """Run it to its end, and return the seconds and its processor time."""
        begin = time.perf_counter()
        pid = spawn(command, [self.stdin, self.stdout], environment, uid)
        for fd in self._far + ([self.stdin, self.stdout] if self._far else []):
            os.close(fd)
        _, status, usage = os.wait4(pid, 0)
        for child in self._children:
            assert os.waitpid(child, 0)[1] == 0
        seconds = time.perf_counter() - begin
        assert status == 0, status
        if not self._far:
            os.lseek(self.stdout, 0, os.SEEK_SET)
            self.output()
            os.close(self.stdin)
            os.close(self.stdout)
        return seconds, usage.ru_utime + usage.ru_stime


def measure(ends: str, count: int, directory: Path, name: str, path: str) -> dict[str, object]:
    """Let both run in turns, and return the medians and the median ratio of a round."""
    socat = ["ip", "netns", "exec", name, "socat", "-t", "600", "-", f"TCP:127.0.0.1:{PORT}"]
    socat[0] = str(shutil.which("ip"))
    programs = {
        "socat": (socat, {"PATH": os.environ["PATH"]}, 0),
        "connect": ([tool(), name, "connect", "127.0.0.1", str(PORT)], {"NSBROKER_SOCKET": path}, USER),
    }
    taken: dict[str, list[tuple[float, float]]] = {who: [] for who in programs}
    for _ in range(ROUNDS):
        for who, program in programs.items():
            taken[who].append(Round(ends, count, directory).run(*program))
    speeds = {who: [count / 2**20 / seconds for seconds, _ in rows] for who, rows in taken.items()}
    ratios = [ours / theirs for ours, theirs in zip(speeds["connect"], speeds["socat"], strict=True)]
    return {
        "ends": ends,
        **{f"{who} MiB/s each way": round(statistics.median(values)) for who, values in speeds.items()},
        **{f"{who} cpu s": round(statistics.median(cpu for _, cpu in rows), 2) for who, rows in taken.items()},
        "ratio": round(statistics.median(ratios), 2),
        "lowest, highest": [round(min(ratios), 2), round(max(ratios), 2)],
    }


def main() -> None:
    """Measure, and print a line of JSON for each kind of standard input and output."""
    count = (int(sys.argv[1]) if len(sys.argv) > 1 else 1024) * 2**20
    name = f"{namespaces.PREFIX}bench"
    directory = Path(tempfile.mkdtemp(prefix="nsbroker-bench-"))
    grant = f'[[grant]]\nname = "bench"\nusers = ["*"]\nnamespaces = ["{name}"]\nsockets = ["tcp"]\n'
    broker = BrokerProcess(grant)
    namespaces.make(name)
    server = 0
    try:
        broker.start()
        with (directory / "in").open("wb") as file:
            write_all(file.write, OURS, count)
        reader, writer = os.pipe()
        server = start(lambda: serve(name, count, writer))
        os.read(reader, 1)
        print(json.dumps({"python": sys.version.split()[0], "rounds": ROUNDS, "MiB each way": count // 2**20}))
        for ends in ENDS:
            print(json.dumps(measure(ends, count, directory, name, str(broker.socket_path))), flush=True)
    finally:
        if server:
            os.kill(server, 9)
            os.waitpid(server, 0)
        broker.close()
        namespaces.delete(name)
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
