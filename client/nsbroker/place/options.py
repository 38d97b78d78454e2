"""Options that only the broker can set, when it makes a socket: the mark, and addresses that are not the namespace's.

setsockopt(2) asks for CAP_NET_ADMIN or CAP_NET_RAW in the socket's namespace. A client has neither, and no socket goes
back to the broker. So these options must be in the request for the socket. Source: ip(7), socket(7).
"""

from __future__ import annotations

import errno
import os
import socket
from sys import byteorder

from ..wire.messages import Option
from ..wire.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

# Source: include/uapi/asm-generic/socket.h, linux/in.h, linux/in6.h; Python 3.11 lacks some of the names.
_SOCKET, _IP, _IPV6 = int(socket.SOL_SOCKET), int(socket.IPPROTO_IP), int(socket.IPPROTO_IPV6)
_INET, _INET6, _PACKET = int(socket.AF_INET), int(socket.AF_INET6), int(socket.AF_PACKET)
_MARK = (_SOCKET, 36)
_TRANSPARENT = ((_IP, 19), (_IPV6, 75))
_FREEBIND = ((_IP, 15), (_IPV6, 78))
_INT_BYTES = 4
_MAX_MARK = 2**32 - 1


class AtBirth(Record):
    """The options of sockets from birth. Each socket has those that its family knows.

    Attributes:
        mark: SO_MARK, 0 to 0xffffffff, for IP and packet sockets. `None` sets no mark.
        transparent: IP_TRANSPARENT or IPV6_TRANSPARENT, for IP sockets.
        freebind: IP_FREEBIND or IPV6_FREEBIND, for IP sockets. This option needs no grant.
    """

    mark: int | None = None
    transparent: bool = False
    freebind: bool = False

    def of(self, family: int) -> tuple[Option, ...]:
        """Return the options for the spec of a socket of this family.

        Raises:
            ValueError: the mark is not in 0..0xffffffff.
        """
        options: list[Option] = []
        if self.mark is not None and family in (_INET, _INET6, _PACKET):
            if not 0 <= self.mark <= _MAX_MARK:
                raise ValueError(f"a mark is 0 to {_MAX_MARK:#x}, not {self.mark}")
            options.append((*_MARK, self.mark))
        if family in (_INET, _INET6):
            is_ipv6 = family == _INET6
            options += [
                (*pair[is_ipv6], 1)
                for pair, wanted in ((_TRANSPARENT, self.transparent), (_FREEBIND, self.freebind))
                if wanted
            ]
        return tuple(options)


NO_OPTIONS = AtBirth()


def at_birth_of(options: Iterable[Option]) -> AtBirth:
    """Return the options from birth of a spec, for further sockets that should go the same way."""
    given: dict[tuple[int, int], Any] = {(level, name): value for level, name, value in options}
    transparent, freebind = (any(given.get(pair) for pair in pairs) for pairs in (_TRANSPARENT, _FREEBIND))
    return AtBirth(given.get(_MARK), transparent, freebind)


def split_privileged(options: Iterable[tuple[Any, ...]]) -> tuple[tuple[Option, ...], list[tuple[Any, ...]]]:
    """Split options into those that only the broker can set, and those that you can set by `setsockopt`.

    Args:
        options: the arguments of `setsockopt` calls.

    Returns:
        A value for `SocketSpec.options`, and the other options in their order.
    """
    privileged: list[Option] = []
    others: list[tuple[Any, ...]] = []
    for option in options:
        value = _as_privileged(*option) if len(option) == 3 else None
        if value is None:
            others.append(option)
        else:
            privileged.append((int(option[0]), int(option[1]), value))
    return tuple(privileged), others


def _as_privileged(level: int, name: int, value: Any) -> int | None:
    """Return the value of an option that only the broker can set, otherwise `None`."""
    if (level, name) != _MARK and (level, name) not in _TRANSPARENT:
        return None
    try:
        number = value if isinstance(value, int) else int.from_bytes(bytes(value)[:_INT_BYTES], byteorder)
    except TypeError:
        return None  # `setsockopt` refuses it.
    if (level, name) == _MARK:
        return number & _MAX_MARK
    # Every program may take this option away.
    return 1 if number else None


def add_options(options: tuple[Option, ...], more: Iterable[Option]) -> tuple[Option, ...]:
    """Return options with more of them. One of `more` replaces the option of the same name."""
    merged = {(level, name): value for level, name, value in options}
    merged.update(((level, name), value) for level, name, value in more)
    return tuple([(level, name, value) for (level, name), value in merged.items()])


def expect_set_already(sock: socket.SocketType, error: PermissionError, args: tuple[Any, ...]) -> None:
    """Return if a socket has the value already that the kernel did not let its owner set.

    Args:
        sock: the socket.
        error: the kernel's error.
        args: the arguments of `setsockopt`.

    Raises:
        PermissionError: it has another value. The message names the way that works, if there is one.
    """
    value = _as_privileged(*args) if len(args) == 3 else None
    if value is None:
        raise error
    level, name, _ = args
    if sock.getsockopt(level, name) & _MAX_MARK == value:
        return
    way = f"mark={value:#x}" if (level, name) == _MARK else "transparent=True"
    text = f"{os.strerror(errno.EPERM)}: only the broker can set this option, when it makes the socket"
    raise PermissionError(errno.EPERM, f"{text}: use Namespace(..., {way}), if a grant has it in options") from error
