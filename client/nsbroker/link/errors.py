"""The errors of asking the broker: one tree, whose leaves are also the OSError subclasses that a caller expects."""

from __future__ import annotations

import errno as _errno


class Error(OSError):
    """The broker refused or failed, or can't be reached. All errors below are subclasses.

    Attributes:
        errno: an errno, as for any OSError.
        index: the position of the socket in the request, if one socket is at fault.

    Example:
        >>> import nsbroker
        >>> try:
        ...     nsbroker.Namespace("no-such-namespace").socket()
        ... except nsbroker.Error as error:
        ...     text = error.strerror
    """

    index: int | None = None


class NamespaceNotFoundError(Error, FileNotFoundError):
    """There is no such network namespace (ENOENT).

    Example:
        >>> import nsbroker
        >>> try:
        ...     nsbroker.Namespace("/nowhere/net").socket()
        ... except nsbroker.NamespaceNotFoundError as error:
        ...     error.errno
        2
    """


class AccessDeniedError(Error, PermissionError):
    """The policy grants no such socket (EACCES). The message says which grant is missing.

    Example:
        >>> import nsbroker
        >>> blue = nsbroker.Namespace("blue")
        >>> try:
        ...     blue.socket(blue.AF_INET, blue.SOCK_RAW, blue.IPPROTO_TCP)
        ... except nsbroker.AccessDeniedError as error:
        ...     error.errno
        13
    """


class BrokerUnavailableError(Error, ConnectionError):
    """The broker can't be reached (ENOENT, ECONNREFUSED), does not answer (ETIMEDOUT), or is overloaded (EAGAIN).

    Example:
        >>> import nsbroker
        >>> try:
        ...     nsbroker.Client("/nowhere/nsbroker.sock").namespaces()
        ... except nsbroker.BrokerUnavailableError as error:
        ...     error.errno
        2
    """


class BrokerProtocolError(Error):
    """The other end does not speak this version of the protocol (EPROTO).

    Example:
        >>> import nsbroker
        >>> try:
        ...     nsbroker.Namespace("blue").socket().close()
        ... except nsbroker.BrokerProtocolError:
        ...     print("update nsbroker and nsbrokerd to the same version")
    """


class WrongNamespaceError(Error):
    """A socket arrived that is not in the namespace that the broker named (EXDEV). It was closed.

    Example:
        >>> import nsbroker
        >>> try:
        ...     nsbroker.Namespace("blue").socket().close()
        ... except nsbroker.WrongNamespaceError:
        ...     print("report this to your administrator")
    """


def os_error(errno: int, message: str, index: int | None) -> OSError:
    """Return the exception for an error of the kernel: the subclass of OSError that Python has for this errno."""
    error = OSError(errno, message)
    error.index = index  # type: ignore[attr-defined]  # as `Error.index`: the position in a batch
    return error


def refusal(code: str, message: str, index: int | None, errno: int | None = None) -> OSError:
    """Return the exception for an error reply of the broker."""
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
