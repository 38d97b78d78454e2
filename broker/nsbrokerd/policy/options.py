"""Socket options: the ordinary ones, which every client may request, and the privileged ones, which a grant must name.

The broker has root's power, so it refuses each option that is not listed here. It sets ordinary options without any
capability, exactly as the client could. The three privileged options need a grant that names them.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

# Source: include/uapi/asm-generic/socket.h, linux/in.h, linux/in6.h; Python 3.11 lacks some of the names.
SOL_SOCKET, IPPROTO_IP, IPPROTO_TCP, IPPROTO_IPV6, IPPROTO_SCTP = 1, 0, 6, 41, 132
SO_MARK, SO_BINDTODEVICE, IP_TRANSPARENT, IPV6_TRANSPARENT = 36, 25, 19, 75
_MAX_INTERFACE_BYTES = 15  # IFNAMSIZ less the NUL

_ORDINARY = {
    SOL_SOCKET: {
        "SO_REUSEADDR": 2, "SO_BROADCAST": 6, "SO_SNDBUF": 7, "SO_RCVBUF": 8, "SO_KEEPALIVE": 9, "SO_OOBINLINE": 10,
        "SO_PRIORITY": 12, "SO_REUSEPORT": 15, "SO_RCVLOWAT": 18,
    },
    IPPROTO_IP: {"IP_TOS": 1, "IP_TTL": 2, "IP_PKTINFO": 8, "IP_FREEBIND": 15, "IP_BIND_ADDRESS_NO_PORT": 24},
    IPPROTO_TCP: {
        "TCP_NODELAY": 1, "TCP_MAXSEG": 2, "TCP_KEEPIDLE": 4, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 6,
        "TCP_DEFER_ACCEPT": 9, "TCP_USER_TIMEOUT": 18, "TCP_FASTOPEN": 23,
    },
    IPPROTO_IPV6: {
        "IPV6_UNICAST_HOPS": 16, "IPV6_V6ONLY": 26, "IPV6_RECVPKTINFO": 49, "IPV6_TCLASS": 67, "IPV6_FREEBIND": 78,
    },
    IPPROTO_SCTP: {"SCTP_INITMSG": 2, "SCTP_NODELAY": 3},
}  # fmt: skip
ORDINARY_OPTIONS = frozenset((level, number) for level, names in _ORDINARY.items() for number in names.values())
"""Level and number of each option that needs no grant."""


class UnknownOptionError(ValueError):
    """The broker does not know the option, or its value has the wrong type."""


@dataclass(frozen=True, slots=True)
class PrivilegedOption:
    """A requested `mark`, `bind_device` or `transparent`, with the value as the configuration writes it."""

    name: str
    value: str

    def __str__(self) -> str:
        return f"{self.name}={self.value}" if self.value else self.name


def classify(level: int, name: int, value: int | bytes) -> PrivilegedOption | None:
    """Return the option that a grant must name for this request, or None for an ordinary option.

    Raises:
        UnknownOptionError: the broker never sets this option, or not to this value.
    """
    if (level, name) in ORDINARY_OPTIONS:
        return None
    if (level, name) == (SOL_SOCKET, SO_MARK) and type(value) is int and 0 <= value < 2**32:
        return PrivilegedOption("mark", f"{value:#x}")
    if (level, name) == (SOL_SOCKET, SO_BINDTODEVICE) and type(value) is bytes:
        device = value.rstrip(b"\0")
        # The kernel reads up to the first NUL, and at most 15 bytes. The policy must compare the same name.
        if b"\0" not in device and len(device) <= _MAX_INTERFACE_BYTES:
            return PrivilegedOption("bind_device", device.decode(errors="replace"))
    if (level, name) in ((IPPROTO_IP, IP_TRANSPARENT), (IPPROTO_IPV6, IPV6_TRANSPARENT)) and value in (0, 1):
        return PrivilegedOption("transparent", "")
    raise UnknownOptionError(f"the broker does not set option {name} of level {level} to this value: set it yourself")


@dataclass(frozen=True, slots=True)
class OptionRule:
    """A privileged option that a grant allows, for example `mark=0x10`, `bind_device=eth*` or `transparent`."""

    text: str
    name: str
    value: str

    @classmethod
    def parse(cls, text: str) -> OptionRule:
        """Read a rule of the configuration.

        Raises:
            ValueError: the text is not a rule. The message names the cause and the remedy.
        """
        name, equals, value = text.partition("=")
        if name == "mark" and value:
            try:
                mark = int(value, 0)
            except ValueError as error:
                raise ValueError(f"{text!r}: the mark is not a number: write it like 16 or 0x10") from error
            if not 0 <= mark < 2**32:
                raise ValueError(f"{text!r}: the mark is out of range: use 0 to 0xffffffff")
            return cls(text, name, f"{mark:#x}")
        if (name == "bind_device" and value) or (name == "transparent" and not equals):
            return cls(text, name, value)
        raise ValueError(f"{text!r} is not an option of a grant: use mark=NUMBER, bind_device=PATTERN or transparent")

    def covers(self, option: PrivilegedOption) -> bool:
        """Return whether the rule allows an option."""
        if option.name == self.name == "bind_device":
            return fnmatch.fnmatchcase(option.value, self.value)
        return (option.name, option.value) == (self.name, self.value)
