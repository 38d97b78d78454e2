"""dnsmasq as the name server of a namespace, and glibc's resolver in the same namespace to compare with."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.checkout import TESTS
from support.names.etc_netns import make_files, remove_files
from support.namespaces import ip
from support.waiting import wait_until

ADDRESS = "10.99.0.1"
ADDRESS6 = "fd99::1"
SILENT = "10.99.0.9"
"""An address behind an interface that swallows all packets: no answer and no refusal comes back."""


def why_not() -> str | None:
    """Return the reason why this machine has no dnsmasq, or None."""
    return None if _program() else "names in a namespace need the command dnsmasq (dnsmasq-base)"


def _program() -> str | None:
    return shutil.which("dnsmasq", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def add_network(namespace: str) -> None:
    """Add an interface with ADDRESS and ADDRESS6 that lets no packet out, and a default route."""
    ip("-n", namespace, "link", "add", "net0", "type", "veth", "peer", "name", "nowhere")
    for interface in ("net0", "nowhere"):
        ip("-n", namespace, "link", "set", interface, "up")
    ip("-n", namespace, "address", "add", f"{ADDRESS}/24", "dev", "net0")
    ip("-n", namespace, "address", "add", f"{ADDRESS6}/64", "dev", "net0", "nodad")
    # An address of another machine: the other end receives the packets for it, and drops them.
    ip("-n", namespace, "neighbour", "add", SILENT, "lladdr", "02:00:00:00:00:09", "dev", "net0")
    ip("-n", namespace, "route", "add", "default", "dev", "net0")
    ip("-n", namespace, "-6", "route", "add", "default", "dev", "net0")


class Dnsmasq:
    """A dnsmasq that answers at ADDRESS and 127.0.0.1 (`addresses`) from its options alone."""

    def __init__(self, namespace: str, options: Sequence[str], addresses: Sequence[str] = (ADDRESS, ADDRESS6)) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="nsbroker-test-"))
        log = self._directory / "log"
        command = [
            *("ip", "netns", "exec", namespace, str(_program()), "--keep-in-foreground", "--conf-file=/dev/null"),
            *("--no-resolv", "--no-hosts", "--user=root", "--pid-file=", "--log-queries=extra"),
            *(f"--log-facility={log}", "--bind-interfaces", "--except-interface=lo"),
            *(
                f"--interface={address.partition('%')[2]}" if "%" in address else f"--listen-address={address}"
                for address in addresses
            ),
            *options,
        ]
        said = self._directory / "said"
        with said.open("wb") as stderr:
            self._process = subprocess.Popen(command, stderr=stderr)
        wait_until(lambda: self._process.poll() is not None or (log.exists() and "started, version" in log.read_text()))
        assert self._process.returncode is None, said.read_text()
        self._log = log

    def questions(self) -> list[str]:
        """The questions so far, in order, for example "A www.test"."""
        asked = re.findall(r"query\[(\w+)\] (\S+) from", self._log.read_text())
        return [f"{kind} {name}" for kind, name in asked]

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self._directory)


class OwnFiles:
    """The files that `ip netns exec` puts in place for a namespace. `close` removes them."""

    def __init__(self, namespace: str) -> None:
        self.directory = make_files(namespace)
        (self.directory / "nsswitch.conf").write_text("hosts: files dns\nservices: files\n")
        self.write("", "")

    def write(self, resolv_conf: str, hosts: str) -> None:
        (self.directory / "resolv.conf").write_text(resolv_conf)
        (self.directory / "hosts").write_text(hosts)

    def close(self) -> None:
        remove_files(self.directory.name)


_ASK_GLIBC = """
import pickle, socket, sys
sys.path.insert(0, sys.argv[1])
from support.names.dnsmasq import outcome
function, calls = pickle.load(sys.stdin.buffer)
pickle.dump([outcome(getattr(socket, function), *call) for call in calls], sys.stdout.buffer)
"""


def ask_glibc(namespace: str, function: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The `outcome` of each call of a function of the socket module, run by `ip netns exec`."""
    python = [sys.executable, "-c", _ASK_GLIBC, str(TESTS)]
    command = ["ip", "netns", "exec", namespace, *python]
    done = subprocess.run(command, input=pickle.dumps((function, calls)), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    found: list[Any] = pickle.loads(done.stdout)
    return found


def outcome(function: Any, *arguments: Any) -> Any:
    """Return the result of a function like `socket.getaddrinfo` in plain types, or the arguments of its gaierror."""
    try:
        found = function(*arguments)
    except UnicodeError:
        return (
            socket.EAI_NONAME,
            "Name or service not known",
        )  # Python's encoding refuses these names. The client says this.
    except socket.gaierror as error:
        return error.args
    return [(*map(int, row[:3]), *row[3:]) for row in found] if isinstance(found, list) else found
