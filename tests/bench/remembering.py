"""What each thing that the broker remembers saves: brokers with and without it, in turns.

    PYTHONPATH=tests:tests/bench python -P tests/bench/remembering.py [--rounds N] [--grants N]   (as root; needs ip)

Each broker runs with one memory switched off. The figure is the time that the broker runs for one socket, from
/proc/PID/schedstat: it varies less than the round trip's time on a busy machine. Each second round runs backwards.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path
from socket import AF_INET, SOCK_STREAM

import nsbroker
from place import GRANTS, QUOTAS, namespaces_made, processors
from support.brokers.process import BrokerProcess
from workers import pin

ROUNDS = 40
TRIPS = 200
BATCH = 240

WITHOUT = {
    "all": "",
    "plans": (
        "from nsbrokerd.requests.plan_memory import PlanMemory as m\nm.recall = lambda *_: None; m.remember = m.recall"
    ),
    "matching grants": (
        "from nsbrokerd.policy import decide as d\n"
        "def find(self, subject, namespace, kind):\n"
        "    return d._match(self.share_of(subject).grants, subject, namespace, kind)\n"
        "d.Policy._grants_for = find\n"
    ),
    "grants of subjects": (
        "from nsbrokerd.policy import decide as d\n"
        "share_of = d.Policy.share_of\n"
        "def find(self, subject):\n"
        "    self._share_of.clear()\n"
        "    return share_of(self, subject)\n"
        "d.Policy.share_of = find\n"
    ),
}
"""For each row the program that switches a memory off."""


class Broker(BrokerProcess):
    """A broker that runs a program first."""

    def __init__(self, program: str, grants: str) -> None:
        super().__init__(grants, QUOTAS)
        self._program = f"{program}\nimport sys\nfrom nsbrokerd.__main__ import main\nsys.exit(main())"

    def command(self) -> list[str]:
        start = super().command().index("serve")
        return [sys.executable, "-P", "-c", self._program, *super().command()[start:]]

    def run_time_ns(self) -> int:
        """How long the broker has run so far."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0])


def measure(rounds: int, grants: int) -> None:
    """Print a row for each use and memory."""
    cpu = max(processors())
    with ExitStack() as stack:
        names = stack.enter_context(namespaces_made(8))
        others = "".join(
            GRANTS.replace('name = "', f'name = "other {number} ').replace(
                'users = ["*"]', f"users = [{70_000 + number}]"
            )
            for number in range(grants)
        )
        brokers = {name: Broker(program, others + GRANTS) for name, program in WITHOUT.items()}
        clients = {}
        for name, broker in brokers.items():
            stack.callback(broker.close)
            broker.start()
            pin(broker.pid, {cpu})
            clients[name] = nsbroker.Client(str(broker.socket_path))
        one = nsbroker.SocketSpec(names[0], AF_INET, SOCK_STREAM)
        bound = one._replace(bind=("127.0.0.1", 0), listen=5)
        many = [one._replace(namespace=name) for name in islice(cycle(names), BATCH)]

        def trips(client: nsbroker.Client, spec: nsbroker.SocketSpec) -> int:
            for _ in range(TRIPS):
                client.open([spec])[0].close()
            return TRIPS

        def batch(client: nsbroker.Client) -> int:
            for sock in client.open(many):
                sock.close()
            return BATCH

        uses: dict[str, Callable[[nsbroker.Client], int]] = {
            "one socket": lambda client: trips(client, one),
            "one bound socket": lambda client: trips(client, bound),
            f"{BATCH} sockets in 8 namespaces": batch,
        }
        for use, run in uses.items():
            figures: dict[str, list[float]] = {name: [] for name in brokers}
            for number in range(rounds + 1):
                for name in list(brokers)[:: 1 if number % 2 else -1]:
                    before = brokers[name].run_time_ns()
                    count = run(clients[name])
                    if number:  # the first round fills caches
                        figures[name].append((brokers[name].run_time_ns() - before) / count / 1000)
            every = statistics.median(figures["all"])
            print(f"{use}, {grants + 1} grants: {every:.2f} us")
            for name, values in figures.items():
                if name != "all":
                    saved = statistics.median(one - other for one, other in zip(values, figures["all"], strict=True))
                    print(f"  without {name:20} {statistics.median(values):8.2f} us: it saves {saved:6.2f} us")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--grants", type=int, default=0, help="further grants, for other users")
    arguments = parser.parse_args()
    measure(arguments.rounds, arguments.grants)
