"""The cost of the second wall for sockets without a limit, and for limited ones. Needs root, and a kernel that has it.

    tests/bench/in_machine bookworm walls.py        # Linux 6.1, by instructions
    tests/bench/in_machine trixie walls.py          # Linux 6.12
    PYTHONPATH=tests python tests/bench/walls.py    # here, by the clock

Measures by turns, with the second wall and without it: one UDP packet of 64 bytes (sent and received), 128 KiB of a TCP
stream (as iperf3 writes them), one TCP connection, and one file that is opened. Prints the least times for each policy,
and ratios: the speed with the wall, compared with the speed without it. The goals are 0.99 for sockets without a limit,
0.98 for their connections, and 0.97 for limited sockets. The time that the calls take in Python is subtracted: the same
calls fail with a bad descriptor, or without a path.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import NamedTuple

from nsbrokerd.policy import Limit
from nsbrokerd.seal import Selection, revoke, running
from nsbrokerd.seal.wall import detach_removed, remove, standing_hooks
from support import namespaces
from support.brokers.sctp_walls import accept, peel_off, serve
from support.brokers.walls import Walls, grant, rules
from support.far_side import socket_inside

INET = int(socket.AF_INET)
TCP, UDP = (INET, int(socket.SOCK_STREAM)), (INET, int(socket.SOCK_DGRAM))
IN_USE = {
    "udplite": (INET, int(socket.SOCK_DGRAM), int(socket.IPPROTO_UDPLITE)),
    "sctp": (INET, int(socket.SOCK_STREAM), int(socket.IPPROTO_SCTP)),
    "sctp, one-to-many": (INET, int(socket.SOCK_SEQPACKET), int(socket.IPPROTO_SCTP)),
}
HOST, PORT = "127.0.0.1", 5000
PACKETS, WRITES, CONNECTIONS, FILES = 1000, 50, 100, 1000
REPEAT = 6
LOOKS, _NEVER_S = 20, 1 << 30
DETACHED_S = 2
"""The kernel detaches programs some time after their links are gone. In the machine, sleep takes no time."""
PACKET, WRITE = ctypes.create_string_buffer(64), ctypes.create_string_buffer(128 << 10)
READ = ctypes.create_string_buffer(128 << 10)
ADDRESS = ctypes.create_string_buffer(
    INET.to_bytes(2, "little") + PORT.to_bytes(2, "big") + socket.inet_aton(HOST) + bytes(8), 16
)
POLICIES = (("tcp", "udp"), ("tcp", "udp", "udplite"), ("tcp", "udp", "sctp"))

_libc = ctypes.CDLL(None, use_errno=True)
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE, _BUFFER_BYTES = 32, 33, 4 << 20
_BAD = -1

Make = Callable[[tuple[int, ...]], socket.socket]


class Times(NamedTuple):
    """The time of one use of sockets in nanoseconds, and the part that its calls take in Python."""

    all: float
    python: float


def timed(once: Callable[[int], None], real: list[int]) -> Times:
    begin = time.perf_counter_ns()
    for fd in real:
        once(fd)
    middle = time.perf_counter_ns()
    for _ in real:
        once(_BAD)
    return Times((middle - begin) / len(real), (time.perf_counter_ns() - middle) / len(real))


def least(times: list[Times]) -> float:
    """Return the least time in the kernel."""
    return min(one.all for one in times) - min(one.python for one in times)


def listen(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((HOST, PORT))
    sock.listen(16)


def measure_udp(make: Make, name: str) -> Times:
    """Send packets to an address, and receive each of them."""
    with socket_inside(name, *UDP) as server, make(UDP) as client:
        server.bind((HOST, PORT))
        client.setblocking(True)
        ends = {client.fileno(): server.fileno(), _BAD: _BAD}

        def once(fd: int) -> None:
            _libc.sendto(fd, PACKET, 64, 0, ADDRESS, 16)
            _libc.recv(ends[fd], READ, 64, 0)

        return timed(once, [client.fileno()] * PACKETS)


def measure_stream(make: Make, name: str) -> Times:
    with socket_inside(name, *TCP) as server, make(TCP) as client:
        for sock in (server, client):
            sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER_BYTES)
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        listen(server)
        client.connect((HOST, PORT))
        client.setblocking(True)
        with server.accept()[0] as peer:
            ends = {client.fileno(): peer.fileno(), _BAD: _BAD}

            def once(fd: int) -> None:
                _libc.send(fd, WRITE, len(WRITE), 0)
                _libc.recv(ends[fd], READ, len(READ), socket.MSG_WAITALL)

            once(client.fileno())
            return timed(once, [client.fileno()] * WRITES)


def measure_connections(make: Make, name: str) -> Times:
    """Connect sockets that are there already, accept them, and close both ends, with a reset."""
    with ExitStack() as stack:
        listener = stack.enter_context(make(TCP))
        listen(listener)
        socks = [stack.enter_context(make(TCP)) for _ in range(CONNECTIONS)]
        for sock in socks:
            sock.setblocking(True)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        listener.setblocking(True)
        doors = {_BAD: _BAD}

        def once(fd: int) -> None:
            _libc.connect(fd, ADDRESS, 16)
            accepted = _libc.accept(doors.get(fd, listener.fileno()), None, None)
            _libc.close(fd)
            _libc.close(accepted)

        return timed(once, [sock.detach() for sock in socks])


def measure_files(_make: Make, _name: str) -> Times:
    """Open a file that takes the kernel no work, and close it. The programs for SCTP see each new file."""

    def once(fd: int) -> None:
        _libc.close(_libc.open(None if fd == _BAD else b"/dev/null", os.O_RDONLY))

    return timed(once, [0] * FILES)


MEASURES = {"udp": measure_udp, "stream": measure_stream, "connections": measure_connections, "files": measure_files}


def in_turns(walls: Walls, reload: Callable[[], None], rounds: int) -> Iterator[bool]:
    """Remove the second wall, and have a reload attach it again. Yield each time whether it stands."""
    for has_wall in (False, True) * rounds:
        if has_wall:
            reload()
        else:
            remove(walls.directory, standing_hooks(walls.directory))
            detach_removed(walls.directory)
        time.sleep(DETACHED_S)
        yield has_wall


def wait_for_looks(walls: Walls) -> None:
    """Let the broker look until nothing changes any more."""
    for _ in range(LOOKS):
        walls.seal.tidy()
        time.sleep(0.01)


def make_pair(walls: Walls, kind: tuple[int, ...]) -> list[socket.socket]:
    """Return a limited socket of SCTP, one that it accepted or peeled off, and its peer."""
    listener, peer = serve(walls, kind)
    return [listener, peer, (accept if kind[1] == socket.SOCK_STREAM else peel_off)(walls, listener, peer)]


def compare(
    walls: Walls,
    kinds: tuple[str, ...],
    in_use: str | None,
    rounds: int,
    *,
    connect: tuple[str, ...] | None = ("127.0.0.0/8:*",),
    revokes: bool = False,
    waits: bool = True,
) -> None:
    """Print the figures for one policy.

    Args:
        walls: the seal.
        kinds: what the policy limits.
        in_use: the kind of limited sockets that are in use meanwhile.
        rounds: how often to measure with the wall.
        connect: the peers that the policy covers.
        revokes: whether these sockets are revoked.
        waits: whether to wait for the broker's looks, as if some minutes had passed since the policy was loaded.
    """

    def reload() -> None:
        limit = Limit(rules(None if connect is None else list(connect)), rules(["*:*"]))
        walls.use(grant("limited", *kinds, limit=limit))
        if waits:
            wait_for_looks(walls)

    running._CALLS_END_S = 0 if waits else _NEVER_S
    reload()
    with ExitStack() as stack:
        if in_use is not None:
            socket_inside(walls.name, *IN_USE[in_use]).close()  # the first one loads the kernel's module
            begin = time.perf_counter()
            stack.enter_context(walls.make(*IN_USE[in_use]))
            took_ms = (time.perf_counter() - begin) * 1e3
            begin = time.perf_counter()
            stack.enter_context(walls.make(*IN_USE[in_use]))
            print(f"first socket of {in_use}: {took_ms:.2f} ms, next one {(time.perf_counter() - begin) * 1e3:.2f} ms")
            if revokes:
                if in_use != "udplite":
                    for one in make_pair(walls, IN_USE[in_use]):
                        stack.enter_context(one)
                    reload()
                begin = time.perf_counter()
                revoke(walls.directory, Selection(grant="limited"))
                print(f"to revoke them: {(time.perf_counter() - begin) * 1e3:.2f} ms")
                reload()
        state = f"revoked{'' if waits else ' just now'}" if revokes else "in use"
        title = f"limits of {', '.join(kinds)}" + ("" if connect is not None else ", for bind alone")
        of_all = ", and the socket that it was made of," if revokes and in_use != "udplite" else ""
        print(title + (f"; a limited socket of {in_use}{of_all} is {state}" if in_use else ""))
        print(f"  programs: {', '.join(sorted(standing_hooks(walls.directory))) or 'none'}", flush=True)
        makers: dict[str, Make] = {
            "unlimited": lambda kind: socket_inside(walls.name, *kind),
            "limited": lambda kind: walls.make(*kind),
        }
        found: dict[tuple[str, str], tuple[list[Times], list[Times]]] = {
            (whose, what): ([], []) for whose in makers for what in MEASURES
        }
        for has_wall in in_turns(walls, reload, rounds):
            for (whose, what), times in found.items():
                times[has_wall].extend(MEASURES[what](makers[whose], walls.name) for _ in range(REPEAT))
        for (whose, what), times in found.items():
            without, having = map(least, times)
            print(
                f"  {whose} {what}: {having:.0f} ns, without {without:.0f} ns, ratio {without / having:.4f}", flush=True
            )
        reload()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    print(f"Linux {os.uname().release}", flush=True)
    running._LOOK_AGAIN_S = 0
    name = f"{namespaces.PREFIX}walls"
    namespaces.make(name)
    try:
        with closing(Walls(name)) as walls:
            for kinds in POLICIES:
                compare(walls, kinds, None, rounds)
                if kinds[-1] in IN_USE:
                    compare(walls, kinds, kinds[-1], rounds)
                    if kinds[-1] == "sctp":
                        compare(walls, kinds, kinds[-1], rounds, connect=None)
                        compare(walls, kinds, "sctp, one-to-many", rounds)
                        compare(walls, kinds, "sctp, one-to-many", rounds, revokes=True)
                        compare(walls, kinds, "sctp, one-to-many", rounds, revokes=True, waits=False)
                    compare(walls, kinds, kinds[-1], rounds, revokes=True)
    finally:
        namespaces.delete(name)


if __name__ == "__main__":
    main()
