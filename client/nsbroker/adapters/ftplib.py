"""ftplib in a namespace. The data connections are there too, in passive and in active mode."""

from __future__ import annotations

import ftplib
import socket
import sys

from ..module.namespace import Namespace
from ._connect import PROGRAMS_DEFAULT, connect
from ._namespace import InNamespace

_NOT_GIVEN = -999
"""ftplib's default for a timeout."""


class _Inside(ftplib.FTP):
    """Makes the sockets of both classes, for the control and the data connections."""

    _namespace: Namespace
    sock: socket.socket

    def connect(
        self,
        host: str = "",
        port: int = 0,
        timeout: float | None = _NOT_GIVEN,
        source_address: tuple[str, int] | None = None,
    ) -> str:
        """Connect to a server, as `ftplib.FTP.connect` does, and return its welcome.

        Args:
            host: the server ("": the one of the last call).
            port: the server's port (0: 21, or the one of the last call).
            timeout: seconds for each step (`None`: no limit).
            source_address: the address to bind to, if any.
        """
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
        """Begin a transfer. Return its connection, and how many bytes to expect if the server said so."""
        # A passive server listens before it gets the command. For an active one, we must listen before that.
        sock = self._open(*self.makepasv()) if self.passiveserver else self.makeport()
        try:
            answer = self._begin(cmd, rest)
            connection = sock if self.passiveserver else self._accept(sock)
        except BaseException:
            sock.close()
            raise
        if not self.passiveserver:
            sock.close()
        return connection, ftplib.parse150(answer) if answer.startswith("150") else None  # noqa: S321

    def makeport(self) -> socket.socket:
        """Listen for the data connection of the server, and send the server the address."""
        # Bind and listen here, since a grant of tcp is enough for that.
        sock = self._namespace.socket(self.af, socket.SOCK_STREAM)
        try:
            host, *_ = self.sock.getsockname()
            sock.bind((host, 0))
            sock.listen(1)
            _, port, *_ = sock.getsockname()
            (self.sendport if self.af == socket.AF_INET else self.sendeprt)(host, port)
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
        if answer.startswith("2"):  # Some servers report success before they begin. ftplib ignores that, too.
            answer = self.getresp()
        if not answer.startswith("1"):
            raise ftplib.error_reply(answer)  # noqa: S321  # this adapter is about FTP
        return answer

    def _accept(self, listener: socket.socket) -> socket.socket:
        connection, _ = listener.accept()
        if self.timeout is not PROGRAMS_DEFAULT:
            connection.settimeout(self.timeout)
        return connection


class FTP(InNamespace, _Inside):
    """`ftplib.FTP` in a namespace.

    Args:
        namespace: the namespace of the connections and of the look-up.
        args: as for `ftplib.FTP`: host, user, passwd, acct, timeout (in seconds), source_address.
        kwargs: the same by name, and encoding.

    Example:
        >>> with FTP("blue", "ftp.example.org", timeout=5) as ftp:
        ...     answer = ftp.login()
        >>> answer
        '230 Login successful.'
    """


class FTP_TLS(InNamespace, ftplib.FTP_TLS, _Inside):  # noqa: N801  # ftplib's own name
    """`ftplib.FTP_TLS` in a namespace.

    Args:
        namespace: the namespace of the connections and of the look-up.
        args: as for `ftplib.FTP_TLS`: host, user, passwd, acct.
        kwargs: the same by name, for example context, timeout (in seconds), source_address, encoding.

    Example:
        >>> ftp = FTP_TLS("blue", timeout=5)
        >>> welcome = ftp.connect("ftp.example.org", 2121)
        >>> ftp.login()
        '230 Login successful.'
        >>> ftp.close()
    """
