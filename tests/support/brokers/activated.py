"""A broker that is started as a service manager starts it: with a listening socket that outlives it."""

from __future__ import annotations

import os
import socket
import sys

from support.brokers.process import BrokerProcess
from support.users import GROUP

BACKLOG = 128

# Between fork and exec the process's own id is known: so LISTEN_PID is set there. Source: sd_listen_fds(3).
_LAUNCHER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


class ActivatedBroker(BrokerProcess):
    """The test is the service manager: it listens, and may start the broker again and again."""

    def __init__(self, grants: str, settings: str = "") -> None:
        super().__init__(grants, settings)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(self.socket_path))
        os.chown(self.socket_path, 0, GROUP)
        self.socket_path.chmod(0o660)
        self._listener.listen(BACKLOG)
        self.passed_fds = (self._listener.fileno(),)

    def command(self) -> list[str]:
        return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(self._listener.fileno()), *super().command()]

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._listener.close()
