"""The errors of requests to the broker: one tree, whose leaves are also the OSErrors that a caller expects."""

from __future__ import annotations

import errno as _errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..wire.messages import SocketSpec

CONFINED = (
    "a security module (SELinux, AppArmor) confines the program, and does not let it have or use sockets of the "
    "broker; journalctl -k names the rule"
)
"""Why the kernel hands over no descriptor, and how to go on. deploy/docs/confinement.md says more."""


class Error(OSError):
    """The broker refused or failed, or can't be reached. All errors below are subclasses.

    Attributes:
        errno: an errno, as for any OSError.
        index: the position of the socket in the request, if one socket is at fault.
        spec: the `SocketSpec` of that socket.

    Example:
        >>> import nsbroker
        >>> try:
        ...     nsbroker.Namespace("no-such-namespace").socket()
        ... except nsbroker.Error as error:
        ...     text = error.strerror
    """

    index: int | None = None
    spec: SocketSpec | None = None


class NamespaceNotFoundError(Error, FileNotFoundError):
    """There is no such network namespace (ENOENT), or a path leads to no file (ENOENT, ENOTDIR or ESRCH).

    Example:
        >>> import nsbroker
        >>> try:
        ...     nsbroker.Namespace("/nowhere/net").socket()
        ... except nsbroker.NamespaceNotFoundError as error:
        ...     error.errno
        2
    """


class AccessDeniedError(Error, PermissionError):
    """The policy grants no such socket, or you may not open the path of a namespace (EACCES or EPERM).

    The message names the missing permission.

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
    """The broker can't be reached, does not answer (ETIMEDOUT, ECONNRESET), or is overloaded (EAGAIN).

    If it can't be reached, the errno says why: ENOENT or ECONNREFUSED if no broker runs, EACCES if you may not connect.

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
    """A socket arrived that differs from the broker's description, or is in another namespace (EXDEV). It was closed.

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
