"""The broker as it is installed: its units, its socket, its audit in the journal."""

from __future__ import annotations

import grp
import json
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nsbroker
from nsbroker import SocketSpec
from support.users import GROUP, USER, as_user

SERVICE = "nsbrokerd.service"
SOCKET = "nsbrokerd.socket"
TIMEOUT_S = 120
"""Under emulation the service takes seconds to start, and a client that starts it waits for that."""
SOCKET_PATH = Path("/run/nsbroker/nsbroker.sock")

PROBE = "nsbrokerd-probe.service"
"""Another program than the broker, in the broker's sandbox."""
_PROBE_UNIT = Path("/run/systemd/system") / PROBE


def systemctl(*arguments: str) -> str:
    """Return the output of the command, which must succeed."""
    return command("systemctl", *arguments)


def command(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def run_in_sandbox(program: str) -> str:
    """Start a program like the service, wait for its success, and return its output."""
    _PROBE_UNIT.parent.mkdir(exist_ok=True)
    _PROBE_UNIT.write_text(_unit_of(program))
    try:
        systemctl("daemon-reload")
        systemctl("start", PROBE)
    finally:
        _PROBE_UNIT.unlink()
        systemctl("daemon-reload")
    command("journalctl", "--sync")
    return command("journalctl", "--unit", PROBE, "--output=cat", "--no-pager")


def _unit_of(program: str) -> str:
    """The broker's own unit, with another program in it."""
    text = (Path("/etc/systemd/system") / SERVICE).read_text()
    changes = {
        r"^Type=.*": "Type=oneshot",
        r"^(Restart|ExecReload|Requires|After|Sockets)=.*": "",
        r"^ExecStart=.*": f"ExecStart={program}",
        rf"system\.slice/{SERVICE}": f"system.slice/{PROBE}",
    }
    for pattern, replacement in changes.items():
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text


class Installed:
    """Stands where tests of a `BrokerProcess` expect that."""

    socket_path = SOCKET_PATH

    @property
    def client_groups(self) -> list[int]:
        """The groups that a user needs to connect."""
        return [grp.getgrnam("nsbroker").gr_gid]

    @property
    def pid(self) -> int:
        """The pid of the main process, or 0."""
        return int(systemctl("show", "--property=MainPID", "--value", SERVICE))

    def state(self, unit: str = SERVICE) -> str:
        return systemctl("show", "--property=ActiveState", "--value", unit)

    def status(self) -> dict[str, str]:
        """The kernel's view of the main process."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}

    def audit(self) -> list[dict[str, Any]]:
        """All audit records that the journal has."""
        return [record for record in self.audit_with_parts() if record]

    def audit_with_parts(self) -> list[dict[str, Any] | None]:
        """Like `audit`, with None for other lines."""
        command("journalctl", "--sync")
        lines = command("journalctl", "--unit", SERVICE, "--output=cat", "--no-pager").splitlines()
        return [json.loads(line) if line.startswith('{"audit"') and line.endswith("}") else None for line in lines]

    def as_member(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call `function` as a user without any rights but that of being in the group of the socket."""
        return as_user(USER, GROUP, function, *arguments, groups=self.client_groups)

    def open_as_member(self, *specs: SocketSpec, wait_s: float = 0) -> list[tuple[int, int, Any]]:
        """Open sockets as that user, and return the SO_COOKIE, SO_NETNS_COOKIE and name of each."""
        return list(self.as_member(_open, specs, wait_s))


def tcp(namespace: str, *bind: Any) -> SocketSpec:
    """A TCP socket, which listens if it has an address."""
    return SocketSpec(namespace, socket.AF_INET, socket.SOCK_STREAM, 0, bind or None, 1 if bind else None)


def _open(specs: tuple[SocketSpec, ...], wait_s: float) -> list[tuple[int, int, Any]]:
    from support.inside import netns_cookie, socket_cookie

    with nsbroker.Client(timeout=TIMEOUT_S) as client:
        return [
            (socket_cookie(sock), netns_cookie(sock), sock.getsockname()) for sock in client.open(specs, wait=wait_s)
        ]
