"""How fast `nsbroker-get NS proxy` passes on data, against socat.

    PYTHONPATH=tests:tests/bench python tests/bench/proxy.py [MIB]   (as root; needs ip and socat)

By turns, a client receives as many MiB (1,024) from a server in the namespace: by CONNECT, by SOCKS5, and by socat. The
proxy's user is unprivileged. socat is root, in three ways: it starts another socat in the namespace for the connection,
as a user of `ip netns exec` would, or it is alone in the namespace with its client, with its own buffer or a large one.
The ratios are those of each turn.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from installed import spawn, start, tool
from support import namespaces
from support.adapters.programs import wait_for_listener
from support.brokers.process import BrokerProcess
from support.inside import enter, path_of
from support.proxied import connect, socks, tunnel
from support.users import GROUP, USER

ROUNDS = 7
PORT, SOCAT_PORT = 9, 10
BLOCK = bytes(2**20)
LARGE_BUFFER = 2**18
_TICKS = os.sysconf("SC_CLK_TCK")


def serve(name: str, count: int, ready: int) -> None:
    """Send `count` MiB to each client in the namespace."""
    enter(path_of(name))
    with socket.create_server(("127.0.0.1", PORT)) as server:
        os.write(ready, b"x")
        while True:
            with server.accept()[0] as sock:
                for _ in range(count):
                    sock.sendall(BLOCK)


def receive(sock: socket.socket, count: int) -> None:
    """Receive `count` MiB, and the end."""
    buffer, left = bytearray(2**20), count * 2**20
    while part := sock.recv_into(buffer):
        left -= part
    assert left == 0, left


def processor_s(pid: int) -> float:
    """The processor time of a process and of its children that have ended."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


class Way:
    """A running relay, and how a client gets a connection through it."""

    def __init__(self, pid: int, uid: int, namespace: str | None, open_: Callable[[], socket.socket]) -> None:
        self.pid = pid
        self._uid, self._namespace, self._open = uid, namespace, open_

    def run(self, count: int) -> tuple[float, float]:
        """Transfer once, and return the seconds and the processor time of the relay."""

        def client() -> None:
            if self._namespace:
                enter(path_of(self._namespace))
            if self._uid:
                os.setgroups([])
                os.setresgid(GROUP, GROUP, GROUP)
                os.setresuid(self._uid, self._uid, self._uid)
            with self._open() as sock:
                receive(sock, count)

        before = processor_s(self.pid)
        begin = time.perf_counter()
        assert os.waitpid(start(client), 0)[1] == 0
        seconds = time.perf_counter() - begin
        time.sleep(0.1)  # socat waits for its child.
        return seconds, processor_s(self.pid) - before


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@contextmanager
def ways(name: str, path: str) -> Iterator[dict[str, Way]]:
    """Start all relays."""
    reader, writer = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    command = [tool(), name, "proxy", "-l", "127.0.0.1:0"]
    proxy = spawn(command, [null, writer, 2], {"NSBROKER_SOCKET": path})
    os.close(writer)
    address = os.read(reader, 100).decode().strip()
    assert address
    socat, ip, outside = str(shutil.which("socat")), str(shutil.which("ip")), free_port()
    environment = {"PATH": os.environ["PATH"]}
    target = f"TCP:127.0.0.1:{PORT}"

    def by_socat(args: list[str], port: int, inside: str | None) -> Way:
        pid = spawn(args, [null, null, 2], environment, 0)
        if inside:
            wait_for_listener(inside, port)
        else:
            time.sleep(0.5)
        return Way(pid, 0, inside, lambda: connect(f"127.0.0.1:{port}", None))

    def alone(port: int, *options: str) -> list[str]:
        listen = f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork"
        return [ip, "netns", "exec", name, socat, *options, listen, target]

    def asked(ask: Callable[[socket.socket, str, int], int]) -> Callable[[], socket.socket]:
        def open_() -> socket.socket:
            sock = connect(address, None)
            assert ask(sock, "127.0.0.1", PORT) in (0, 200)
            return sock

        return open_

    execute = f"EXEC:{ip} netns exec {name} {socat} STDIO {target.replace(':', chr(92) + ':')}"
    made = {
        "connect": Way(proxy, USER, None, asked(tunnel)),
        "socks5": Way(proxy, USER, None, asked(socks)),
        "socat, EXEC": by_socat([socat, f"TCP-LISTEN:{outside},bind=127.0.0.1,fork", execute], outside, None),
        "socat, inside": by_socat(alone(SOCAT_PORT), SOCAT_PORT, name),
        "socat -b, inside": by_socat(alone(SOCAT_PORT + 1, "-b", str(LARGE_BUFFER)), SOCAT_PORT + 1, name),
    }
    try:
        yield made
    finally:
        for pid in {way.pid for way in made.values()}:
            os.kill(pid, 15)
            os.waitpid(pid, 0)


def main() -> None:
    """Measure, and print a line of JSON for each way."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    name = f"{namespaces.PREFIX}bench"
    grant = f'[[grant]]\nname = "bench"\nusers = ["*"]\nnamespaces = ["{name}"]\nsockets = ["tcp"]\n'
    broker = BrokerProcess(grant)
    namespaces.make(name)
    server = 0
    try:
        broker.start()
        reader, writer = os.pipe()
        server = start(lambda: serve(name, count, writer))
        os.read(reader, 1)
        print(json.dumps({"python": sys.version.split()[0], "rounds": ROUNDS, "MiB": count}))
        with ways(name, str(broker.socket_path)) as made:
            rows: dict[str, list[tuple[float, float]]] = {who: [] for who in made}
            for _ in range(ROUNDS):
                for who, way in made.items():
                    rows[who].append(way.run(count))
        for who, taken in rows.items():
            ratios = [theirs / ours for (ours, _), (theirs, _) in zip(rows["connect"], taken, strict=True)]
            row = {
                "way": who,
                "MiB/s": round(statistics.median(count / seconds for seconds, _ in taken)),
                "processor s": round(statistics.median(processor for _, processor in taken), 2),
                "connect is faster by": round(statistics.median(ratios), 2),
                "lowest, highest": [round(min(ratios), 2), round(max(ratios), 2)],
            }
            print(json.dumps(row), flush=True)
    finally:
        if server:
            os.kill(server, 9)
            os.waitpid(server, 0)
        broker.close()
        namespaces.delete(name)


if __name__ == "__main__":
    main()
