"""The conductor of the soak: has everything change while clients of all kinds work, and judges what they saw.

In the first half of the time, the broker is killed and asked to end by turns, once in each period, and started again as
a service manager does it. In the second half it lives on, so that memory and descriptors have the time to grow.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import namespaces
from support.inside import cookie_inside
from support.process_state import resident_kib, thread_count
from support.users import GROUP, Child, start_as_user
from workers import load_client, raise_descriptor_limit

from .attackers import Attackers
from .calm import read_latencies, run_calm
from .client import run_clients
from .containers import NAMES, churn, full_name, run_container_user
from .limited import run_limited
from .looks import Look, porters, resources, settle, verdicts
from .policy import CALM_UID, CLIENT_UIDS, CONTAINER_UID, LIMITED_UID, STOCK_UID
from .report import Outcome, show, write
from .scene import Scene, scene
from .sights import Generation, Sights
from .stocked import run_stocked
from .told import Tally, Told

THREADS, STOCK_THREADS = 10, 3
FIRST_STOCKED = len(CLIENT_UIDS) * THREADS
LIMITED = FIRST_STOCKED + STOCK_THREADS
CALM, CONTAINER_USER = LIMITED + 1, LIMITED + 2
PERIOD_S, LEAST_PERIODS = 60, 6
CHURN_S = 0.2
RELOAD_S = 5
LIMIT_S = 300


def soak(seconds: float, output: Path | None) -> int:
    """Run it, print its figures, write them to `output`, and return 0 if everything was right."""
    load_client()
    raise_descriptor_limit()
    with scene() as made:
        outcome = _Hour(made, seconds).run()
    show(outcome)
    if output is not None:
        write(outcome, output)
    return int(not outcome.is_right)


class _Hour:
    def __init__(self, made: Scene, seconds: float) -> None:
        self._scene, self._seconds = made, seconds
        self._period_s = min(PERIOD_S, seconds / LEAST_PERIODS)
        self._broker = made.broker
        self._attackers = Attackers(str(made.broker.socket_path))
        self._told = Told(CONTAINER_USER + (made.podman is not None), made.directory)
        self._living = {name: Generation(cookie_inside(name), 0.0) for name in made.volatile}
        self._ended: dict[str, list[Generation]] = {name: [] for name in made.volatile}
        self._looks: list[Look] = []
        self._wrong: list[str] = []
        self._next_reload = 0.0
        self._clients: list[Child] = []
        self._churner: Child | None = None

    def _start(self) -> None:
        """Start the processes of all clients."""
        made = self._scene
        for i, uid in enumerate(CLIENT_UIDS):
            self._start_clients(uid, run_clients, i * THREADS, THREADS, made.stable, made.volatile)
        self._start_clients(STOCK_UID, run_stocked, FIRST_STOCKED, STOCK_THREADS, made.stable, made.volatile)
        self._start_clients(LIMITED_UID, run_limited, LIMITED, made.far.near, made.far.answer)
        self._start_clients(CALM_UID, run_calm, CALM, made.stable)
        if made.podman is not None:
            names = [full_name(name) for name in NAMES]
            self._start_clients(CONTAINER_UID, run_container_user, CONTAINER_USER, made.stable, names)
            self._churner = start_as_user(0, 0, churn, made.podman, self._told)

    def _start_clients(self, uid: int, function: Callable[..., list[Tally]], *args: Any) -> None:
        path = str(self._broker.socket_path)
        self._clients.append(start_as_user(uid, GROUP, function, path, uid, *args, self._told))

    def run(self) -> Outcome:
        """Let the clients work, and return everything that was seen."""
        begin = time.monotonic()
        try:
            self._start()
            while (left := begin + self._seconds - time.monotonic()) > 0:
                self._attack_for_a_period(has_restart=left > self._seconds / 2)
                self._look(begin)
            self._told.end()
            tallies = [tally for client in self._clients for tally in client.result(LIMIT_S)]
            containers = {} if self._churner is None else self._churner.result(LIMIT_S)
        except BaseException:
            for child in (*self._clients, self._churner):
                _kill(child)
            raise
        return self._outcome(tallies, containers)

    def _attack_for_a_period(self, *, has_restart: bool) -> None:
        """Let all attacks have their turns, so that each period is like the others. Restart in the midst of one."""
        attacks, begin = self._attackers.attacks, time.monotonic()
        restart_at = len(self._looks) % len(attacks)
        for index, attack in enumerate(attacks):
            with self._attackers.attacking(attack, LIMIT_S):
                self._change_until(begin + self._period_s * (index + 0.5) / len(attacks))
                if has_restart and index == restart_at:
                    self._broker.restart()
                self._change_until(begin + self._period_s * (index + 1) / len(attacks))

    def _change_until(self, end: float) -> None:
        """Delete namespaces and make them again under their names. Change the policy now and then."""
        while time.monotonic() < end:
            self._make_next_again()
            if time.monotonic() > self._next_reload:
                self._broker.change_policy(self._told)
                self._wrong += self._scene.far.wrong()
                self._next_reload = time.monotonic() + RELOAD_S
            time.sleep(CHURN_S)

    def _make_next_again(self) -> None:
        name = next(iter(self._living))
        generation = self._living.pop(name)
        namespaces.delete(name)
        begin_of_next = time.monotonic()
        self._ended[name].append(generation.until(begin_of_next))
        namespaces.ip("netns", "add", name)
        self._living[name] = Generation(cookie_inside(name), begin_of_next)

    def _look(self, begin: float) -> None:
        """Have all clients pause, and measure the resources of the processes."""
        self._told.have_all_pause(LIMIT_S)
        broker = self._broker.pid
        settle(broker)
        own, porter_mb = resources([broker]), max(resident_kib(pid) for pid in porters(broker)) / 1024
        clients = resources([client.pid for client in self._clients])
        look = Look(
            (time.monotonic() - begin) / 60,
            self._broker.restarts,
            own.megabytes,
            own.descriptors,
            thread_count(broker),
            porter_mb,
            clients.megabytes,
            clients.descriptors,
            *read_latencies(self._told.directory)[-1],
        )
        self._looks.append(look)
        self._broker.rotate_audit()
        print(f"{' '.join(map(_short, look))} faults: {self._told.faults() + len(self._wrong)}", flush=True)
        self._told.go_on()

    def _outcome(self, tallies: list[Tally], containers: dict[str, list[Generation]]) -> Outcome:
        counts: Counter[str] = Counter()
        for tally in tallies:
            counts.update(tally.counts)
        known = {name: [*ended, self._living[name]] for name, ended in self._ended.items()} | containers
        sights = Sights()
        for file in self._told.directory.glob("sights-*"):
            sights.take_from(file)
        self._broker.rotate_audit()
        changes = {
            "restarts of the broker": self._broker.restarts,
            "reloads with other rules": self._broker.reloads,
            "reloads of a broken file": self._broker.refused_reloads,
            "namespaces made again": sum(map(len, self._ended.values())),
            "containers started again": sum(len(ones) - 1 for ones in containers.values()),
        }
        wrong = [*self._wrong, *self._attackers.faults(), *sights.wrong(known)]
        return Outcome(
            self._seconds,
            {**counts, **{f"audit: {key}": value for key, value in self._broker.records.items()}},
            changes,
            dict(self._attackers.steps),
            [*wrong, *(text for tally in tallies for text in tally.wrong)],
            [text for tally in tallies for text in tally.lost],
            self._looks,
            verdicts(self._looks),
            [*self._scene.lacking, *self._attackers.skipped],
        )


def _short(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _kill(client: Child | None) -> None:
    if client is not None:
        with contextlib.suppress(OSError):  # it has ended already
            client.kill()
