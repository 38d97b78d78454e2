"""nsbroker-get says on a terminal what takes so long, and nothing of that in a pipe."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.brokers.fake import FakeBroker, Visit, fake_broker
from support.waiting import LIMIT_S, wait_until


class OnTerminal:
    """nsbroker-get, started as a process whose standard error is a terminal."""

    def __init__(self, path: str, *args: str) -> None:
        self._master, self._slave = pty.openpty()
        python_path = ":".join(entry for entry in sys.path if entry)
        environment = {**os.environ, "PYTHONPATH": python_path, "NSBROKER_SOCKET": path}
        command = [sys.executable, "-m", "nsbroker.cli", *args]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=self._slave)
        self._text = ""

    def said(self, text: str) -> str:
        """Wait until it has said a line with this text, and return everything so far."""
        wait_until(lambda: text in self._read())
        return self._text

    def _read(self) -> str:
        if select.select([self._master], [], [], 0.01)[0]:
            self._text += os.read(self._master, 4096).decode()
        return self._text

    def end(self) -> tuple[int, str]:
        """Wait for its end, and return its status and everything that it said."""
        self.process.communicate(timeout=LIMIT_S)
        return self.process.returncode, self._read()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self._master)
        os.close(self._slave)


@contextmanager
def on_terminal(path: str, *args: str) -> Iterator[OnTerminal]:
    tool = OnTerminal(path, *args)
    try:
        yield tool
    finally:
        tool.close()


def in_pipe(path: str, *args: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": ":".join(entry for entry in sys.path if entry), "NSBROKER_SOCKET": path}
    command = [sys.executable, "-m", "nsbroker.cli", *args]
    return subprocess.run(command, env=environment, capture_output=True, check=False, timeout=LIMIT_S)


def test_silent_broker_is_named_on_a_terminal(broker: FakeBroker) -> None:
    os.kill(broker.pid, signal.SIGSTOP)
    with on_terminal(broker.path, "--timeout", "60", "list") as tool:
        line = f"nsbroker-get: waiting for the broker at {broker.path} for up to 60 s\r\n"
        assert tool.said("\n") == line
        os.kill(broker.pid, signal.SIGCONT)
        assert tool.end() == (0, line)


def test_pipe_gets_only_the_failure(broker: FakeBroker) -> None:
    """Even if the wait was a long one."""
    os.kill(broker.pid, signal.SIGSTOP)
    done = in_pipe(broker.path, "--timeout", "1.5", "list")
    told = f"nsbroker-get: the broker at {broker.path} did not answer within 1.5 s: see its log\n"
    assert done.stderr.decode() == told


def until(flag: Path) -> Callable[[Visit], None]:
    """A script that grants a request once this file is there."""

    def script(visit: Visit) -> None:
        wait_until(flag.exists)
        visit.grant()

    return script


@pytest.mark.parametrize(
    "args",
    [
        ["--wait", "60", "blue", "socket", "--type", "udp", "--fd", "3", "--", "true"],
        ["--wait", "60", "blue", "listen", "-l0", "--", "true"],
        ["blue", "listen", "--wait", "60", "-l0", "--", "true"],
    ],
    ids=["socket", "listen", "listen's own option"],
)
def test_awaited_namespace_is_named_on_a_terminal(tmp_path: Path, args: list[str]) -> None:
    flag = tmp_path / "flag"
    with fake_broker(until(flag)) as broker, on_terminal(broker.path, *args) as tool:
        line = "nsbroker-get: waiting for blue for up to 60 s\r\n"
        assert tool.said("\n") == line
        flag.touch()
        assert tool.end() == (0, line)


def test_name_that_is_looked_up_is_named_on_a_terminal(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    with fake_broker(until(flag)) as broker, on_terminal(broker.path, "blue", "resolve", "web.example") as tool:
        assert tool.said("\n") == "nsbroker-get: waiting for the addresses of web.example\r\n"
        flag.touch()
        assert tool.end()[0] == 0


def test_host_that_is_connected_to_is_named_on_a_terminal(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    with fake_broker(until(flag)) as broker, on_terminal(broker.path, "blue", "connect", "web.example", "9") as tool:
        assert tool.said("\n") == "nsbroker-get: waiting for web.example port 9 in blue\r\n"
        flag.touch()
        assert tool.end()[0] == 1


def test_short_wait_has_no_line(broker: FakeBroker) -> None:
    with on_terminal(broker.path, "list") as tool:
        assert tool.end() == (0, "")
