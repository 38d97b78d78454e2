"""ftplib in a namespace, the data connections as well, in passive and in active mode.

    with FTP("blue", "ftp.example.org") as ftp:
        ftp.login()

`FTP_TLS` is the one with TLS.
"""

from __future__ import annotations

import ftplib
import socket
import sys
from typing import TYPE_CHECKING

from ._connect import PROGRAMS_DEFAULT, connect
from ._namespace import as_namespace

if TYPE_CHECKING:
    from typing import Any

    from ..module.namespace import Namespace
    from ..wire.messages import NamespaceRef

_NOT_GIVEN = -999
"""What ftplib has for a timeout that was not given."""


class _Inside(ftplib.FTP):
    """What both classes have: where the sockets of the control and data connections are made."""

    _namespace: Namespace
    sock: socket.socket

    def connect(
        self,
        host: str = "",
        port: int = 0,
        timeout: float | None = _NOT_GIVEN,
        source_address: tuple[str, int] | None = None,
    ) -> str:
        """Connect to a server, as `ftplib.FTP.connect` does."""
        self.host = host or self.host
        self.port = port or self.port
        if timeout != _NOT_GIVEN:
            self.timeout = timeout
        if self.timeout is not None and not self.timeout:
            raise ValueError("Non-blocking socket (timeout=0) is not supported")
        self.source_address = source_address or self.source_address
        sys.audit("ftplib.connect", self, self.host, self.port)
        self.sock = self._open(self.host, self.port)
        self.af = self.sock.family
        self.file = self.sock.makefile("r", encoding=self.encoding)
        self.welcome = self.getresp()
        return self.welcome

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        """Begin a transfer; give its connection, and how many bytes to expect if the server said so."""
        # A passive server listens before it gets the command; of an active one we must be ready to accept.
        sock = self._open(*self.makepasv()) if self.passiveserver else self.makeport()
        try:
            answer = self._begin(cmd, rest)
            connection = sock if self.passiveserver else self._accept(sock)
        except BaseException:
            sock.close()
            raise
        if not self.passiveserver:
            sock.close()
        return connection, ftplib.parse150(answer) if answer[:3] == "150" else None  # noqa: S321

    def makeport(self) -> socket.socket:
        """Listen for a server's data connection, and tell the server where."""
        # The client binds and listens by itself: for that a grant of tcp suffices.
        sock = self._namespace.socket(self.af, socket.SOCK_STREAM)
        try:
            host = self.sock.getsockname()[0]
            sock.bind((host, 0))
            sock.listen(1)
            (self.sendport if self.af == socket.AF_INET else self.sendeprt)(host, sock.getsockname()[1])
            if self.timeout is not PROGRAMS_DEFAULT:
                sock.settimeout(self.timeout)
        except BaseException:
            sock.close()
            raise
        return sock

    def _open(self, host: str, port: int) -> socket.socket:
        return connect(self._namespace, host, port, self.timeout, source_address=self.source_address)

    def _begin(self, command: str, rest: int | str | None) -> str:
        if rest is not None:
            self.sendcmd(f"REST {rest}")
        answer = self.sendcmd(command)
        if answer[0] == "2":  # Some servers say that it is done before they begin; ftplib ignores that, too.
            answer = self.getresp()
        if answer[0] != "1":
            raise ftplib.error_reply(answer)  # noqa: S321  # FTP is what this is for
        return answer

    def _accept(self, listener: socket.socket) -> socket.socket:
        connection, _ = listener.accept()
        if self.timeout is not PROGRAMS_DEFAULT:
            connection.settimeout(self.timeout)
        return connection


class FTP(_Inside):
    """`ftplib.FTP(host, user, passwd, acct, timeout, source_address, encoding)` in a namespace."""

    def __init__(self, namespace: Namespace | NamespaceRef, *args: Any, **kwargs: Any) -> None:
        self._namespace = as_namespace(namespace)
        super().__init__(*args, **kwargs)


class FTP_TLS(ftplib.FTP_TLS, _Inside):  # noqa: N801  # ftplib's own name
    """`ftplib.FTP_TLS(host, user, passwd, acct, ..., context, timeout, source_address, encoding)` in a namespace."""

    def __init__(self, namespace: Namespace | NamespaceRef, *args: Any, **kwargs: Any) -> None:
        self._namespace = as_namespace(namespace)
        super().__init__(*args, **kwargs)
