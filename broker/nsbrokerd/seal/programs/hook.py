"""The code that the programs of the second wall share: find the entry of a socket, and take an address. Pure."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ...policy.rules import ALL_PORTS
from .. import layout
from .assembly import R0, R1, R2, R3, R6, R7, R8, R9, STACK
from .code import LAST_PORT, Code

_INET, _INET6 = int(socket.AF_INET), int(socket.AF_INET6)
_RAW = int(socket.SOCK_RAW)
_ICMP, _ICMPV6 = int(socket.IPPROTO_ICMP), int(socket.IPPROTO_ICMPV6)

PROBE_READ_KERNEL = 113
"""A helper. Source: include/uapi/linux/bpf.h."""

_EPERM = -1

# Offsets on the stack, below those of Code.
NUMBER, ENTRY, GIVEN = -48, -56, -88
GIVEN_BYTES = 28
BELOW_GIVEN = -96
"""The first offset that is free."""
_IPV4_BYTES, _IPV6_BYTES = 16, 24
"""The least bytes that the kernel takes for an address of its family."""
_PORT_AT, IPV4_AT, IPV6_AT = 2, 4, 8
"""Offsets in struct sockaddr_in and sockaddr_in6."""

Fields = Mapping[str, int]
"""Offsets of fields in this kernel's structs, by struct and name, and the bits that tell callers of 32 bits."""

_Prepare = Callable[[Code, Fields], None]


class Hook(NamedTuple):
    """A program of the second wall, and the hook of the kernel that runs it."""

    name: str
    prepare: _Prepare

    @property
    def function(self) -> str:
        """The kernel's function for the hook, in the description of its types."""
        return f"bpf_lsm_{self.name}"

    def assemble(self, sockets_fd: int, limits_fd: int, fields: Fields) -> bytes:
        """Return the instructions, for these two maps and this kernel."""
        code = Code(sockets_fd, limits_fd)
        code.copy(R6, R1)
        self.prepare(code, fields)
        code.label("deny")
        code.end(_EPERM)
        code.label("allow")
        code.end(0)
        return code.assemble()


def begin(code: Code, fields: Fields) -> None:
    """Find the entry of the hook's socket. Allow a socket without an entry, and deny a socket that is cut off."""
    find_socket(code, fields)
    find_entry(code)


def find_socket(code: Code, fields: Fields) -> None:
    """Take the socket that is the hook's first argument into R8. Allow one that the kernel has taken apart already."""
    code.load(R2, R6, 0, 8)
    code.load(R8, R2, fields["socket.sk"], 8)
    code.go_if(R8, "==", 0, "allow")


def find_entry(code: Code) -> None:
    """Find the entry of the socket in R8."""
    code.find_entry_or_go(R8, "allow")
    code.store(STACK, ENTRY, R7, 8)


def put_number(code: Code, argument: int, to: int) -> None:
    """Load an argument of the hook that is an int. The kernel leaves the upper half of its register undefined."""
    code.load(R1, R6, 8 * argument, 8)
    code.store(STACK, NUMBER, R1)
    code.load(to, STACK, NUMBER)


def read_address(code: Code) -> None:
    """Copy the address that R3 points to. Its length is on the stack."""
    code.copy(R1, STACK)
    code.add(R1, GIVEN)
    code.set(R2, GIVEN_BYTES)
    code.call(PROBE_READ_KERNEL)
    code.go_if(R0, "!=", 0, "deny")


def read_argument(code: Code, address: int, length: int) -> None:
    """Copy the address in the hook's arguments: `address` is the number of its pointer, `length` of its length."""
    put_number(code, length, R1)
    code.load(R3, R6, 8 * address, 8)
    read_address(code)


def put_given(code: Code, fields: Fields) -> None:
    """Take the copied address as the one to compare. R8 is the socket, which decides how the kernel reads it."""
    code.load(R9, STACK, GIVEN + _PORT_AT, 2)
    code.swap_port(R9)
    put_ports(code, fields, "given")
    code.load(R3, STACK, NUMBER)
    code.load(R1, R8, fields["skc_family"], 2)
    code.go_if(R1, "!=", _INET6, "given as version 4")
    code.load(R1, STACK, GIVEN, 2)
    code.go_if(R1, "==", _INET, "given as version 4")
    code.go_if(R3, "<", _IPV6_BYTES, "deny")
    code.put_ipv6(STACK, GIVEN + IPV6_AT, "given")
    code.go("given is put")
    code.label("given as version 4")
    code.go_if(R3, "<", _IPV4_BYTES, "deny")
    code.load(R1, STACK, GIVEN + IPV4_AT)
    code.put_ipv4(R1)
    code.label("given is put")


def put_ports(code: Code, fields: Fields, prefix: str) -> None:
    """Require a rule for the port in R9, or for all ports if the socket in R8 has none."""
    code.store(STACK, LAST_PORT, R9)
    code.load(R1, R8, fields["sk_type"], 2)
    code.go_if(R1, "==", _RAW, f"{prefix}: all ports")
    code.load(R1, R8, fields["sk_protocol"], 2)
    code.go_if(R1, "==", _ICMP, f"{prefix}: all ports")
    code.go_if(R1, "!=", _ICMPV6, f"{prefix}: ports are put")
    code.label(f"{prefix}: all ports")
    code.set(R9, ALL_PORTS[0])
    code.store_number(STACK, LAST_PORT, ALL_PORTS[1])
    code.label(f"{prefix}: ports are put")


def put_own(code: Code, fields: Fields, version_4: str, version_6: str) -> None:
    """Take an address of the socket in R8 itself as the one to compare."""
    code.load(R1, R8, fields["skc_family"], 2)
    code.go_if(R1, "==", _INET6, "own as version 6")
    code.load(R1, R8, fields[version_4])
    code.put_ipv4(R1)
    code.go("own is put")
    code.label("own as version 6")
    code.put_ipv6(R8, fields[version_6], "own")
    code.label("own is put")


def mark(code: Code, flag: int, label: str) -> None:
    """Allow, and set a flag of the entry."""
    code.label(label)
    code.load(R7, STACK, ENTRY, 8)
    code.set(R1, flag)
    code.set_bits(R7, layout.ENTRY_FLAGS, R1)
    code.go("allow")
