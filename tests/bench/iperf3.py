"""What iperf3 reaches between sockets without a limit, with the second wall and without it. Needs root and iperf3.

    tests/bench/in_machine bookworm iperf3.py       # Linux 6.1, by instructions
    tests/bench/in_machine trixie iperf3.py         # Linux 6.12

iperf3 sends a stream of TCP in one namespace, and datagrams of 64 bytes as fast as it can, by turns with the wall and
without it. Prints the medians, in bits that are sent in a second, and the median of the rounds' ratios. The goal is
0.99. See walls.py for packets, connections, and limited sockets.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from contextlib import ExitStack, closing
from pathlib import Path

from nsbrokerd.policy import Limit
from nsbrokerd.seal.wall import standing_hooks
from support import namespaces
from support.brokers.walls import Walls, grant, rules
from walls import IN_USE, in_turns

POLICIES: tuple[tuple[tuple[str, ...], str | None], ...] = (
    (("tcp", "udp"), None),
    (("tcp", "udp", "udplite", "sctp"), "sctp"),
    (("tcp", "udp", "udplite", "sctp"), "sctp, one-to-many"),
)
TESTS = {"TCP": ("-i", "0", "-n", "128M"), "UDP": ("-i", "0", "-u", "-b", "0", "-l", "64", "-n", "6M")}
"""By bytes, so that each run sends the same, and without reports."""
BROUGHT = Path("programs")
"""Where `in_machine` puts a program, with its libraries and their loader."""


def iperf3() -> list[str]:
    """Return the command."""
    loader = next(BROUGHT.glob("ld-linux*"), None)
    return ["iperf3"] if loader is None else [str(loader), "--library-path", str(BROUGHT), str(BROUGHT / "iperf3")]


def run(name: str, options: tuple[str, ...]) -> float:
    """Return the bits that were sent in a second. One processor sends and receives, so this has the time of both."""
    inside = ["ip", "netns", "exec", name, *iperf3()]
    with subprocess.Popen([*inside, "-s", "-1", "-B", "127.0.0.1"], stdout=subprocess.DEVNULL) as server:
        while True:
            client = subprocess.run([*inside, "-c", "127.0.0.1", *options, "-J"], stdout=subprocess.PIPE, check=False)
            told = json.loads(client.stdout)
            if "error" not in told:  # its status can be 0 all the same
                return float(told["end"]["sum_sent"]["bits_per_second"])
            assert server.poll() is None, told["error"]
            time.sleep(0.1)  # the server does not listen yet


def compare(walls: Walls, kinds: tuple[str, ...], in_use: str | None, rounds: int, tests: list[str]) -> None:
    """Print the results with a policy that limits these kinds, while a limited socket of one kind is in use."""

    def reload() -> None:
        walls.use(grant("limited", *kinds, limit=Limit(rules(["127.0.0.0/8:*"]), rules(["*:*"]))))

    reload()
    with ExitStack() as stack:
        if in_use is not None:
            stack.enter_context(walls.make(*IN_USE[in_use]))
        print(f"limits of {', '.join(kinds)}" + (f"; a limited socket of {in_use} is in use" if in_use else ""))
        print(f"  programs: {', '.join(sorted(standing_hooks(walls.directory))) or 'none'}", flush=True)
        found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in tests}
        for has_wall in in_turns(walls, reload, rounds):
            for name, figures in found.items():
                figures[has_wall].append(run(walls.name, TESTS[name]))
        for name, (without, having) in found.items():
            ratio = statistics.median(mine / other for mine, other in zip(having, without, strict=True))
            medians = f"{statistics.median(having):.4g} bit/s, without {statistics.median(without):.4g}"
            print(f"  {name}: {medians}, ratio {ratio:.4f}", flush=True)
        reload()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=list(TESTS))
    given = parser.parse_args()
    print(f"Linux {os.uname().release}", flush=True)
    name = f"{namespaces.PREFIX}iperf"
    namespaces.make(name)
    try:
        with closing(Walls(name)) as walls:
            for kinds, in_use in POLICIES:
                compare(walls, kinds, in_use, given.rounds, [given.only] if given.only else list(TESTS))
    finally:
        namespaces.delete(name)


if __name__ == "__main__":
    main()
