"""The place of an attack: a real broker with two namespaces, one of its victim and one of its attackers.

The broker sees an /etc/subuid and an /etc/subgid of its own, in a mount namespace of its own.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from support import namespaces
from support.brokers.process import BrokerProcess
from support.users import USER

from .attack import SUBORDINATES, Attack, Target

VICTIM = USER
"""A user that a grant names."""

OWNER = "daemon"
"""A user of every Debian. /etc/subuid can delegate the attackers' uids to it."""

_MOUNT = 'mount --bind "$1" /etc/subuid && mount --bind "$1" /etc/subgid && shift && exec "$@"'


class AttackedBroker(BrokerProcess):
    """A broker of this or of another checkout, which reads the delegated uids from a file of the test."""

    def __init__(self, grants: str, delegated: str, checkout: Path | None = None) -> None:
        super().__init__(grants)
        packages = [] if checkout is None else [checkout / "broker", checkout / "client"]
        self.python_path = ":".join(map(str, packages))
        self._delegated = self.directory / "subuid"
        self._delegated.write_text(delegated)

    def command(self) -> list[str]:
        # A slave gets the mounts of new namespaces, and its own mounts stay its own.
        private = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", _MOUNT, "sh", str(self._delegated)]
        return [*private, *super().command()]

    def environment(self) -> dict[str, str]:
        return {**super().environment(), **({"PYTHONPATH": self.python_path} if self.python_path else {})}


class Arena(NamedTuple):
    """A running broker, its target, and the namespace of its victim."""

    broker: AttackedBroker
    target: Target
    namespace: str


def why_not() -> str | None:
    """Return the reason if this machine can't have an arena."""
    if reason := namespaces.why_not():
        return reason
    if shutil.which("unshare") is None:
        return "a broker with a mount namespace of its own needs unshare (util-linux)"
    missing = [path for path in ("/etc/subuid", "/etc/subgid") if not os.path.exists(path)]
    return f"there is no {missing[0]} to mount another file on" if missing else None


@contextmanager
def arena(attack: Attack, checkout: Path | None = None, *, label: str = "", is_brief: bool = False) -> Iterator[Arena]:
    """Run a broker for this attack, with two namespaces, until the context ends."""
    field, home = (f"{namespaces.PREFIX}{label}{name}" for name in ("field", "home"))
    made: list[str] = []
    lines = f"{OWNER}:{SUBORDINATES.start}:{len(SUBORDINATES)}\n" if attack.are_subordinate else ""
    broker = AttackedBroker(_grants(field, home), lines, checkout)
    try:
        for name in (field, home):
            namespaces.make(name)
            made.append(name)
        target = Target(str(broker.socket_path), field, is_brief, broker.python_path)
        with attack.prepare(target):
            broker.start()
            yield Arena(broker, target, home)
    finally:
        for name in made:
            with suppress(AssertionError):
                namespaces.delete(name)
        broker.close()  # raises an error if the broker does not end by itself


def _grants(field: str, home: str) -> str:
    return f"""
[[grant]]
name = "home"
users = [{VICTIM}]
namespaces = ["{home}"]
sockets = ["tcp"]

[[grant]]
name = "field"
users = ["*"]
namespaces = ["{field}*"]
sockets = ["tcp", "udp", "packet"]
"""
