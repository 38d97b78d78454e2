"""A soak: many clients for an hour, good and bad requests, namespaces that come and go, a broker that ends each minute.

The broker is killed and asked to end by turns, under load, and started again as a service manager does it. Before each
end the clients pause, and memory and descriptors are looked at: of the broker, and of the processes of the clients.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from place import namespaces_made
from sights import Generation, Sights
from soak_client import ENDS, FORBIDDEN, PAUSES, RUNS, Tally, Told, run_clients
from support import namespaces
from support.brokers.activated import ActivatedBroker
from support.inside import cookie_inside
from support.process_state import idle_descriptors, resident_kib
from support.users import GROUP, UIDS, Child, start_as_user
from support.waiting import Counters, wait_until
from workers import load_client, raise_descriptor_limit

PROCESSES, THREADS = 5, 10
STABLE, VOLATILE = 20, 5
PERIOD_S = 60
CHURN_S = 0.2
LIMIT_S = 300
UNDER_LOAD_S = 0.5
GROWTH_MB = 4
"""More memory than this at the end than at the beginning is not flat."""

GRANTS = f"""
[[grant]]
name = "soak"
users = ["*"]
namespaces = ["{namespaces.PREFIX}*", "!{FORBIDDEN}"]
sockets = ["tcp", "udp"]
"""
QUOTAS = "[quotas]\nrequests_per_second = 10000000\n"


class Look(NamedTuple):
    """The resources of the processes at one moment, while the clients paused. `clients` are all of them together."""

    broker_mb: float
    broker_fds: int
    clients_mb: float
    clients_fds: int


def soak(seconds: float) -> int:
    """Run it, print its figures, and return 0 if everything was right."""
    load_client()
    raise_descriptor_limit()
    broker = ActivatedBroker(GRANTS, QUOTAS)
    try:
        with (
            namespaces_made(STABLE) as stable,
            namespaces_made(VOLATILE, "v") as volatile,
            namespaces_made(1, "forbidden"),
            TemporaryDirectory(prefix="nsbroker-soak-") as directory,
        ):
            Path(directory).chmod(0o1777)
            broker.start()
            cookies = {name: cookie_inside(name) for name in stable}
            return _Soak(broker, cookies, volatile, Path(directory)).run(seconds)
    finally:
        broker.close()


class _Soak:
    def __init__(
        self, broker: ActivatedBroker, stable: Mapping[str, int], volatile: Sequence[str], directory: Path
    ) -> None:
        self._broker = broker
        self._told = Told(Counters(1 + PROCESSES * THREADS), directory)
        self._living = {name: Generation(cookie_inside(name), 0.0) for name in volatile}
        self._ended: dict[str, list[Generation]] = {name: [] for name in volatile}
        self._looks: list[Look] = []
        self._restarts = 0
        path = str(broker.socket_path)
        self._clients = [
            start_as_user(
                UIDS[i],
                GROUP,
                run_clients,
                path,
                UIDS[i],
                i * THREADS,
                THREADS,
                stable,
                volatile,
                self._told,
            )
            for i in range(PROCESSES)
        ]

    def run(self, seconds: float) -> int:
        """Let the clients work, and return 0 if everything was right."""
        period = min(PERIOD_S, seconds / 6)
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                self._churn_until(time.monotonic() + period - UNDER_LOAD_S)
                self._look()
                self._churn_until(time.monotonic() + UNDER_LOAD_S)
                self._restart()
            self._told.counters[0] = ENDS
            tallies = [tally for client in self._clients for tally in client.result(LIMIT_S)]
        except BaseException:
            for client in self._clients:
                _kill(client)
            raise
        return self._report(tallies, seconds)

    def _churn_until(self, end: float) -> None:
        """Delete namespaces and make them again under their names."""
        while time.monotonic() < end:
            name = next(iter(self._living))
            generation = self._living.pop(name)
            namespaces.delete(name)
            begin_of_next = time.monotonic()
            self._ended[name].append(generation.until(begin_of_next))
            namespaces.ip("netns", "add", name)
            self._living[name] = Generation(cookie_inside(name), begin_of_next)
            time.sleep(CHURN_S)

    def _look(self) -> None:
        """Have all clients pause, and measure the resources of the processes."""
        self._told.counters[0] = PAUSES
        workers = range(1, 1 + PROCESSES * THREADS)
        wait_until(lambda: all(self._told.counters[i] for i in workers), LIMIT_S)
        pids = [client.pid for client in self._clients]
        self._looks.append(
            Look(
                resident_kib(self._broker.pid) / 1024,
                idle_descriptors(self._broker.pid),
                sum(map(resident_kib, pids)) / 1024,
                sum(map(idle_descriptors, pids)),
            )
        )
        for i in workers:
            self._told.counters[i] = 0
        self._told.counters[0] = RUNS

    def _restart(self) -> None:
        """End the broker in the midst of its work: by kill -9 and by SIGTERM, by turns."""
        self._broker.kill() if self._restarts % 2 else self._broker.stop()
        self._broker.start()
        self._restarts += 1

    def _report(self, tallies: list[Tally], seconds: float) -> int:
        counts: Counter[str] = Counter()
        for tally in tallies:
            counts.update(tally.counts)
        known = {name: [*ended, self._living[name]] for name, ended in self._ended.items()}
        sights = Sights()
        for file in self._told.directory.iterdir():
            sights.take_from(file)
        wrong = [*(text for tally in tallies for text in tally.wrong), *sights.wrong(known)]
        lost = [text for tally in tallies for text in tally.lost]
        flat = [self._flatness(*column) for column in zip(Look._fields, zip(*self._looks, strict=True), strict=True)]
        generations = sum(map(len, self._ended.values()))
        print(
            f"soak of {seconds:.0f} s: {PROCESSES * THREADS} clients in {PROCESSES} processes, "
            f"{self._restarts} restarts of the broker, {generations} namespaces re-created\n"
            + ", ".join(f"{count:,} {what}" for what, count in counts.items())
            + f"\nwrong: {len(wrong)}; lost: {len(lost)}"
        )
        for text in [*wrong[:10], *lost[:10], *(text for text, _ in flat)]:
            print(f"  {text}")
        right = not wrong and not lost and all(is_flat for _, is_flat in flat)
        print("all is right" if right else "NOT all is right")
        return int(not right)

    def _flatness(self, what: str, values: Sequence[float]) -> tuple[str, bool]:
        """Print a figure of the beginning and of the end, and return whether it grew."""
        part = max(1, len(values) // 4)
        # The first look is left out where there are others: caches were being filled.
        first, last = statistics.median(values[1 : 1 + part] or values), statistics.median(values[-part:])
        is_flat = last <= first + (GROWTH_MB if what.endswith("_mb") else 0)
        text = f"{what}: {first:.1f} at the beginning, {last:.1f} at the end, {min(values):.1f} .. {max(values):.1f}"
        return f"{text}{'' if is_flat else ': GREW'}", is_flat


def _kill(client: Child) -> None:
    with contextlib.suppress(OSError):  # it has ended already
        client.kill()
