"""This version against another one, in turns: round trip, batch, connecting by name, start-up.

    PYTHONPATH=tests:tests/bench python -P tests/bench/versions.py OTHER_CHECKOUT [--rounds N] [--cpu] [--use TEXT]

It needs root and ip. With --cpu, it measures the processor time of client and broker, and not the time that passes: a
busy machine disturbs that less.

Each version runs in a process of its own, with its own broker, namespaces and client. All are pinned to one processor.
The rounds alternate between the versions, and each second round runs backwards.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from socket import AF_INET, SOCK_STREAM
from typing import Any

TRIPS = 1000
BATCH, BATCHES = 240, 12
LISTENERS = 1200
STARTS = 6
ROUNDS = 25


class Version:
    """A version of the project, measured by a process that has its folders on PYTHONPATH."""

    def __init__(self, checkout: Path, cpu: int, by_cpu: bool) -> None:
        folders = ("broker", "client", "tests", "tests/bench")
        path = ":".join(str(checkout / folder) for folder in folders)
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": ""}
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__, "--serve", str(cpu), *(["--cpu"] * by_cpu)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def measure(self, name: str) -> float:
        """Return one figure, in seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(name, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the version's process ended: {self._process.wait()}")
        return float(json.loads(answer))

    def close(self) -> None:
        """End the process, with its broker and namespaces."""
        self._process.communicate()


def serve(cpu: int, by_cpu: bool) -> None:
    """Measure the things that standard input names, with the version on PYTHONPATH."""
    import nsbroker
    from place import broker_running, namespaces_made

    os.sched_setaffinity(0, {cpu})
    with ExitStack() as stack:
        name, *_ = names = stack.enter_context(namespaces_made(8, str(os.getpid())))
        broker = stack.enter_context(broker_running({cpu}))
        client = nsbroker.Client(str(broker.socket_path))
        namespace = nsbroker.Namespace(name, path=str(broker.socket_path))
        directory = Path("/etc/netns", name)
        directory.mkdir(parents=True)
        stack.callback(directory.rmdir)
        for file, text in (("hosts", "127.0.0.1 server.example\n"), ("resolv.conf", "nameserver 127.0.0.1\n")):
            (directory / file).write_text(text)
            stack.callback((directory / file).unlink)
        server = namespace.create_server(("127.0.0.1", 0))
        stack.callback(server.close)
        port = server.getsockname()[1]
        one = [nsbroker.SocketSpec(name, AF_INET, SOCK_STREAM)]
        many = [
            spec
            for spec, _ in zip(
                cycle(nsbroker.SocketSpec(each, AF_INET, SOCK_STREAM) for each in names), range(BATCH), strict=False
            )
        ]

        listeners = [
            (each, ("::", 10000 + number)) for number, each in zip(range(LISTENERS), cycle(names), strict=False)
        ]

        def listen() -> None:
            for sock in nsbroker.create_servers(listeners, client=client):
                sock.close()

        def trip() -> None:
            client.open(one)[0].close()

        def stand_in() -> None:
            namespace.socket(AF_INET, SOCK_STREAM).close()

        def batch() -> None:
            for sock in client.open(many):
                sock.close()

        def connect(host: str) -> Callable[[], None]:
            def once() -> None:
                sock = namespace.create_connection((host, port), timeout=10)
                server.accept()[0].close()
                sock.close()

            return once

        command = [sys.executable, "-P", "-c", "import sys; from nsbroker.cli import main; sys.exit(main())"]
        environment = {**os.environ, "NSBROKER_SOCKET": str(broker.socket_path)}

        def start_up() -> None:
            subprocess.run(
                [*command, name, "listen", "-l", "127.0.0.1:0", "--", "/bin/true"],
                env=environment,
                check=True,
                stdin=subprocess.DEVNULL,
            )

        uses: dict[str, tuple[Callable[[], Any], int]] = {
            "Client.open, one socket": (trip, TRIPS),
            "Namespace.socket": (stand_in, TRIPS),
            f"Client.open, {BATCH} sockets in 8 namespaces": (batch, BATCHES),
            f"create_servers, {LISTENERS} listeners in 8 namespaces": (listen, BATCHES // 3),
            "create_connection to an address": (connect("127.0.0.1"), TRIPS // 4),
            "create_connection to a name of the hosts file": (connect("server.example"), TRIPS // 4),
            "nsbroker-get NS listen -- true": (start_up, STARTS),
        }
        print(json.dumps(list(uses)), flush=True)
        for line in sys.stdin:
            use, count = uses[line.rstrip("\n")]
            figure = _cpu_time(use, count, broker.pid) if by_cpu else _median(use, count)
            print(json.dumps(figure), flush=True)


def _cpu_time(use: Callable[[], object], count: int, broker: int) -> float:
    start = _cpu_seconds(broker)
    for _ in range(count):
        use()
    return (_cpu_seconds(broker) - start) / count


def _cpu_seconds(broker: int) -> float:
    """Return the processor time of this process, its children that ended, and the broker."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    tasks = Path(f"/proc/{broker}/task").glob("*/schedstat")
    nanoseconds = sum(int(task.read_text().split()[0]) for task in tasks)
    return time.process_time() + children.ru_utime + children.ru_stime + nanoseconds / 1e9


def _median(use: Callable[[], object], count: int) -> float:
    times = []
    for _ in range(count):
        start = time.perf_counter()
        use()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Compare, and print a row for each use: medians of both versions, and of the ratios of the rounds."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n", 1)[0])
    parser.add_argument("other", type=Path, help="a checkout of the other version")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--cpu", action="store_true", help="measure processor time")
    parser.add_argument("--use", default="", help="measure only uses whose name contains this text")
    arguments = parser.parse_args()
    cpu = max(os.sched_getaffinity(0))
    checkouts = Path(__file__).parents[2], arguments.other.resolve()
    versions = [Version(checkout, cpu, arguments.cpu) for checkout in checkouts]
    try:
        names: list[str] = []
        for version in versions:
            assert version._process.stdout is not None
            names = json.loads(version._process.stdout.readline())
        for name in (name for name in names if arguments.use in name):
            figures: list[list[float]] = [[], []]
            for number in range(arguments.rounds + 1):
                for which in (0, 1) if number % 2 else (1, 0):
                    figure = versions[which].measure(name)
                    if number:  # the first round fills caches
                        figures[which].append(figure)
            ratios = [mine / other for mine, other in zip(*figures, strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            mine, other = (statistics.median(each) * 1e6 for each in figures)
            print(f"{name:52}{mine:10.1f} us {other:10.1f} us   {middle:.3f}x   ({low:.3f} .. {high:.3f})", flush=True)
    finally:
        for version in versions:
            version.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(int(sys.argv[2]), "--cpu" in sys.argv)
    else:
        main()
