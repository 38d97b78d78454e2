"""What can go wrong between a program and its socket: one tree, and every leaf is the OSError one expects."""

from __future__ import annotations

import errno as _errno


class Error(OSError):
    """Any failure of the broker, or to reach it.

    `errno` is set as for any OSError. `index` is the position of the socket in the request, where one is at fault.
    """

    index: int | None = None


class NamespaceNotFoundError(Error, FileNotFoundError):
    """There is no such network namespace (ENOENT)."""


class AccessDeniedError(Error, PermissionError):
    """The policy grants no such socket (EACCES). The message says what was missing."""


class BrokerUnavailableError(Error, ConnectionError):
    """The broker can't be reached, did not answer in time, or is overloaded (ECONNREFUSED, ETIMEDOUT, EAGAIN)."""


class BrokerProtocolError(Error):
    """The other end does not speak this protocol, or not this version of it (EPROTO)."""


class WrongNamespaceError(Error):
    """A socket arrived that is not in the namespace the broker named (EXDEV). It was closed."""


def os_error(errno: int, message: str, index: int | None) -> OSError:
    """Make the exception for an error of the kernel: the subclass of OSError that Python has for this errno."""
    error = OSError(errno, message)
    error.index = index  # type: ignore[attr-defined]  # as `Error.index`: which socket of a batch
    return error


def refusal(code: str, message: str, index: int | None, errno: int | None = None) -> OSError:
    """Make the exception for an error reply of the broker."""
    error: Error
    if code == "os-error" and errno is not None:
        return os_error(errno, message, index)
    if code == "denied":
        error = AccessDeniedError(_errno.EACCES, message)
    elif code == "no-such-namespace":
        error = NamespaceNotFoundError(_errno.ENOENT, message)
    elif code == "overloaded":
        error = BrokerUnavailableError(_errno.EAGAIN, message)
    else:
        error = BrokerProtocolError(_errno.EPROTO, f"{code}: {message}")
    error.index = index
    return error
