"""Socket options: which anybody may ask for, and which a grant must name.

The broker has root's power, so it sets nothing by default: an option is either here, and then set without any
capability, exactly as the client could do it, or it is one of the three privileged ones, named by a grant.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

# Source: include/uapi/asm-generic/socket.h, linux/in.h, linux/in6.h; Python 3.11 lacks some of the names.
SOL_SOCKET, IPPROTO_IP, IPPROTO_TCP, IPPROTO_IPV6, IPPROTO_SCTP = 1, 0, 6, 41, 132
SO_MARK, SO_BINDTODEVICE, IP_TRANSPARENT, IPV6_TRANSPARENT = 36, 25, 19, 75
_MAX_INTERFACE_BYTES = 15  # IFNAMSIZ less the NUL

ORDINARY_OPTIONS: dict[tuple[int, int], str] = {
    (SOL_SOCKET, 2): "SO_REUSEADDR",
    (SOL_SOCKET, 6): "SO_BROADCAST",
    (SOL_SOCKET, 7): "SO_SNDBUF",
    (SOL_SOCKET, 8): "SO_RCVBUF",
    (SOL_SOCKET, 9): "SO_KEEPALIVE",
    (SOL_SOCKET, 10): "SO_OOBINLINE",
    (SOL_SOCKET, 12): "SO_PRIORITY",
    (SOL_SOCKET, 15): "SO_REUSEPORT",
    (SOL_SOCKET, 18): "SO_RCVLOWAT",
    (IPPROTO_IP, 1): "IP_TOS",
    (IPPROTO_IP, 2): "IP_TTL",
    (IPPROTO_IP, 8): "IP_PKTINFO",
    (IPPROTO_IP, 15): "IP_FREEBIND",
    (IPPROTO_IP, 24): "IP_BIND_ADDRESS_NO_PORT",
    (IPPROTO_TCP, 1): "TCP_NODELAY",
    (IPPROTO_TCP, 2): "TCP_MAXSEG",
    (IPPROTO_TCP, 4): "TCP_KEEPIDLE",
    (IPPROTO_TCP, 5): "TCP_KEEPINTVL",
    (IPPROTO_TCP, 6): "TCP_KEEPCNT",
    (IPPROTO_TCP, 9): "TCP_DEFER_ACCEPT",
    (IPPROTO_TCP, 18): "TCP_USER_TIMEOUT",
    (IPPROTO_TCP, 23): "TCP_FASTOPEN",
    (IPPROTO_IPV6, 16): "IPV6_UNICAST_HOPS",
    (IPPROTO_IPV6, 26): "IPV6_V6ONLY",
    (IPPROTO_IPV6, 49): "IPV6_RECVPKTINFO",
    (IPPROTO_IPV6, 67): "IPV6_TCLASS",
    (IPPROTO_IPV6, 78): "IPV6_FREEBIND",
    (IPPROTO_SCTP, 2): "SCTP_INITMSG",
    (IPPROTO_SCTP, 3): "SCTP_NODELAY",
}


class UnknownOptionError(ValueError):
    """An option that is neither ordinary nor one that a grant can name, or of the wrong type."""


@dataclass(frozen=True, slots=True)
class PrivilegedOption:
    """What a spec asks for: `mark`, `bind_device` or `transparent`, and the value as the policy writes it."""

    name: str
    value: str

    def __str__(self) -> str:
        return f"{self.name}={self.value}" if self.value else self.name


def classify(level: int, name: int, value: int | bytes) -> PrivilegedOption | None:
    """Say what a grant must name for this option; None for an ordinary one.

    Raises:
        UnknownOptionError: the broker never sets it.
    """
    if (level, name) in ORDINARY_OPTIONS:
        return None
    if (level, name) == (SOL_SOCKET, SO_MARK) and type(value) is int and 0 <= value < 2**32:
        return PrivilegedOption("mark", f"{value:#x}")
    if (level, name) == (SOL_SOCKET, SO_BINDTODEVICE) and type(value) is bytes:
        device = value.rstrip(b"\0")
        # The kernel stops at the first NUL and after 15 bytes: what is compared must be what it reads.
        if b"\0" not in device and len(device) <= _MAX_INTERFACE_BYTES:
            return PrivilegedOption("bind_device", device.decode(errors="replace"))
    if (level, name) in ((IPPROTO_IP, IP_TRANSPARENT), (IPPROTO_IPV6, IPV6_TRANSPARENT)) and value in (0, 1):
        return PrivilegedOption("transparent", "")
    raise UnknownOptionError(f"option {name} of level {level} with this value is none that the broker sets")


@dataclass(frozen=True, slots=True)
class OptionRule:
    """A privileged option that a grant allows: `mark=0x10`, `bind_device=eth*`, `transparent`."""

    text: str
    name: str
    value: str

    @classmethod
    def parse(cls, text: str) -> OptionRule:
        """Read a rule as the policy has it.

        Raises:
            ValueError: what is wrong with it.
        """
        name, equals, value = text.partition("=")
        if name == "mark" and value:
            try:
                mark = int(value, 0)
            except ValueError as error:
                raise ValueError(f"{text!r}: a mark is a number, like 16 or 0x10") from error
            if not 0 <= mark < 2**32:
                raise ValueError(f"{text!r}: a mark has 32 bits")
            return cls(text, name, f"{mark:#x}")
        if (name == "bind_device" and value) or (name == "transparent" and not equals):
            return cls(text, name, value)
        raise ValueError(f"{text!r} is none of 'mark=NUMBER', 'bind_device=PATTERN', 'transparent'")

    def covers(self, option: PrivilegedOption) -> bool:
        """Tell whether this rule allows the option."""
        if option.name != self.name:
            return False
        return (
            fnmatch.fnmatchcase(option.value, self.value) if self.name == "bind_device" else option.value == self.value
        )
