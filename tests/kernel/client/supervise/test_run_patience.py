"""`nsbroker-get NS run` says on a terminal that a program waits for the broker."""

from __future__ import annotations

import os
import pty
import select
import signal
from collections.abc import Callable

from support.brokers.process import BrokerProcess
from support.tool.running import python, run_tool
from support.waiting import wait_until

TWICE = "import socket\nsocket.socket()\nprint('ready', flush=True)\ninput()\nsocket.socket()\nprint('done')"


def test_program_that_waits_for_the_broker_is_explained_on_a_terminal(
    broker: BrokerProcess, make_namespace: Callable[..., str]
) -> None:
    master, slave = pty.openpty()
    path = os.ttyname(slave)
    os.chmod(path, 0o666)
    text = b""

    def said() -> bool:
        nonlocal text
        if select.select([master], [], [], 0.01)[0]:
            text += os.read(master, 4096)
        return b"\n" in text

    def use_terminal() -> None:
        os.dup2(os.open(path, os.O_WRONLY | os.O_NOCTTY), 2)

    name = make_namespace()
    reader, writer = os.pipe()
    with run_tool(broker) as run:
        running = run.start(name, "run", "--", python(), "-c", TWICE, stdin=reader, before=use_terminal)
        running.read_until("ready")
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            os.write(writer, b"\n")
            wait_until(said)
        finally:
            os.kill(broker.pid, signal.SIGCONT)
        done = running.finish()
    os.close(reader)
    os.close(writer)
    os.close(master)
    os.close(slave)
    assert (done.status, done.out) == (0, "ready\ndone\n")
    assert text.decode() == f"nsbroker-get: the program waits for the broker at {broker.socket_path}\r\n"
