"""The cost of `nsbroker-get NS run` against the same inside the namespace: calls that it catches, and the throughput.

The row of socket(2) also has `run --stock 16`.

    PYTHONPATH=tests python tests/bench/run_cost.py          (as root; needs ip, setpriv and iperf3)

The same programs, as an unprivileged user, by turns: under `run`, and by `ip netns exec`. For the calls, two processes
live through the whole measurement, and make 200 calls at a time; all of it, broker and supervisor too, on one
processor, then on all of them. The calls are socket(2), the look-up of an interface by its name (socket(2) and ioctl(2)
on a Unix socket), and the same ioctl(2) on a UDP socket of the namespace. For iperf3, server and client are both under
`run`, or both not, over the loopback of the namespace. On a machine that does other things too, the processor time for
the sent data says more than its amount.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, NoReturn

from support import namespaces
from support.brokers.process import EVERYTHING, BrokerProcess
from support.tool.running import RunTool, program, python, run_tool
from support.users import GROUP, USER

ROUNDS, CALLS = 40, 200
THROUGHPUT_ROUNDS, SECONDS = 40, 1

MAKE_CALLS = """
import fcntl, json, socket, sys, time
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
call = {
    "socket(2)": socket.socket,
    "if_nametoindex(3)": lambda: socket.if_nametoindex("lo"),
    "ioctl(2) of UDP": lambda: fcntl.ioctl(udp, 0x8933, b"lo".ljust(40, b"\\0")),
}[sys.argv[1]]
for line in sys.stdin:
    times = []
    for _ in range(int(line)):
        start = time.perf_counter_ns()
        result = call()
        times.append(time.perf_counter_ns() - start)
        if isinstance(result, socket.socket): result.close()
    print(json.dumps(times), flush=True)
