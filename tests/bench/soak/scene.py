"""The scene of the soak: the broker, its namespaces and containers, and the directory of the clients' observations."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from place import namespaces_made
from support.brokers.activated import ActivatedBroker
from support.engines.place import Place
from support.engines.podman import Podman
from support.inside import cookie_inside
from support.waiting import wait_until

from .containers import podman_running, why_not
from .far_end import FarEnd, far_end
from .policy import BROKEN, POLICIES, QUOTAS, STABLE, VOLATILE
from .told import Told

STABLE_COUNT, VOLATILE_COUNT = 20, 5
_BLOCK_BYTES = 2**20


class SoakBroker(ActivatedBroker):
    """A broker in the network namespace that podman takes for the host's, if there is a podman."""

    def __init__(self, podman: tuple[Place, Podman] | None) -> None:
        self._place = podman and podman[0]
        self._settings = QUOTAS + (f'[engines]\npodman = "{podman[1].socket}"\n' if podman else "")
        self._policies = [policy.grants(has_containers=podman is not None) for policy in POLICIES]
        self._policy = 0
        self.reloads = self.refused_reloads = self.restarts = 0
        self.records: Counter[str] = Counter()
        super().__init__(self._policies[0], self._settings)

    def command(self) -> list[str]:
        command = super().command()
        return command if self._place is None else self._place.inside(*command)

    def change_policy(self, told: Told) -> None:
        """Take over the next policy, and say so to the clients. Now and then, try a broken one before."""
        if self.reloads % 4 == 3:
            self.configure(BROKEN, self._settings)
            self.reload()
            self.refused_reloads += 1
        self._policy = (self._policy + 1) % len(self._policies)
        self.configure(self._policies[self._policy], self._settings)
        told.next_turn()
        self.reload()
        told.next_turn()
        self.reloads += 1

    def restart(self) -> None:
        """End the broker in the midst of its work: by kill -9 and by SIGTERM, by turns."""
        self.kill() if self.restarts % 2 else self.stop()
        self.start()
        self.restarts += 1

    def rotate_audit(self) -> None:
        """Have it write its audit into a new file, as logrotate does, and count the records of the former one."""
        former = self.audit_path.with_suffix(".1")
        self.audit_path.rename(former)
        os.kill(self.pid, signal.SIGUSR1)
        wait_until(self.audit_path.exists)
        with former.open("rb") as file:
            for line in file:
                self.records["records"] += 1
                self.records["lots"] += b'"stock":' in line
        former.unlink()


class Scene(NamedTuple):
    """Everything that the soak is about. `lacking` has a line for each part that this machine can't have."""

    broker: SoakBroker
    stable: dict[str, int]
    volatile: list[str]
    far: FarEnd
    podman: Podman | None
    directory: Path
    lacking: list[str]


@contextmanager
def scene() -> Iterator[Scene]:
    """Make it, start the broker, and remove everything at the end."""
    lacking = []
    with ExitStack() as stack:
        stable = stack.enter_context(namespaces_made(STABLE_COUNT, STABLE))
        volatile = stack.enter_context(namespaces_made(VOLATILE_COUNT, VOLATILE))
        for label in ("forbidden", "turned", "field"):
            stack.enter_context(namespaces_made(1, label))
        far = stack.enter_context(far_end())
        podman = None
        if reason := why_not():
            lacking.append(f"containers: {reason}")
        else:
            podman = stack.enter_context(podman_running())
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="nsbroker-soak-")))
        directory.chmod(0o1777)
        broker = SoakBroker(podman)
        stack.callback(broker.close)
        broker.start()
        cookies = {name: cookie_inside(name) for name in stable}
        yield Scene(broker, cookies, volatile, far, podman and podman[1], directory, lacking)
