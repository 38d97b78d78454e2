"""A broker of its own for a test: a real process with a configuration, a socket and an audit file."""

from __future__ import annotations

import grp
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nsbrokerd.seal.cgroup import remove_group
from nsbrokerd.seal.own_group import own_cgroup
from support.namespaces import PREFIX
from support.users import GROUP

EVERYTHING = f"""
[[grant]]
name = "everything"
users = ["*"]
namespaces = ["{PREFIX}*", "@host"]
sockets = ["tcp", "udp", "udplite", "mptcp", "sctp", "icmp", "packet", "unix", "raw:icmp", "netlink:route"]
bind = ["*:*"]
"""
"""A policy for tests that are not about the policy."""

START_S = 60
STOP_S = 60


class BrokerProcess:
    """`python -m nsbrokerd serve`, in a directory that every user can enter and only root can write.

    `settings` and `grants` are TOML, put after the sections [broker] and [audit].
    """

    passed_fds: tuple[int, ...] = ()
    client_groups: Sequence[int] = ()
    """The supplementary groups that its clients need."""

    def __init__(self, grants: str, settings: str = "") -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="nsbroker-test-"))
        self.directory.chmod(0o755)
        self.socket_path = self.directory / "nsbroker.sock"
        self.config_path = self.directory / "nsbrokerd.toml"
        self.audit_path = self.directory / "audit.json"
        self.log_path = self.directory / "log"
        self.seal_path = Path("/sys/fs/bpf", self.directory.name)
        self.configure(grants, settings)
        self.process: subprocess.Popen[bytes] | None = None
        self._status = ""

    def configure(self, grants: str, settings: str = "") -> None:
        """Write the configuration. A running broker takes it over by `reload`."""
        group = grp.getgrgid(GROUP if os.geteuid() == 0 else os.getegid()).gr_name
        self.config_path.write_text(
            f'[broker]\nsocket = "{self.socket_path}"\nsocket_group = "{group}"\nseal = "{self.seal_path}"\n\n'
            f'[audit]\npath = "{self.audit_path}"\n\n{settings}\n{grants}\n'
        )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def command(self) -> list[str]:
        # -P: the installed package is tested, not a directory that happens to be the current one.
        return [sys.executable, "-P", "-m", "nsbrokerd", "serve", "--config", str(self.config_path)]

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def start(self) -> None:
        """Start it, and wait until it says that it is ready.

        Raises:
            AssertionError: it ended instead. The message has its log.
        """
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify_path = self.directory / "notify"
        notify_path.unlink(missing_ok=True)
        self._notify.bind(str(notify_path))
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.directory,
                pass_fds=self.passed_fds,
                env={**self.environment(), "NOTIFY_SOCKET": str(notify_path)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.wait_for("READY=1", START_S)

    def wait_for(self, word: str, timeout_s: float) -> str:
        """Wait for a notification with this line, and return the whole message."""
        deadline = time.monotonic() + timeout_s
        ended = os.pidfd_open(self.pid)
        try:
            while True:
                left = max(0, deadline - time.monotonic())
                ready, _, _ = select.select([self._notify, ended], [], [], left)
                if self._notify in ready:
                    message = self._notify.recv(4096).decode()
                    self._note(message)
                    if word in message.splitlines():
                        return message
                elif ready:
                    raise AssertionError(f"the broker ended instead of {word}:\n{self.log()}")
                else:
                    raise AssertionError(f"no {word} in {timeout_s} s:\n{self.log()}")
        finally:
            os.close(ended)

    def status(self) -> str:
        """Return the last status line that it has sent."""
        while select.select([self._notify], [], [], 0)[0]:
            self._note(self._notify.recv(4096).decode())
        return self._status

    def _note(self, message: str) -> None:
        for line in message.splitlines():
            if line.startswith("STATUS="):
                self._status = line.removeprefix("STATUS=")

    def reload(self) -> str:
        """Have it read its configuration again, and return the notification that it is ready."""
        os.kill(self.pid, signal.SIGHUP)
        self.wait_for("RELOADING=1", START_S)
        return self.wait_for("READY=1", START_S)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ask it to end, by a signal. It must end with status 0."""
        if self.process is None:
            return
        process, self.process = self.process, None
        process.send_signal(number)
        try:
            status = process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the broker did not end in {STOP_S} s:\n{self.log()}") from None
        finally:
            self._notify.close()
        assert status == 0, f"the broker ended with {status}:\n{self.log()}"

    def kill(self) -> None:
        """End it as kill -9 does."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()
            self._notify.close()

    def close(self) -> None:
        """Stop it and remove its directories, the pins and the control group of its sealed sockets among them."""
        try:
            self.stop()
        finally:
            shutil.rmtree(self.directory)
            shutil.rmtree(self.seal_path, ignore_errors=True)
            with suppress(OSError):
                remove_group(own_cgroup() / self.seal_path.name)

    def log(self) -> str:
        """All that it said on standard error."""
        return self.log_path.read_text()

    def audit(self) -> list[dict[str, Any]]:
        """All audit records so far."""
        text = self.audit_path.read_text() if self.audit_path.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def audit_with_parts(self) -> list[dict[str, Any] | None]:
        """Like `audit`, with None for a line that holds only a part of a record, after a full disk or a kill."""
        return [_parse(line) for line in self.audit_path.read_text().splitlines()]

    def has_a_waiting_request(self) -> bool:
        """Whether a request waits for a namespace: the broker notices namespaces by their mounts, see MountChanges."""
        directory = f"/proc/{self.pid}/fd"
        try:
            return any(os.readlink(f"{directory}/{fd}").endswith("/mountinfo") for fd in os.listdir(directory))
        except FileNotFoundError:
            return False  # One was closed meanwhile.

    def descriptors(self) -> int:
        """How many descriptors it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))


def _parse(line: str) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return record


@contextmanager
def running(grants: str, settings: str = "") -> Iterator[BrokerProcess]:
    """Run a broker for longer than one test. A test must leave no trace in it for the next test."""
    broker = BrokerProcess(grants, settings)
    try:
        broker.start()
        yield broker
    finally:
        broker.close()