"""
CAUGHT = ("socket(2)", "if_nametoindex(3)", "ioctl(2) of UDP")

Become = Callable[[list[int], list[str]], NoReturn]
"""Makes this process a program, with these standard descriptors and arguments."""


class Program:
    """A started program. It ends with its orders."""

    def __init__(self, become: Become, command: list[str]) -> None:
        orders, self._orders = os.pipe()
        output, said = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            become([orders, said, 2], command)
        os.close(orders)
        os.close(said)
        self.output: IO[bytes] = os.fdopen(output, "rb")

    def order(self, text: str) -> bytes:
        """Write a line, and read one."""
        os.write(self._orders, f"{text}\n".encode())
        return self.output.readline()

    def finish(self) -> bytes:
        """Read the rest, and wait for its end."""
        os.close(self._orders)
        with self.output:
            left = self.output.read()
        _, status = os.waitpid(self.pid, 0)
        assert status == 0, left.decode()
        return left


def ways(run: RunTool, name: str) -> dict[str, Become]:
    """The ways to start a program in the namespace, by their names."""
    user = ["setpriv", f"--reuid={USER}", f"--regid={GROUP}", "--clear-groups"]

    def by_ip(standard: list[int], command: list[str]) -> NoReturn:
        for target, fd in enumerate(standard):
            os.dup2(fd, target)
        os.execvp("ip", ["ip", "netns", "exec", name, *user, *command])

    def by_run(standard: list[int], command: list[str]) -> NoReturn:
        run.become(standard, [name, "run", "--", *command])

    def by_run_with_stock(standard: list[int], command: list[str]) -> NoReturn:
        run.become(standard, [name, "run", "--stock", "16", "--", *command])

    return {"inside": by_ip, "run": by_run, "run --stock 16": by_run_with_stock}


def measure_calls(starts: dict[str, Become], call: str) -> dict[str, Any]:
    """Let all make calls in turns, and return microseconds."""
    makers = {who: Program(become, [python(), "-c", MAKE_CALLS, call]) for who, become in starts.items()}
    rounds: dict[str, list[list[int]]] = {who: [] for who in makers}
    for _ in range(ROUNDS):
        for who, maker in makers.items():
            rounds[who].append(json.loads(maker.order(str(CALLS))))
    for maker in makers.values():
        maker.finish()
    row: dict[str, Any] = {}
    for who, taken in rounds.items():
        percentiles = statistics.quantiles((time for times in taken for time in times), n=100)
        row[who] = {f"p{p}": round(percentiles[p - 1] / 1000, 1) for p in (50, 90, 99)}
        # Where others work too, the better quarter of the rounds is the one that is about us.
        for title, middle in (("p50", statistics.median), ("mean", statistics.fmean)):
            quiet = statistics.quantiles(map(middle, taken), n=4)[0]  # with a stock, one call in 16 is for all
            row[who][f"{title} of quiet rounds"] = round(quiet / 1000, 1)
    return row


def transfer(become: Become) -> tuple[float, float]:
    """Run one iperf3, server and client, and return Gbit/s, and Gbit for each second of processor time."""
    iperf3 = program("iperf3")
    server = Program(become, [iperf3, "-s", "-1", "--forceflush"])
    while b"listening" not in server.output.readline():
        pass
    client = Program(become, [iperf3, "-c", "127.0.0.1", "-t", str(SECONDS), "--json"])
    end = json.loads(client.finish())["end"]
    server.finish()
    rate = float(end["sum_received"]["bits_per_second"]) / 1e9
    used = end["cpu_utilization_percent"]
    return rate, rate / ((used["host_total"] + used["remote_total"]) / 100)


def measure_throughput(starts: dict[str, Become]) -> list[dict[str, Any]]:
    """Let both transfer by turns, each round's first the other round's last."""
    rates: dict[str, list[tuple[float, float]]] = {who: [] for who in starts}
    for number in range(THROUGHPUT_ROUNDS):
        order = list(starts.items())
        for who, become in order if number % 2 else order[::-1]:
            rates[who].append(transfer(become))
    titles = ("iperf3, Gbit/s", "iperf3, Gbit for a second of processor")
    return [{"row": title} | compare(rates, column) for column, title in enumerate(titles)]


def compare(rates: dict[str, list[tuple[float, float]]], column: int) -> dict[str, Any]:
    """Return the medians, and the median ratio of a round."""
    ratios = [ours[column] / plain[column] for ours, plain in zip(rates["run"], rates["inside"], strict=True)]
    quartiles = statistics.quantiles(ratios, n=4)
    return {who: round(statistics.median(pair[column] for pair in pairs), 2) for who, pairs in rates.items()} | {
        "ratio": round(statistics.median(ratios), 3),
        "quartiles": [round(quartiles[0], 3), round(quartiles[2], 3)],
    }


@contextmanager
def on_processors(broker: BrokerProcess, processors: set[int]) -> Iterator[None]:
    """Have the broker, and all that is started meanwhile, run on these alone."""
    before = os.sched_getaffinity(0)
    for pid in (0, broker.pid):
        os.sched_setaffinity(pid, processors)
    yield
    for pid in (0, broker.pid):
        os.sched_setaffinity(pid, before)


def main() -> None:
    """Measure, and print a line of JSON for each row."""
    name = f"{namespaces.PREFIX}bench"
    namespaces.make(name)
    broker = BrokerProcess(EVERYTHING)
    broker.start()
    everywhere = os.sched_getaffinity(0)
    print(json.dumps({"python": sys.version.split()[0], "of the programs": python(), "processors": len(everywhere)}))
    try:
        with run_tool(broker) as run:
            starts = ways(run, name)
            plain = {who: starts[who] for who in ("inside", "run")}
            for title, processors in (("one processor", {min(everywhere)}), ("all processors", everywhere)):
                with on_processors(broker, processors):
                    for call in CAUGHT:
                        ways_of_call = starts if call == "socket(2)" else plain
                        print(json.dumps({"row": f"{call}, us, {title}"} | measure_calls(ways_of_call, call)))
            for row in measure_throughput(plain):
                print(json.dumps(row))
    finally:
        broker.close()
        namespaces.delete(name)


if __name__ == "__main__":
    main()
