"""A namespace with a broker for the unprivileged user, and the commands that start programs in it and beside it."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nsbroker.wire.kind_names import NETLINK_PROTOCOLS
from support import namespaces
from support.brokers.process import running
from support.names.etc_netns import make_files, remove_files
from support.users import GROUP, USER

NAME = f"{namespaces.PREFIX}outside"

# The kinds that the kernel makes for a user without rights, so that both sides have the same rights. No `bind`: low
# ports are for root on both sides.
_NETLINK = ", ".join(f'"netlink:{protocol}"' for protocol in NETLINK_PROTOCOLS)
GRANT = f"""
[[grant]]
name = "outside"
users = [{USER}]
namespaces = ["{NAME}"]
sockets = ["tcp", "udp", "udplite", "mptcp", "sctp", {_NETLINK}]
"""
# The suites open sockets faster than a user should.
SETTINGS = "[quotas]\nrequests_per_second = 1000000\n"

_AS_USER = ("setpriv", "--reuid", str(USER), "--regid", str(GROUP), "--clear-groups", "--inh-caps=-all")


@dataclass(frozen=True, slots=True)
class Lab:
    """Where the tests run."""

    socket_path: Path

    def native(self, *command: str) -> list[str]:
        """Return the command that runs this one inside the namespace, as the unprivileged user."""
        return ["ip", "netns", "exec", NAME, *_AS_USER, *command]

    def beside(self, *command: str) -> list[str]:
        """Return the command that runs this one outside of the namespace, as the same user."""
        return [*_AS_USER, *command]

    def environment(self, home: Path) -> dict[str, str]:
        """Return the variables for a program of the user whose own files are in `home`."""
        return {
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "NSBROKER_SOCKET": str(self.socket_path),
            "OUTSIDE_NAMESPACE": NAME,
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(home),
        }


@contextmanager
def lab() -> Iterator[Lab]:
    """Make the namespace, and run the broker.

    Raises:
        RuntimeError: this machine can't have namespaces.
    """
    if reason := namespaces.why_not():
        raise RuntimeError(reason)
    namespaces.make(NAME)
    # Files of its own, so that names do not depend on the machine's. There is no name server, which is soon known.
    files = make_files(NAME)
    (files / "hosts").write_text(f"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {socket.gethostname()}\n")
    (files / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    try:
        with running(GRANT, SETTINGS) as broker:
            yield Lab(broker.socket_path)
    finally:
        remove_files(NAME)
        namespaces.delete(NAME)


def give_to_user(path: Path) -> None:
    """Make the unprivileged user the owner of a directory."""
    os.chown(path, USER, GROUP)
