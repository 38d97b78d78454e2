"""The time of nsbroker-get for one socket, as a multiple of the start of its interpreter.

    PYTHONPATH=tests:tests/bench python tests/bench/startup.py [ROUNDS]   (as root; needs ip)

In turns, as an unprivileged user: `python -I -c pass`, `listen -- true` to the end of true, and `connect` to an
address, from the start to the connection at the server, and to the end of it all (the server closes at once).
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import sys
import time

from installed import tool
from support import namespaces
from support.brokers.process import BrokerProcess
from support.sockets_inside import open_inside
from support.users import as_unprivileged

PORT = 9
GRANT = '[[grant]]\nname = "bench"\nusers = ["*"]\nnamespaces = ["{}"]\nsockets = ["tcp"]\nbind = ["*:*"]\n'


def run(command: list[str], path: str, server: socket.socket | None = None) -> tuple[float, float]:
    """Run a command to its end, and return the milliseconds until its connection to the server, and to its end."""
    null = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1)]
    begin = connected = time.perf_counter()
    pid = os.posix_spawn(command[0], command, {"NSBROKER_SOCKET": path}, file_actions=actions)
    if server is not None:
        peer, _ = server.accept()
        connected = time.perf_counter()
        peer.close()
    status = os.waitpid(pid, 0)[1]
    end = time.perf_counter()
    assert status == 0, (command, status)
    os.close(null)
    return 1000 * (connected - begin), 1000 * (end - begin)


def measure(name: str, path: str, server: socket.socket, rounds: int) -> dict[str, list[float]]:
    """Run all in turns, and return the milliseconds of each round."""
    times: dict[str, list[float]] = {"python": [], "listen": [], "connect, connected": [], "connect, ended": []}
    listen = [tool(), name, "listen", "-l", "127.0.0.1:0", "--", "/bin/true"]
    connect = [tool(), name, "connect", "127.0.0.1", str(PORT)]
    for _ in range(rounds):
        times["python"].append(run([sys.executable, "-I", "-c", "pass"], path)[1])
        times["listen"].append(run(listen, path)[1])
        connected, ended = run(connect, path, server)
        times["connect, connected"].append(connected)
        times["connect, ended"].append(ended)
    return times


def main() -> None:
    """Measure, and print a line of JSON for each row."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    name = f"{namespaces.PREFIX}bench"
    namespaces.make(name)
    broker = BrokerProcess(GRANT.format(name))
    try:
        broker.start()
        with open_inside(name, socket.SOCK_STREAM, PORT) as server:
            times = as_unprivileged(measure, name, str(broker.socket_path), server, rounds)
    finally:
        broker.close()
        namespaces.delete(name)
    print(json.dumps({"python": sys.version.split()[0], "rounds": rounds}))
    for what, values in times.items():
        ratios = [value / bare for value, bare in zip(values, times["python"], strict=True)]
        quartiles = [round(each, 2) for each in statistics.quantiles(ratios, n=4)]
        row = {"row": what, "ms": round(statistics.median(values), 1), "ratio": quartiles[1]}
        print(json.dumps(row | {"quartiles": [quartiles[0], quartiles[2]]}))


if __name__ == "__main__":
    main()
