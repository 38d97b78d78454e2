"""The cost of a limit: a limited socket against an unlimited one, in turns. Needs root, and iperf3.

    PYTHONPATH=tests python tests/bench/seal.py [--rounds N]

Client and broker are on one core. Prints the median of each, and the ratio: of one socket's round trip and of a batch
(goal: at most 1.5 and 1.2), of connections per second (at least 0.95) and of the throughput of one connection (at
least 0.99).
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from statistics import median

import nsbroker
from nsbroker import SocketSpec
from support.brokers.sealed import FREE, LIMITED, PORT, Place, sealed_place
from support.far_side import ALLOWED_4, socket_inside
from support.tool.running import run_tool
from support.users import GROUP

TCP = (int(socket.AF_INET), int(socket.SOCK_STREAM))
BATCH = 250


@contextmanager
def being(uid: int) -> Iterator[None]:
    """The client connects anew when its user has changed: so it stays this one for a whole measure."""
    os.setegid(GROUP)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def compare(what: str, unit: str, place: Place, measure: Callable[[nsbroker.Client], float], rounds: int) -> None:
    """Measure by turns, and print the medians."""
    values: dict[int, list[float]] = {LIMITED: [], FREE: []}
    for _ in range(rounds):
        for uid, found in values.items():
            with being(uid), nsbroker.Client(str(place.broker.socket_path)) as client:
                client.open([SocketSpec(place.wire.near, *TCP)])[0].close()
                found.append(measure(client))
    show(what, unit, median(values[LIMITED]), median(values[FREE]))


def round_trip(client: nsbroker.Client, spec: SocketSpec) -> float:
    took = []
    for _ in range(200):
        begin = time.perf_counter()
        [sock] = client.open([spec])
        took.append(time.perf_counter() - begin)
        sock.close()
    return median(took) * 1e6


def batch(client: nsbroker.Client, spec: SocketSpec) -> float:
    begin = time.perf_counter()
    socks = client.open([spec] * BATCH)
    took = (time.perf_counter() - begin) * 1e6
    for sock in socks:
        sock.close()
    return took


def connections(client: nsbroker.Client, spec: SocketSpec, server: socket.socket) -> float:
    """How many a second can be made, each with a socket that is there already."""
    socks = client.open([spec] * BATCH)
    begin = time.perf_counter()
    for sock in socks:
        sock.connect((ALLOWED_4, PORT))
        server.accept()[0].close()
        sock.close()
    return BATCH / (time.perf_counter() - begin)


def throughput(place: Place, uid: int) -> float:
    """MB that iperf3 sends in a second, over one connection of a socket that `nsbroker-get run` gave it."""
    arguments = ("-c", ALLOWED_4, "-p", str(PORT + 1), "-t", "2", "--json")
    with run_tool(place.broker) as run:
        done = run(place.wire.near, "run", "--", "iperf3", *arguments, uid=uid, groups=[GROUP])  # the broker's
    assert done.status == 0, done
    return float(json.loads(done.out)["end"]["sum_received"]["bits_per_second"]) / 8e6


def compare_throughput(place: Place, rounds: int) -> None:
    found: dict[int, list[float]] = {LIMITED: [], FREE: []}
    command = ["ip", "netns", "exec", place.wire.far, "iperf3", "-s", "-p", str(PORT + 1), "--forceflush"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            while b"listening" not in server.stdout.readline():
                pass
            for index in range(rounds):
                for uid in (LIMITED, FREE)[:: -1 if index % 2 else 1]:
                    found[uid].append(throughput(place, uid))
        finally:
            server.kill()
    show("throughput of iperf3", "MB/s", median(found[LIMITED]), median(found[FREE]))


def show(what: str, unit: str, limited: float, free: float) -> None:
    print(f"{what}: limited {limited:.1f} {unit}, unlimited {free:.1f} {unit}, ratio {limited / free:.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with sealed_place() as place:
        name = place.wire.near
        with socket_inside(place.wire.far, *TCP) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((ALLOWED_4, PORT))
            server.listen(1024)
            plain = SocketSpec(name, *TCP)
            listener = SocketSpec(name, *TCP, bind=("0.0.0.0", PORT), listen=1, options=((1, 15, 1),))
            for what, spec in (("socket", plain), ("listener", listener)):
                compare(f"round trip, {what}", "us", place, partial(round_trip, spec=spec), rounds * 3)
                compare(f"batch of {BATCH}, {what}", "us", place, partial(batch, spec=spec), rounds * 3)
            compare("connections", "/s", place, partial(connections, spec=plain, server=server), rounds * 3)
        compare_throughput(place, rounds)


if __name__ == "__main__":
    main()
