"""The side of the commands: asks the broker at its control socket, and waits for the reply for a bounded time."""

from __future__ import annotations

import socket
import struct
import time
from typing import Self

from .packets import ERROR, MAX_REPLY_BYTES, Fields, Request, decode_reply, encode_request


class AskError(Exception):
    """The broker gave no answer. The message has the cause and the remedy."""


class UnreachableError(AskError):
    """No broker answers."""


class RefusedError(AskError):
    """The broker refuses the request."""


def ask(path: str, request: Request, timeout_s: float) -> Fields:
    """Ask the broker once, and return its reply.

    Raises:
        UnreachableError: no broker answers in time.
        RefusedError: the broker refuses the request.
    """
    with Connection(path, timeout_s) as connection:
        return connection.ask(request)


class Connection:
    """A connection to the control socket. Root can ask several times, others once."""

    def __init__(self, path: str, timeout_s: float) -> None:
        """Connect.

        Raises:
            UnreachableError: no broker is there.
        """
        self._path = path
        self._timeout_s = timeout_s
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._deadline = time.monotonic() + timeout_s
        try:
            # Without SO_SNDTIMEO, connect(2) would wait forever for a broker that accepts no connections.
            _set_timeout(self._sock, socket.SO_SNDTIMEO, self._deadline)
            self._sock.connect(path)
        except OSError as error:
            self._sock.close()
            raise UnreachableError(self._explain(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def ask(self, request: Request) -> Fields:
        """Ask, and return the reply.

        Raises:
            UnreachableError: the broker does not answer in time.
            RefusedError: the broker refuses the request.
        """
        try:
            self._sock.send(encode_request(request), socket.MSG_NOSIGNAL)
            _set_timeout(self._sock, socket.SO_RCVTIMEO, self._deadline)
            packet = self._sock.recv(MAX_REPLY_BYTES + 1)
        except OSError as error:
            raise UnreachableError(self._explain(error)) from error
        self._deadline = time.monotonic() + self._timeout_s
        if not packet:
            raise UnreachableError(f"{self._lost()}; try again")
        try:
            reply = decode_reply(packet)
        except (ValueError, RecursionError) as error:
            raise UnreachableError(f"the program at {self._path} is no broker of this version: {error}") from error
        if ERROR in reply:
            raise RefusedError(str(reply[ERROR]))
        return reply

    def _lost(self) -> str:
        return f"the broker at {self._path} closed the connection: it stops, or this user has too many of them"

    def _explain(self, error: OSError) -> str:
        path = self._path
        if isinstance(error, BlockingIOError):
            return f"the broker at {path} does not answer within {self._timeout_s:g} s: see systemctl status nsbrokerd"
        if isinstance(error, PermissionError):
            return f"no permission to connect to {path}: run the command as root, or as a member of its group"
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            advice = "start it (systemctl start nsbrokerd), or name its configuration by --config"
            return f"no broker listens at {path}: {advice}"
        if isinstance(error, ConnectionError):
            return f"{self._lost()}; try again"
        return f"can't ask the broker at {path}: {error.strerror or error}"


def _set_timeout(sock: socket.socket, option: int, deadline: float) -> None:
    left_us = max(1, int((deadline - time.monotonic()) * 1e6))  # 0 would mean forever
    sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", left_us // 10**6, left_us % 10**6))
